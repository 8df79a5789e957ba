"""The lower level of a problem over whole sequences: what the policies write, or all that can be written.

An episode is a sequence that ends by itself, its reward comes at the end, and tau weighs the divergence from a
reference policy. The critics are linear in what the policies see of a prefix.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac import _checks
from hfac._compiler import random
from hfac.lower import Draw, First, Lower
from hfac.options import Number
from hfac.sequences import episodes
from hfac.sequences.problem import EpisodicProblem
from hfac.types import Key, PyTree, Status, apply_updates, cast

AVERAGING = 0.02  # weight of the newest batch in running averages: they look back over fifty steps
REFERENCE_BATCHES = 64  # of the reference policy, whose variety is the measure
SEQUENCES = 64  # of all policies together, unless the size of a batch is given


class Limits(NamedTuple):
    """Past either of these, on average over some fifty steps, a policy counts as having hacked its reward."""

    max_divergence: float = 4.0  # KL(pi | pi_ref) per sequence, nats
    min_distinct: float = 0.7  # distinct pairs of neighbours in a batch, relative to the reference policy's


class Vitals(NamedTuple):
    """Running averages that tell whether a policy still writes like the reference."""

    divergence: jax.Array  # [], nats per sequence
    distinct: jax.Array  # [], relative to the reference's; 1 unless there are limits
    reference_distinct: jax.Array  # []


class Seen(NamedTuple):
    """Sequences of a policy, what it says along them, and the map that pulls weights of that back to its parameters."""

    batch: episodes.Episodes
    path: episodes.Path
    pull: Any  # Path -> (direction,)
    gae_lambda: Any  # of the generalised advantages


def lower(
    problem: EpisodicProblem,
    *,
    batch_size: int | None = None,
    num_opponents: int = 8,
    coupled: bool = False,
    every: Any = None,
    gae_lambda: Number = 1.0,
    limits: Limits | None = None,
    num_policies: int = 2,
    dtype: Any = jnp.float32,
) -> Lower:
    """The lower level of a problem over sequences: every step writes afresh from all policies.

    Args:
      problem: an episodic bi-level problem; its policies start at the reference, which must have `dtype`.
      batch_size: sequences of every policy in a step; 64 of all policies together unless given.
      num_opponents: others that each sequence is compared with, where the leader compares.
      coupled: all policies use the same random numbers: the same law for each, a quieter difference.
      every: all sequences of a small language [Y, L]: expectations in place of samples.
      gae_lambda: of the generalised advantages, in [0, 1]; 1 is unbiased with any critic.
      limits: past which the first policy counts as having hacked its reward; none unless given.
      num_policies: that are tracked.
      dtype: of every float in a step.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    size = SEQUENCES // num_policies if batch_size is None else batch_size
    end = problem.policy.end
    source = _source(problem, size, num_opponents, coupled, every, dtype)
    _checks.number("gae_lambda", gae_lambda)
    if not 0 <= gae_lambda <= 1:
        raise ValueError(f"gae_lambda must lie in [0, 1], got {gae_lambda}")

    def init(key: Key) -> First:
        x = cast(problem.init_x(jax.random.fold_in(key, 0)), dtype)
        vitals = _first_vitals(problem, size, limits, dtype, jax.random.fold_in(key, 1))
        return First(x, problem.reference, _linear_head(problem, dtype), (), vitals)

    def draw(key: Key, chains: tuple[()], *thetas: PyTree) -> Draw:
        (*others, last), pairs, num_samples = source(key, *thetas)
        return Draw((*others, last._replace(pairs=pairs)), chains, num_samples)

    def see(theta: PyTree, batch: episodes.Episodes, options: Mapping[str, Any]) -> Seen:
        return Seen(batch, *episodes.path(problem, theta, batch), options.get("gae_lambda", gae_lambda))

    def along(seen: Seen, head: jax.Array, gain: jax.Array, tau: jax.Array | float) -> jax.Array:
        return episodes.advantages(seen.path, head, seen.batch, end, gain, tau, seen.gae_lambda)

    def leader_advantage(x: PyTree, seen: Seen, u: jax.Array) -> jax.Array:
        return along(seen, u, episodes.leader_costs(problem, x, seen.batch, seen.batch.pairs), 0)

    def true_advantage(x: PyTree, seen: Seen, v: jax.Array, tau: jax.Array) -> jax.Array:
        return along(seen, v, -episodes.leader_costs(problem, x, seen.batch, seen.batch.pairs), tau)

    def actor(x: PyTree, seen: Seen, advantage: jax.Array, tau: jax.Array, w: jax.Array | None = None) -> PyTree:
        del x, w  # the leader's cost is in the advantage
        return episodes.policy_gradient(seen.path, seen.pull, seen.batch, advantage, tau)

    def hypergradient(x: PyTree, seen: Seen, seen_pen: Seen, w: jax.Array) -> PyTree:
        return episodes.hypergradient(problem, x, seen.batch, seen_pen.batch, seen_pen.batch.pairs, w)

    def upper_gradient(x: PyTree, seen: Seen) -> PyTree:
        return jax.grad(lambda x: episodes.upper_objective(problem, x, seen.batch, seen.batch.pairs))(x)

    def divergence(seen: Seen) -> jax.Array:
        return seen.batch.weight @ jnp.sum(seen.path.divergence, 1)

    def look(x: PyTree, *seen: Seen) -> dict[str, jax.Array]:
        last = seen[-1].batch
        found = {"loss": episodes.upper_objective(problem, x, last, last.pairs)}
        found["reward"] = seen[0].batch.weight @ episodes.rewards(problem, x, seen[0].batch)
        return found | {f"divergence_{i}": divergence(each) for i, each in enumerate(seen)}

    def watch(vitals: Vitals, seen: Seen) -> tuple[Vitals, jax.Array | None]:
        return (vitals, None) if limits is None else _watched(vitals, seen, end, divergence(seen), limits)

    return Lower(
        init=init,
        draw=draw,
        see=see,
        advantage=lambda x, seen, v, tau: along(seen, v, episodes.rewards(problem, x, seen.batch), tau),
        leader_advantage=leader_advantage,
        actor=actor,
        critic=lambda v, seen, advantage: episodes.semi_gradient(seen.path, seen.batch, advantage),
        hypergradient=hypergradient,
        central_hypergradient=None,
        upper_gradient=upper_gradient,
        mean=lambda seen, advantage: seen.batch.weight @ jnp.sum(advantage, 1),
        look=look,
        watch=watch,
        bounds=lambda schedules: {},
        project=apply_updates,
        true_advantage=true_advantage,
    )


def _source(
    problem: EpisodicProblem, batch_size: int, num_opponents: int, coupled: bool, every: Any, dtype: Any
) -> episodes.Source:
    """Where sequences come from: the policies, or a list of all there are.

    Raises:
      ValueError: if an option is out of range, or does not go with another.
    """
    if every is None:
        return episodes.sampled(problem, batch_size, num_opponents, coupled, dtype)
    if coupled:
        raise ValueError("coupled draws need samples; leave out every, or coupled")
    return episodes.enumerated(problem, every)


def _linear_head(problem: EpisodicProblem, dtype: Any) -> jax.Array:
    """A critic that says zero, [d]."""

    def features(theta: PyTree) -> jax.Array:
        tokens = problem.policy.sample(random.key(0), theta, 1)[0]
        return problem.policy.walk(theta, tokens).features

    return jnp.zeros(jax.eval_shape(features, problem.reference).shape[-1], dtype)


def _first_vitals(problem: EpisodicProblem, batch_size: int, limits: Limits | None, dtype: Any, key: Key) -> Vitals:
    """Averages before the first step; the reference's variety is measured if there are limits."""
    zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)
    if limits is None:
        return Vitals(zero, one, one)

    def distinct(key: Key) -> jax.Array:
        tokens = problem.policy.sample(key, problem.reference, batch_size)
        return episodes.distinct_bigrams(tokens, problem.policy.end)

    found = jax.lax.map(distinct, jax.random.split(key, REFERENCE_BATCHES))
    return Vitals(zero, one, jnp.mean(found).astype(dtype))


def _watched(old: Vitals, seen: Seen, end: int, divergence: jax.Array, limits: Limits) -> tuple[Vitals, jax.Array]:
    """The averages after a step, and "reward hacked" if they pass the limits."""
    distinct = episodes.distinct_bigrams(seen.batch.tokens, end).astype(divergence.dtype) / old.reference_distinct
    moved = [mean + AVERAGING * (new - mean) for mean, new in ((old.divergence, divergence), (old.distinct, distinct))]
    is_hacked = (moved[0] > limits.max_divergence) | (moved[1] < limits.min_distinct)
    status = jnp.where(is_hacked, jnp.int32(Status.REWARD_HACKED), jnp.int32(Status.OK))
    return old._replace(divergence=moved[0], distinct=moved[1]), status

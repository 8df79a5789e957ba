"""The lower level of completions of prompts: what the policies write, or all that can be written.

An episode is a completion, its reward comes at its end, and tau weighs the exact divergence from the reference, token
by token. In place of a critic stands the mean of the other completions of the same prompt.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from hfac import _checks
from hfac.epochs import check_epochs, clipped, keeping
from hfac.language import estimators, sampling
from hfac.language.estimators import Batch, Seen
from hfac.language.problem import CompletionProblem
from hfac.language.sampling import Control
from hfac.lower import First, Lower
from hfac.sequences.episodes import distinct_pairs
from hfac.types import Key, PyTree, Status, apply_updates, cast

MOST_PROMPTS = 32  # of a step, unless more are asked for
IN_A_STEP = 128  # completions by each policy, unless others are asked for: fewer, and a reward's noise drowns all
FEWEST = 4  # completions of a prompt, unless fewer are asked for
AVERAGING = 0.1  # weight of the newest batch in running averages: they look back over ten steps


class Vitals(NamedTuple):
    """Running averages that tell whether a policy still writes like the reference."""

    divergence: jax.Array  # [], nats per token
    distinct: jax.Array  # [], of pairs of neighbours
    first_distinct: jax.Array  # [], of the first batch; 0 before it


def lower(
    problem: CompletionProblem,
    *,
    num_prompts: int | None = None,
    completions: int | None = None,
    coupled: bool = True,
    tau_per: Literal["sequence", "token"] = "sequence",
    max_kl: float | None = None,
    epochs: int = 1,
    clip: float = 0.2,
    most_kl_per_token: float | None = None,
    least_distinct: float | None = None,
    every: Any = None,
    num_policies: int = 2,
    dtype: Any = jnp.float32,
) -> Lower:
    """The lower level of a problem over completions: every step draws prompts, and writes afresh from all policies.

    Args:
      problem: over completions; its policies start at the reference.
      num_prompts: of a step, drawn without replacement, the same for all policies, >= 1; 32, or all there are if those
        are fewer.
      completions: of each, by every policy, >= 2; unless given, as many as make 128 in a step, and at least 4.
      coupled: all policies use the same random numbers: the same law for each, a quieter difference.
      tau_per: tau weighs the divergence of a whole completion, or its mean over the tokens that it may have.
      max_kl: the largest mean divergence of a policy, nats per completion: tau is raised above it, > 0.
      epochs: passes of the policies over each draw; x moves in the first. Above 1 the policies ascend a clipped
        surrogate: no single loop any more, >= 1.
      clip: largest change of a token's probability ratio that later passes still reward, in (0, 1).
      most_kl_per_token: mean divergence of the first policy, nats per token, above which it counts as having hacked
        its reward and the run stops, > 0; averaged over some ten steps.
      least_distinct: the same of the share of distinct pairs of neighbouring tokens in a batch, relative to the first
        batch's: below it the run stops, in (0, 1).
      every: all completions there are [Y, T], of a small language: expectations in place of samples.
      num_policies: that are tracked.
      dtype: of rewards, advantages and x.

    Raises:
      ValueError: if an option is out of range.
    """
    check_epochs(epochs, clip)
    num_prompts, completions = _checked(problem, num_prompts, completions, tau_per, max_kl, every)
    limits = _limits(most_kl_per_token, least_distinct)
    is_repeated = epochs > 1
    source = sampling.source_of(problem, num_prompts, completions, coupled, every, dtype)
    drawn = functools.partial(sampling.draw, problem, source, is_repeated, dtype)

    def see(theta: PyTree, batch: Batch, options: Mapping[str, Any]) -> Seen:
        del options
        said, pull = jax.vjp(lambda theta: problem.policy.say(theta, batch.written), theta)
        return Seen(batch, said, pull)

    def weight_of(seen: Seen, tau: jax.Array | float) -> jax.Array:  # of the divergence of one token
        whole = jnp.asarray(tau, dtype) * seen.batch.tau_factor
        return whole if tau_per == "sequence" else whole / seen.said.divergence.shape[-1]

    def actor(x: PyTree, seen: Seen, advantage: jax.Array, tau: jax.Array, w: jax.Array | None = None) -> PyTree:
        del x, w  # the leader's cost is in the advantage
        if is_repeated:
            advantage = clipped(advantage, (seen.said.log_prob - seen.batch.log_prob).astype(dtype), clip)
        return estimators.policy_gradient(seen, advantage, weight_of(seen, tau))

    def watch(vitals: Vitals, seen: Seen) -> tuple[Vitals, jax.Array | None]:
        return (vitals, None) if limits is None else _watched(vitals, seen, limits)

    def leader_advantage(x: PyTree, seen: Seen, u: jax.Array) -> jax.Array:
        del u
        return estimators.advantages(seen, *estimators.leader_costs(problem, x, seen.batch), 0.0)

    def advantage(x: PyTree, seen: Seen, v: jax.Array, tau: jax.Array) -> jax.Array:
        del v
        gain = problem.reward(x, seen.batch.features)
        return estimators.advantages(seen, gain, estimators.beside(seen.batch, gain), weight_of(seen, tau))

    def true_advantage(x: PyTree, seen: Seen, v: jax.Array, tau: jax.Array) -> jax.Array:
        del v
        cost, baseline = estimators.leader_costs(problem, x, seen.batch)
        return estimators.advantages(seen, -cost, -baseline, weight_of(seen, tau))

    return Lower(
        init=functools.partial(_first, problem, dtype),
        draw=keeping(drawn) if is_repeated else drawn,
        see=see,
        advantage=advantage,
        leader_advantage=leader_advantage,
        actor=actor,
        critic=lambda v, seen, advantage: jnp.zeros_like(v),
        hypergradient=functools.partial(estimators.hypergradient, problem),
        central_hypergradient=None,
        upper_gradient=lambda x, seen: jax.grad(lambda x: estimators.upper_objective(problem, x, seen.batch))(x),
        mean=lambda seen, advantage: jnp.sum(seen.batch.weight[..., None] * advantage),
        look=functools.partial(estimators.look, problem),
        watch=watch,
        bounds=lambda schedules: {},
        project=apply_updates,
        true_advantage=true_advantage,
    )


def _checked(
    problem: CompletionProblem,
    num_prompts: int | None,
    completions: int | None,
    tau_per: str,
    max_kl: float | None,
    every: Any,
) -> tuple[int, int]:
    """How many prompts a step draws, and how many completions of each.

    Raises:
      ValueError: if an option is out of range.
    """
    num_prompts = min(problem.policy.num_prompts, MOST_PROMPTS) if num_prompts is None else num_prompts
    _checks.count("num_prompts", num_prompts)
    completions = max(IN_A_STEP // num_prompts, FEWEST) if completions is None else completions
    _checks.count("completions", completions)
    if completions < 2:
        raise ValueError(f"completions must be at least 2, to be compared with each other, got {completions}")
    if every is None and num_prompts > problem.policy.num_prompts:
        raise ValueError(
            f"num_prompts: {num_prompts} in a step were asked for, and there are {problem.policy.num_prompts}"
        )
    if tau_per not in ("sequence", "token"):
        raise ValueError(f"tau_per must be 'sequence' or 'token', got '{tau_per}'")
    if max_kl is not None:
        _checks.positive("max_kl", max_kl)
    return num_prompts, completions


def _first(problem: CompletionProblem, dtype: Any, key: Key) -> First:
    """All policies begin at the reference."""
    x = cast(problem.init_x(jax.random.fold_in(key, 0)), dtype)
    zero = jnp.zeros((), dtype)
    control = Control(jnp.ones((), dtype), zero, zero, zero)
    return First(x, problem.policy.reference, zero, control, Vitals(zero, zero, zero))


class Limits(NamedTuple):
    """Past either of these, on average over some ten steps, a policy counts as having hacked its reward."""

    max_divergence: float  # KL(pi | pi_ref) per token, nats
    min_distinct: float  # distinct pairs of neighbouring tokens in a batch, relative to the first batch's


def _limits(most_kl_per_token: float | None, least_distinct: float | None) -> Limits | None:
    """What ends a run, or None if nothing does.

    Raises:
      ValueError: if a limit is out of range.
    """
    if most_kl_per_token is not None:
        _checks.positive("most_kl_per_token", most_kl_per_token)
    if least_distinct is not None:
        _checks.number("least_distinct", least_distinct)
        if not 0 < least_distinct < 1:
            raise ValueError(f"least_distinct must lie strictly between 0 and 1, got {least_distinct}")
    if most_kl_per_token is None and least_distinct is None:
        return None
    return Limits(most_kl_per_token or math.inf, least_distinct or 0.0)


def _watched(old: Vitals, seen: Seen, limits: Limits) -> tuple[Vitals, jax.Array]:
    """The averages after a step, and "reward hacked" if they pass the limits."""
    batch = seen.batch
    per_token = estimators.divergence(seen) / jnp.maximum(estimators.mean_length(batch), 1)
    distinct = distinct_pairs(batch.written.tokens, batch.written.is_written).astype(old.distinct.dtype)
    is_first = old.first_distinct == 0
    start = jnp.where(is_first, distinct, old.first_distinct)
    before = Vitals(old.divergence, jnp.where(is_first, distinct, old.distinct), start)
    after = Vitals(
        before.divergence + AVERAGING * (per_token.astype(old.divergence.dtype) - before.divergence),
        before.distinct + AVERAGING * (distinct - before.distinct),
        start,
    )
    is_hacked = (after.divergence > limits.max_divergence) | (after.distinct < limits.min_distinct * start)
    return after, jnp.where(is_hacked, jnp.int32(Status.REWARD_HACKED), jnp.int32(Status.OK))

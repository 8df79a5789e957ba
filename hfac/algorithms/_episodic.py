"""What methods over whole sequences share: where they come from, linear critics, and signs of a hacked reward."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac import _random, episodes
from hfac.problem import EpisodicProblem
from hfac.types import Key, PyTree, Status

AVERAGING = 0.02  # weight of the newest batch in running averages: they look back over fifty steps
REFERENCE_BATCHES = 64  # of the reference policy, whose variety is the measure


class Limits(NamedTuple):
    """Past either of these, on average over some fifty steps, a policy counts as having hacked its reward."""

    max_divergence: float = 4.0  # KL(pi | pi_ref) per sequence, nats
    min_distinct: float = 0.7  # distinct pairs of neighbours in a batch, relative to the reference policy's


class Vitals(NamedTuple):
    """Running averages that tell whether a policy still writes like the reference."""

    divergence: jax.Array  # [], nats per sequence
    distinct: jax.Array  # [], relative to the reference's; 1 unless there are limits
    reference_distinct: jax.Array  # []


def source(
    problem: EpisodicProblem, batch_size: int, num_opponents: int, coupled: bool, every: Any, dtype: Any
) -> episodes.Source:
    """Where a method's sequences come from: its policies, or a list of all there are.

    Raises:
      ValueError: if the problem is no episodic one, an option is out of range, or does not go with another.
    """
    if not isinstance(problem, EpisodicProblem):
        raise ValueError(f"a method over sequences needs an hfac.EpisodicProblem, got {type(problem).__name__}")
    if every is None:
        return episodes.sampled(problem, batch_size, num_opponents, coupled, dtype)
    if coupled:
        raise ValueError("coupled draws need samples; leave out every, or coupled")
    return episodes.enumerated(problem, every)


def linear_head(problem: EpisodicProblem, dtype: Any) -> jax.Array:
    """A critic that says zero, [d]."""

    def features(theta: PyTree) -> jax.Array:
        tokens = problem.policy.sample(_random.key(0), theta, 1)[0]
        return problem.policy.walk(theta, tokens).features

    return jnp.zeros(jax.eval_shape(features, problem.reference).shape[-1], dtype)


def init_vitals(problem: EpisodicProblem, batch_size: int, limits: Limits | None, dtype: Any, key: Key) -> Vitals:
    """Averages before the first step; the reference's variety is measured if there are limits."""
    zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)
    if limits is None:
        return Vitals(zero, one, one)

    def distinct(key: Key) -> jax.Array:
        tokens = problem.policy.sample(key, problem.reference, batch_size)
        return episodes.distinct_bigrams(tokens, problem.policy.end)

    found = jax.lax.map(distinct, jax.random.split(key, REFERENCE_BATCHES))
    return Vitals(zero, one, jnp.mean(found).astype(dtype))


def watch(state: Any, tokens: jax.Array, end: int, divergence: jax.Array, limits: Limits | None) -> Any:
    """Update the averages of a state; latch "reward hacked" if they pass the limits.

    Args:
      state: with `status`, `failed_at`, `step` (already counted on) and `vitals`.
      tokens: the policy's batch [B, L].
      end: token that ends a sequence.
      divergence: its mean over the batch, nats per sequence.
      limits: none for no check.
    """
    if limits is None:
        return state
    old = state.vitals
    distinct = episodes.distinct_bigrams(tokens, end).astype(divergence.dtype) / old.reference_distinct
    moved = [mean + AVERAGING * (new - mean) for mean, new in ((old.divergence, divergence), (old.distinct, distinct))]
    is_hacked = (moved[0] > limits.max_divergence) | (moved[1] < limits.min_distinct)
    is_new = is_hacked & (state.status == Status.OK)
    return state._replace(
        vitals=old._replace(divergence=moved[0], distinct=moved[1]),
        status=jnp.where(is_new, jnp.int32(Status.REWARD_HACKED), state.status),
        failed_at=jnp.where(is_new, state.step - 1, state.failed_at),
    )

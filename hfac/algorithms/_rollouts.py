"""Rollouts from the start, and discounted sums along them: what Monte-Carlo methods share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from hfac._compiler import random
from hfac.tabular.mdp import TabularMDP, sample_next, sample_start
from hfac.tabular.policies import Policy, sample_action
from hfac.types import Key, PyTree, Transition


class Rollouts(NamedTuple):
    """Transitions of E episodes, cut after T steps.

    A transition at time t weighs (1 - gamma) gamma^t / E, and 0 after the end of its episode: up to the cut,
    weighted sums are expectations over d^pi.
    """

    batch: Transition  # [T E], one time after the other
    is_live: jax.Array  # bool [T, E], False after the end


def roll_out(
    key: Key, mdp: TabularMDP, policy: Policy, theta: PyTree, num_episodes: int, horizon: int, dtype: jnp.dtype
) -> Rollouts:
    """Play episodes from rho under a policy; the key is consumed."""
    shape = (horizon, 2, num_episodes)
    first = sample_start(mdp, random.uniform(random.fold_in(key, 0), num_episodes, dtype))
    uniforms = random.uniform(random.fold_in(key, 1), horizon * 2 * num_episodes, dtype).reshape(shape)
    ends = jnp.zeros(mdp.num_states, bool) if mdp.ends is None else mdp.ends

    def play(
        carry: tuple[jax.Array, jax.Array], u: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, ...]]:
        state, is_live = carry
        action = sample_action(jax.vmap(policy.log_probs, (None, 0))(theta, state), u[0])
        next_state = sample_next(mdp, u[1], state, action)
        return (next_state, is_live & ~ends[state]), (state, action, next_state, is_live)

    _, (state, action, next_state, is_live) = jax.lax.scan(play, (first, jnp.ones(num_episodes, bool)), uniforms)
    powers = mdp.discount ** jnp.arange(horizon, dtype=dtype)
    weight = jnp.where(is_live, ((1 - mdp.discount) / num_episodes * powers)[:, None], 0)
    places = (state.ravel(), action.ravel(), next_state.ravel())
    return Rollouts(Transition(*places, weight.ravel(), mdp.continuation()[state.ravel()]), is_live)


def discounted_sums(values: jax.Array, discount: jax.Array, to_go: bool = False) -> jax.Array:
    """Sum of gamma^|t - k| values_k over the past k <= t, or over what is to go, k >= t. [T, E].

    Args:
      values: [T, E], 0 after the end of an episode.
      discount: gamma.
      to_go: sum over the future instead of the past.
    """

    def add(total: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = value + discount * total
        return total, total

    return jax.lax.scan(add, jnp.zeros_like(values[0]), values, reverse=to_go)[1]

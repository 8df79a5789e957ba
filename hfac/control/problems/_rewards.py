"""Rewards that a network says: what a leader learns from preferences, or shapes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.control.environment import Discrete, Environment
from hfac.control.networks import mlp
from hfac.types import Key, PyTree


class RewardModel(NamedTuple):
    """A reward in [-1, 1] of where an action led."""

    init: Callable[[Key], PyTree]
    reward: Callable[..., jax.Array]  # (x, obs, action, next_obs) -> []


def reward_model(environment: Environment, hidden: tuple[int, ...], first_size: float = 1.0) -> RewardModel:
    """The tanh of a network of the observation, the action (one-hot, or itself) and the observation that it led to.

    Args:
      environment: gives spaces.
      hidden: widths of the hidden layers.
      first_size: of the first rewards, as a factor of the last layer.
    """
    actions = environment.actions
    by = np.ones(np.shape(np.asarray(environment.observations.low))) if environment.scale is None else environment.scale
    network = mlp(1, hidden, first_size)

    def features(obs: jax.Array, action: jax.Array, next_obs: jax.Array) -> jax.Array:
        divisor = jnp.asarray(by, obs.dtype)
        shown = jax.nn.one_hot(action, actions.num, dtype=obs.dtype) if isinstance(actions, Discrete) else action
        return jnp.concatenate([obs / divisor, shown.astype(obs.dtype), next_obs / divisor])

    def init(key: Key) -> PyTree:
        like = jnp.zeros(2 * len(by) + (actions.num if isinstance(actions, Discrete) else len(np.asarray(actions.low))))
        return network.init(key, like)

    def reward(x: PyTree, obs: jax.Array, action: jax.Array, next_obs: jax.Array) -> jax.Array:
        return jnp.tanh(network.apply(x, features(obs, action, next_obs))[0])

    return RewardModel(init, reward)

"""Rewards that a network says: what a leader learns from preferences, or shapes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.control.environment import Discrete, Environment
from hfac.control.networks import mlp
from hfac.types import Key, PyTree

SCALES = {  # what observations are divided by, where bounds are no guide
    "acrobot": (1.0, 1.0, 1.0, 1.0, 4.0, 9.0),
    "cartpole": (2.4, 2.0, 0.2, 2.0),
    "mountain_car": (0.6, 0.07),
    "pendulum": (1.0, 1.0, 8.0),
}


class RewardModel(NamedTuple):
    """A reward in [-1, 1] of where an action led."""

    init: Callable[[Key], PyTree]
    reward: Callable[..., jax.Array]  # (x, obs, action, next_obs) -> []


def scale(environment: Environment) -> np.ndarray:
    """What observations are divided by: known ranges, else bounds, else 1. [d]."""
    if environment.name in SCALES:
        return np.asarray(SCALES[environment.name])
    high = np.maximum(np.abs(np.asarray(environment.observations.low)), np.abs(environment.observations.high))
    return np.where(np.isfinite(high) & (high > 0), high, 1.0)


def reward_model(environment: Environment, hidden: tuple[int, ...]) -> RewardModel:
    """The tanh of a network of the observation, the action (one-hot, or itself) and the observation that it led to.

    Args:
      environment: gives spaces.
      hidden: widths of the hidden layers.
    """
    by, actions = scale(environment), environment.actions
    network = mlp(1, hidden)

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

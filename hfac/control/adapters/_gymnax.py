"""gymnax: classic control, MinAtar, bsuite."""

from typing import Any

import jax
import numpy as np

from hfac._errors import InputError
from hfac.control.adapters._common import Found, adapted, imported, made
from hfac.control.environment import Box, Discrete, Environment
from hfac.types import PyTree

PACKAGE = "gymnax"


def gymnax(name: str) -> Environment:
    """An environment of gymnax >= 1.0 by its name, such as "CartPole-v1" or "Breakout-MinAtar".

    Observations are flattened; of one that is a whole number below n, the observation is n numbers, one of them 1.

    Args:
      name: of the environment.

    Raises:
      InputError: if gymnax is not installed, has no such environment, or actions are neither whole numbers nor boxes.
    """
    package = imported(PACKAGE, "gymnax.registration")
    environment, params = made(PACKAGE, name, package.registered_envs, package.make)
    space = environment.observation_space(params)
    taken = environment.action_space(params)

    def shown(obs: PyTree) -> PyTree:
        return jax.nn.one_hot(obs, space.n) if hasattr(space, "n") else obs

    def bounds(path: Any) -> tuple[Any, Any]:
        if path or not hasattr(space, "low"):
            return (0, 1) if hasattr(space, "n") else (-np.inf, np.inf)
        return space.low, space.high

    def reset(key: jax.Array) -> tuple[PyTree, PyTree]:
        obs, state = environment.reset_env(key, params)
        return shown(obs), state

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> Found:
        action = action.reshape(taken.shape)
        obs, state, reward, terminated, _ = environment.step_env(key, state, action, params)  # resets nothing
        return Found(shown(obs), state, reward, terminated, environment.is_truncated(state, params))

    return adapted(PACKAGE, name, reset, step, _actions(name, taken), int(params.max_steps_in_episode), bounds)


def _actions(name: str, space: Any) -> Discrete | Box:
    if hasattr(space, "n"):
        return Discrete(int(space.n))
    if not hasattr(space, "low"):
        raise InputError(f"{PACKAGE}:{name}: actions must be one whole number or a box, got {type(space).__name__}")
    low, high = (np.broadcast_to(np.asarray(bound, float), space.shape).ravel() for bound in (space.low, space.high))
    return Box(low, high)

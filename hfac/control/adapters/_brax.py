"""brax: rigid bodies, moved by motors."""

import warnings

import jax
import numpy as np

from hfac.control.adapters._common import Found, adapted, imported, made
from hfac.control.environment import Box, Environment
from hfac.types import PyTree

PACKAGE = "brax"
LIMIT = 1_000  # steps of an episode as `brax.envs.create` and brax's own training have it


def brax(name: str) -> Environment:
    """An environment of brax by its name, such as "inverted_pendulum" or "ant", with its own choice of physics.

    A fall is an end, also where brax's own learner is told to take it for a time limit (`time_out`).

    Args:
      name: of the environment.

    Raises:
      InputError: if brax is not installed or has no such environment.
    """
    envs = imported(PACKAGE, "brax.envs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that brax is not maintained: the documentation says so
        environment = made(PACKAGE, name, envs._envs, envs.get_environment)  # brax has no other list of its names
    most = np.ones(environment.action_size)

    def reset(key: jax.Array) -> tuple[PyTree, PyTree]:
        state = environment.reset(key)
        return state.obs, state

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> Found:
        del key
        state = environment.step(state, action)
        return Found(state.obs, state, state.reward, state.done)

    return adapted(PACKAGE, name, reset, step, Box(-most, most), LIMIT)

"""jumanji: combinatorial games and puzzles."""

from typing import Any

import jax
import numpy as np

from hfac import _checks
from hfac._errors import InputError
from hfac.control.adapters._common import Found, adapted, imported, made
from hfac.control.environment import Box, Discrete, Environment
from hfac.types import PyTree

PACKAGE = "jumanji"


def jumanji(name: str) -> Environment:
    """An environment of jumanji by its name, such as "Snake-v1" or "Game2048-v1".

    The observation is every number that jumanji shows, the mask of legal actions and the count of steps among them; the
    mask is not applied. Where jumanji says that its time limit is an end, the limit is one here.

    Args:
      name: of the environment.

    Raises:
      InputError: if jumanji is not installed, has no such environment, or takes several whole numbers as an action.
    """
    package = imported(PACKAGE, "jumanji")
    environment = made(PACKAGE, name, package.registered_environments(), package.make)
    actions, shape = _actions(name, environment.action_spec)
    spec, limit = environment.observation_spec, getattr(environment, "time_limit", None)
    if limit is not None:
        environment.time_limit = _checks.MAX_COUNT  # most of its environments end there; here it is counted outside

    def bounds(path: Any) -> tuple[Any, Any]:
        own = spec
        for part in path:
            own = getattr(own, part.name, None)
        if hasattr(own, "minimum"):
            return own.minimum, own.maximum
        return (0, limit) if limit and path and path[-1].name == "step_count" else (-np.inf, np.inf)

    def reset(key: jax.Array) -> tuple[PyTree, PyTree]:
        state, first = environment.reset(key)
        return first.observation, state

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> Found:
        del key  # the state has one
        state, found = environment.step(state, action.reshape(shape))
        is_last, is_end = found.last(), found.discount == 0
        return Found(found.observation, state, found.reward, is_last & is_end, is_last & ~is_end)

    return adapted(PACKAGE, name, reset, step, actions, limit, bounds)


def _actions(name: str, spec: Any) -> tuple[Discrete | Box, tuple[int, ...]]:
    """Actions, and the shape in which jumanji takes them."""
    if spec.shape == () and hasattr(spec, "num_values"):
        return Discrete(int(spec.num_values)), ()
    if np.issubdtype(spec.dtype, np.floating) and hasattr(spec, "minimum"):
        low, high = (
            np.broadcast_to(np.asarray(bound, float), spec.shape).ravel() for bound in (spec.minimum, spec.maximum)
        )
        return Box(low, high), spec.shape
    raise InputError(
        f"{PACKAGE}:{name}: an action must be one whole number or a box of floats, got {type(spec).__name__}"
    )

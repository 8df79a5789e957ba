"""MountainCar: swing a weak car up a hill (Moore, 1990); numbers of MountainCar-v0."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.control.environment import Box, Discrete, Environment, Step
from hfac.types import Key

LOWEST, HIGHEST, MAX_SPEED, GOAL = -1.2, 0.6, 0.07, 0.5
FORCE, GRAVITY = 0.001, 0.0025
LIMIT = 200
SCALE = (0.6, 0.07)  # usual sizes of observations


class State(NamedTuple):
    """Position and velocity; [] each."""

    position: jax.Array
    velocity: jax.Array


def mountain_car(limit: int = LIMIT) -> Environment:
    """Push left, not at all or right, reward -1 a step, until the car is at the top of the right hill.

    Args:
      limit: steps after which an episode is cut off.
    """
    low, high = np.array([LOWEST, -MAX_SPEED]), np.array([HIGHEST, MAX_SPEED])
    return Environment(_reset, _step, Box(low, high), Discrete(3), limit, "mountain_car", SCALE)


def _reset(key: Key) -> tuple[jax.Array, State]:
    position = jax.random.uniform(key, (), minval=-0.6, maxval=-0.4)
    state = State(position, jnp.zeros_like(position))
    return jnp.stack(state), state


def _step(key: Key, state: State, action: jax.Array) -> Step:
    del key
    push = (action - 1).astype(state.position.dtype) * FORCE
    velocity = jnp.clip(state.velocity + push - GRAVITY * jnp.cos(3 * state.position), -MAX_SPEED, MAX_SPEED)
    position = jnp.clip(state.position + velocity, LOWEST, HIGHEST)
    after = State(position, jnp.where((position <= LOWEST) & (velocity < 0), 0, velocity))
    is_there = (after.position >= GOAL) & (after.velocity >= 0)
    return Step(jnp.stack(after), after, -jnp.ones_like(position), is_there, jnp.array(False))

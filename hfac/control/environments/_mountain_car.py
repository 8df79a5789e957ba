"""MountainCar: swing a weak car up a hill (Moore, 1990); numbers of MountainCar-v0."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.control.environment import Box, Discrete, Environment, Step
from hfac.types import Key

LOWEST, HIGHEST, MAX_SPEED, GOAL = -1.2, 0.6, 0.07, 0.5
FORCE, GRAVITY = 0.001, 0.0025
LIMIT = 200
SCALE = (0.6, 0.007)  # of observations: speeds of the first swings, by which a policy finds the next ones


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
    return Environment(_reset, _step, Box(low, high), Discrete(3), limit, "mountain_car", SCALE, _draw)


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


def _draw(axes: Any, state: State) -> None:
    axes.set(xlim=(LOWEST - 0.05, HIGHEST + 0.05), ylim=(-0.05, 1.25))
    ground = np.linspace(LOWEST, HIGHEST, 100)
    axes.plot(ground, _height(ground), color="0.5", linewidth=1)
    axes.plot([GOAL, GOAL], [_height(GOAL), _height(GOAL) + 0.2], color="#009E73", linewidth=2)
    axes.plot(state.position, _height(state.position) + 0.04, "o", color="#D55E00", markersize=9)


def _height(position: Any) -> Any:
    return 0.55 + 0.45 * np.sin(3 * position)

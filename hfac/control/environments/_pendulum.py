"""Pendulum: swing up and hold a pendulum with a weak motor; numbers of Pendulum-v1."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.control.environment import Box, Environment, Step
from hfac.types import Key

GRAVITY, MASS, LENGTH, SECONDS = 10.0, 1.0, 1.0, 0.05
MAX_SPEED, MAX_TORQUE = 8.0, 2.0
LIMIT = 200
SCALE = (1.0, 1.0, 8.0)  # usual sizes of observations


class State(NamedTuple):
    """Angle from upright rad, angular velocity rad/s; [] each."""

    angle: jax.Array
    velocity: jax.Array


def pendulum() -> Environment:
    """Turn a pendulum by a torque in [-2, 2]; reward -(angle^2 + velocity^2 / 10 + torque^2 / 1000) a step."""
    high = np.array([1.0, 1.0, MAX_SPEED])
    torque = np.array([MAX_TORQUE])
    return Environment(_reset, _step, Box(-high, high), Box(-torque, torque), LIMIT, "pendulum", SCALE, _draw)


def _reset(key: Key) -> tuple[jax.Array, State]:
    unit = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
    state = State(np.pi * unit[0], unit[1])
    return _shown(state), state


def _shown(state: State) -> jax.Array:
    return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.velocity])


def _step(key: Key, state: State, action: jax.Array) -> Step:
    del key
    torque = jnp.clip(action[0], -MAX_TORQUE, MAX_TORQUE).astype(state.angle.dtype)
    lean = jnp.remainder(state.angle + np.pi, 2 * np.pi) - np.pi
    cost = lean**2 + 0.1 * state.velocity**2 + 0.001 * torque**2
    turn = 3 * GRAVITY / (2 * LENGTH) * jnp.sin(state.angle) + 3 / (MASS * LENGTH**2) * torque
    velocity = jnp.clip(state.velocity + SECONDS * turn, -MAX_SPEED, MAX_SPEED)
    after = State(state.angle + SECONDS * velocity, velocity)
    return Step(_shown(after), after, -cost, jnp.array(False), jnp.array(False))


def _draw(axes: Any, state: State) -> None:
    axes.set(xlim=(-1.3 * LENGTH, 1.3 * LENGTH), ylim=(-1.3 * LENGTH, 1.3 * LENGTH))
    tip = (-LENGTH * np.sin(state.angle), LENGTH * np.cos(state.angle))
    axes.plot([0, tip[0]], [0, tip[1]], color="#D55E00", linewidth=6, solid_capstyle="round")
    axes.plot(0, 0, "o", color="0.25", markersize=6)

"""Acrobot: swing the tip of two links above a bar by the joint between them (Sutton, 1995); numbers of Acrobot-v1."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.control.environment import Box, Discrete, Environment, Step
from hfac.types import Key

GRAVITY, SECONDS = 9.8, 0.2
MASS, LENGTH, CENTRE, INERTIA = 1.0, 1.0, 0.5, 1.0  # of each link
MAX_SPEEDS = (4 * np.pi, 9 * np.pi)
LIMIT = 500
SCALE = (1.0, 1.0, 1.0, 1.0, 4.0, 9.0)  # usual sizes of observations


class State(NamedTuple):
    """Angles rad of the first link from below and of the second from the first, and their velocities; [] each."""

    first: jax.Array
    second: jax.Array
    first_velocity: jax.Array
    second_velocity: jax.Array


def acrobot(limit: int = LIMIT) -> Environment:
    """Turn the joint by -1, 0 or 1, reward -1 a step, until the tip is one link above the bar, reward 0.

    Args:
      limit: steps after which an episode is cut off.
    """
    high = np.array([1.0, 1.0, 1.0, 1.0, *MAX_SPEEDS])
    return Environment(_reset, _step, Box(-high, high), Discrete(3), limit, "acrobot", SCALE, _draw)


def _reset(key: Key) -> tuple[jax.Array, State]:
    state = State(*jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1))
    return _shown(state), state


def _shown(state: State) -> jax.Array:
    angles = [f(angle) for angle in (state.first, state.second) for f in (jnp.cos, jnp.sin)]
    return jnp.stack([*angles, state.first_velocity, state.second_velocity])


def _slope(state: State, torque: jax.Array) -> State:
    """Time derivative of a state; equations of the book, not of the paper."""
    first, second, dot_1, dot_2 = state
    swing = MASS * LENGTH * CENTRE * jnp.cos(second)
    d_1 = MASS * CENTRE**2 + MASS * (LENGTH**2 + CENTRE**2) + 2 * swing + 2 * INERTIA
    d_2 = MASS * CENTRE**2 + swing + INERTIA
    phi_2 = MASS * CENTRE * GRAVITY * jnp.cos(first + second - np.pi / 2)
    whirl = MASS * LENGTH * CENTRE * jnp.sin(second)
    phi_1 = -whirl * dot_2**2 - 2 * whirl * dot_2 * dot_1
    phi_1 += (MASS * CENTRE + MASS * LENGTH) * GRAVITY * jnp.cos(first - np.pi / 2) + phi_2
    turn_2 = (torque + d_2 / d_1 * phi_1 - whirl * dot_1**2 - phi_2) / (MASS * CENTRE**2 + INERTIA - d_2**2 / d_1)
    return State(dot_1, dot_2, -(d_2 * turn_2 + phi_1) / d_1, turn_2)


def _step(key: Key, state: State, action: jax.Array) -> Step:
    del key
    torque = (action - 1).astype(state.first.dtype)

    def ahead(slope: State, seconds: float) -> State:
        return jax.tree.map(lambda leaf, rate: leaf + seconds * rate, state, slope)

    k_1 = _slope(state, torque)  # classical Runge-Kutta
    k_2 = _slope(ahead(k_1, SECONDS / 2), torque)
    k_3 = _slope(ahead(k_2, SECONDS / 2), torque)
    k_4 = _slope(ahead(k_3, SECONDS), torque)
    mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, k_1, k_2, k_3, k_4)
    first, second, dot_1, dot_2 = ahead(mean, SECONDS)
    turn = lambda angle: jnp.remainder(angle + np.pi, 2 * np.pi) - np.pi  # noqa: E731
    limits = [jnp.clip(dot, -top, top) for dot, top in zip((dot_1, dot_2), MAX_SPEEDS, strict=True)]
    after = State(turn(first), turn(second), *limits)
    is_up = -jnp.cos(after.first) - jnp.cos(after.second + after.first) > 1
    reward = jnp.where(is_up, 0, -1).astype(after.first.dtype)
    return Step(_shown(after), after, reward, is_up, jnp.array(False))


def _draw(axes: Any, state: State) -> None:
    axes.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
    axes.axhline(LENGTH, color="0.7", linewidth=1)
    angles = np.array([state.first, state.first + state.second])
    x, y = (np.append(0, np.cumsum(LENGTH * leans)) for leans in (np.sin(angles), -np.cos(angles)))
    axes.plot(x, y, color="#0072B2", linewidth=4, solid_capstyle="round")
    axes.plot(x, y, "o", color="0.25", markersize=5)

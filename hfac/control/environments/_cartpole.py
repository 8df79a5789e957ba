"""CartPole: keep a pole upright on a cart (Barto, Sutton and Anderson, 1983); numbers of CartPole-v1."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.control.environment import Box, Discrete, Environment, Step
from hfac.types import Key

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
MAX_POSITION, MAX_ANGLE = 2.4, 12 * np.pi / 180  # m, rad
LIMIT = 500
SCALE = (2.4, 2.0, 0.2, 2.0)  # usual sizes of observations


class State(NamedTuple):
    """Position m, velocity m/s, angle rad, angular velocity rad/s; [] each."""

    position: jax.Array
    velocity: jax.Array
    angle: jax.Array
    angular_velocity: jax.Array


def cartpole() -> Environment:
    """Push a cart left or right, reward 1 a step, until the pole leans past 12 degrees or the cart leaves the track."""
    high = np.array([2 * MAX_POSITION, np.inf, 2 * MAX_ANGLE, np.inf])
    return Environment(_reset, _step, Box(-high, high), Discrete(2), LIMIT, "cartpole", SCALE, _draw)


def _reset(key: Key) -> tuple[jax.Array, State]:
    state = State(*jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05))
    return jnp.stack(state), state


def _step(key: Key, state: State, action: jax.Array) -> Step:
    del key
    push = jnp.where(action == 1, FORCE, -FORCE).astype(state.angle.dtype)
    sine, cosine, mass = jnp.sin(state.angle), jnp.cos(state.angle), CART + POLE
    pull = (push + POLE * HALF_LENGTH * state.angular_velocity**2 * sine) / mass
    turn = (GRAVITY * sine - cosine * pull) / (HALF_LENGTH * (4 / 3 - POLE * cosine**2 / mass))
    acceleration = pull - POLE * HALF_LENGTH * turn * cosine / mass
    after = State(
        state.position + SECONDS * state.velocity,
        state.velocity + SECONDS * acceleration,
        state.angle + SECONDS * state.angular_velocity,
        state.angular_velocity + SECONDS * turn,
    )
    has_fallen = (jnp.abs(after.position) > MAX_POSITION) | (jnp.abs(after.angle) > MAX_ANGLE)
    return Step(jnp.stack(after), after, jnp.ones_like(after.angle), has_fallen, jnp.array(False))


def _draw(axes: Any, state: State) -> None:
    axes.set(xlim=(-1.2 * MAX_POSITION, 1.2 * MAX_POSITION), ylim=(-0.5, 1.5))
    axes.plot([-MAX_POSITION, MAX_POSITION], [0, 0], "|-", color="0.7", linewidth=1, zorder=0)
    left, right = state.position - 0.3, state.position + 0.3
    axes.fill([left, right, right, left], [-0.15, -0.15, 0.15, 0.15], color="0.25")
    tip = (2 * HALF_LENGTH * np.sin(state.angle), 2 * HALF_LENGTH * np.cos(state.angle))
    pole = ([state.position, state.position + tip[0]], [0, tip[1]])
    axes.plot(*pole, color="#D55E00", linewidth=4, solid_capstyle="round", zorder=3)

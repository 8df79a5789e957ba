"""Incentives: the leader pays a follower, who has a task of its own, for going where the leader likes it."""

import jax
import jax.numpy as jnp
import numpy as np

from hfac.problems._grid import MOVES, check_grid, corner_start, grid_world
from hfac.tabular.problem import GridLayout, Problem
from hfac.types import Key


def incentives(
    size: int = 5,
    slip: float = 0.1,
    discount: float = 0.9,
    start_mass: float = 0.5,
    wage: float = 0.5,
    value: float = 2.0,
    max_payment: float = 1.0,
) -> Problem:
    """Pay a follower for visits to cells, at a price, while its own task calls it elsewhere.

        r_x(s, a, s') = wage [s' = task] + p_x(s'),   p_x = max_payment sigmoid(x)
        f(x, pi) = E_{d^pi}[ p_x(s') - value [s' = liked] ]

    The task is the corner opposite to the start; the leader likes the corner to the left of it. It is judged at tau
    0.1: the sharper the follower, the less it answers to small payments.

    Args:
      size: rows and columns of the grid.
      slip: probability in [0, 1] that a move is redrawn uniformly.
      discount: gamma in (0, 1).
      start_mass: probability in [0, 1] of starting in state 0; the rest is uniform.
      wage: what the follower earns at its task, >= 0.
      value: what a visit is worth to the leader, >= 0.
      max_payment: largest payment, > 0.

    Returns:
      A problem with x [S], payments in logits, sigmoid(-2) of the largest at the start.

    Raises:
      ValueError: if a number is out of range.
    """
    check_grid(size, slip, start_mass, 0.0)
    for name, number in (("wage", wage), ("value", value)):
        if not (np.isfinite(number) and number >= 0):
            raise ValueError(f"{name} must be finite and >= 0, got {number}")
    if not (np.isfinite(max_payment) and max_payment > 0):
        raise ValueError(f"max_payment must be positive and finite, got {max_payment}")
    num_states = size * size
    task, liked = num_states - 1, num_states - size

    def payments(x: jax.Array) -> jax.Array:
        return max_payment * jax.nn.sigmoid(x)

    def reward(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del s, a
        return wage * (s_next == task).astype(x.dtype) + payments(x)[s_next]

    def cost(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del s, a
        return payments(x)[s_next] - value * (s_next == liked).astype(x.dtype)

    def init_x(key: Key) -> jax.Array:
        del key
        return jnp.full(num_states, -2.0)

    return Problem(
        mdp=grid_world(size, slip, discount, corner_start(size, start_mass)),
        reward=reward,
        init_x=init_x,
        cost=cost,
        reward_bound=wage + max_payment,
        cost_bound=value + max_payment,
        layout=GridLayout(
            shape=(size, size),
            moves=MOVES,
            marks={"task": (task,), "liked": (liked,)},
            field=payments,
            field_label="payment",
        ),
        fixed_tau=0.1,
        name="incentives",
    )

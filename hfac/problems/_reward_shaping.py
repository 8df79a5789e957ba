"""Reward shaping: the leader adds a reward in every state so that the follower reaches a sparse goal sooner."""

import jax
import jax.numpy as jnp
import numpy as np

from hfac.problems._grid import MOVES, check_grid, corner_start, grid_world
from hfac.tabular.problem import GridLayout, Problem
from hfac.types import Key, Rows


def reward_shaping(
    size: int = 10,
    slip: float = 0.1,
    discount: float = 0.95,
    start_mass: float = 0.5,
    regularization: float = 0.01,
) -> Problem:
    """Shape a grid's reward for the true return of reaching the far corner, where the episode ends.

        r_x(s, a, s') = 1[s = goal] + x(s),   f(x, pi) = -E[sum_t gamma^t 1[s_t = goal]] + regularization / 2 |x|^2

    With regularization = 0 every direction of a step touches a few rows, whatever the size of the grid.

    Args:
      size: rows and columns of the grid; the goal is the last state.
      slip: probability in [0, 1] that a move is redrawn uniformly.
      discount: gamma in (0, 1).
      start_mass: probability in [0, 1] of starting in state 0; the rest is uniform.
      regularization: weight lambda >= 0 of |x|^2 / 2.

    Returns:
      A problem with x [S], zero at the start. The reward is unbounded, so the follower's critics are not projected.

    Raises:
      ValueError: if a number is out of range.
    """
    check_grid(size, slip, start_mass, regularization)
    num_states = size * size
    goal = num_states - 1
    mdp = grid_world(size, slip, discount, corner_start(size, start_mass), np.arange(num_states) == goal)
    leader_scale = 1 / (1 - discount)

    def init_x(key: Key) -> jax.Array:
        del key
        return jnp.zeros(num_states)

    def reward(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del a, s_next
        return (s == goal).astype(x.dtype) + x[s]

    def reward_grad(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> Rows:
        del a, s_next
        return Rows(s, jnp.ones((), x.dtype))

    def cost(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del a, s_next
        return -leader_scale * (s == goal).astype(x.dtype)

    def cost_grad(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> Rows:
        del a, s_next
        return Rows(s, jnp.zeros((), x.dtype))

    def h(x: jax.Array) -> jax.Array:
        return 0.5 * regularization * jnp.sum(x**2)

    return Problem(
        mdp=mdp,
        reward=reward,
        init_x=init_x,
        h=h if regularization else None,
        cost=cost,
        reward_grad=reward_grad,
        cost_grad=cost_grad,
        cost_bound=leader_scale,
        layout=GridLayout(
            shape=(size, size),
            moves=MOVES,
            marks={"landmark": (goal,)},
            field=lambda x: np.exp(np.asarray(x)),
            field_label="exp of the added reward",
        ),
        name="reward_shaping",
    )

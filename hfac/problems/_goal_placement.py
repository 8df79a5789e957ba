"""Goal placement: the leader spreads a unit of reward over a grid to route an agent past hazards."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler.reduce import softmax
from hfac.problems._grid import MOVES, check_grid, corner_start, grid_world
from hfac.tabular.problem import GridLayout, Problem
from hfac.types import Key, Rows


def goal_placement(
    size: int = 10,
    slip: float = 0.1,
    discount: float = 0.95,
    start_mass: float = 0.5,
    landmark: tuple[int, int] = (9, 9),
    landmark_utility: float = 1.0,
    hazard_rows: tuple[int, int] = (3, 6),
    hazard_columns: tuple[int, int] = (3, 6),
    hazard_utility: float = -1.0,
    regularization: float = 0.01,
    goal_cells: Any = None,
) -> Problem:
    """Place a goal distribution that routes an agent around hazards to a landmark.

    GridWorld goal placement of Zeng et al. [arXiv 2601.16399], with the numbers of this library:

        r_x(s, a, s') = softmax(x)[s'],   f(x, pi) = -E_{d^pi}[u(s)] + regularization / 2 |x|^2

    Args:
      size: rows and columns of the grid.
      slip: probability in [0, 1] that a move is redrawn uniformly.
      discount: gamma in (0, 1).
      start_mass: probability in [0, 1] of starting in state 0; the rest is uniform.
      landmark: cell (row, column) that the leader likes.
      landmark_utility: the leader's utility there.
      hazard_rows: first and last row of the hazard block.
      hazard_columns: first and last column of the hazard block.
      hazard_utility: the leader's utility in the block.
      regularization: weight lambda >= 0 of |x|^2 / 2.
      goal_cells: bool [size, size], cells that may carry reward; all unless given.

    Returns:
      A problem with x [S], logits over the allowed cells, zero at the start.

    Raises:
      ValueError: if a number or cell is out of range or no cell is allowed.
    """
    check_grid(size, slip, start_mass, regularization)
    _check_cells(size, landmark=landmark, hazard_rows=hazard_rows, hazard_columns=hazard_columns)
    for name, value in (("landmark_utility", landmark_utility), ("hazard_utility", hazard_utility)):
        if not np.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")
    num_states = size * size
    allowed = np.ones(num_states, bool) if goal_cells is None else np.asarray(goal_cells, bool).ravel()
    if allowed.shape != (num_states,) or not allowed.any():
        raise ValueError(
            f"goal_cells must be bool [{size}, {size}] with a True cell, got {allowed.sum()} of {allowed.size}"
        )
    cells = np.zeros((size, size))
    cells[hazard_rows[0] : hazard_rows[1] + 1, hazard_columns[0] : hazard_columns[1] + 1] = hazard_utility
    hazards = tuple(int(s) for s in np.flatnonzero(cells))
    cells[landmark] = landmark_utility
    utility = cells.ravel()

    def init_x(key: Key) -> jax.Array:
        del key
        return jnp.zeros(num_states)

    def goals(x: jax.Array) -> jax.Array:
        return softmax(x if allowed.all() else jnp.where(allowed, x, -jnp.inf))

    def reward(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del s, a
        return goals(x)[s_next]

    def reward_grad(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> Rows:
        del s, a
        p = goals(x)
        return Rows(s_next, p[s_next], -p[s_next] * p)

    def cost(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del a, s_next
        return jnp.asarray(-utility, x.dtype)[s]

    def h(x: jax.Array) -> jax.Array:
        return 0.5 * regularization * jnp.sum(x**2)

    return Problem(
        mdp=grid_world(size, slip, discount, corner_start(size, start_mass)),
        reward=reward,
        init_x=init_x,
        h=h if regularization else None,
        cost=cost,
        reward_grad=reward_grad,
        reward_bound=1.0,
        cost_bound=float(np.abs(utility).max()) or None,
        layout=GridLayout(
            shape=(size, size),
            moves=MOVES,
            marks={"landmark": (landmark[0] * size + landmark[1],), "hazard": hazards},
            field=goals,
            field_label="goal distribution",
        ),
        name="goal_placement",
    )


def _check_cells(size: int, **cells: tuple[int, int]) -> None:
    for name, pair in cells.items():
        if len(pair) != 2 or not all(0 <= i < size for i in pair):
            raise ValueError(f"{name} must be two numbers in [0, {size}), got {tuple(pair)}")
        if name != "landmark" and pair[0] > pair[1]:
            raise ValueError(f"{name} must be (first, last) with first <= last, got {tuple(pair)}")

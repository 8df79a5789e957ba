"""Four rooms: the leader spreads penalties over a house so that agents with two different goals pass by its target."""

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler.reduce import softmax
from hfac.problems._grid import MOVES
from hfac.tabular.mdp import TabularMDP, disjoint_union, from_successors
from hfac.tabular.problem import GridLayout, Problem
from hfac.types import Key, Rows

HOUSE = (
    "#############",
    "#     #    A#",
    "#     #     #",
    "#           #",
    "#S    #     #",
    "#     #     #",
    "## ####     #",
    "#     ### ###",
    "#   T #     #",
    "#     #     #",
    "#           #",
    "#     #    B#",
    "#############",
)
GOALS = ((1, 9), (11, 11))
START, TARGET = (4, 1), (8, 4)


def four_rooms(
    beta: float = 1.0, fail_prob: float = 0.33, discount: float = 0.99, budget: float = 0.2, start_scale: float = 0.01
) -> Problem:
    """Design incentives for an agent whose goal the leader does not know: one of two, equally likely.

    Four rooms of Thoma et al. [arXiv 2406.01575], with the planner's dynamics for planning and for sampling:

        r_x(s) = 1 at the goal, where the episode ends, and -c_x(s) elsewhere,   c_x(s) = budget softmax(x)[cell of s]
        f(x, pi) = -E[ sum_t gamma^t ( 1[cell = target] - beta 1[s = goal] sum_cells c_x ) ]

    The last entry of x buys nothing. The paper maximises F = -f at a fixed entropy weight lambda = tau.

    Args:
      beta: weight >= 0 of the incentives handed out, paid on reaching the goal.
      fail_prob: probability in [0, 3/4] that a move fails; it then goes in one of the four directions.
      discount: gamma in (0, 1).
      budget: sum of all penalties if none is left unused, >= 0.
      start_scale: standard deviation >= 0 of the first x.

    Returns:
      A problem with x [105] over two copies of the 104 free cells, one for each goal.

    Raises:
      ValueError: if a number is out of range.
    """
    for name, value in (("beta", beta), ("budget", budget), ("start_scale", start_scale)):
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and >= 0, got {value}")
    if not 0 <= fail_prob <= 0.75:
        raise ValueError(f"fail_prob must lie in [0, 0.75], got {fail_prob}")
    cells = free_cells()
    number = {cell: i for i, cell in enumerate(cells)}
    size = len(cells)
    mdp = disjoint_union([_room_with(goal, number, fail_prob, discount) for goal in GOALS], [0.5, 0.5])
    is_goal = np.asarray(mdp.ends)
    is_target = np.arange(2 * size) % size == number[TARGET]
    unit = 1 / (1 - discount)

    def init_x(key: Key) -> jax.Array:
        return start_scale * jax.random.normal(key, (size + 1,))

    def reward(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del a, s_next
        return jnp.where(jnp.asarray(is_goal)[s], jnp.ones((), x.dtype), -budget * softmax(x)[s % size])

    def reward_grad(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> Rows:
        del a, s_next
        p = softmax(x)
        scale = jnp.where(jnp.asarray(is_goal)[s], 0, -budget * p[s % size])
        return Rows(s % size, scale, -scale * p)

    def cost(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del a, s_next
        handed_out = beta * budget * (1 - softmax(x)[size])
        at_goal, at_target = (jnp.asarray(flag, x.dtype)[s] for flag in (is_goal, is_target))
        return unit * (at_goal * handed_out - at_target)

    def cost_grad(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> Rows:
        del a, s_next
        p = softmax(x)
        scale = -unit * beta * budget * p[size] * jnp.asarray(is_goal, x.dtype)[s]
        return Rows(jnp.full_like(s, size), scale, -scale * p)

    return Problem(
        mdp=mdp,
        reward=reward,
        init_x=init_x,
        cost=cost,
        reward_grad=reward_grad,
        cost_grad=cost_grad,
        reward_bound=max(1.0, budget),
        cost_bound=unit * max(1.0, beta * budget),
        coordinates=_coordinates(cells),
        layout=GridLayout(
            shape=(len(HOUSE), 2 * len(HOUSE[0])),
            moves=MOVES,
            marks={
                "target": (number[TARGET], size + number[TARGET]),
                "goal": tuple(i * size + number[goal] for i, goal in enumerate(GOALS)),
            },
            field=lambda x: budget * np.tile(np.asarray(softmax(x))[:size], 2),
            field_label="penalty of a step",
            cells=_beside_each_other(cells),
        ),
        name="four_rooms",
    )


def _beside_each_other(cells: list[tuple[int, int]]) -> np.ndarray:
    """Where every state lies in a drawing of the house once for each goal. int [S]."""
    rows, columns = np.asarray(cells).T
    width = len(HOUSE[0])
    return np.concatenate([rows * 2 * width + columns + house * width for house in range(2)])


def _coordinates(cells: list[tuple[int, int]]) -> np.ndarray:
    """Row, column and goal of every state, in [-1, 1]. [S, 3]."""
    places = 2 * np.asarray(cells, float) / (len(HOUSE) - 1) - 1
    return np.concatenate([np.column_stack([places, np.full(len(cells), goal)]) for goal in (-1.0, 1.0)])


def free_cells() -> list[tuple[int, int]]:
    """Cells (row, column) that are no wall, row by row."""
    return [(r, c) for r, row in enumerate(HOUSE) for c, mark in enumerate(row) if mark != "#"]


def _room_with(
    goal: tuple[int, int], number: dict[tuple[int, int], int], fail_prob: float, discount: float
) -> TabularMDP:
    """The house with one goal; a move into a wall stays."""
    size = len(number)
    targets = [[number.get((r + dr, c + dc), i) for dr, dc in MOVES] for (r, c), i in number.items()]
    next_states = np.repeat(np.array(targets)[:, None], len(MOVES), 1)
    other = 4 * fail_prob / 9
    probs = np.broadcast_to(other + (1 - 4 * other) * np.eye(len(MOVES)), next_states.shape)
    initial = np.eye(size)[number[START]]
    return from_successors(next_states, probs, initial, discount, np.arange(size) == number[goal])

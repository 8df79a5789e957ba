"""The grid that several problems share."""

from typing import Any

import numpy as np

from hfac import _checks
from hfac.tabular.mdp import TabularMDP, from_successors

MAX_SIZE = 1_000  # rows and columns
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left


def grid_world(size: int, slip: float, discount: float, initial: np.ndarray, ends: Any = None) -> TabularMDP:
    """A size x size grid, state = row * size + column; a move off the grid stays.

    With probability `slip` the move is redrawn uniformly from the four.
    """
    rows, columns = np.divmod(np.arange(size * size), size)
    targets = [np.clip(rows + dr, 0, size - 1) * size + np.clip(columns + dc, 0, size - 1) for dr, dc in MOVES]
    next_states = np.repeat(np.stack(targets, -1)[:, None], len(MOVES), 1)
    probs = np.broadcast_to(slip / 4 + (1 - slip) * np.eye(len(MOVES)), next_states.shape)
    return from_successors(next_states, probs, initial, discount, ends)


def corner_start(size: int, start_mass: float) -> np.ndarray:
    """`start_mass` at state 0, the rest uniform over the grid. [S]."""
    initial = np.full(size * size, (1 - start_mass) / (size * size))
    initial[0] += start_mass
    return initial


def check_grid(size: int, slip: float, start_mass: float, regularization: float) -> None:
    """Raise `ValueError` unless the numbers of a grid problem are in range."""
    _checks.untraced(size=size, slip=slip, start_mass=start_mass)
    if size < 2:
        raise ValueError(f"size must be at least 2, got {size}")
    if size > MAX_SIZE:
        raise ValueError(f"size must be at most {MAX_SIZE:,}, got {size}")
    for name, value in (("slip", slip), ("start_mass", start_mass)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")
    _checks.number("regularization", regularization, "be finite and >= 0", 0)

"""Random dynamics that several problems share, in the order of draws that published numbers assume."""

import numpy as np

from hfac import _checks
from hfac.tabular.mdp import TabularMDP, from_dense

TAU = 1.0  # entropy weight at which a hidden policy is optimal
NUM_SWEEPS = 2_000
MAX_ENTRIES = 10**8  # of a dense table


def random_dynamics(rng: np.random.RandomState, num_states: int, num_actions: int, discount: float) -> TabularMDP:
    """Successors of every (s, a): a uniform number of distinct states with normalised uniform weights; rho uniform."""
    kernel = np.zeros((num_states, num_actions, num_states))
    for s, a in np.ndindex(num_states, num_actions):
        width = rng.randint(1, num_states)
        successors = rng.choice(num_states, width, replace=False)
        weights = rng.rand(width)
        kernel[s, a, successors] = weights / weights.sum()
    return from_dense(kernel, np.full(num_states, 1 / num_states), discount)


def check_sizes(num_states: int, num_actions: int, dimension: int) -> None:
    """Raise `ValueError` unless there are two states, an action and an upper variable."""
    for name, value, least in (
        ("num_states", num_states, 2),
        ("num_actions", num_actions, 1),
        ("dimension", dimension, 1),
    ):
        _checks.untraced(**{name: value})
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if num_states**2 * num_actions > MAX_ENTRIES or dimension**2 > MAX_ENTRIES:
        raise ValueError(
            f"num_states^2 num_actions and dimension^2 must be at most {MAX_ENTRIES:,}, "
            f"got {num_states}, {num_actions} and {dimension}"
        )


def soft_optimal(mdp: TabularMDP, rewards: np.ndarray) -> np.ndarray:
    """The soft-optimal policy of a table of rewards, by value iteration in float64. [S, A]."""
    v = np.zeros(mdp.num_states)
    for _ in range(NUM_SWEEPS):
        q = rewards + float(mdp.discount) * np.sum(mdp.probs * v[mdp.next_states], -1)
        top = q.max(-1)
        v = top + TAU * np.log(np.exp((q - top[:, None]) / TAU).sum(-1))
    pi = np.exp((q - top[:, None]) / TAU)
    return pi / pi.sum(-1, keepdims=True)

"""Goal placement under high stochasticity: what a move does is nearly lost in the noise of where it leads."""

import dataclasses

from hfac.problems._goal_placement import goal_placement
from hfac.problems._grid import check_grid
from hfac.tabular.problem import Problem


def slippery_grid(
    size: int = 10,
    slip: float = 0.9,
    discount: float = 0.95,
    start_mass: float = 0.5,
    regularization: float = 0.01,
) -> Problem:
    """Place a goal distribution where nine moves in ten are redrawn.

        P = slip / 4 sum_b T_b + (1 - slip) T_a,   A(s, a) = gamma (1 - slip) ( V(T_a s) - sum_b pi(b|s) V(T_b s) )

    with T_a the move a and A the advantage without entropy and action rewards: advantages carry a factor 1 - slip,
    the spread of V(s') that a sampled direction sees does not. It strains what the analysis of Zeng et al.
    [arXiv 2601.16399] takes as bounded noise. The special Polyak-Lojasiewicz condition
    |grad J_tau|^2 >= C tau (J_tau(pi*) - J_tau(pi)) holds with no smaller C, but both sides are small: at the uniform
    policy one sampled actor direction has a ratio of mean to deviation of 0.0056, against 0.050 with slip 0.1, which
    is 80 times the samples. Reward, objective, x and their bounds are those of `goal_placement`.

    Args:
      size: rows and columns of the grid, >= 4; the hazards fill its middle, the landmark is the last state.
      slip: probability in [0, 1] that a move is redrawn uniformly.
      discount: gamma in (0, 1).
      start_mass: probability in [0, 1] of starting in state 0; the rest is uniform.
      regularization: weight lambda >= 0 of |x|^2 / 2.

    Returns:
      A problem with x [S], logits over the cells, zero at the start.

    Raises:
      ValueError: if a number is out of range.
    """
    check_grid(size, slip, start_mass, regularization)
    if size < 4:
        raise ValueError(f"size must be at least 4 for the hazards to fit, got {size}")
    hazards = (3 * size // 10, 6 * size // 10)
    problem = goal_placement(
        size=size,
        slip=slip,
        discount=discount,
        start_mass=start_mass,
        landmark=(size - 1, size - 1),
        hazard_rows=hazards,
        hazard_columns=hazards,
        regularization=regularization,
    )
    return dataclasses.replace(problem, name="slippery_grid")

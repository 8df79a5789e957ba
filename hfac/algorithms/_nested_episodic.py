"""The nested loop over whole sequences: N lower steps for every upper step, with the single-loop estimators."""

from typing import Any

from hfac.algorithms import _common
from hfac.algorithms._hfac_episodic import hfac_episodic
from hfac.problem import EpisodicProblem
from hfac.types import Algorithm, Needs

NEEDS = Needs(nested=True, penalty=True)


def nested_episodic(problem: EpisodicProblem, *, inner_steps: int = 10, **options: Any) -> Algorithm:
    """Build `hfac_episodic` with x moved at every `inner_steps`-th step only, a baseline of Zeng et al. [2601.16399].

    Args:
      problem: an episodic bi-level problem.
      inner_steps: N, lower steps per upper step; 1 is `hfac_episodic` itself.
      **options: of `hfac_episodic`.

    Returns:
      An `Algorithm`, with the states of `hfac_episodic`.

    Raises:
      ValueError: if an option is out of range.
    """
    return _common.rescheduled(hfac_episodic(problem, **options), inner_steps=inner_steps)

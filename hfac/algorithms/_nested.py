"""The nested loop: N lower steps for every upper step, with the estimators of the single-loop method.

First order, model-free, nested. N = 1 is `hfac`.
"""

from typing import Any

from hfac.algorithms import _common
from hfac.algorithms._hfac import hfac
from hfac.types import Algorithm, Needs

NEEDS = Needs(nested=True, penalty=True)


@_common.method
@_common.variant_of(hfac, "difference", "pen_rate", "optimizers", "dtype")
def nested(problem: Any, *, inner_steps: int = 10, **options: Any) -> Algorithm:
    """Build the nested-loop baseline of Zeng et al. [arXiv 2601.16399].

    Both policies and all critics move at every step, x at every N-th. A step is one lower step, so that steps and
    samples are comparable with `hfac`; the schedules count lower steps too.

    Args:
      problem: a bi-level problem.
      inner_steps: N >= 1, lower steps for every upper step.
      **options: difference, pen_rate, optimizers and dtype of `hfac`, and those of the problem's kind.

    Returns:
      An `Algorithm` with the state of `hfac`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    return _common.with_held_rates(hfac(problem, **options), inner_steps=inner_steps)

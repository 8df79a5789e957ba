"""The value penalty in a nested loop: both policies are brought close to their targets before every upper step.

First order, model-free, nested; fixed tau.
"""

from typing import Any

from hfac.algorithms import _common
from hfac.algorithms._hfac import hfac
from hfac.types import Algorithm, Needs

NEEDS = Needs(nested=True, fixed_tau=True, penalty=True)


@_common.method
@_common.variant_of(hfac, "dtype")
def penalty_gaur(problem: Any, *, inner_steps: int = 10, **options: Any) -> Algorithm:
    """Build the first-order nested method of Gaur et al. [arXiv 2503.17644].

    N steps of both policies, then one of x, w and tau constant:

        pi ascends J_tau,   pi_pen ascends J_tau - w f
        x <- x - zeta ( d_x f(x, pi_pen) + ( d_x J_tau(x, pi) - d_x J_tau(x, pi_pen) ) / w )

    A step is one lower step, so that steps and samples are comparable with `hfac`; the schedules count lower steps
    too. The penalty and the entropy schedule give w and tau by their scales; their decay is not used. It is
    `nested` without attenuation. Departures: the paper treats continuous states and actions, gradients estimated
    from fresh batches; here tables and actor-critic samples, the x step on those of the last lower step.

    Args:
      problem: a bi-level problem.
      inner_steps: N >= 1, lower steps for every upper step.
      **options: dtype of `hfac`, and those of the problem's kind.

    Returns:
      An `Algorithm` with the state of `hfac`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    return _common.with_held_rates(hfac(problem, **options), "penalty", "entropy", inner_steps=inner_steps)

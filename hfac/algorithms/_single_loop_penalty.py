"""The value penalty in a single loop, at a fixed penalty weight and a fixed entropy weight.

First order, single loop, model-free; fixed tau. `hfac` without attenuation.
"""

from typing import Any

from hfac.algorithms import _common
from hfac.algorithms._hfac import hfac
from hfac.types import Algorithm, Needs

NEEDS = Needs(fixed_tau=True, penalty=True)


@_common.method
@_common.variant_of(hfac, "dtype")
def single_loop_penalty(problem: Any, **options: Any) -> Algorithm:
    """Build PBRL-SL (OpenReview NRaWmVVltg), the single-loop form of PBRL [arXiv 2402.06886].

    The policy that tracks the best response moves one step for every step of (x, penalised policy), lambda = 1/w
    and tau constant:

        x <- x - zeta ( d_x f(x, pi_pen) + lambda ( d_x J_tau(x, pi) - d_x J_tau(x, pi_pen) ) )
        pi ascends J_tau,   pi_pen ascends J_tau - w f

    The penalty and the entropy schedule give w and tau by their scales; their decay is not used. Departure: the
    paper's gradient oracles are the sampled actor-critic estimates of `hfac`, so that on constant schedules the two
    are one method; what is compared is attenuation.

    Args:
      problem: a bi-level problem.
      **options: dtype of `hfac`, and those of the problem's kind.

    Returns:
      An `Algorithm` with the state of `hfac`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    return _common.with_held_rates(hfac(problem, **options), "penalty", "entropy")

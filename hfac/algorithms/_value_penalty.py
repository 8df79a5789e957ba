"""Penalty-based bi-level RL with the value penalty: a best-response oracle inside joint steps of (x, policy).

First order, model-free, nested; fixed tau.
"""

from typing import Any

import jax
import jax.numpy as jnp

from hfac.algorithms import _common
from hfac.algorithms._hfac import hfac
from hfac.schedules import Schedules
from hfac.types import Algorithm, Key, Needs

NEEDS = Needs(nested=True, fixed_tau=True, penalty=True)


@_common.method
@_common.variant_of(hfac, "dtype")
def value_penalty(problem: Any, *, inner_steps: int = 10, **options: Any) -> Algorithm:
    """Build PBRL with the value penalty of Shen, Yang and Chen [arXiv 2402.06886].

    With p(x, pi) = max_pi' J_tau(x, pi') - J_tau(x, pi) and lambda = 1/w, N steps of pi_hat for one of (x, pi):

        pi_hat ascends J_tau(x, .)
        (x, pi) <- (x, pi) - rates ( grad f + lambda grad p ),
        d_x p = d_x J_tau(x, pi_hat) - d_x J_tau(x, pi),   d_pi p = -d_pi J_tau(x, pi)

    pi_hat is theta of the state, pi is theta_pen, whose rate is w times the actor's, so that it ascends J_tau - w f
    as in `hfac`. A step is one lower step, so that steps and samples are comparable with `hfac`; the schedules
    count lower steps too. Between joint steps x and pi hold still while their critics go on being evaluated, and
    those samples count. The penalty and the entropy schedule give w and tau by their scales; their decay is not
    used. Departures: the oracle takes actor-critic steps from where it stood instead of policy mirror descent.

    Args:
      problem: a bi-level problem.
      inner_steps: N >= 1, steps of the best response for every joint step.
      **options: dtype of `hfac`, and those of the problem's kind.

    Returns:
      An `Algorithm` with the state of `hfac`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    nested = _common.with_held_rates(hfac(problem, **options), "penalty", "entropy", inner_steps=inner_steps)

    def step(key: Key, state: Any, schedules: Schedules) -> tuple[Any, Any]:
        moved, info = nested.step(key, state, schedules)
        is_joint = _common.is_due(state.step, inner_steps)
        theta_pen = jax.tree.map(lambda new, old: jnp.where(is_joint, new, old), moved.theta_pen, state.theta_pen)
        return moved._replace(theta_pen=theta_pen), info

    return nested._replace(step=step)

"""Approximate implicit differentiation: conjugate gradients on the lower level's Hessian.

Needs the model, products with the Hessian, and the lower level solved at every step (nested); no samples.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hfac.algorithms import _common, _planning
from hfac.algorithms._planning import Answer, Memory
from hfac.options import Number
from hfac.schedules import Schedules
from hfac.tabular import linear
from hfac.tabular.dynamics import (
    Model,
    centered,
    logits_hessian_product,
    occupancy_tangent,
    policy_point,
    soft_optimal,
    table_grad,
    upper_parts_from,
)
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Needs, PyTree

NEEDS = Needs(model=True, hessian=True, nested=True)


@_common.tabular
def aid(
    problem: Problem,
    *,
    num_iterations: int = 10,
    damping: Number = 0.0,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build approximate implicit differentiation in the manner of Ghadimi and Wang [arXiv 1802.02246].

    With the lower loss -J_tau in logits theta of the policy, solved exactly,

        (H + damping I) v = grad_theta f,   H = -grad^2_theta J_tau,   by conjugate gradients from v = 0
        x <- x - zeta ( d_x f + grad_x <grad_theta J_tau(x, theta), v> )

    Softmax logits are not strongly convex: a constant added to the logits of a state changes nothing. The right-hand
    side has no part there, so that plain conjugate gradients do; they stop at a direction without positive curvature.
    Products with H are the derivative of the policy gradient, written out.

    Args:
      problem: a tabular bi-level problem.
      num_iterations: of conjugate gradients, >= 1.
      damping: added to the Hessian's diagonal, >= 0.
      optimizers: ``{"x": optax optimiser at unit rate}``, in place of plain gradient descent.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; zeta and tau are the upper and the entropy schedule.

    Raises:
      ValueError: if an option is out of range, or an optimiser is named for another variable than x.
    """
    _common.check_count("num_iterations", num_iterations)
    if not (np.isfinite(damping) and damping >= 0):
        raise ValueError(f"damping must be finite and >= 0, got {damping}")
    memory = {"value": jnp.zeros(problem.mdp.num_states, dtype)}  # soft value of the last response

    def answer(at: Model, x: PyTree, tau: jax.Array, memory: Memory, schedules: Schedules) -> Answer:
        response = soft_optimal(at.mdp, at.reward, tau, start=memory["value"])
        theta = _planning.greedy_logits(at, response.value, tau)
        point = policy_point(at, theta, tau)
        leader_value = linear.evaluate(point.chain, (1 - at.mdp.discount) * jnp.sum(point.pi * at.cost, -1))
        f = upper_parts_from(problem, at, x, point.pi, point.visits, leader_value)

        def hessian(v: jax.Array) -> jax.Array:
            return -logits_hessian_product(at, point, tau, v)

        target, ridge = point.pi * centered(point.pi, f.grad_pi), schedules.option("damping", damping, dtype)
        v, _ = _common.conjugate_gradients(hessian, ridge, target, num_iterations)
        _, weights = occupancy_tangent(at.mdp, point, v)
        grad = _planning.add(f.grad_x, table_grad(problem.reward, at.mdp, x, weights))
        return Answer(theta, {"value": response.value}, grad, f.value)

    return _planning.descent(problem, answer, memory, optimizers, dtype)

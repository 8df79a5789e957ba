"""Descent on the exact hyper-gradient: the yardstick of every other method.

Needs the model, solves the lower level exactly at every step (nested), and uses no samples.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax

from hfac import exact
from hfac.algorithms import _common, _planning
from hfac.schedules import Schedules
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Key, Needs

NEEDS = Needs(model=True, nested=True)


@_common.tabular
def exact_gradient(
    problem: Problem,
    *,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build gradient descent on Phi_tau, with tau_k and the step size from the schedules.

    Implicit differentiation of the soft Bellman equation (Zeng et al. [arXiv 2601.16399], the exact hyper-gradient):

        x <- x - zeta_k grad Phi_{tau_k}(x)

    Only the upper and the entropy schedule are used.

    Args:
      problem: a tabular bi-level problem.
      optimizers: ``{"x": optax optimiser at unit rate}``, in place of plain gradient descent.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; its solution's policy answers the x of the step before.

    Raises:
      ValueError: if an optimiser is named for another variable than x.
    """
    optimizers = dict(optimizers or {})
    memory = {"value": jnp.zeros(problem.mdp.num_states, dtype)}  # soft value of the last response

    init = _common.planned(problem, memory, optimizers, dtype)

    def step(key: Key, state: _common.Planned, schedules: Schedules) -> tuple[_common.Planned, _common.PlannedInfo]:
        del key
        rates = schedules.at(state.step, dtype)
        found = exact.evaluate(problem, state.x, rates.entropy, state.memory["value"], dtype)
        moved = _common.move(state, {"x": (rates.upper, _common.negative(found.grad))}, optimizers, {})
        theta = jnp.log(jnp.maximum(found.response.pi, jnp.finfo(dtype).tiny))
        moved = _common.keep_if_healthy(moved, state, theta=theta, memory={"value": found.response.value})
        return moved, _common.PlannedInfo(jnp.int32(0), found.value)

    return Algorithm(init, step, _planning.solution)

"""Descent on the exact hyper-gradient: the yardstick of every other method.

Needs the model, solves the lower level exactly at every step (nested), and uses no samples.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hfac import exact
from hfac.algorithms import _common
from hfac.problem import Problem
from hfac.schedules import Schedules
from hfac.types import Algorithm, Key, PyTree, Solution, Status


class State(NamedTuple):
    """Everything the next step needs."""

    step: jax.Array  # int32 [], k
    status: jax.Array  # int32 [], latched Status
    failed_at: jax.Array  # int32 [], step of the first fault, or -1
    x: PyTree  # upper variable
    theta: jax.Array  # logits of the best response to the last x, [S, A]
    value: jax.Array  # its soft value [S], where the next solve starts
    optimizers: dict  # "x" -> optax state, if there is an optimiser

    def start_from(self, x: PyTree) -> "State":
        """The same state at another upper variable."""
        return self._replace(x=x)


class Info(NamedTuple):
    """What is worth looking at."""

    num_samples: jax.Array  # int32 [], always 0: the method plans
    hyper_objective: jax.Array  # [], Phi_tau at the last x


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
    shape = problem.mdp.next_states.shape

    def init(key: Key, schedules: Schedules) -> State:
        del schedules
        x = _common.cast(problem.init_x(jax.random.fold_in(key, 0)), dtype)
        moments = _common.init_optimizers(optimizers, {"x": x})
        fresh = (jnp.int32(0), jnp.int32(Status.OK), jnp.int32(-1))
        return State(*fresh, x, jnp.zeros(shape[:2], dtype), jnp.zeros(shape[0], dtype), moments)

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        del key
        rates = schedules.at(state.step, dtype)
        found = exact.evaluate(problem, state.x, rates.entropy, state.value, dtype)
        moved = _common.move(state, {"x": (rates.upper, _common.negative(found.grad))}, optimizers, {})
        theta = jnp.log(jnp.maximum(found.response.pi, jnp.finfo(dtype).tiny))
        is_healthy = moved.status == Status.OK
        moved = moved._replace(
            theta=jnp.where(is_healthy, theta, state.theta),
            value=jnp.where(is_healthy, found.response.value, state.value),
        )
        return moved, Info(jnp.int32(0), found.value)

    def solution(state: State) -> Solution:
        return Solution(state.x, state.theta)

    return Algorithm(init, step, solution)

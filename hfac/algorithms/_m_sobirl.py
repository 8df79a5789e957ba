"""M-SoBiRL: one step on the adjoint equation and a few soft Bellman sweeps for every step of x.

Needs the model, a few lower sweeps for every upper step (nested), and a fixed entropy weight; no Hessian, no samples.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hfac.algorithms import _common, _planning
from hfac.options import Number
from hfac.schedules import Schedules
from hfac.tabular import linear
from hfac.tabular.dynamics import Model, UpperParts, arrivals, backup, model, table_grad, upper_parts
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Key, Needs, PyTree

NEEDS = Needs(model=True, nested=True, fixed_tau=True)


@_common.tabular
def m_sobirl(
    problem: Problem,
    *,
    adjoint_rate: Number = 0.5,
    num_sweeps: int = 10,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build M-SoBiRL of Yang et al. (AISTATS 2025).

    With A = (I - P_gamma)^T and b = sum_a pi f_pi - sum_{s,a} pi f_pi gamma P, f_pi = df/dpi,

        w <- w - adjoint_rate A^T (A w - b)
        x <- x - zeta ( d_x f + sum_{s,a} pi (f_pi - w) grad r_x / tau )
        V <- tau log sum exp(Q / tau), num_sweeps times from the last V;   pi <- softmax(Q / tau)

    w starts at random, V at zero, pi uniform. Where the released code differs: the exponentials here cannot overflow,
    there is no early stop of the sweeps, and the entropy weight given is the one used. Its f is a function of x and
    pi; a running cost is one too, through the visitation and the leader's value, which are solved for exactly.

    The step on w contracts if adjoint_rate < 2 / |A|^2, and only by (1 - gamma)^2 adjoint_rate in the worst direction.

    Args:
      problem: a tabular bi-level problem.
      adjoint_rate: step size of the adjoint w, > 0.
      num_sweeps: soft Bellman sweeps for every step, >= 1.
      optimizers: ``{"x": optax optimiser at unit rate}``, in place of plain gradient descent.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; zeta is the upper schedule (published: 8e-3), tau the entropy schedule's scale.

    Raises:
      ValueError: if an option is out of range, or an optimiser is named for another variable than x.
    """
    _planning.check_positive("adjoint_rate", adjoint_rate)
    _common.check_count("num_sweeps", num_sweeps)
    optimizers = dict(optimizers or {})

    def init(key: Key, schedules: Schedules) -> _common.Planned:
        num_states = problem.mdp.num_states
        w = jax.random.normal(jax.random.fold_in(key, 1), (num_states,), dtype)
        memory = {"adjoint": w, "value": jnp.zeros(num_states, dtype)}
        return _common.planned(problem, memory, optimizers, dtype)(key, schedules)

    def step(key: Key, state: _common.Planned, schedules: Schedules) -> tuple[_common.Planned, _common.PlannedInfo]:
        del key
        rates = _common.at_fixed(schedules, "entropy").at(state.step, dtype)
        tau = rates.entropy
        at, x = model(problem, state.x, dtype)
        pi = jax.nn.softmax(state.theta)
        f = upper_parts(problem, at, x, pi)
        w = state.memory["adjoint"]
        w -= schedules.option("adjoint_rate", adjoint_rate, dtype) * _normal_residual(at, pi, f, w)
        through_reward = table_grad(problem.reward, at.mdp, x, pi * (f.grad_pi - w[:, None]) / tau)
        grad = _planning.add(f.grad_x, through_reward)
        moved = _common.move(state, {"x": (rates.upper, _common.negative(grad))}, optimizers, {})
        value, theta = _respond(moved.x, state.memory["value"], tau)
        moved = _common.keep_if_healthy(moved, state, theta=theta, memory={"adjoint": w, "value": value})
        return moved, _common.PlannedInfo(jnp.int32(0), f.value)

    def _respond(x: PyTree, value: jax.Array, tau: jax.Array) -> tuple[jax.Array, jax.Array]:
        at, _ = model(problem, x, dtype)
        value = linear.repeat(lambda v: _planning.soft_bellman(at, v, tau), value, num_sweeps)
        return value, _planning.greedy_logits(at, value, tau)

    return Algorithm(init, step, _planning.solution)


def _normal_residual(at: Model, pi: jax.Array, f: UpperParts, w: jax.Array) -> jax.Array:
    """A^T (A w - b), [S]."""
    residual = w - jnp.sum(pi * f.grad_pi, -1) - arrivals(at.mdp, pi * (w[:, None] - f.grad_pi))
    return residual - jnp.sum(pi * backup(at.mdp, jnp.zeros_like(pi), residual), -1)

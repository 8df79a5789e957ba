"""Adaptive model design: the follower, its derivative and the leader advance together by Bellman sweeps.

Needs the model and many sweeps for every upper step (nested); no Hessian, no linear solve, no samples.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hfac.algorithms import _common, _planning
from hfac.algorithms._planning import Answer, Memory
from hfac.schedules import Schedules
from hfac.tabular import linear
from hfac.tabular.dynamics import Model, UpperParts, arrivals, backup, centered, table_grad, upper_parts_from
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Needs, PyTree

NEEDS = Needs(model=True, nested=True)
TABLES = ("value", "leader_value", "visits", "adjoint")  # [S] each


@_common.tabular
def amd(
    problem: Problem,
    *,
    num_sweeps: int = 100,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build adaptive model design (Chen et al. 2022).

    A joint sweep, warm started, with Q = r_x + gamma P V and pi = softmax(Q / tau):

        V  <- tau log sum exp(Q / tau)                          the follower
        U  <- sum_a pi ((1 - gamma) c + gamma P U)              the leader
        d  <- rho + P_gamma^T d                                 expected visits
        mu <- sum_{s,a} gamma P (y + mu pi),   y = pi (f_pi - <pi, f_pi>) / tau
        x  <- x - zeta ( d_x f + sum_{s,a} (y + mu pi) grad r_x ),  after `num_sweeps` sweeps

    The published method carries the derivatives in x of the follower's and of the leader's values, [S, A, dim x]
    each. d and mu are their adjoints: the same Neumann series summed from the other end, with the same limit and the
    same contraction by gamma, in [S] numbers. A policy term g of f enters through f_pi. The tables start at zero, not
    solved; the published code also clips the gradient, for which an optimiser can be given.

    Args:
      problem: a tabular bi-level problem.
      num_sweeps: joint sweeps for every step of x, >= 1.
      optimizers: ``{"x": optax optimiser at unit rate}``, in place of plain gradient descent.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; zeta and tau are the upper and the entropy schedule.

    Raises:
      ValueError: if an option is out of range, or an optimiser is named for another variable than x.
    """
    _common.check_count("num_sweeps", num_sweeps)
    memory = {name: jnp.zeros(problem.mdp.num_states, dtype) for name in TABLES}

    def answer(at: Model, x: PyTree, tau: jax.Array, memory: Memory, schedules: Schedules) -> Answer:
        del schedules
        tables = linear.repeat(lambda tables: _sweep(problem, at, x, tau, tables), memory, num_sweeps)
        theta = _planning.greedy_logits(at, tables["value"], tau)
        pi = jnp.exp(theta)
        f = upper_parts_from(problem, at, x, pi, tables["visits"], tables["leader_value"])
        weights = _answer(pi, f, tau) + tables["adjoint"][:, None] * pi
        grad = _planning.add(f.grad_x, table_grad(problem.reward, at.mdp, x, weights))
        return Answer(theta, tables, grad, f.value)

    return _planning.descent(problem, answer, memory, optimizers, dtype)


def _sweep(
    problem: Problem, at: Model, x: PyTree, tau: jax.Array, tables: dict[str, jax.Array]
) -> dict[str, jax.Array]:
    value = _planning.soft_bellman(at, tables["value"], tau)
    pi = jnp.exp(_planning.greedy_logits(at, value, tau))
    cost = (1 - at.mdp.discount) * at.cost
    leader_value = jnp.sum(pi * backup(at.mdp, cost, tables["leader_value"]), -1)
    visits = at.mdp.initial + arrivals(at.mdp, tables["visits"][:, None] * pi)
    y = _answer(pi, upper_parts_from(problem, at, x, pi, visits, leader_value), tau)
    adjoint = arrivals(at.mdp, y + tables["adjoint"][:, None] * pi)
    return dict(zip(TABLES, (value, leader_value, visits, adjoint), strict=True))


def _answer(pi: jax.Array, f: UpperParts, tau: jax.Array) -> jax.Array:
    """How f answers to the follower's Q at one state and action, [S, A]."""
    return pi * centered(pi, f.grad_pi) / tau

"""The Bellman penalty: x and a policy descend f and the policy's distance from the best response together.

First order. Needs the model, the best response at every step (nested), and fixed penalty and entropy weights.
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hfac.algorithms import _common, _planning
from hfac.schedules import Schedules
from hfac.tabular import linear
from hfac.tabular.dynamics import Model, arrivals, centered, model, soft_optimal, table_grad, upper_parts_from
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Key, Needs

NEEDS = Needs(model=True, nested=True, fixed_tau=True, penalty=True)


@_common.tabular
def bellman_penalty(
    problem: Problem,
    *,
    weighting: Literal["uniform", "initial"] = "uniform",
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build the Bellman-penalty method of Shen, Yang and Chen [arXiv 2402.06886].

    Descend f + p_B / w over (x, pi), with state weights nu and the Bellman gap

        p_B(x, pi) = E_nu[ sum_a pi (tau log pi - Q*) + V* ] = tau E_nu[ KL(pi || pi*) ]
        grad_x p_B = -E_nu[ sum_a (pi - pi*) grad_x Q* ]
        x <- x - zeta ( d_x f + grad_x p_B / w )
        log pi <- log pi + alpha / (1 + alpha tau) ( tau log pi* - tau log pi - w f_pi / nu )

    Q* and pi* are exact. The paper takes a projected Euclidean step of one length in x and pi; here the policy takes
    the proximal mirror step, times w, which stays inside the simplex, is stable at every alpha and has the same fixed
    points; x has its own length. The paper weights states by rho and assumes that rho leaves no state out; uniform
    weights never do, and leave the same limit as w -> 0. Its bias is O(w), and larger than the value penalty's where
    the policy's visits outweigh nu.

    Args:
      problem: a tabular bi-level problem.
      weighting: of the states in the penalty: uniform, or initial (the paper).
      optimizers: ``{"x": optax optimiser at unit rate}``, in place of plain gradient descent.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; its solution's policy is pi. zeta and alpha are the upper and the actor schedule, w and tau the
      scales of the penalty and the entropy schedule.

    Raises:
      ValueError: if an option is out of range, initial weights leave a state out, or an optimiser is named for
        another variable than x.
    """
    nu = jnp.asarray(_weights(problem, weighting), dtype)[:, None]
    optimizers = dict(optimizers or {})
    memory = {"value": jnp.zeros(problem.mdp.num_states, dtype)}  # soft value of the last response

    init = _common.planned(problem, memory, optimizers, dtype)

    def step(key: Key, state: _common.Planned, schedules: Schedules) -> tuple[_common.Planned, _common.PlannedInfo]:
        del key
        zeta, alpha, _, w, tau = _common.at_fixed(schedules, "penalty", "entropy").at(state.step, dtype)
        at, x = model(problem, state.x, dtype)
        response = soft_optimal(at.mdp, at.reward, tau, start=state.memory["value"])
        log_pi, log_best = jax.nn.log_softmax(state.theta), _planning.greedy_logits(at, response.value, tau)
        pi, best = jnp.exp(log_pi), jnp.exp(log_best)
        gap = nu * (best - pi)
        adjoint, visits, leader_value = _solve(problem, at, pi, best, gap)
        f = upper_parts_from(problem, at, x, pi, visits, leader_value)
        grad_gap = table_grad(problem.reward, at.mdp, x, gap + adjoint[:, None] * best)
        uphill = centered(pi, tau * (log_pi - log_best) + w * f.grad_pi / nu)
        moves = {
            "x": (zeta, _common.negative(_planning.add(f.grad_x, grad_gap, 1 / w))),
            "theta": (alpha / (1 + alpha * tau), -uphill),
        }
        moved = _common.move(state, moves, optimizers, {})
        moved = _common.keep_if_healthy(moved, state, memory={"value": response.value})
        return moved, _common.PlannedInfo(jnp.int32(0), f.value)

    return Algorithm(init, step, _planning.solution)


def _solve(
    problem: Problem, at: Model, pi: jax.Array, best: jax.Array, gap: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Adjoint of the gap under the best response; visits and leader's value under pi. [S] each."""
    mdp = at.mdp
    arriving = arrivals(mdp, gap)
    if problem.cost is None:
        zero = jnp.zeros_like(arriving)
        return linear.accumulate(linear.factorize(mdp, best), arriving), zero, zero
    costs = (1 - mdp.discount) * jnp.sum(pi * at.cost, -1)

    def both(job: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        chain = linear.factorize(mdp, job[0])
        return linear.accumulate(chain, job[1]), linear.evaluate(chain, costs)

    # one after the other: no two independent factorisations in one program
    sums, values = jax.lax.map(both, (jnp.stack([best, pi]), jnp.stack([arriving, mdp.initial])))
    return sums[0], sums[1], values[1]


def _weights(problem: Problem, weighting: str) -> np.ndarray:
    num_states = problem.mdp.num_states
    if weighting == "uniform":
        return np.full(num_states, 1 / num_states)
    if weighting != "initial":
        raise ValueError(f"weighting must be 'uniform' or 'initial', got '{weighting}'")
    rho = np.asarray(problem.mdp.initial)
    if np.any(rho == 0):
        raise ValueError(
            f"weighting 'initial' needs every state to start episodes, but state {int(np.argmin(rho))} of "
            f"{problem.name} never does; use weighting='uniform'"
        )
    return rho

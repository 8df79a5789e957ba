"""Iterative differentiation: the gradient of f at the policy that a few soft Bellman sweeps reach.

Needs the model and several sweeps for every upper step (nested), all of them kept for the way back; no samples. The
derivative of a soft sweep is its policy's own Bellman operator, so no second derivative appears.
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
from hfac.tabular.dynamics import Model, table_grad, upper_parts
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Needs, PyTree

NEEDS = Needs(model=True, nested=True)


@_common.tabular
def itd(
    problem: Problem,
    *,
    num_sweeps: int = 20,
    warm_start: bool = False,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build iterative differentiation (Franceschi et al. 2018) through soft value iteration.

        V_{n+1} = tau log sum exp((r_x + gamma P V_n) / tau),   pi_N = softmax((r_x + gamma P V_N) / tau)
        x <- x - zeta d/dx f(x, pi_N(x))

    df/dpi at pi_N is found by an exact evaluation of that policy, and carried back through the sweeps. V_0 is zero, or
    with `warm_start` the last V_N taken as a constant, which leaves an error of order gamma^N in the gradient either
    way, whatever the policy's own error.

    Args:
      problem: a tabular bi-level problem.
      num_sweeps: N >= 1.
      warm_start: begin the sweeps at the last values.
      optimizers: ``{"x": optax optimiser at unit rate}``, in place of plain gradient descent.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; zeta and tau are the upper and the entropy schedule.

    Raises:
      ValueError: if an option is out of range, or an optimiser is named for another variable than x.
    """
    _common.check_count("num_sweeps", num_sweeps)
    memory = {"value": jnp.zeros(problem.mdp.num_states, dtype)} if warm_start else {}

    def answer(at: Model, x: PyTree, tau: jax.Array, memory: Memory, schedules: Schedules) -> Answer:
        del schedules
        start = memory["value"] if warm_start else jnp.zeros(problem.mdp.num_states, dtype)

        def unroll(reward: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            tried = at._replace(reward=reward)
            value = linear.repeat(lambda v: _planning.soft_bellman(tried, v, tau), start, num_sweeps)
            theta = _planning.greedy_logits(tried, value, tau)
            return jnp.exp(theta), (theta, value)

        pi, back, (theta, value) = jax.vjp(unroll, at.reward, has_aux=True)
        f = upper_parts(problem, at, x, pi)
        grad = _planning.add(f.grad_x, table_grad(problem.reward, at.mdp, x, back(f.grad_pi)[0]))
        return Answer(theta, {"value": value} if warm_start else {}, grad, f.value)

    return _planning.descent(problem, answer, memory, optimizers, dtype)

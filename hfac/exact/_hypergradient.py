"""Hyper-objectives and their gradients: Phi, Phi_tau by implicit differentiation, Phi_{w,tau} by the penalty."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hfac._activity import activity
from hfac._compiler import random
from hfac.exact._best_response import best_response, limit_policy, penalized, penalty_objective, penalty_response
from hfac.exact._policy import upper_grad_from, upper_objective
from hfac.tabular import linear
from hfac.tabular.dynamics import (
    Model,
    Response,
    arrivals,
    as_float,
    centered,
    model,
    occupancy,
    soft_optimal,
    table_grad,
    upper_parts_from,
)
from hfac.tabular.problem import Problem, check_limit
from hfac.types import Key, PyTree, Scalar

Difference = Literal["forward", "central"]
DESCENT_STEPS = 500
DESCENT_RATES = (0.1, 0.01)  # either alone ends in poor minima of some problem
STEPS_PER_REPORT = 25  # of a descent, between two calls of its progress function


def hyper_objective(problem: Problem, x: PyTree, tau: Scalar) -> jax.Array:
    """Phi_tau(x) = f(x, pi*_tau(x)), tau > 0."""
    return upper_objective(problem, x, best_response(problem, x, tau))


def limit_hyper_objective(problem: Problem, x: PyTree) -> jax.Array:
    """Phi(x) = f(x, pi*(x)) with the limit policy: the original, unregularised objective.

    Raises:
      ValueError: if the problem has a fixed tau, since its objective has no limit.
    """
    check_limit(problem)
    return upper_objective(problem, x, limit_policy(problem, x))


def hypergradient(problem: Problem, x: PyTree, tau: Scalar) -> PyTree:
    """Compute grad Phi_tau(x) by implicit differentiation of the soft Bellman equation, tau > 0. Same tree as x.

    With Q = r_x + gamma P V, V = tau log sum exp(Q / tau) and f_pi = df/dpi, one adjoint solve gives

        dPhi/dx = d_x f + sum_{s,a} m(s, a) E_{s'}[grad r_x(s, a, s')],   m = y + mu pi,
        y = pi (f_pi - <pi, f_pi>) / tau,   (I - P_gamma)^T mu = P_gamma^T y.
    """
    return evaluate(problem, x, tau).grad


class Evaluation(NamedTuple):
    """Everything one solve says about an upper variable."""

    value: jax.Array  # Phi_tau(x)
    grad: PyTree  # grad Phi_tau(x)
    response: Response  # the best response and its soft value


def evaluate(problem: Problem, x: PyTree, tau: Scalar, start: jax.Array | None = None, dtype: Any = None) -> Evaluation:
    """Phi_tau(x), its gradient and the best response.

    Args:
      problem: any tabular problem.
      x: upper variable.
      tau: entropy weight, > 0.
      start: soft values near those of the best response [S]; zero unless given. A close start saves iterations.
      dtype: float type of everything; the default one unless given.
    """
    at, x = model(problem, x, dtype)
    tau = jnp.asarray(tau, at.reward.dtype)
    response = soft_optimal(at.mdp, at.reward, tau, start=start)
    return Evaluation(*_value_and_grad(problem, at, x, tau, response.pi), response)


def _value_and_grad(problem: Problem, at: Model, x: PyTree, tau: jax.Array, pi: jax.Array) -> tuple[jax.Array, PyTree]:
    """Phi_tau(x) and its gradient at the best response pi, from one factorisation."""
    mdp = at.mdp
    chain = linear.factorize(mdp, pi)
    leader_value = linear.evaluate(chain, (1 - mdp.discount) * jnp.sum(pi * at.cost, -1))
    f = upper_parts_from(problem, at, x, pi, linear.accumulate(chain, mdp.initial), leader_value)
    y = pi * centered(pi, f.grad_pi) / tau
    mu = linear.accumulate(chain, arrivals(mdp, y))
    through_reward = table_grad(problem.reward, mdp, x, y + mu[:, None] * pi)
    return f.value, jax.tree.map(jnp.add, f.grad_x, through_reward)


def penalty_hyper_objective(problem: Problem, x: PyTree, w: Scalar, tau: Scalar) -> jax.Array:
    """Phi_{w,tau}(x) = min_pi L_{w,tau}(x, pi)."""
    return penalty_objective(problem, x, penalty_response(problem, x, w, tau)[1], w, tau)


def penalty_hypergradient(
    problem: Problem,
    x: PyTree,
    w: Scalar,
    tau: Scalar,
    difference: Difference = "forward",
) -> PyTree:
    """Compute grad Phi_{w,tau}(x), first order only, or its central-difference relative. Same tree as x.

        forward:  d_x f(pi_w) + (d_x J(pi*) - d_x J(pi_w)) / w                      bias O(w)
        central:  (d_x f(pi_w) + d_x f(pi_-w)) / 2 + (d_x J(pi_-w) - d_x J(pi_w)) / 2w   bias O(w^2)

    Raises:
      ValueError: if `difference` is neither.
    """
    check_difference(difference)
    at, x = model(problem, x)
    opposite = -1.0 if difference == "central" else 0.0
    weights = jnp.asarray(w, at.reward.dtype) * jnp.array([opposite, 1.0], at.reward.dtype)
    pi, pi_pen = penalized(problem, at, x, weights, tau)
    # one after another: factorisations side by side can deadlock on CPUs
    flow, flow_pen = jax.lax.map(lambda pi: occupancy(at.mdp, pi), jnp.stack((pi, pi_pen)))
    span = (1.0 - opposite) * w * (1 - at.mdp.discount)
    difference_grad = table_grad(problem.reward, at.mdp, x, (flow - flow_pen) / span)
    upper = upper_grad_from(problem, at, x, pi_pen, flow_pen)
    if difference == "central":
        upper = jax.tree.map(lambda a, b: (a + b) / 2, upper, upper_grad_from(problem, at, x, pi, flow))
    return jax.tree.map(jnp.add, upper, difference_grad)


def check_difference(difference: str) -> None:
    """Raise unless `difference` names a penalty difference."""
    if difference not in ("forward", "central"):
        raise ValueError(f"difference must be 'forward' or 'central', got '{difference}'")


class Minimum(NamedTuple):
    """The end of an exact descent."""

    x: PyTree
    value: jax.Array  # Phi_tau(x)
    grad_norm: jax.Array  # |grad Phi_tau(x)|


def minimize(
    problem: Problem,
    tau: float | Sequence[float],
    num_steps: int = DESCENT_STEPS,
    learning_rates: Sequence[float] = DESCENT_RATES,
    x: PyTree | None = None,
    key: Key | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Minimum:
    """Descend Phi_tau by Adam on the exact gradient, each rate falling to zero along a half cosine.

    The reference line of every figure: the best point met from the problem's start, not a bound.

    Args:
      problem: any tabular problem.
      tau: entropy weight, > 0; or several [n], then every leaf of the answer has a leading axis n.
      num_steps: gradient steps of each descent.
      learning_rates: Adam's first rates, one descent each; the best point of all is returned.
      x: start; `problem.init_x` unless given.
      key: for `init_x`; key 0 unless given.
      progress: called with (pieces of the descents done, pieces in all).
    """
    start = as_float(problem.init_x(random.key(0) if key is None else key) if x is None else x)
    taus = np.atleast_1d(np.asarray(tau, float))
    ladder = np.arange(0, num_steps + STEPS_PER_REPORT, STEPS_PER_REPORT)[:, None] + np.arange(STEPS_PER_REPORT)
    chunks = np.minimum(ladder, num_steps).astype(float)  # the last step has length zero and may be repeated
    total, done = len(taus) * len(learning_rates) * len(chunks), 0
    advance = jax.jit(functools.partial(_advance, problem, num_steps))
    minima = []
    for each in taus:
        ends = []
        for rate in learning_rates:
            descent = _first(problem, start)
            for steps in chunks:
                with activity("compiling") if done == 0 else contextlib.nullcontext():
                    descent = advance(jnp.asarray(each), jnp.asarray(rate, float), descent, steps)
                jax.block_until_ready(descent)
                progress(done := done + 1, total)
            ends.append(descent.best)
        minima.append(min(ends, key=lambda end: float(end.value)))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *minima) if np.ndim(tau) else minima[0]


class _Descent(NamedTuple):
    x: PyTree
    moments: Any  # of Adam
    response_value: jax.Array  # [S], where the next best response is searched from
    best: Minimum


def _first(problem: Problem, start: PyTree) -> _Descent:
    worst = Minimum(start, jnp.full((), jnp.inf, float), jnp.full((), jnp.inf, float))
    return _Descent(start, optax.scale_by_adam().init(start), jnp.zeros(problem.mdp.num_states, float), worst)


def _advance(
    problem: Problem, num_steps: int, tau: jax.Array, rate: jax.Array, descent: _Descent, steps: jax.Array
) -> _Descent:
    """The given steps of a descent of `num_steps`."""

    def step(descent: _Descent, k: jax.Array) -> tuple[_Descent, None]:
        x = descent.x
        value, grad, response = evaluate(problem, x, tau, descent.response_value)
        here = Minimum(x, value, optax.tree.norm(grad))
        best = jax.tree.map(lambda new, old: jnp.where(value < descent.best.value, new, old), here, descent.best)
        with jax.numpy_dtype_promotion("standard"):
            direction, moments = optax.scale_by_adam().update(grad, descent.moments)
        size = rate * 0.5 * (1 + jnp.cos(jnp.pi * k / num_steps))
        x = jax.tree.map(lambda leaf, d: leaf - size * d, x, direction)
        return _Descent(x, moments, response.value, best), None

    return jax.lax.scan(step, descent, steps)[0]

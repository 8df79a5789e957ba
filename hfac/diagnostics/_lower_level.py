"""The lower level as the convergence analysis sees it: Polyak-Lojasiewicz ratio, curvature, slope of the answer.

All are exact, in float64 where x64 is on, and pure functions that may be jitted and mapped.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from hfac._compiler import random
from hfac.diagnostics._krylov import lanczos
from hfac.tabular import linear
from hfac.tabular.dynamics import (
    arrivals,
    as_float,
    backup,
    centered,
    expectation,
    logits_grad,
    logits_hessian_product,
    model,
    policy_point,
    soft_optimal,
    table_grad,
)
from hfac.tabular.problem import Problem, transition_table
from hfac.types import Key, PyTree, Scalar

NUM_ITERATIONS = 300  # of Lanczos; at most the dimension, where it is exact


class PolyakLojasiewicz(NamedTuple):
    """The special condition |grad_theta J_tau|^2 >= C tau (J_tau(pi*) - J_tau(pi)) at one policy."""

    ratio: jax.Array  # [], the largest C for which it holds here; nan at the best response itself, 0 / 0
    gradient_square: jax.Array  # [], |grad_theta J_tau|^2, unnormalised
    gap: jax.Array  # [], J_tau(x, pi*) - J_tau(x, pi) >= 0


def polyak_lojasiewicz(problem: Problem, x: PyTree, logits: jax.Array, tau: Scalar) -> PolyakLojasiewicz:
    """Evaluate the condition (Zeng et al. [arXiv 2601.16399]) at softmax logits.

    The gap is summed without cancellation, as tau sum_s d(s) KL(pi(.|s) | pi*(.|s)) with d unnormalised.

    Args:
      problem: any tabular problem.
      x: upper variable.
      logits: [S, A].
      tau: entropy weight, > 0.
    """
    at, x = model(problem, x)
    logits, tau = as_float(logits), jnp.asarray(tau, at.reward.dtype)
    best = soft_optimal(at.mdp, at.reward, tau)
    # the second factorisation waits for the first: side by side they can deadlock on CPUs
    logits = jnp.where(jnp.isfinite(best.value)[:, None], logits, jnp.nan)
    point = policy_point(at, logits, tau)
    log_best = jax.nn.log_softmax(backup(at.mdp, at.reward, best.value) / tau)
    divergence = jnp.sum(point.pi * (jax.nn.log_softmax(logits) - log_best), -1)
    gap = tau * jnp.vdot(point.visits, divergence)
    square = jnp.sum(logits_grad(point) ** 2)
    return PolyakLojasiewicz(square / (tau * gap), square, gap)


def random_policies(key: Key, shape: tuple[int, int], scales: jax.Array) -> jax.Array:
    """Normal logits [n, S, A], one table for every scale of [n]; large ones are nearly deterministic policies."""
    return scales[:, None, None] * jax.random.normal(key, (scales.size, *shape), scales.dtype)


def curvature(
    problem: Problem, x: PyTree, logits: jax.Array, tau: Scalar, num_iterations: int = NUM_ITERATIONS
) -> jax.Array:
    """Eigenvalues of -(d/dtheta)^2 J_tau at softmax logits, ascending, by matrix-free Lanczos.

    Logits may be shifted in every state without changing the policy; those directions are left out. A smallest
    eigenvalue above zero says strongly concave, one below says not concave.

    Args:
      problem: any tabular problem.
      x: upper variable.
      logits: [S, A].
      tau: entropy weight, > 0.
      num_iterations: as many Ritz values are returned, S (A - 1) at most, where they are all eigenvalues.
    """
    at, x = model(problem, x)
    logits, tau = as_float(logits), jnp.asarray(tau, at.reward.dtype)
    point = policy_point(at, logits, tau)
    shape = logits.shape

    def project(v: jax.Array) -> jax.Array:
        table = v.reshape(shape)
        return (table - table.mean(-1, keepdims=True)).ravel()

    def product(v: jax.Array) -> jax.Array:
        return -logits_hessian_product(at, point, tau, v.reshape(shape)).ravel()

    start = jax.random.normal(random.key(1), (logits.size,), logits.dtype)
    return lanczos(product, start, min(num_iterations, shape[0] * (shape[1] - 1)), project)


def response_slope(problem: Problem, x: PyTree, tau: Scalar, num_iterations: int = 30) -> jax.Array:
    """|d pi*_tau / dx|, the local Lipschitz constant of the best response: Euclidean in x and in the table [S, A].

    Args:
      problem: any tabular problem.
      x: upper variable.
      tau: entropy weight, > 0.
      num_iterations: of Lanczos on the squared map, at most the number of coordinates of x.
    """
    at, x = model(problem, x)
    mdp, tau = at.mdp, jnp.asarray(tau, at.reward.dtype)
    pi = soft_optimal(mdp, at.reward, tau).pi
    chain = linear.factorize(mdp, pi)
    flat, unravel = ravel_pytree(x)

    def rewards(flat: jax.Array) -> jax.Array:
        return expectation(mdp, transition_table(problem.reward, mdp, unravel(flat)).astype(pi.dtype))

    def square(direction: jax.Array) -> jax.Array:
        _, rewards_dot = jax.jvp(rewards, (flat,), (direction,))
        q_dot = backup(mdp, rewards_dot, linear.evaluate(chain, jnp.sum(pi * rewards_dot, -1)))
        pi_dot = pi * centered(pi, q_dot) / tau
        y = pi * centered(pi, pi_dot) / tau
        mu = linear.accumulate(chain, arrivals(mdp, y))
        return ravel_pytree(table_grad(problem.reward, mdp, x, y + mu[:, None] * pi))[0]

    start = jax.random.normal(random.key(2), flat.shape, flat.dtype)
    values = lanczos(square, start, min(num_iterations, flat.size), lambda v: v)
    return jnp.sqrt(jnp.maximum(values[-1], 0))

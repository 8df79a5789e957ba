"""Exact quantities of a given policy: returns, visitation, the upper objective and its partial gradients."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from hfac.tabular.dynamics import (
    Model,
    as_float,
    direct_terms,
    model,
    occupancy,
    soft_value,
    table_grad,
    visits,
)
from hfac.tabular.problem import Problem
from hfac.types import PyTree, Scalar


def visitation(problem: Problem, pi: Any) -> jax.Array:
    """d^pi(s) = (1 - gamma) sum_t gamma^t P(s_t = s), [S].

    Args:
      problem: any tabular problem.
      pi: policy table [S, A], rows sum to 1.
    """
    pi = as_float(pi)
    chex.assert_shape(pi, problem.mdp.next_states.shape[:2])
    return visits(problem.mdp.astype(pi.dtype), pi)


def value(problem: Problem, x: PyTree, pi: jax.Array, tau: Scalar) -> jax.Array:
    """V_tau^pi, unnormalised, entropy included. [S]."""
    at, x = model(problem, x)
    chex.assert_shape(pi, at.reward.shape)
    return soft_value(at.mdp, at.reward, as_float(pi), tau)


def leader_value(problem: Problem, x: PyTree, pi: jax.Array) -> jax.Array:
    """U^pi: the value of (1 - gamma) c, so that <rho, U> is f's running cost. [S]."""
    at, x = model(problem, x)
    return soft_value(at.mdp, (1 - at.mdp.discount) * at.cost, as_float(pi), 0.0)


def regularized_return(problem: Problem, x: PyTree, pi: jax.Array, tau: Scalar) -> jax.Array:
    """J_tau(x, pi) = E[sum_t gamma^t (r_x - tau log pi)], unnormalised."""
    return jnp.vdot(problem.mdp.astype(jnp.result_type(float)).initial, value(problem, x, pi, tau))


def regularized_return_grad(problem: Problem, x: PyTree, pi: jax.Array) -> PyTree:
    """d_x J_tau(x, pi) at fixed pi; tau does not matter. Same tree as x."""
    at, x = model(problem, x)
    pi = as_float(pi)
    return table_grad(problem.reward, at.mdp, x, occupancy(at.mdp, pi) / (1 - at.mdp.discount))


def upper_objective(problem: Problem, x: PyTree, pi: jax.Array) -> jax.Array:
    """f(x, pi) = h(x) + E_{d^pi, pi, P}[c] + g(x, pi)."""
    at, x = model(problem, x)
    pi = as_float(pi)
    running = jnp.vdot(at.mdp.initial, soft_value(at.mdp, (1 - at.mdp.discount) * at.cost, pi, 0.0))
    return running + direct_terms(problem, x, pi)


def upper_objective_grad(problem: Problem, x: PyTree, pi: jax.Array) -> PyTree:
    """d_x f(x, pi) at fixed pi. Same tree as x."""
    at, x = model(problem, x)
    pi = as_float(pi)
    return upper_grad_from(problem, at, x, pi, occupancy(at.mdp, pi))


def upper_grad_from(problem: Problem, at: Model, x: PyTree, pi: jax.Array, flow: jax.Array) -> PyTree:
    """The same from the policy's given occupancy [S, A]."""
    grad = jax.grad(lambda x: direct_terms(problem, x, pi))(x)
    if problem.cost is None:
        return grad
    return jax.tree.map(jnp.add, grad, table_grad(problem.cost, at.mdp, x, flow))

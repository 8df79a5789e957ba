"""Exact quantities of a given policy: returns, visitation, the upper objective and its partial gradients."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from hfac.exact import _linear
from hfac.mdp import TabularMDP
from hfac.problem import Problem, transition_table
from hfac.types import PyTree, Scalar


class Model(NamedTuple):
    """A problem at one x: dynamics and expected one-step tables, all in one dtype."""

    mdp: TabularMDP
    reward: jax.Array  # [S, A], E_{s'}[r_x]
    cost: jax.Array  # [S, A], E_{s'}[c]


def model(problem: Problem, x: PyTree, dtype: Any = None) -> tuple[Model, PyTree]:
    """Tabulate a problem at x in a float type, the default one unless given; also returns x in it."""
    x = as_float(x, dtype)
    mdp = problem.mdp.astype(dtype or jnp.result_type(float))
    if problem.cost is None:
        cost = jnp.zeros(mdp.probs.shape[:2], mdp.probs.dtype)
    else:
        cost = expectation(mdp, _table(problem.cost, mdp, x))
    return Model(mdp, expectation(mdp, _table(problem.reward, mdp, x)), cost), x


def as_float(tree: PyTree, dtype: Any = None) -> PyTree:
    """Arrays in a float type; the default is float64 where x64 is on."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype or jnp.result_type(float)), tree)


def _table(function: Any, mdp: TabularMDP, x: PyTree) -> jax.Array:
    return transition_table(function, mdp, x).astype(mdp.probs.dtype)


def expectation(mdp: TabularMDP, table: jax.Array) -> jax.Array:
    """Mean over successors of a table [S, A, K]; impossible entries count nothing. [S, A]."""
    return jnp.sum(jnp.where(mdp.probs > 0, mdp.probs * table, 0), axis=-1)


def entropy(pi: jax.Array) -> jax.Array:
    """Entropy of every row of a policy table, nats. [S]."""
    return -jnp.sum(jax.scipy.special.xlogy(pi, pi), axis=-1)


def backup(mdp: TabularMDP, rewards: jax.Array, v: jax.Array) -> jax.Array:
    """Bellman backup ``Q = r + gamma P v``. [S, A]."""
    return rewards + mdp.continuation()[:, None] * jnp.einsum("sal,sl->sa", mdp.joint_probs, v[mdp.joint_successors])


def visits(mdp: TabularMDP, pi: jax.Array) -> jax.Array:
    """Normalised visitation d^pi [S]; sums to less than one where episodes end."""
    return (1 - mdp.discount) * _linear.accumulate(_linear.factorize(mdp, pi), mdp.initial)


def soft_value(mdp: TabularMDP, rewards: jax.Array, pi: jax.Array, tau: Scalar) -> jax.Array:
    """V^pi of the rewards [S, A] with entropy weight tau. [S]."""
    return _linear.evaluate(_linear.factorize(mdp, pi), jnp.sum(pi * rewards, -1) + tau * entropy(pi))


def soft_sweeps(
    mdp: TabularMDP, rewards: jax.Array, pi: jax.Array, tau: Scalar, v: jax.Array, count: int = 8
) -> jax.Array:
    """A few Bellman sweeps of a policy's soft value from v, without a factorisation. [S]."""
    chain = _linear.sparse(mdp, pi)
    income = jnp.sum(pi * rewards, -1) + tau * entropy(pi)
    return _linear.repeat(lambda v: income + _linear.backward(chain, v), v, count)


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
    return table_grad(problem.reward, at.mdp, x, visits(at.mdp, pi)[:, None] * pi / (1 - at.mdp.discount))


def upper_objective(problem: Problem, x: PyTree, pi: jax.Array) -> jax.Array:
    """f(x, pi) = h(x) + E_{d^pi, pi, P}[c] + g(x, pi)."""
    at, x = model(problem, x)
    pi = as_float(pi)
    running = jnp.vdot(at.mdp.initial, soft_value(at.mdp, (1 - at.mdp.discount) * at.cost, pi, 0.0))
    return running + direct_terms(problem, x, pi)


def direct_terms(problem: Problem, x: PyTree, pi: jax.Array) -> jax.Array:
    """h(x) + g(x, pi): what of f needs no visitation."""
    total = jnp.zeros((), pi.dtype)
    if problem.h is not None:
        total += problem.h(x)
    if problem.g is not None:
        total += problem.g(x, pi)
    return total


def upper_objective_grad(problem: Problem, x: PyTree, pi: jax.Array) -> PyTree:
    """d_x f(x, pi) at fixed pi. Same tree as x."""
    at, x = model(problem, x)
    pi = as_float(pi)
    grad = jax.grad(lambda x: direct_terms(problem, x, pi))(x)
    if problem.cost is None:
        return grad
    return jax.tree.map(jnp.add, grad, table_grad(problem.cost, at.mdp, x, visits(at.mdp, pi)[:, None] * pi))


def table_grad(function: Any, mdp: TabularMDP, x: PyTree, weights: jax.Array) -> PyTree:
    """``sum_{s,a} weights(s,a) E_{s'}[grad_x function(x, s, a, s')]`` for weights [S, A]."""
    return jax.grad(lambda x: jnp.vdot(weights, expectation(mdp, _table(function, mdp, x))))(x)

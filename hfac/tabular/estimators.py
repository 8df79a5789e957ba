"""Estimators: one published equation per function, each a weighted sum over a batch of transitions.

The batch's weights make the sum a sample mean or, with the exact sampler, an expectation. gamma is the problem's
discount, tau the entropy weight, w the penalty parameter (small = strong).
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from hfac.schedules import Schedules
from hfac.tabular.critics import Critic
from hfac.tabular.policies import Policy, policy_table
from hfac.tabular.problem import Problem, as_float, on_batch, weighted_grad
from hfac.types import PyTree, Transition, add_updates, densify, map_values, weighted_sum


def log_prob(policy: Policy, theta: PyTree, batch: Transition) -> jax.Array:
    """Log pi_theta(a|s) of every transition, [B]."""
    chex.assert_equal_shape([batch.state, batch.action])
    every = jax.vmap(policy.log_probs, (None, 0))(theta, batch.state)
    return jnp.take_along_axis(every, batch.action[:, None], axis=-1)[:, 0]


def soft_reward(
    problem: Problem, policy: Policy, x: PyTree, theta: PyTree, batch: Transition, tau: jax.Array
) -> jax.Array:
    """r_x(s, a, s') - tau log pi_theta(a|s) of every transition, [B]."""
    reward = on_batch(problem.reward, x, batch, batch.weight.dtype)
    return reward - tau * log_prob(policy, theta, batch)


def leader_cost(problem: Problem, x: PyTree, batch: Transition) -> jax.Array:
    """(1 - gamma) c(x, s, a, s') of every transition, [B]: its value U is on f's own scale; 0 without a cost."""
    if problem.cost is None:
        return jnp.zeros_like(batch.weight)
    return (1 - _discount(problem, batch.weight)) * on_batch(problem.cost, x, batch, batch.weight.dtype)


def temporal_difference(critic: Critic, v: PyTree, batch: Transition, reward: jax.Array) -> jax.Array:
    """Delta = r + gamma v(s') - v(s), without the bootstrap where the episode ends. [B].

    Args:
      critic: state values.
      v: its parameters.
      batch: transitions.
      reward: [B], entropy bonus included if there is one.
    """
    chex.assert_equal_shape([reward, batch.weight])
    value = jax.vmap(critic.value, (None, 0))
    return reward + batch.discount * value(v, batch.next_state) - value(v, batch.state)


def policy_gradient(policy: Policy, theta: PyTree, batch: Transition, advantage: jax.Array) -> PyTree:
    """E[ A(s, a) grad log pi_theta(a|s) ]: (1 - gamma) times the policy gradient. Ascent direction."""
    chex.assert_equal_shape([advantage, batch.weight])
    scores = jax.vmap(policy.score, (None, 0, 0))(theta, batch.state, batch.action)
    return weighted_sum(batch.weight * advantage, scores)


def actor(
    problem: Problem,
    policy: Policy,
    x: PyTree,
    theta: PyTree,
    batch: Transition,
    advantage: jax.Array,
    w: jax.Array | None = None,
) -> PyTree:
    """Actor direction for J_tau - w f: the policy gradient, less w (1 - gamma) d_theta g where f has a policy term.

    Args:
      problem: gives g.
      policy: the tracked policy.
      x: upper variable.
      theta: parameters of the policy.
      batch: transitions drawn from it.
      advantage: [B], delta - w delta_U; the running cost is already in it.
      w: penalty parameter, or None to track J_tau alone.
    """
    direction = policy_gradient(policy, theta, batch, advantage)
    if problem.g is None or w is None:
        return direction
    scale = -w * (1 - _discount(problem, w))
    g, num_states = as_float(problem.g), problem.mdp.num_states
    pull = jax.grad(lambda theta: g(x, policy_table(policy, theta, num_states)))(theta)
    return add_updates(theta, direction, jax.tree.map(lambda leaf: scale * leaf, pull))


def semi_gradient(critic: Critic, v: PyTree, batch: Transition, delta: jax.Array) -> PyTree:
    """E[ delta grad v(s) ]: the TD(0) direction of a critic."""
    return weighted_sum(batch.weight * delta, jax.vmap(critic.grad, (None, 0))(v, batch.state))


def reward_contrast(problem: Problem, x: PyTree, batch: Transition, batch_pen: Transition, scale: jax.Array) -> PyTree:
    """Scale ( E[grad r_x(s, a, s')] - E_pen[grad r_x(s, a, s')] ), the penalty's part of the hyper-gradient."""
    pairs = [(batch, scale * batch.weight), (batch_pen, -scale * batch_pen.weight)]
    return add_updates(x, *(weighted_grad(problem.reward, problem.reward_grad, x, *pair) for pair in pairs))


def cost_gradient(problem: Problem, x: PyTree, batch: Transition) -> PyTree | None:
    """E[ d_x c(x, s, a, s') ], or None without a running cost."""
    if problem.cost is None:
        return None
    return weighted_grad(problem.cost, problem.cost_grad, x, batch, batch.weight)


def h_gradient(problem: Problem, x: PyTree) -> PyTree | None:
    """d_x h(x), or None without h."""
    return None if problem.h is None else jax.grad(as_float(problem.h))(x)


def g_gradient(problem: Problem, x: PyTree, pi: jax.Array | None) -> PyTree | None:
    """d_x g(x, pi) at fixed pi [S, A], or None without g."""
    return None if problem.g is None else jax.grad(as_float(problem.g))(x, pi)


def policy_if_needed(problem: Problem, policy: Policy, theta: PyTree) -> jax.Array | None:
    """The policy table [S, A] if g needs it, else None."""
    return None if problem.g is None else policy_table(policy, theta, problem.mdp.num_states)


def penalty_hypergradient(
    problem: Problem,
    x: PyTree,
    batch: Transition,
    batch_pen: Transition,
    pi: jax.Array | None,
    pi_pen: jax.Array | None,
    w: jax.Array,
) -> PyTree:
    """Hyper-gradient of the penalty reformulation, first order only (Zeng et al. [2601.16399], Algorithm 1).

        d_x h + d_x g + d_x c + 1 / (w (1 - gamma)) ( grad r(s, a, s') - grad r(s_, a_, s_') )

    Unbiased for grad Phi_{w,tau} once the two policies are the best response and the penalised one; that has bias
    O(w) against grad Phi_tau. d_x c and d_x g are taken at the penalised policy.

    Args:
      problem: the bi-level problem.
      x: upper variable.
      batch: transitions from the policy that tracks the best response.
      batch_pen: transitions (s_, a_, s_') from the one that tracks the penalised policy.
      pi: table of the former, unused here.
      pi_pen: table of the latter [S, A]; only g needs it.
      w: penalty parameter, > 0.
    """
    del pi
    return add_updates(
        x,
        h_gradient(problem, x),
        g_gradient(problem, x, pi_pen),
        cost_gradient(problem, x, batch_pen),
        reward_contrast(problem, x, batch, batch_pen, 1 / (w * (1 - _discount(problem, w)))),
    )


def central_hypergradient(
    problem: Problem,
    x: PyTree,
    batch: Transition,
    batch_pen: Transition,
    pi: jax.Array | None,
    pi_pen: jax.Array | None,
    w: jax.Array,
) -> PyTree:
    """Central-difference relative of `penalty_hypergradient`, same arguments, bias O(w^2).

        d_x h + (d_x g + d_x c at both policies) / 2 + 1 / (2 w (1 - gamma)) ( grad r(s, a, s') - grad r(s_, a_, s_') )

    The first policy tracks the maximiser of J_tau + w f, the second that of J_tau - w f.
    """
    terms = [cost_gradient(problem, x, batch), cost_gradient(problem, x, batch_pen)]
    terms += [g_gradient(problem, x, pi), g_gradient(problem, x, pi_pen)]
    return add_updates(
        x,
        h_gradient(problem, x),
        *(None if term is None else map_values(lambda v: v / 2, term) for term in terms),
        reward_contrast(problem, x, batch, batch_pen, 1 / (2 * w * (1 - _discount(problem, w)))),
    )


def reward_gradients(problem: Problem, x: PyTree, batch: Transition) -> PyTree:
    """Gradients of r_x(s, a, s') in x, one per transition, dense: x's tree with a leading axis B."""
    grad = problem.reward_grad or jax.grad(problem.reward)
    return jax.vmap(lambda s, a, s_next: densify(x, grad(x, s, a, s_next)))(batch.state, batch.action, batch.next_state)


def response_hypergradient(
    problem: Problem, x: PyTree, batch: Transition, leader_advantage: jax.Array, response: PyTree, tau: jax.Array
) -> PyTree:
    """Hyper-gradient through the answer of the best response, first order, from its own transitions alone.

    The likelihood-ratio form of Thoma et al. [2406.01575] and Yang et al. (SoBiRL, AISTATS 2025), with
    grad_x log pi*(a|s) = ( G(s, a) - E_pi*[G(s, .)] ) / tau, G the discounted sum of grad r from (s, a) on:

        d_x h + d_x c + 1 / ((1 - gamma) tau) E[ A_U(s, a) tau grad_x log pi*(a|s) ]

    Args:
      problem: the bi-level problem, without a policy term.
      x: upper variable.
      batch: transitions from the policy that tracks the best response.
      leader_advantage: A_U(s, a) of the leader's cost (1 - gamma) c, or its action value, [B].
      response: tau grad_x log pi*(a|s) or an unbiased sample of it given (s, a), x's tree with a leading axis B.
      tau: entropy weight, > 0.
    """
    scale = 1 / ((1 - _discount(problem, tau)) * tau)
    return add_updates(
        x,
        h_gradient(problem, x),
        cost_gradient(problem, x, batch),
        weighted_sum(scale * batch.weight * leader_advantage, response),
    )


def critic_bounds(problem: Problem, schedules: Schedules, dtype: Any) -> dict[str, jax.Array]:
    """Half-widths of the boxes that hold every true value; a critic without a bound is absent."""
    bounds: dict[str, jax.Array] = {}
    if problem.reward_bound is not None:
        tau_0 = schedules.at(jnp.int32(0), dtype).entropy
        num_actions = jnp.asarray(problem.mdp.num_actions, dtype)
        span = 1 - jnp.asarray(problem.mdp.discount, dtype)
        bounds |= dict.fromkeys(("value", "value_pen"), (problem.reward_bound + tau_0 * jnp.log(num_actions)) / span)
    if problem.cost_bound is not None:
        bounds |= dict.fromkeys(("leader_value", "leader_value_neg"), jnp.asarray(problem.cost_bound, dtype))
    return bounds


def _discount(problem: Problem, like: jax.Array) -> jax.Array:
    return jnp.asarray(problem.mdp.discount, like.dtype)

"""The advantage form of the hyper-gradient with critics: one policy, one chain, no penalty.

First order, single loop, model-free. What it saves in bias it pays in noise, which grows like 1/tau; its vector critic
takes S times the memory of x, and the compiler may copy it at every step.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hfac.algorithms import _common
from hfac.schedules import Schedules
from hfac.tabular import critics, estimators, policies, sampling
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Key, Needs, PyTree, Rows, Solution, Transition, cast, weighted_sum

NEEDS = Needs()


class State(NamedTuple):
    """Everything the next step needs."""

    step: jax.Array  # int32 [], k
    status: jax.Array  # int32 [], latched Status
    failed_at: jax.Array  # int32 [], step of the first fault, or -1
    x: PyTree  # upper variable
    theta: PyTree  # actor of the best response
    value: PyTree  # its critic
    leader_action_value: jax.Array  # critic Q_U of f's running cost [S, A]
    features: PyTree  # critic psi of grad r, x's tree with a leading axis S
    chains: Any  # of the sampler
    optimizers: dict  # variable -> optax state, for those that have one


class Info(NamedTuple):
    """What is worth looking at, summed over the batch."""

    num_samples: jax.Array  # int32 [], environment transitions of this step
    delta: jax.Array  # [], mean temporal-difference error of the policy's critic
    delta_leader: jax.Array  # [], of the leader's critic


@_common.tabular
def advantage(
    problem: Problem,
    *,
    sampler: sampling.SamplerName = "markov",
    batch_size: int = 1,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build the single-loop actor-critic on the advantage form of the hyper-gradient.

    The gradient is that of HPGD, Thoma et al. [arXiv 2406.01575], with critics in place of rollouts and planning. psi
    are successor features (Barreto et al., 2017) of grad r, pi is pi_theta, and all right-hand sides are step k's:

        delta   = r_x(s,a,s') - tau log pi(a|s) + gamma V(s') - V(s)
        delta_U = (1-gamma) c(x,s,a,s') + gamma sum_a' pi(a'|s') Q_U(s',a') - Q_U(s,a)
        delta_psi = grad r_x(s,a,s') + gamma psi(s') - psi(s)
        A_U     = Q_U(s,a) - sum_a' pi(a'|s) Q_U(s,a')
        x     <- x - zeta ( d_x h + d_x c + A_U delta_psi / ((1-gamma) tau) )
        theta <- theta + alpha delta grad log pi(a|s)
        V(s), Q_U(s,a), psi(s) move by beta delta, beta delta_U, beta delta_psi

    With true critics and pi the best response, the direction of x is an unbiased estimate of grad Phi_tau: two
    sampled errors would share s' and be correlated, so one of the two factors is an action-value critic. The penalty
    schedule is not used. Departures from HPGD: the policy is tracked, not solved for, and the two advantages are
    critics', biased until these have converged, where HPGD's are rollouts'.

    Args:
      problem: a tabular bi-level problem without a policy term g.
      sampler: markov, iid, or exact (expectations; needs the model).
      batch_size: chains, >= 1.
      optimizers: variable name -> optax optimiser at unit rate, in place of plain stochastic approximation.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; its state names are those of `State`.

    Raises:
      ValueError: if the problem has a policy term, or an option is out of range or does not go with another.
    """
    _common.refuse_policy_term(problem, "advantage")
    return one_policy(problem, sampler, batch_size, optimizers, dtype)


def one_policy(
    problem: Problem,
    sampler: str,
    batch_size: int,
    optimizers: Mapping[str, optax.GradientTransformation] | None,
    dtype: Any,
    is_one_step: bool = False,
    has_baseline: bool = True,
) -> Algorithm:
    """Build a method whose leader follows E[ leader's value of (s, a) times tau grad log pi(a|s) ].

    Args:
      problem: a tabular bi-level problem without a policy term g.
      sampler: markov, iid, or exact.
      batch_size: chains, >= 1.
      optimizers: variable name -> optax optimiser at unit rate.
      dtype: of every float in a step.
      is_one_step: drop what an action's answer to x owes to later rewards: psi(s) is then the mean of grad r at s.
      has_baseline: A_U rather than Q_U.
    """
    mdp = problem.mdp.astype(dtype)
    policy = policies.tabular_softmax(mdp.num_states, mdp.num_actions, dtype)
    critic = critics.table(mdp.num_states, dtype)
    source = sampling.build(sampler, mdp, policy, batch_size, num_policies=1)
    optimizers = dict(optimizers or {})

    def init(key: Key, schedules: Schedules) -> State:
        del schedules
        keys = [jax.random.fold_in(key, i) for i in range(4)]
        x = cast(problem.init_x(keys[2]), dtype)
        tracked = {
            "x": x,
            "theta": policy.init(keys[0]),
            "value": critic.init(keys[1]),
            "leader_action_value": jnp.zeros((mdp.num_states, mdp.num_actions), dtype),
            "features": jax.tree.map(lambda leaf: jnp.zeros((mdp.num_states, *leaf.shape), dtype), x),
        }
        moments = _common.init_optimizers(optimizers, tracked)
        return State(**_common.first_counters(), chains=source.init(keys[3]), optimizers=moments, **tracked)

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        zeta, alpha, beta, _, tau = schedules.at(state.step, dtype)
        x, theta, v, q, psi = state.x, state.theta, state.value, state.leader_action_value, state.features
        (batch,), chains, num_samples = source.draw(key, state.chains, theta)
        reward = estimators.soft_reward(problem, policy, x, theta, batch, tau)
        delta = estimators.temporal_difference(critic, v, batch, reward)

        def mean_value(states: jax.Array) -> jax.Array:
            log_pi = jax.vmap(policy.log_probs, (None, 0))(theta, states)
            return jnp.sum(jnp.exp(log_pi) * q[states], axis=-1)

        chosen = q[batch.state, batch.action]
        delta_u = estimators.leader_cost(problem, x, batch) + batch.discount * mean_value(batch.next_state) - chosen
        leader = chosen - mean_value(batch.state) if has_baseline else chosen
        later = jnp.zeros_like(batch.discount) if is_one_step else batch.discount
        delta_psi = _feature_error(psi, batch, estimators.reward_gradients(problem, x, batch), later)

        grad_x = estimators.response_hypergradient(problem, x, batch, leader, delta_psi, tau)
        move = {
            "x": (zeta, _common.negative(grad_x)),
            "theta": (alpha, estimators.policy_gradient(policy, theta, batch, delta)),
            "value": (beta, estimators.semi_gradient(critic, v, batch, delta)),
            "leader_action_value": (beta, _entries(batch, delta_u, mdp.num_actions)),
            "features": (beta, weighted_sum(batch.weight, jax.tree.map(lambda e: Rows(batch.state, e), delta_psi))),
        }
        bounds = estimators.critic_bounds(problem, schedules, dtype)
        if "leader_value" in bounds:
            bounds["leader_action_value"] = bounds["leader_value"]
        moved = _common.move(state._replace(chains=chains), move, optimizers, bounds)
        return moved, Info(num_samples, _common.mean(batch, delta), _common.mean(batch, delta_u))

    def solution(state: State) -> Solution:
        return Solution(state.x, state.theta)

    return Algorithm(init, step, solution)


def _feature_error(psi: PyTree, batch: Transition, grads: PyTree, later: jax.Array) -> PyTree:
    """Grad r + later psi(s') - psi(s) of every transition: x's tree with a leading axis B."""

    def leaf(table: jax.Array, each: jax.Array) -> jax.Array:
        error = lambda grad, discount, s, s_next: grad + discount * table[s_next] - table[s]  # noqa: E731
        return jax.vmap(error)(each, later, batch.state, batch.next_state)

    return jax.tree.map(leaf, psi, grads)


def _entries(batch: Transition, delta: jax.Array, num_actions: int) -> Rows:
    """TD(0) direction of a table [S, A]: every transition touches its own entry."""
    is_chosen = batch.action[:, None] == jnp.arange(num_actions, dtype=batch.action.dtype)[None, :]
    return Rows(batch.state, jnp.where(is_chosen, (batch.weight * delta)[:, None], 0))

"""HPGD: the follower is planned, the hyper-gradient is estimated from episodes that it plays.

Needs the model for the plan, a plan for every upper step (nested), and a constant entropy weight.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hfac.algorithms import _common, _planning
from hfac.algorithms._rollouts import Rollouts, discounted_sums, roll_out
from hfac.schedules import Schedules
from hfac.tabular import estimators, policies
from hfac.tabular.dynamics import model, soft_optimal
from hfac.tabular.problem import Problem, as_float, weighted_grad
from hfac.types import Algorithm, Key, Needs, PyTree, add_updates

NEEDS = Needs(model=True, nested=True, fixed_tau=True)


class Info(NamedTuple):
    """What is worth looking at."""

    num_samples: jax.Array  # int32 [], transitions of this step's episodes
    hyper_objective: jax.Array  # [], f at the last x, its running cost estimated from the episodes


@_common.tabular
def hpgd(
    problem: Problem,
    *,
    num_episodes: int = 64,
    horizon: int = 200,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build hyper policy gradient descent, Thoma et al. [arXiv 2406.01575].

    The best response pi* is computed from the model, warm-started, and plays a batch of episodes:

        x <- x - zeta ( d_x f + E[ sum_t gamma^t A_U(s_t, a_t) dA/dx(s_t, a_t) ] / tau )

    A_U is the advantage of the leader's cost (1 - gamma) c and dA/dx that of grad r_x, the follower's discounted
    reward differentiated at fixed policy. Both are every-visit Monte-Carlo tables: the mean return after (s, a) less
    the mean after s. grad r enters linearly, so each transition gets one weight and no table of gradients is built.

    The tables are products of averages over the same episodes: the estimate has a bias of order 1 / visits of (s, a).
    Departures from the released code: episodes follow the problem's own dynamics, with which the plan is made too (the
    code plans with one kernel and samples another); all contexts share every batch; an episode that is cut counts up
    to there, and only its first half is averaged, which leaves every return at least horizon / 2 steps (the code
    averages all of it, the last steps with next to no return); episodes that never end are no special case (the code
    averages over finished ones, NaN if there is none). Cutting has a bias of order gamma^(horizon / 2), less where
    episodes end sooner. No gradient clipping; `optimizers` can do it.

    Only the upper and the entropy schedule are used, the latter at its scale throughout.

    Args:
      problem: a tabular bi-level problem without a policy term.
      num_episodes: episodes for each step, >= 1.
      horizon: steps after which an episode is cut, >= 2.
      optimizers: ``{"x": optax optimiser at unit rate}``, in place of plain gradient descent.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; its solution's policy answers the x of the step before.

    Raises:
      ValueError: if the problem has a policy term, a number is out of range, or an optimiser is not of x.
    """
    _common.refuse_policy_term(problem, "hpgd")
    _common.check_count("num_episodes", num_episodes)
    _common.check_count("horizon", horizon)
    if horizon < 2:
        raise ValueError(f"horizon must be at least 2, got {horizon}; half of it must remain after a visit")
    mdp = problem.mdp.astype(dtype)
    policy = policies.tabular_softmax(mdp.num_states, mdp.num_actions, dtype)
    optimizers = dict(optimizers or {})
    memory = {"value": jnp.zeros(mdp.num_states, dtype)}  # soft value of the last response

    init = _common.planned(problem, memory, optimizers, dtype)

    def step(key: Key, state: _common.Planned, schedules: Schedules) -> tuple[_common.Planned, Info]:
        rates = _common.at_fixed(schedules, "entropy").at(state.step, dtype)
        at, x = model(problem, state.x, dtype)
        response = soft_optimal(at.mdp, at.reward, rates.entropy, start=state.memory["value"])
        theta = jnp.log(jnp.maximum(response.pi, jnp.finfo(dtype).tiny))
        episodes = roll_out(key, mdp, policy, theta, num_episodes, horizon, dtype)
        grad = _hypergradient(problem, x, episodes, rates.entropy)
        moved = _common.move(state, {"x": (rates.upper, _common.negative(grad))}, optimizers, {})
        moved = _common.keep_if_healthy(moved, state, theta=theta, memory={"value": response.value})
        return moved, Info(jnp.sum(episodes.is_live, dtype=jnp.int32), _objective(problem, x, episodes))

    return Algorithm(init, step, _planning.solution)


def _hypergradient(problem: Problem, x: PyTree, episodes: Rollouts, tau: jax.Array) -> PyTree:
    """Hyper-gradient of f's running cost and h, for x, from episodes of the best response."""
    batch, is_live = episodes
    gamma = jnp.asarray(problem.mdp.discount, batch.weight.dtype)
    is_counted = is_live & (jnp.arange(is_live.shape[0]) < is_live.shape[0] // 2)[:, None]
    cost = jnp.where(is_live, estimators.leader_cost(problem, x, batch).reshape(is_live.shape), 0)
    advantage = _advantages(problem, episodes, discounted_sums(cost, gamma, to_go=True), is_counted)
    # sum_t gamma^t A_U dA / tau is linear in the gradients' returns, whose means dA holds: its adjoint weighs a visit
    # by the same operation, and the trace carries that weight to every later grad r
    pull = advantage * batch.weight.reshape(is_live.shape) / ((1 - gamma) * tau)
    trace = discounted_sums(_advantages(problem, episodes, pull, is_counted), gamma)
    weight = jnp.where(is_live, trace, 0).ravel()
    return add_updates(
        x,
        estimators.h_gradient(problem, x),
        estimators.cost_gradient(problem, x, batch),
        weighted_grad(problem.reward, problem.reward_grad, x, batch, weight),
    )


def _advantages(problem: Problem, episodes: Rollouts, values: jax.Array, is_counted: jax.Array) -> jax.Array:
    """Mean of the values at counted visits of (s, a), less that at visits of s; at every visit, 0 if not counted."""
    num_states, num_actions = problem.mdp.num_states, problem.mdp.num_actions
    state, action = episodes.batch.state, episodes.batch.action
    counted = is_counted.ravel().astype(values.dtype)

    def mean(index: jax.Array, size: int) -> jax.Array:
        pairs = jnp.stack([counted, counted * values.ravel()], axis=-1)
        count, total = jnp.zeros((size, 2), values.dtype).at[index].add(pairs).T
        return (total / jnp.maximum(count, 1))[index]

    each = mean(state * num_actions + action, num_states * num_actions) - mean(state, num_states)
    return (counted * each).reshape(values.shape)


def _objective(problem: Problem, x: PyTree, episodes: Rollouts) -> jax.Array:
    gamma = jnp.asarray(problem.mdp.discount, episodes.batch.weight.dtype)
    running = jnp.sum(episodes.batch.weight * estimators.leader_cost(problem, x, episodes.batch)) / (1 - gamma)
    return running if problem.h is None else running + as_float(problem.h)(x)

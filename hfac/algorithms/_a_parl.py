"""A-PARL: implicit differentiation of the lower level's policy gradient, every term estimated from episodes.

Second order, model-free, nested, with a constant entropy weight.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hfac._compiler import random
from hfac.algorithms import _common
from hfac.algorithms._rollouts import roll_out
from hfac.options import Number
from hfac.schedules import Schedules
from hfac.tabular import critics, estimators, policies, sampling
from hfac.tabular.problem import Problem, as_float, on_batch, weighted_grad
from hfac.types import Algorithm, Key, Needs, PyTree, Solution, Transition, add_updates

NEEDS = Needs(hessian=True, nested=True, fixed_tau=True)


class State(NamedTuple):
    """Everything the next step needs."""

    step: jax.Array  # int32 [], k, upper steps
    status: jax.Array  # int32 [], latched Status
    failed_at: jax.Array  # int32 [], step of the first fault, or -1
    x: PyTree  # upper variable
    theta: jax.Array  # actor
    value: jax.Array  # its critic
    leader_value: jax.Array  # critic of f's running cost
    chains: Any  # of the sampler
    optimizers: dict  # "x" -> optax state, if there is an optimiser


class Info(NamedTuple):
    """What is worth looking at."""

    num_samples: jax.Array  # int32 [], transitions of the lower steps and of the episodes
    residual: jax.Array  # [], of the linear system, relative to its right-hand side


@_common.tabular
def a_parl(
    problem: Problem,
    *,
    inner_steps: int = 100,
    num_episodes: int = 64,
    horizon: int = 200,
    cg_steps: int = 10,
    damping: Number = 0.1,
    sampler: sampling.SamplerName = "markov",
    batch_size: int = 1,
    projection: Literal["box", "ball"] = "box",
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build A-PARL, Chakraborty et al. [arXiv 2308.02585].

    A step is one upper step: K actor-critic steps of theta at the current x, then a batch of episodes for

        x <- x - zeta ( d_x f - M H^-1 d_theta f ),   H = d_theta^2 J_tau,   M = d_x d_theta J_tau

    The derivatives in theta of J_tau are those, at theta' = theta, of the mean over the episodes of

        sum_t gamma^t ( rho_t(theta') delta_t - tau KL(pi_theta' | pi_theta)(s_t) )

    rho_t is the probability ratio of the actions up to t, delta_t the soft temporal-difference error at theta: causal
    score-function estimates with the critic as baseline, the entropy's share of them exact in the actions, unbiased
    but for the critic that stands in after the cut. f's running cost goes the same way with a critic of its own; g is
    differentiated exactly. H is only multiplied with: conjugate gradients solve (damping tau I - H) v = d_theta f and
    rest at the first direction along which the sampled -H is not positive. Products of estimates from the same
    episodes have a bias of order 1 / num_episodes; the cut has one of order gamma^horizon.

    The paper leaves the inverse open and takes plain Monte-Carlo lower steps; damping, conjugate gradients, the entropy
    bonus and the critics are ours. The schedules count upper steps, the entropy weight stays at its scale, the penalty
    schedule is not used.

    Args:
      problem: a tabular bi-level problem.
      inner_steps: K >= 1, lower steps for every upper step.
      num_episodes: episodes for each upper step, >= 1.
      horizon: steps after which an episode is cut, >= 1.
      cg_steps: iterations of conjugate gradients, >= 1.
      damping: multiple >= 0 of tau added to the diagonal of -H: more is more bias, less heavy tails.
      sampler: of the lower steps: markov, iid, or exact (expectations; needs the model).
      batch_size: chains of the lower steps, >= 1.
      projection: box clips touched critic entries, ball is the Euclidean projection.
      optimizers: ``{"x": optax optimiser at unit rate}``, in place of plain gradient descent.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; its state names are those of `State`, its solution's policy answers the x of the step before.

    Raises:
      ValueError: if an option is out of range, does not go with another, or an optimiser is not of x.
    """
    counts = {"inner_steps": inner_steps, "num_episodes": num_episodes, "horizon": horizon, "cg_steps": cg_steps}
    for name, count in counts.items():
        _common.check_count(name, count)
    if not 0 <= damping < float("inf"):
        raise ValueError(f"damping must be finite and >= 0, got {damping}")
    lower = problem.lower(sampler=sampler, batch_size=batch_size, projection=projection, num_policies=1, dtype=dtype)
    optimizers = dict(optimizers or {})

    def init(key: Key, schedules: Schedules) -> State:
        del schedules
        x, theta, value, chains, _ = lower.init(key)
        tracked = {"x": x, "theta": theta, "value": value, "leader_value": value}
        moments = _common.init_optimizers(optimizers, {"x": x})
        return State(**_common.first_counters(), **tracked, chains=chains, optimizers=moments)

    def lower_step(key: Key, state: State, schedules: Schedules) -> tuple[State, jax.Array]:
        _, alpha, beta, _, tau = schedules.at(state.step, dtype)
        x, theta, v, u = state.x, state.theta, state.value, state.leader_value
        batches, chains, num_samples = lower.draw(key, state.chains, theta)
        (seen,) = _common.see(lower, schedules, (theta,), batches)
        delta, delta_u = lower.advantage(x, seen, v, tau), lower.leader_advantage(x, seen, u)
        move = {
            "theta": (alpha, lower.actor(x, seen, delta, tau)),
            "value": (beta, lower.critic(v, seen, delta)),
            "leader_value": (beta, lower.critic(u, seen, delta_u)),
        }
        moved = _common.move(state._replace(chains=chains), move, {}, lower.bounds(schedules), lower.project)
        return moved._replace(step=state.step), num_samples

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        schedules = _common.at_fixed(schedules, "entropy")
        lower_key = random.fold_in(key, 0)

        def answer(i: jax.Array, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
            answered, num_samples = lower_step(random.fold_in(lower_key, i), carry[0], schedules)
            return answered, carry[1] + num_samples

        answered, num_samples = jax.lax.fori_loop(0, inner_steps, answer, (state, jnp.int32(0)))
        rates = schedules.at(state.step, dtype)
        rolled = _roll_out(problem, random.fold_in(key, 1), answered, rates.entropy, num_episodes, horizon, dtype)
        ridge = schedules.option("damping", damping, dtype) * rates.entropy
        grad, residual = _hypergradient(problem, answered, rolled, rates.entropy, ridge, cg_steps)
        moved = _common.move(answered, {"x": (rates.upper, _common.negative(grad))}, optimizers, {})
        return moved, Info(num_samples + jnp.sum(rolled.is_live, dtype=jnp.int32), residual)

    def solution(state: State) -> Solution:
        return Solution(state.x, state.theta)

    return Algorithm(init, step, solution)


class _Rolled(NamedTuple):
    """Rollouts of theta, with what their transitions say; times by episodes, [T, E]."""

    policy: policies.Policy
    batch: Transition  # [T E], flat
    is_live: jax.Array  # bool [T, E]
    weight: jax.Array  # gamma^t / E
    error: jax.Array  # soft temporal-difference error of theta's critic
    error_u: jax.Array  # of the leader's
    visits: jax.Array  # [S], discounted counts


def _roll_out(
    problem: Problem, key: Key, state: State, tau: jax.Array, num_episodes: int, horizon: int, dtype: Any
) -> _Rolled:
    mdp = problem.mdp.astype(dtype)
    policy = policies.tabular_softmax(mdp.num_states, mdp.num_actions, dtype)
    critic = critics.table(mdp.num_states, dtype)
    x, theta = state.x, state.theta
    batch, is_live = roll_out(key, mdp, policy, theta, num_episodes, horizon, dtype)
    weight = batch.weight.reshape(is_live.shape) / (1 - mdp.discount)
    reward = on_batch(problem.reward, x, batch, dtype)
    reward = reward - tau * estimators.log_prob(policy, theta, batch)
    error = estimators.temporal_difference(critic, state.value, batch, reward).reshape(is_live.shape)
    cost = estimators.leader_cost(problem, x, batch)
    error_u = estimators.temporal_difference(critic, state.leader_value, batch, cost).reshape(is_live.shape)
    visits = jnp.zeros(mdp.num_states, dtype).at[batch.state].add(weight.ravel())
    return _Rolled(policy, batch, is_live, weight, error, error_u, visits)


def _divergence(policy: policies.Policy, new: jax.Array, old: jax.Array) -> jax.Array:
    """KL(pi_new | pi_old) in every state, [S]."""
    log_probs, log_probs_old = (jax.vmap(policy.log_probs, (None, 0))(t, jnp.arange(len(t))) for t in (new, old))
    return jnp.sum(jnp.exp(log_probs) * (log_probs - log_probs_old), axis=-1)


def _hypergradient(
    problem: Problem, state: State, rolled: _Rolled, tau: jax.Array, ridge: jax.Array, cg_steps: int
) -> tuple[PyTree, jax.Array]:
    """d_x f - M H^-1 d_theta f from episodes, and the residual of the linear system."""
    x, theta = state.x, state.theta
    policy, batch, is_live, weight, error, error_u, visits = rolled

    def log_ratio(new: jax.Array) -> jax.Array:
        change = estimators.log_prob(policy, new, batch) - estimators.log_prob(policy, theta, batch)
        return jnp.cumsum(jnp.where(is_live, change.reshape(is_live.shape), 0), axis=0)

    def soft_return(new: jax.Array) -> jax.Array:
        gain = jnp.sum(weight * jnp.exp(log_ratio(new)) * error)
        return gain - tau * jnp.vdot(visits, _divergence(policy, new, theta))

    def objective(new: jax.Array) -> jax.Array:
        running = jnp.sum(weight * jnp.exp(log_ratio(new)) * error_u)
        if problem.g is None:
            return running
        return running + as_float(problem.g)(x, policies.policy_table(policy, new, problem.mdp.num_states))

    _, curve = jax.linearize(jax.grad(soft_return), theta)
    target = jax.grad(objective)(theta)
    v, residual = _common.conjugate_gradients(lambda v: -curve(v), ridge, target, cg_steps)
    scores = jax.jvp(log_ratio, (theta,), (v,))[1]  # of the actions so far, along v
    grad = add_updates(
        x,
        estimators.h_gradient(problem, x),
        estimators.g_gradient(problem, x, estimators.policy_if_needed(problem, policy, theta)),
        estimators.cost_gradient(problem, x, batch),
        weighted_grad(problem.reward, problem.reward_grad, x, batch, (weight * scores).ravel()),
    )
    return grad, residual

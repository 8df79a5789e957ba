"""F2SA, the fully first-order method of general bi-level optimisation, on a lower level that is an MDP.

First order, model-free, nested; fixed tau. Its multiplier grows from one upper step to the next.
"""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from hfac import critics, estimators, policies, sampling
from hfac.algorithms import _common
from hfac.problem import Problem
from hfac.schedules import Schedules
from hfac.types import Algorithm, Key, Needs, PyTree, Solution

NEEDS = Needs(nested=True, fixed_tau=True, penalty=True)


class State(NamedTuple):
    """Everything the next step needs."""

    step: jax.Array  # int32 [], lower steps done
    status: jax.Array  # int32 [], latched Status
    failed_at: jax.Array  # int32 [], step of the first fault, or -1
    x: PyTree  # upper variable
    theta: PyTree  # z, actor of the best response
    theta_pen: PyTree  # y, actor of the penalised policy
    value: PyTree  # critic of theta
    value_pen: PyTree  # critic of theta_pen
    leader_value: PyTree  # critic U of f's running cost under theta_pen
    multiplier: jax.Array  # [], lambda_k
    chains: Any  # of the sampler
    optimizers: dict  # empty: plain stochastic approximation

    def start_from(self, x: PyTree) -> "State":
        """The same state at another upper variable."""
        return self._replace(x=x)


class Info(NamedTuple):
    """What is worth looking at, summed over the batch."""

    num_samples: jax.Array  # int32 [], environment transitions of this step
    delta: jax.Array  # [], mean temporal-difference error of theta's critic
    delta_pen: jax.Array  # [], of theta_pen's critic
    delta_leader: jax.Array  # [], of the leader's critic


def f2sa(
    problem: Problem,
    *,
    inner_steps: int = 10,
    delta: float = 0.1,
    delta_power: float = 6 / 7,
    sampler: Literal["markov", "iid", "exact"] = "markov",
    batch_size: int = 1,
    coupled: bool = False,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build F2SA of Kwon, Kwon, Wright and Nowak [arXiv 2301.10945] with lower loss -J_tau over softmax logits.

    T lower steps of z and y, then x and the multiplier; k counts upper steps:

        z <- z + gamma_k d_theta J_tau(x, z)
        y <- y - alpha_k ( d_theta f(x, y) - lambda_k d_theta J_tau(x, y) ),   alpha_k = gamma_k / (2 lambda_k)
        x <- x - xi alpha_k ( d_x f(x, y) + lambda_k ( d_x J_tau(x, z) - d_x J_tau(x, y) ) )
        lambda_{k+1} = lambda_k + delta_k,   lambda_0 = 1/w_0,   delta_k = delta lambda_0 (1 + k)^(-delta_power)

    gamma_k is the actor schedule and xi alpha_k the upper one, both at the first lower step of loop k; w_0 and tau
    are the scales of the penalty and the entropy schedule, whose decay is not used. The analysis with noise in both
    levels has powers 4/7 for gamma, 5/7 for alpha and so lambda_k = O(k^(1/7)), which is delta_power = 6/7; the
    upper and the actor power give the first two. A step is one lower step, so that steps and samples are comparable
    with `hfac`.

    Departures. The lower loss is not convex in the logits, and a row of logits may shift freely; scores sum to zero
    over actions, so every row keeps the mean it starts with, and no shift needs to be fixed. Gradients of J_tau and
    f come from critics, learned at the critic's rate, not from an oracle, and are (1 - gamma) times the gradient, as
    in `hfac`. x moves on the samples and the y, z of the last lower step, not on fresh ones after it.

    Args:
      problem: a tabular bi-level problem.
      inner_steps: T >= 1, lower steps for every upper step.
      delta: first growth of the multiplier, as a fraction of lambda_0, >= 0; 0 keeps it.
      delta_power: exponent of the growth's decay, >= 0.
      sampler: markov, iid, or exact (expectations; needs the model).
      batch_size: chains per policy, >= 1.
      coupled: both chains use the same random numbers.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; its state names are those of `State`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    _common.check_count("inner_steps", inner_steps)
    for name, number in (("delta", delta), ("delta_power", delta_power)):
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{name} must be finite and >= 0, got {number}")
    mdp = problem.mdp.astype(dtype)
    policy = policies.tabular_softmax(mdp.num_states, mdp.num_actions, dtype)
    critic = critics.table(mdp.num_states, dtype)
    source = sampling.build(sampler, mdp, policy, batch_size, coupled)

    def init(key: Key, schedules: Schedules) -> State:
        keys = [jax.random.fold_in(key, i) for i in range(4)]
        theta, v = policy.init(keys[0]), critic.init(keys[1])
        return State(
            **_common.fresh(),
            x=_common.cast(problem.init_x(keys[2]), dtype),
            theta=theta,
            theta_pen=theta,
            value=v,
            value_pen=v,
            leader_value=v,
            multiplier=1 / jnp.asarray(schedules.penalty.scale, dtype),
            chains=source.init(keys[3]),
            optimizers={},
        )

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        k = state.step // jnp.int32(inner_steps)
        held = _common.at_fixed(schedules, "penalty", "entropy")
        zeta, gamma, beta, w_0, tau = held.at(k * jnp.int32(inner_steps), dtype)
        is_due = _common.is_due(state.step, inner_steps)
        x, z, y, multiplier = state.x, state.theta, state.theta_pen, state.multiplier
        v, v_pen, u = state.value, state.value_pen, state.leader_value
        w = 1 / multiplier

        (batch, batch_pen), chains, num_samples = source.draw(key, state.chains, z, y)
        reward = estimators.soft_reward(problem, policy, x, z, batch, tau)
        reward_pen = estimators.soft_reward(problem, policy, x, y, batch_pen, tau)
        delta_z = estimators.temporal_difference(critic, v, batch, reward)
        delta_y = estimators.temporal_difference(critic, v_pen, batch_pen, reward_pen)
        delta_u = estimators.temporal_difference(critic, u, batch_pen, estimators.leader_cost(problem, x, batch_pen))

        # the direction of y is that of J_tau - w f: alpha_k lambda_k = gamma_k / 2 is its rate
        pi, pi_pen = (estimators.policy_if_needed(problem, policy, params) for params in (z, y))
        grad_x = estimators.penalty_hypergradient(problem, x, batch, batch_pen, pi, pi_pen, w)
        growth = float(delta) / w_0 * (1 + k.astype(dtype)) ** -float(delta_power)
        move = {
            "x": (jnp.where(is_due, zeta, 0), _common.negative(grad_x)),
            "theta": (gamma, estimators.actor(problem, policy, x, z, batch, delta_z)),
            "theta_pen": (gamma / 2, estimators.actor(problem, policy, x, y, batch_pen, delta_y - w * delta_u, w)),
            "value": (beta, estimators.semi_gradient(critic, v, batch, delta_z)),
            "value_pen": (beta, estimators.semi_gradient(critic, v_pen, batch_pen, delta_y)),
            "leader_value": (beta, estimators.semi_gradient(critic, u, batch_pen, delta_u)),
            "multiplier": (jnp.where(is_due, growth, 0), jnp.ones_like(multiplier)),
        }
        bounds = _common.critic_bounds(problem, held, dtype)
        moved = _common.move(state._replace(chains=chains), move, {}, bounds)
        errors = (_common.mean(batch, delta_z), _common.mean(batch_pen, delta_y), _common.mean(batch_pen, delta_u))
        return moved, Info(num_samples, *errors)

    def solution(state: State) -> Solution:
        return Solution(state.x, state.theta)

    return Algorithm(init, step, solution)

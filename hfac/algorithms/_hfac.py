"""The Hessian-free single-loop actor-critic of Zeng, Bhatt, Ganesh and Koppel [arXiv 2601.16399].

Two policies are tracked at once: theta follows the best response to the current reward, theta_pen the policy that
a small weight w of the upper objective pulls it to. The difference of their reward gradients, over w, replaces every
second derivative.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hfac import critics, estimators, policies, sampling
from hfac.algorithms import _common
from hfac.problem import Problem
from hfac.schedules import Schedules
from hfac.types import Algorithm, Key, Needs, PyTree, Solution

NEEDS = Needs(penalty=True)


class State(NamedTuple):
    """Everything the next step needs."""

    step: jax.Array  # int32 [], k
    status: jax.Array  # int32 [], latched Status
    failed_at: jax.Array  # int32 [], step of the first fault, or -1
    x: PyTree  # upper variable
    theta: PyTree  # actor of the best response (central: of the maximiser of J + w f)
    theta_pen: PyTree  # actor of the penalised policy
    value: PyTree  # critic of theta
    value_pen: PyTree  # critic of theta_pen
    leader_value: PyTree  # critic U of f's running cost under theta_pen
    leader_value_neg: PyTree | None  # the same under theta; central only
    chains: Any  # of the sampler
    optimizers: dict  # variable -> optax state, for those that have one

    def start_from(self, x: PyTree) -> "State":
        """The same state at another upper variable."""
        return self._replace(x=x)


class Info(NamedTuple):
    """What is worth looking at, summed over the batch."""

    num_samples: jax.Array  # int32 [], environment transitions of this step
    delta: jax.Array  # [], mean temporal-difference error of theta's critic
    delta_pen: jax.Array  # [], of theta_pen's critic
    delta_leader: jax.Array  # [], of the leader's critic


def hfac(
    problem: Problem,
    *,
    sampler: Literal["markov", "iid", "exact"] = "markov",
    batch_size: int = 1,
    coupled: bool = False,
    difference: Literal["forward", "central"] = "forward",
    pen_rate: float = 1.0,
    tail_average: float | None = None,
    projection: Literal["box", "ball"] = "box",
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    policy: policies.Policy | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build Algorithm 1 (`markov`) or 2 (`iid`) of the paper; every default is the paper's.

    Args:
      problem: a tabular bi-level problem.
      sampler: markov (Algorithm 1), iid (Algorithm 2), or exact (expectations; needs the model).
      batch_size: chains per policy, >= 1.
      coupled: both chains use the same random numbers: the same law for each, a quieter difference.
      difference: forward (the paper) or central: track pi_w and pi_{-w}, bias O(w^2) instead of O(w).
      pen_rate: rate of theta_pen's actor as a multiple of theta's, in (0, 1]; below 1 theta_pen is a slow average of
        what its samples say, which quiets the difference of the two policies and damps x.
      tail_average: judge x averaged over about this last fraction of the run, in (0, 1]; None judges the last x.
      projection: box clips touched critic entries, ball is the paper's Euclidean projection.
      optimizers: variable name -> optax optimiser at unit rate, in place of plain stochastic approximation.
      policy: policy over the problem's states; tabular softmax unless given.
      dtype: of every float in a step; float64 is for noiseless studies.

    Returns:
      An `Algorithm`; its state names are those of `State`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    _check_options(problem, difference, pen_rate)
    is_central = difference == "central"
    mdp = problem.mdp.astype(dtype)
    policy = policy or policies.tabular_softmax(mdp.num_states, mdp.num_actions, dtype)
    critic = critics.table(mdp.num_states, dtype)
    source = sampling.build(sampler, mdp, policy, batch_size, coupled)
    hypergradient = estimators.central_hypergradient if is_central else estimators.penalty_hypergradient
    project = critics.projection(projection)
    optimizers = dict(optimizers or {})

    def init(key: Key, schedules: Schedules) -> State:
        del schedules
        keys = [jax.random.fold_in(key, i) for i in range(4)]
        theta, v = policy.init(keys[0]), critic.init(keys[1])
        x = _common.cast(problem.init_x(keys[2]), dtype)
        tracked = {"x": x, "theta": theta, "theta_pen": theta, "value": v, "value_pen": v, "leader_value": v}
        tracked["leader_value_neg"] = v if is_central else None
        moments = _common.init_optimizers(optimizers, tracked)
        return State(chains=source.init(keys[3]), optimizers=moments, **_common.fresh(), **tracked)

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        zeta, alpha, beta, w, tau = schedules.at(state.step, dtype)
        x, theta, theta_pen = state.x, state.theta, state.theta_pen
        v, v_pen, u, u_neg = state.value, state.value_pen, state.leader_value, state.leader_value_neg

        # a ~ pi_theta(.|s), s' ~ P(.|s, a); the same from theta_pen at the second chain's state
        (batch, batch_pen), chains, num_samples = source.draw(key, state.chains, theta, theta_pen)

        # delta = r_x - tau log pi + gamma V(s') - V(s), for both policies and for the leader's cost
        reward = estimators.soft_reward(problem, policy, x, theta, batch, tau)
        reward_pen = estimators.soft_reward(problem, policy, x, theta_pen, batch_pen, tau)
        delta = estimators.temporal_difference(critic, v, batch, reward)
        delta_pen = estimators.temporal_difference(critic, v_pen, batch_pen, reward_pen)
        delta_u = estimators.temporal_difference(critic, u, batch_pen, estimators.leader_cost(problem, x, batch_pen))

        # x descends the penalty hyper-gradient; theta ascends J, theta_pen ascends J - w f
        pi, pi_pen = (estimators.policy_if_needed(problem, policy, params) for params in (theta, theta_pen))
        move = {
            "x": (zeta, _common.negative(hypergradient(problem, x, batch, batch_pen, pi, pi_pen, w))),
            "theta": (alpha, estimators.actor(problem, policy, x, theta, batch, delta)),
            "theta_pen": (
                pen_rate * alpha,
                estimators.actor(problem, policy, x, theta_pen, batch_pen, delta_pen - w * delta_u, w),
            ),
            "value": (beta, estimators.semi_gradient(critic, v, batch, delta)),
            "value_pen": (beta, estimators.semi_gradient(critic, v_pen, batch_pen, delta_pen)),
            "leader_value": (beta, estimators.semi_gradient(critic, u, batch_pen, delta_u)),
        }
        if is_central:  # theta ascends J + w f and has a leader critic of its own
            delta_neg = estimators.temporal_difference(critic, u_neg, batch, estimators.leader_cost(problem, x, batch))
            move["theta"] = (alpha, estimators.actor(problem, policy, x, theta, batch, delta + w * delta_neg, -w))
            move["leader_value_neg"] = (beta, estimators.semi_gradient(critic, u_neg, batch, delta_neg))

        bounds = _common.critic_bounds(problem, schedules, dtype)
        moved = _common.move(state._replace(chains=chains), move, optimizers, bounds, project)
        errors = (_common.mean(batch, delta), _common.mean(batch_pen, delta_pen), _common.mean(batch_pen, delta_u))
        return moved, Info(num_samples, *errors)

    def solution(state: State) -> Solution:
        return Solution(state.x, state.theta)

    algorithm = Algorithm(init, step, solution)
    return algorithm if tail_average is None else _common.tail_average(algorithm, tail_average)


def _check_options(problem: Problem, difference: str, pen_rate: float) -> None:
    if not isinstance(problem, Problem):
        raise ValueError(f"hfac needs a tabular hfac.Problem, got {type(problem).__name__}")
    if difference not in ("forward", "central"):
        raise ValueError(f"difference must be 'forward' or 'central', got '{difference}'")
    _common.check_fraction("pen_rate", pen_rate)

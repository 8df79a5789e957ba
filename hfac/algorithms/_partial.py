"""Partial SGD: the leader ignores that the follower's policy answers to x.

First order, single loop, model-free; one policy and one critic. What decoupled RLHF does with its reward model.
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
from hfac.types import Algorithm, Key, Needs, PyTree, Solution, add_updates

NEEDS = Needs()


class State(NamedTuple):
    """Everything the next step needs."""

    step: jax.Array  # int32 [], k
    status: jax.Array  # int32 [], latched Status
    failed_at: jax.Array  # int32 [], step of the first fault, or -1
    x: PyTree  # upper variable
    theta: PyTree  # actor
    value: PyTree  # its critic
    chains: Any  # of the sampler
    optimizers: dict  # variable -> optax state, for those that have one

    def start_from(self, x: PyTree) -> "State":
        """The same state at another upper variable."""
        return self._replace(x=x)


class Info(NamedTuple):
    """What is worth looking at."""

    num_samples: jax.Array  # int32 [], environment transitions of this step
    delta: jax.Array  # [], mean temporal-difference error


def partial(
    problem: Problem,
    *,
    sampler: Literal["markov", "iid", "exact"] = "markov",
    batch_size: int = 1,
    projection: Literal["box", "ball"] = "box",
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    policy: policies.Policy | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build partial SGD, a baseline of Zeng et al. [arXiv 2601.16399].

        x <- x - zeta ( d_x h + d_x g + d_x c ),   theta <- theta + alpha delta grad log pi_theta(a|s)

    The dependence of pi on x is dropped, so its limit is no stationary point of Phi in general. The penalty schedule
    is not used.

    Args:
      problem: a tabular bi-level problem.
      sampler: markov, iid, or exact (expectations; needs the model).
      batch_size: chains, >= 1.
      projection: box clips touched critic entries, ball is the Euclidean projection.
      optimizers: variable name -> optax optimiser at unit rate, in place of plain stochastic approximation.
      policy: policy over the problem's states; tabular softmax unless given.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; its state names are those of `State`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    mdp = problem.mdp.astype(dtype)
    policy = policy or policies.tabular_softmax(mdp.num_states, mdp.num_actions, dtype)
    critic = critics.table(mdp.num_states, dtype)
    source = sampling.build(sampler, mdp, policy, batch_size, num_policies=1)
    project = critics.projection(projection)
    optimizers = dict(optimizers or {})

    def init(key: Key, schedules: Schedules) -> State:
        del schedules
        keys = jax.random.split(key, 4)
        x = _common.cast(problem.init_x(keys[2]), dtype)
        theta, value = policy.init(keys[0]), critic.init(keys[1])
        moments = _common.init_optimizers(optimizers, {"x": x, "theta": theta, "value": value})
        chains = source.init(keys[3])
        return State(**_common.fresh(), x=x, theta=theta, value=value, chains=chains, optimizers=moments)

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        zeta, alpha, beta, _, tau = schedules.at(state.step, dtype)
        x, theta, v = state.x, state.theta, state.value
        (batch,), chains, num_samples = source.draw(key, state.chains, theta)
        reward = estimators.soft_reward(problem, policy, x, theta, batch, tau)
        delta = estimators.temporal_difference(critic, v, batch, reward)
        pi = estimators.policy_if_needed(problem, policy, theta)
        grad_x = add_updates(
            x,
            estimators.h_gradient(problem, x),
            estimators.g_gradient(problem, x, pi),
            estimators.cost_gradient(problem, x, batch),
        )
        move = {
            "x": (zeta, _common.negative(grad_x)),
            "theta": (alpha, estimators.policy_gradient(policy, theta, batch, delta)),
            "value": (beta, estimators.semi_gradient(critic, v, batch, delta)),
        }
        bounds = _common.critic_bounds(problem, schedules, dtype)
        moved = _common.move(state._replace(chains=chains), move, optimizers, bounds, project)
        return moved, Info(num_samples, _common.mean(batch, delta))

    def solution(state: State) -> Solution:
        return Solution(state.x, state.theta)

    return Algorithm(init, step, solution)

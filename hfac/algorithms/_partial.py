"""Partial SGD: the leader ignores that the follower's policy answers to x.

First order, single loop, model-free; one policy and one critic. What online RLHF does with its reward model.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hfac import lower as _lower
from hfac.algorithms import _common
from hfac.schedules import Schedules
from hfac.types import Algorithm, Key, Needs, PyTree, Solution

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
    vitals: Any  # what the lower level watches
    optimizers: dict  # variable -> optax state, for those that have one


class Info(NamedTuple):
    """What is worth looking at, means over the batch."""

    num_samples: jax.Array  # int32 [], transitions or sequences of this step
    delta: jax.Array  # [], advantage of the policy's actions
    look: dict[str, jax.Array]  # whatever else the lower level shows


@_common.method
def partial(
    problem: Any,
    *,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
    **lower_options: Any,
) -> Algorithm:
    """Build partial SGD, a baseline of Zeng et al. [arXiv 2601.16399].

        x <- x - zeta d_x f(x, pi),   theta <- theta + alpha delta grad log pi_theta(a|s)

    The dependence of pi on x is dropped, so its limit is no stationary point of Phi in general. The penalty schedule
    is not used.

    Args:
      problem: a bi-level problem.
      optimizers: variable name -> optax optimiser at unit rate, in place of plain stochastic approximation.
      dtype: of every float in a step.
      **lower_options: of the problem's kind, such as batch_size; see `problem.lower`.

    Returns:
      An `Algorithm`; its state names are those of `State`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    lower = _lower.build(problem, "partial", 1, dtype, lower_options)
    optimizers = dict(optimizers or {})

    def init(key: Key, schedules: Schedules) -> State:
        del schedules
        x, theta, value, chains, vitals = lower.init(key)
        moments = _common.init_optimizers(optimizers, {"x": x, "theta": theta, "value": value})
        return State(
            **_common.first_counters(), x=x, theta=theta, value=value, chains=chains, vitals=vitals, optimizers=moments
        )

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        zeta, alpha, beta, _, tau = schedules.at(state.step, dtype)
        batches, chains, num_samples = lower.draw(key, state.chains, state.theta)
        (seen,) = _common.see(lower, schedules, (state.theta,), batches)
        delta = lower.advantage(state.x, seen, state.value, tau)
        move = {
            "x": (zeta, _common.negative(lower.upper_gradient(state.x, seen))),
            "theta": (alpha, lower.actor(state.x, seen, delta, tau)),
            "value": (beta, lower.critic(state.value, seen, delta)),
        }
        moved = _common.move(state._replace(chains=chains), move, optimizers, lower.bounds(schedules), lower.project)
        moved = _common.watched(moved, state, lower, seen)
        return moved, Info(num_samples, lower.mean(seen, delta), lower.look(state.x, seen))

    def solution(state: State) -> Solution:
        return Solution(state.x, state.theta)

    return Algorithm(init, step, solution)

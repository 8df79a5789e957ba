"""What the methods that plan with the model share."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hfac.algorithms import _common
from hfac.schedules import Schedules
from hfac.tabular.dynamics import Model, backup, model
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Key, PyTree, Solution


def check_positive(name: str, value: float) -> None:
    """Raise `ValueError` unless an option is a finite number above zero."""
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and > 0, got {value}")


def solution(state: _common.Planned) -> Solution:
    """The upper variable and the policy that answers it."""
    return Solution(state.x, state.theta)


Memory = dict[str, PyTree]  # what a method carries from step to step, by name


class Answer(NamedTuple):
    """What a method finds at an upper variable."""

    theta: jax.Array  # logits of the policy that answers it [S, A]
    memory: Memory  # what is carried to the next step
    grad: PyTree  # gradient of the objective in the upper variable
    value: jax.Array  # [], f there


def descent(
    problem: Problem,
    answer: Callable[[Model, PyTree, jax.Array, Memory, Schedules], Answer],
    memory: Mapping[str, PyTree],
    optimizers: Mapping[str, optax.GradientTransformation] | None,
    dtype: Any,
) -> Algorithm:
    """A method that plans an answer to x and moves x alone: x <- x - zeta grad.

    Args:
      problem: a tabular bi-level problem.
      answer: ``(model, x, tau, memory, schedules) -> Answer``.
      memory: before the first step.
      optimizers: ``{"x": optax optimiser at unit rate}``, in place of plain gradient descent.
      dtype: of every float in a step.
    """
    optimizers = dict(optimizers or {})

    def step(key: Key, state: _common.Planned, schedules: Schedules) -> tuple[_common.Planned, _common.PlannedInfo]:
        del key
        rates = schedules.at(state.step, dtype)
        theta, new_memory, grad, value = answer(*model(problem, state.x, dtype), rates.entropy, state.memory, schedules)
        moved = _common.move(state, {"x": (rates.upper, _common.negative(grad))}, optimizers, {})
        moved = _common.keep_if_healthy(moved, state, theta=theta, memory=new_memory)
        return moved, _common.PlannedInfo(jnp.int32(0), value)

    return Algorithm(_common.planned(problem, memory, optimizers, dtype), step, solution)


def greedy_logits(at: Model, value: jax.Array, tau: jax.Array) -> jax.Array:
    """Log-probabilities of the soft-greedy policy softmax(Q / tau), Q = r + gamma P V. [S, A]."""
    return jax.nn.log_softmax(backup(at.mdp, at.reward, value) / tau)


def soft_bellman(at: Model, value: jax.Array, tau: jax.Array) -> jax.Array:
    """One sweep of soft value iteration, V <- tau log sum exp(Q / tau). [S]."""
    return tau * jax.nn.logsumexp(backup(at.mdp, at.reward, value) / tau, axis=-1)


def add(first: PyTree, second: PyTree, weight: jax.Array | float = 1.0) -> PyTree:
    """``first + weight * second`` of two trees."""
    return jax.tree.map(lambda a, b: a + jnp.asarray(weight, b.dtype) * b, first, second)

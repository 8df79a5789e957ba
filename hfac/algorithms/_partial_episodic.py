"""Partial SGD over whole sequences: ordinary online RLHF, where the leader ignores that the policy answers to x."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hfac import episodes
from hfac.algorithms import _common, _episodic
from hfac.problem import EpisodicProblem
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
    value: jax.Array  # [d], its critic
    vitals: _episodic.Vitals  # running averages that tell whether theta still writes like the reference
    optimizers: dict  # variable -> optax state, for those that have one

    def start_from(self, x: PyTree) -> "State":
        """The same state at another upper variable."""
        return self._replace(x=x)


class Info(NamedTuple):
    """What is worth looking at, means over the batch."""

    num_samples: jax.Array  # int32 [], sequences written
    loss: jax.Array  # [], sample of f(x, pi)
    reward: jax.Array  # [], R_x
    divergence: jax.Array  # [], KL(pi | pi_ref) per sequence, nats


def partial_episodic(
    problem: EpisodicProblem,
    *,
    batch_size: int = 64,
    num_opponents: int = 8,
    every: Any = None,
    gae_lambda: float = 1.0,
    limits: _episodic.Limits | None = None,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build partial SGD, the baseline of Zeng et al. [arXiv 2601.16399], for sequences.

        x <- x - zeta d_x f(x, pi),   theta <- theta + alpha d_theta J_tau(x, pi)

    The dependence of pi on x is dropped, so its limit is no stationary point of Phi in general. The penalty schedule
    is not used.

    Args:
      problem: an episodic bi-level problem; the policy starts at its reference.
      batch_size: sequences in a step; twice what `hfac_episodic` takes for each of its two policies is as many.
      num_opponents: others that each sequence is compared with, where the leader compares.
      every: all sequences of a small language [Y, L]: expectations in place of samples.
      gae_lambda: of the generalised advantages, in [0, 1]; 1 is unbiased with any critic.
      limits: past which theta counts as having hacked its reward; none unless given.
      optimizers: variable name -> optax optimiser at unit rate, in place of plain stochastic approximation.
      dtype: of every float in a step; the reference policy must have it.

    Returns:
      An `Algorithm`; its state names are those of `State`.

    Raises:
      ValueError: if an option is out of range.
    """
    draw = _episodic.source(problem, batch_size, num_opponents, False, every, dtype)
    _common.check_fraction("gae_lambda", gae_lambda, with_zero=True)
    optimizers = dict(optimizers or {})

    def init(key: Key, schedules: Schedules) -> State:
        del schedules
        x = _common.cast(problem.init_x(jax.random.fold_in(key, 0)), dtype)
        tracked = {"x": x, "theta": problem.reference, "value": _episodic.linear_head(problem, dtype)}
        moments = _common.init_optimizers(optimizers, tracked)
        vitals = _episodic.init_vitals(problem, batch_size, limits, dtype, jax.random.fold_in(key, 1))
        return State(vitals=vitals, optimizers=moments, **_common.fresh(), **tracked)

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        zeta, alpha, beta, _, tau = schedules.at(state.step, dtype)
        x = state.x
        (batch,), pairs, num_samples = draw(key, state.theta)
        path, pull = episodes.path(problem, state.theta, batch)
        reward = episodes.rewards(problem, x, batch)
        advantage = episodes.advantages(path, state.value, batch, problem.policy.end, reward, tau, gae_lambda)
        loss, grad_x = jax.value_and_grad(lambda x: episodes.upper_objective(problem, x, batch, pairs))(x)
        move = {
            "x": (zeta, _common.negative(grad_x)),
            "theta": (alpha, episodes.policy_gradient(path, pull, batch, advantage, tau)),
            "value": (beta, episodes.semi_gradient(path, batch, advantage)),
        }
        divergence = batch.weight @ jnp.sum(path.divergence, 1)
        moved = _common.move(state, move, optimizers, {})
        moved = _episodic.watch(moved, batch.tokens, problem.policy.end, divergence, limits)
        return moved, Info(num_samples, loss, batch.weight @ reward, divergence)

    def solution(state: State) -> Solution:
        return Solution(state.x, state.theta)

    return Algorithm(init, step, solution)

"""The Hessian-free single-loop actor-critic over whole sequences (Zeng, Bhatt, Ganesh, Koppel [arXiv 2601.16399]).

The same method as `hfac`, for problems without discount: an episode is a sequence that ends by itself, its reward
comes at the end, and tau weighs the divergence from a reference policy. The critics are linear in what the policies
see of a prefix.
"""

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

NEEDS = Needs(penalty=True)


class State(NamedTuple):
    """Everything the next step needs."""

    step: jax.Array  # int32 [], k
    status: jax.Array  # int32 [], latched Status
    failed_at: jax.Array  # int32 [], step of the first fault, or -1
    x: PyTree  # upper variable
    theta: PyTree  # actor of the best response
    theta_pen: PyTree  # actor of the penalised policy
    value: jax.Array  # [d], critic of theta
    value_pen: jax.Array  # [d], critic of theta_pen
    leader_value: jax.Array  # [d], critic U of the leader's cost under theta_pen
    vitals: _episodic.Vitals  # running averages that tell whether theta still writes like the reference
    optimizers: dict  # variable -> optax state, for those that have one

    def start_from(self, x: PyTree) -> "State":
        """The same state at another upper variable."""
        return self._replace(x=x)


class Info(NamedTuple):
    """What is worth looking at, means over the batch."""

    num_samples: jax.Array  # int32 [], sequences written
    loss: jax.Array  # [], sample of f(x, pi_pen)
    reward: jax.Array  # [], R_x under theta
    divergence: jax.Array  # [], KL(pi | pi_ref) per sequence, nats
    divergence_pen: jax.Array  # [], of theta_pen


def hfac_episodic(
    problem: EpisodicProblem,
    *,
    batch_size: int = 32,
    num_opponents: int = 8,
    coupled: bool = False,
    every: Any = None,
    gae_lambda: float = 1.0,
    pen_rate: float = 1.0,
    limits: _episodic.Limits | None = None,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build Algorithm 2 of the paper for sequences: every step writes afresh from both policies.

    Args:
      problem: an episodic bi-level problem; both policies start at its reference.
      batch_size: sequences of each policy in a step.
      num_opponents: others that each sequence is compared with, where the leader compares.
      coupled: both policies use the same random numbers: the same law for each, a quieter difference.
      every: all sequences of a small language [Y, L]: expectations in place of samples.
      gae_lambda: of the generalised advantages, in [0, 1]; 1 is unbiased with any critic.
      pen_rate: rate of theta_pen's actor as a multiple of theta's, in (0, 1].
      limits: past which theta counts as having hacked its reward; none unless given.
      optimizers: variable name -> optax optimiser at unit rate, in place of plain stochastic approximation.
      dtype: of every float in a step; the reference policy must have it.

    Returns:
      An `Algorithm`; its state names are those of `State`.

    Raises:
      ValueError: if an option is out of range.
    """
    draw = _episodic.source(problem, batch_size, num_opponents, coupled, every, dtype)
    _common.check_fraction("gae_lambda", gae_lambda, with_zero=True)
    _common.check_fraction("pen_rate", pen_rate)
    optimizers = dict(optimizers or {})

    def init(key: Key, schedules: Schedules) -> State:
        del schedules
        x = _common.cast(problem.init_x(jax.random.fold_in(key, 0)), dtype)
        head = _episodic.linear_head(problem, dtype)
        theta = problem.reference
        tracked = {"x": x, "theta": theta, "theta_pen": theta, "value": head, "value_pen": head, "leader_value": head}
        moments = _common.init_optimizers(optimizers, tracked)
        vitals = _episodic.init_vitals(problem, batch_size, limits, dtype, jax.random.fold_in(key, 1))
        return State(vitals=vitals, optimizers=moments, **_common.fresh(), **tracked)

    def advantages(
        path: episodes.Path, head: jax.Array, batch: episodes.Episodes, gain: jax.Array, tau: jax.Array | float
    ) -> jax.Array:
        return episodes.advantages(path, head, batch, problem.policy.end, gain, tau, gae_lambda)

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        zeta, alpha, beta, w, tau = schedules.at(state.step, dtype)
        x, theta, theta_pen = state.x, state.theta, state.theta_pen
        v, v_pen, u = state.value, state.value_pen, state.leader_value

        # y ~ pi_theta and y_ ~ pi_theta_pen, whole sequences; what each policy says along its own
        (batch, batch_pen), pairs, num_samples = draw(key, theta, theta_pen)
        path, pull = episodes.path(problem, theta, batch)
        path_pen, pull_pen = episodes.path(problem, theta_pen, batch_pen)

        # advantages of R_x - tau KL for both policies, and of what each sequence costs the leader
        reward, reward_pen = episodes.rewards(problem, x, batch), episodes.rewards(problem, x, batch_pen)
        advantage = advantages(path, v, batch, reward, tau)
        advantage_pen = advantages(path_pen, v_pen, batch_pen, reward_pen, tau)
        advantage_u = advantages(path_pen, u, batch_pen, episodes.leader_costs(problem, x, batch_pen, pairs), 0)

        # x descends the penalty hyper-gradient; theta ascends J, theta_pen ascends J - w f
        grad_x = episodes.hypergradient(problem, x, batch, batch_pen, pairs, w)
        move = {
            "x": (zeta, _common.negative(grad_x)),
            "theta": (alpha, episodes.policy_gradient(path, pull, batch, advantage, tau)),
            "theta_pen": (
                pen_rate * alpha,
                episodes.policy_gradient(path_pen, pull_pen, batch_pen, advantage_pen - w * advantage_u, tau),
            ),
            "value": (beta, episodes.semi_gradient(path, batch, advantage)),
            "value_pen": (beta, episodes.semi_gradient(path_pen, batch_pen, advantage_pen)),
            "leader_value": (beta, episodes.semi_gradient(path_pen, batch_pen, advantage_u)),
        }
        moved = _common.move(state, move, optimizers, {})
        divergence, divergence_pen = (
            b.weight @ jnp.sum(p.divergence, 1) for b, p in ((batch, path), (batch_pen, path_pen))
        )
        moved = _episodic.watch(moved, batch.tokens, problem.policy.end, divergence, limits)
        loss = episodes.upper_objective(problem, x, batch_pen, pairs)
        return moved, Info(num_samples, loss, batch.weight @ reward, divergence, divergence_pen)

    def solution(state: State) -> Solution:
        return Solution(state.x, state.theta)

    return Algorithm(init, step, solution)

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

from hfac import lower as _lower
from hfac.algorithms import _common
from hfac.options import Number
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
    vitals: Any  # what the lower level watches
    optimizers: dict  # variable -> optax state, for those that have one


class Info(NamedTuple):
    """What is worth looking at, means over the batch."""

    num_samples: jax.Array  # int32 [], transitions or sequences of this step
    delta: jax.Array  # [], advantage of theta's actions
    delta_pen: jax.Array  # [], of theta_pen's
    delta_leader: jax.Array  # [], of theta_pen's to the leader
    look: dict[str, jax.Array]  # whatever else the lower level shows


@_common.method
def hfac(
    problem: Any,
    *,
    difference: Literal["forward", "central"] = "forward",
    pen_rate: Number = 1.0,
    tail_average: float | None = None,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
    **lower_options: Any,
) -> Algorithm:
    """Build Algorithm 1 of the paper, or 2, on a lower level of any kind; defaults are the paper's, critics' box apart.

    Args:
      problem: a bi-level problem.
      difference: forward (the paper) or central: track pi_w and pi_{-w}, bias O(w^2) instead of O(w).
      pen_rate: rate of theta_pen's actor as a multiple of theta's, in (0, 1]; below 1 theta_pen is a slow average of
        what its samples say, which quiets the difference of the two policies and damps x.
      tail_average: judge x averaged over about this last fraction of the run, in (0, 1]; None judges the last x.
      optimizers: variable name -> optax optimiser at unit rate, in place of plain stochastic approximation.
      dtype: of every float in a step; float64 is for noiseless studies.
      **lower_options: of the problem's kind, such as batch_size and coupled; see `problem.lower`.

    Returns:
      An `Algorithm`; its state names are those of `State`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    if difference not in ("forward", "central"):
        raise ValueError(f"difference must be 'forward' or 'central', got '{difference}'")
    _common.check_fraction("pen_rate", pen_rate)
    lower = _lower.build(problem, "hfac", 2, dtype, lower_options)
    is_central = difference == "central"
    hypergradient = lower.central_hypergradient if is_central else lower.hypergradient
    if hypergradient is None:
        raise ValueError(f"{type(problem).__name__} has no central difference; write difference='forward'")
    optimizers = dict(optimizers or {})

    def init(key: Key, schedules: Schedules) -> State:
        del schedules
        x, theta, v, chains, vitals = lower.init(key)
        tracked = {"x": x, "theta": theta, "theta_pen": theta, "value": v, "value_pen": v, "leader_value": v}
        tracked["leader_value_neg"] = v if is_central else None
        moments = _common.init_optimizers(optimizers, tracked)
        return State(chains=chains, vitals=vitals, optimizers=moments, **_common.first_counters(), **tracked)

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        zeta, alpha, beta, w, tau = schedules.at(state.step, dtype)
        x, v, v_pen, u = state.x, state.value, state.value_pen, state.leader_value

        # a ~ pi_theta(.|s), s' ~ P(.|s, a); the same from theta_pen at the second chain's state
        batches, chains, num_samples = lower.draw(key, state.chains, state.theta, state.theta_pen)
        seen, seen_pen = _common.see(lower, schedules, (state.theta, state.theta_pen), batches)

        # delta = r_x - tau log pi + gamma V(s') - V(s), for both policies and for the leader's cost
        delta, delta_pen = lower.advantage(x, seen, v, tau), lower.advantage(x, seen_pen, v_pen, tau)
        delta_u = lower.leader_advantage(x, seen_pen, u)

        ratio = schedules.option("pen_rate", pen_rate, dtype)
        # x descends the penalty hyper-gradient; theta ascends J, theta_pen ascends J - w f
        move = {
            "x": (zeta, _common.negative(hypergradient(x, seen, seen_pen, w))),
            "theta": (alpha, lower.actor(x, seen, delta, tau)),
            "theta_pen": (ratio * alpha, lower.actor(x, seen_pen, delta_pen - w * delta_u, tau, w)),
            "value": (beta, lower.critic(v, seen, delta)),
            "value_pen": (beta, lower.critic(v_pen, seen_pen, delta_pen)),
            "leader_value": (beta, lower.critic(u, seen_pen, delta_u)),
        }
        if is_central:  # theta ascends J + w f and has a leader critic of its own
            delta_neg = lower.leader_advantage(x, seen, state.leader_value_neg)
            move["theta"] = (alpha, lower.actor(x, seen, delta + w * delta_neg, tau, -w))
            move["leader_value_neg"] = (beta, lower.critic(state.leader_value_neg, seen, delta_neg))

        moved = _common.move(state._replace(chains=chains), move, optimizers, lower.bounds(schedules), lower.project)
        errors = (lower.mean(seen, delta), lower.mean(seen_pen, delta_pen), lower.mean(seen_pen, delta_u))
        moved = _common.watched(moved, state, lower, seen)
        return moved, Info(num_samples, *errors, lower.look(x, seen, seen_pen))

    def solution(state: State) -> Solution:
        return Solution(state.x, state.theta)

    algorithm = Algorithm(init, step, solution)
    return algorithm if tail_average is None else _common.tail_average(algorithm, tail_average)

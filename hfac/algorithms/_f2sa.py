"""F2SA, the fully first-order method of general bi-level optimisation, on a lower level that is an MDP.

First order, model-free, nested; fixed tau. Its multiplier grows from one upper step to the next.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac import lower as _lower
from hfac.algorithms import _common
from hfac.algorithms._hfac import Info
from hfac.options import Number
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
    vitals: Any  # what the lower level watches
    optimizers: dict  # empty: plain stochastic approximation


@_common.method
def f2sa(
    problem: Any,
    *,
    inner_steps: int = 10,
    delta: Number = 0.1,
    delta_power: Number = 6 / 7,
    dtype: Any = jnp.float32,
    **lower_options: Any,
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
      problem: a bi-level problem.
      inner_steps: T >= 1, lower steps for every upper step.
      delta: first growth of the multiplier, as a fraction of lambda_0, >= 0; 0 keeps it.
      delta_power: exponent of the growth's decay, >= 0.
      dtype: of every float in a step.
      **lower_options: of the problem's kind, such as batch_size and coupled; see `problem.lower`.

    Returns:
      An `Algorithm`; its state names are those of `State`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    _common.check_count("inner_steps", inner_steps)
    for name, number in (("delta", delta), ("delta_power", delta_power)):
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{name} must be finite and >= 0, got {number}")
    lower = _lower.build(problem, "f2sa", 2, dtype, lower_options)

    def init(key: Key, schedules: Schedules) -> State:
        x, theta, v, chains, vitals = lower.init(key)
        return State(
            **_common.first_counters(),
            x=x,
            theta=theta,
            theta_pen=theta,
            value=v,
            value_pen=v,
            leader_value=v,
            multiplier=1 / jnp.asarray(schedules.penalty.scale, dtype),
            chains=chains,
            vitals=vitals,
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

        batches, chains, num_samples = lower.draw(key, state.chains, z, y)
        seen, seen_pen = _common.see(lower, schedules, (z, y), batches)
        delta_z, delta_y = lower.advantage(x, seen, v, tau), lower.advantage(x, seen_pen, v_pen, tau)
        delta_u = lower.leader_advantage(x, seen_pen, u)

        # the direction of y is that of J_tau - w f: alpha_k lambda_k = gamma_k / 2 is its rate
        first, power = schedules.option("delta", delta, dtype), schedules.option("delta_power", delta_power, dtype)
        growth = first / w_0 * (1 + k.astype(dtype)) ** -power
        move = {
            "x": (jnp.where(is_due, zeta, 0), _common.negative(lower.hypergradient(x, seen, seen_pen, w))),
            "theta": (gamma, lower.actor(x, seen, delta_z, tau)),
            "theta_pen": (gamma / 2, lower.actor(x, seen_pen, delta_y - w * delta_u, tau, w)),
            "value": (beta, lower.critic(v, seen, delta_z)),
            "value_pen": (beta, lower.critic(v_pen, seen_pen, delta_y)),
            "leader_value": (beta, lower.critic(u, seen_pen, delta_u)),
            "multiplier": (jnp.where(is_due, growth, 0), jnp.ones_like(multiplier)),
        }
        moved = _common.move(state._replace(chains=chains), move, {}, lower.bounds(held), lower.project)
        errors = (lower.mean(seen, delta_z), lower.mean(seen_pen, delta_y), lower.mean(seen_pen, delta_u))
        moved = _common.watched(moved, state, lower, seen)
        return moved, Info(num_samples, *errors, lower.look(x, seen, seen_pen))

    def solution(state: State) -> Solution:
        return Solution(state.x, state.theta)

    return Algorithm(init, step, solution)

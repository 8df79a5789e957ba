"""Finite differences: the lower level is tracked at two perturbed upper variables, f is compared, nothing is derived.

Zeroth order in x, model-free, nested: one upper step for every round of lower steps.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from hfac._compiler import random
from hfac.algorithms import _common
from hfac.options import Number
from hfac.schedules import Schedules
from hfac.tabular import sampling
from hfac.tabular.problem import Problem, as_float, on_batch
from hfac.types import Algorithm, Key, Needs, PyTree, Solution, Transition

NEEDS = Needs(nested=True)


class State(NamedTuple):
    """Everything the next step needs."""

    step: jax.Array  # int32 [], k
    status: jax.Array  # int32 [], latched Status
    failed_at: jax.Array  # int32 [], step of the first fault, or -1
    x: PyTree  # upper variable
    direction: PyTree  # u of this round, shaped like x
    theta_plus: jax.Array  # actor at x + mu u
    theta_minus: jax.Array  # actor at x - mu u
    value_plus: jax.Array  # critic of theta_plus
    value_minus: jax.Array  # critic of theta_minus
    running_cost: jax.Array  # [2], this round's mean of c at either point, so far
    chains: Any  # of the sampler
    optimizers: dict  # always empty


class Info(NamedTuple):
    """What is worth looking at."""

    num_samples: jax.Array  # int32 [], environment transitions of this step
    delta_plus: jax.Array  # [], mean temporal-difference error at x + mu u
    delta_minus: jax.Array  # [], at x - mu u


@_common.tabular
def zeroth_order(
    problem: Problem,
    *,
    inner_steps: int = 100,
    smoothing: Number = 0.1,
    sampler: sampling.SamplerName = "markov",
    batch_size: int = 1,
    coupled: bool = False,
    projection: Literal["box", "ball"] = "box",
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build the finite-difference baseline of Zeng et al. [arXiv 2601.16399].

    Two actor-critics follow the best responses at x + mu u and x - mu u. A step is one lower step of both, so that
    steps and samples are comparable with `hfac`; after a round of N,

        x <- x - zeta (F_+ - F_-) / (2 mu) u,   u ~ N(0, I) anew

    F = h + g + the mean of c over the chain's transitions in the later half of the round; h and g are evaluated, and
    a mean needs no critic of the leader's to settle. With best responses it is unbiased for the gradient of Phi_tau
    smoothed by mu u. Policies, critics and chains go on from round to round. The paper gives no details; these are
    ours. The schedules count lower steps; the penalty schedule is not used.

    Args:
      problem: a tabular bi-level problem.
      inner_steps: N >= 1, lower steps for every upper step.
      smoothing: mu > 0; small has little bias and much noise, of variance 1 / mu^2 (1 / mu if coupled).
      sampler: markov, iid, or exact (expectations; needs the model).
      batch_size: chains per policy, >= 1.
      coupled: both chains use the same random numbers: the same law for each, a quieter difference.
      projection: box clips touched critic entries, ball is the Euclidean projection.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; its solution's policy has the mean logits of the two, right for x up to O(mu^2).

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    _common.check_count("inner_steps", inner_steps)
    if not 0 < smoothing < float("inf"):
        raise ValueError(f"smoothing must be positive and finite, got {smoothing}")
    lower = problem.lower(
        sampler=sampler, batch_size=batch_size, coupled=coupled, projection=projection, num_policies=2, dtype=dtype
    )
    num_early = inner_steps // 2

    def init(key: Key, schedules: Schedules) -> State:
        del schedules
        x, theta, value, chains, _ = lower.init(key)
        return State(
            **_common.first_counters(),
            x=x,
            direction=_gaussian(jax.random.fold_in(key, 4), x),
            theta_plus=theta,
            theta_minus=theta,
            value_plus=value,
            value_minus=value,
            running_cost=jnp.zeros(2, dtype),
            chains=chains,
            optimizers={},
        )

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        zeta, alpha, beta, _, tau = schedules.at(state.step, dtype)
        mu, is_due = schedules.option("smoothing", smoothing, dtype), _common.is_due(state.step, inner_steps)
        thetas, values = (state.theta_plus, state.theta_minus), (state.value_plus, state.value_minus)
        xs = [jax.tree.map(lambda x, u, way=way: x + way * mu * u, state.x, state.direction) for way in (1, -1)]

        # both actor-critics answer their own point
        batches, chains, num_samples = lower.draw(random.fold_in(key, 0), state.chains, *thetas)
        seen = _common.see(lower, schedules, thetas, batches)
        delta = [lower.advantage(x, each, v, tau) for x, each, v in zip(xs, seen, values, strict=True)]

        # c counts in the later half of a round, when the policies have answered the new points
        share = jnp.where(state.step % inner_steps >= num_early, 1 / (inner_steps - num_early), 0).astype(dtype)
        costs = [_mean_cost(problem, x, batch, dtype) for x, batch in zip(xs, batches, strict=True)]
        running_cost = state.running_cost + share * jnp.stack(costs)
        objective = [running_cost[i] + _direct_terms(problem, xs[i], thetas[i], dtype) for i in (0, 1)]
        slope = (objective[0] - objective[1]) / (2 * mu)

        move = {"x": (jnp.where(is_due, zeta, 0), jax.tree.map(lambda u: -slope * u, state.direction))}
        for i, name in enumerate(("plus", "minus")):
            move[f"theta_{name}"] = (alpha, lower.actor(xs[i], seen[i], delta[i], tau))
            move[f"value_{name}"] = (beta, lower.critic(values[i], seen[i], delta[i]))
        bound = lower.bounds(schedules)
        bounds = {name: bound["value"] for name in ("value_plus", "value_minus") if "value" in bound}
        moved = _common.move(state._replace(chains=chains), move, {}, bounds, lower.project)
        fresh = _gaussian(random.fold_in(key, 1), state.x)
        direction = jax.tree.map(lambda new, old: jnp.where(is_due, new, old), fresh, state.direction)
        running_cost = jnp.where(is_due, 0, running_cost)
        moved = _common.keep_if_healthy(moved, state, direction=direction, running_cost=running_cost)
        return moved, Info(num_samples, *map(lower.mean, seen, delta))

    def solution(state: State) -> Solution:
        return Solution(state.x, (state.theta_plus + state.theta_minus) / 2)

    return Algorithm(init, step, solution)


def _mean_cost(problem: Problem, x: PyTree, batch: Transition, dtype: Any) -> jax.Array:
    """Mean of the running cost over a batch. []."""
    if problem.cost is None:
        return jnp.zeros((), dtype)
    return _common.mean(batch, on_batch(problem.cost, x, batch, dtype))


def _direct_terms(problem: Problem, x: PyTree, theta: jax.Array, dtype: Any) -> jax.Array:
    """h(x) + g(x, pi) of a table of logits. []."""
    total = jnp.zeros((), dtype)
    if problem.h is not None:
        total += as_float(problem.h)(x)
    if problem.g is not None:
        total += as_float(problem.g)(x, jnp.exp(jax.nn.log_softmax(theta)))
    return total


def _gaussian(key: Key, like: PyTree) -> PyTree:
    """Standard normal numbers, shaped like a tree; the key is consumed."""
    leaves, structure = jax.tree.flatten(like)

    def draw(number: int, leaf: jax.Array) -> jax.Array:
        u = random.uniform(random.fold_in(key, number), leaf.size, leaf.dtype).reshape(leaf.shape)
        centred = jnp.maximum(2 * u - 1, jnp.finfo(leaf.dtype).epsneg - 1)  # 0 would be mapped to -inf
        return jnp.sqrt(jnp.asarray(2, leaf.dtype)) * jax.lax.erf_inv(centred)

    return jax.tree.unflatten(structure, [draw(i, leaf) for i, leaf in enumerate(leaves)])

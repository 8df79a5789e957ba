"""BOME: x and a policy descend together, with a multiplier that makes the lower level improve enough.

First order. Needs the model, since the multiplier is a ratio of squared norms, which sampled gradients only estimate
with a bias, and a few lower steps for every upper step (nested).
"""

from typing import Any

import jax
import jax.numpy as jnp

from hfac._compiler.reduce import sum_all
from hfac.algorithms import _common, _planning
from hfac.options import Number
from hfac.schedules import Schedules
from hfac.tabular import linear
from hfac.tabular.dynamics import (
    Model,
    backup,
    centered,
    logits_grad,
    model,
    policy_point,
    table_grad,
    upper_parts_from,
)
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Key, Needs, PyTree

NEEDS = Needs(model=True, nested=True, penalty=True)
COVERAGE = 1e-3  # visits of a state below this share of a uniform start's count as so many


@_common.tabular
def bome(
    problem: Problem,
    *,
    inner_steps: int = 10,
    eta: Number = 0.5,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build BOME (Ye et al., NeurIPS 2022), "BOME! Bilevel optimization made easy".

    y are logits of the policy, y_T the end of T = `inner_steps` ascent steps on J_tau(x, .) from y, held constant:

        q(x, y) = J_tau(x, y_T) - J_tau(x, y)
        lambda  = max(eta |grad q|^2 - <grad f, grad q>, 0) / |grad q|^2
        (x, y) <- (x, y) - xi (grad f + lambda grad q)

    The paper's one step size xi and Euclidean norm are replaced by a length for x and one for y and the norm that
    they make: |z|^2 = zeta |z_x|^2 + alpha' <z_y, N^-1 z_y>, N the policy's Fisher matrix weighted by its visits, so
    that the steps in y are natural gradients. It is the paper's method in other coordinates, in which the size of a
    visit does not matter. alpha' = alpha / (1 + alpha tau) keeps a step below soft policy iteration, its limit. With
    lengths that do not vanish, lambda settles near 1 / alpha' tau, and so does the bias that it leaves.

    Args:
      problem: a tabular bi-level problem.
      inner_steps: T >= 1.
      eta: how much of its own gradient flow q must follow, > 0.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`; its solution's policy is y. zeta, alpha and tau are the upper, actor and entropy schedule.

    Raises:
      ValueError: if an option is out of range.
    """
    _common.check_count("inner_steps", inner_steps)
    _planning.check_positive("eta", eta)

    init = _common.planned(problem, {}, {}, dtype)

    def step(key: Key, state: _common.Planned, schedules: Schedules) -> tuple[_common.Planned, _common.PlannedInfo]:
        del key
        rates = schedules.at(state.step, dtype)
        zeta, tau = rates.upper, rates.entropy
        alpha = rates.actor / (1 + rates.actor * tau)
        at, x = model(problem, state.x, dtype)
        here = policy_point(at, state.theta, tau)
        ahead = _improve(at, state.theta + alpha * here.advantage, tau, alpha, inner_steps - 1)
        leader_value = linear.evaluate(here.chain, (1 - at.mdp.discount) * jnp.sum(here.pi * at.cost, -1))
        f = upper_parts_from(problem, at, x, here.pi, here.visits, leader_value)

        weights = _occupancy(at, jax.nn.softmax(ahead)) - here.visits[:, None] * here.pi
        grad_f = {"x": f.grad_x, "theta": here.pi * centered(here.pi, f.grad_pi)}
        grad_q = {"x": table_grad(problem.reward, at.mdp, x, weights), "theta": -logits_grad(here)}
        scale = here.pi * jnp.maximum(here.visits, COVERAGE / problem.mdp.num_states)[:, None]
        metric = {
            "x": jax.tree.map(lambda leaf: jnp.full_like(leaf, zeta), x),
            "theta": alpha / jnp.maximum(scale, jnp.finfo(dtype).tiny),
        }
        lam = _multiplier(grad_f, grad_q, metric, schedules.option("eta", eta, dtype))
        down = _common.negative(_planning.add(grad_f, grad_q, lam))
        one = jnp.ones((), dtype)
        moves = {name: (one, jax.tree.map(jnp.multiply, metric[name], down[name])) for name in ("x", "theta")}
        return _common.move(state, moves, {}, {}), _common.PlannedInfo(jnp.int32(0), f.value)

    return Algorithm(init, step, _planning.solution)


def _improve(at: Model, theta: jax.Array, tau: jax.Array, alpha: jax.Array, count: int) -> jax.Array:
    """Natural policy-gradient steps; the Fisher matrix cancels the visits, and a value is all that they take."""

    def ascend(theta: jax.Array) -> jax.Array:
        log_pi = jax.nn.log_softmax(theta)
        pi = jnp.exp(log_pi)
        chain = linear.factorize(at.mdp, pi)
        v = linear.evaluate(chain, jnp.sum(pi * (at.reward - tau * log_pi), -1))
        return theta + alpha * (backup(at.mdp, at.reward, v) - tau * log_pi - v[:, None])

    return linear.repeat(ascend, theta, count)


def _occupancy(at: Model, pi: jax.Array) -> jax.Array:
    return linear.accumulate(linear.factorize(at.mdp, pi), at.mdp.initial)[:, None] * pi


def _multiplier(grad_f: PyTree, grad_q: PyTree, metric: PyTree, eta: jax.Array) -> jax.Array:
    """The multiplier lambda, []."""

    def inner(first: PyTree, second: PyTree) -> jax.Array:
        parts = jax.tree.map(lambda a, b, m: sum_all(a * m * b), first, second, metric)
        return jnp.sum(jnp.stack(jax.tree.leaves(parts)))

    square = jnp.maximum(inner(grad_q, grad_q), jnp.finfo(eta.dtype).tiny)
    return jnp.maximum(eta - inner(grad_f, grad_q) / square, 0)

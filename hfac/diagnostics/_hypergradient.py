"""Is a problem's hyper-gradient right? Estimators, exact formulas and finite differences side by side."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from hfac import exact
from hfac._compiler import random
from hfac.tabular import estimators, policies, sampling
from hfac.tabular.problem import Problem
from hfac.types import PyTree, densify

NUM_DIRECTIONS = 16
STEP = 1e-5  # of the finite differences; their error is about STEP^2 / tau^2


class Check(NamedTuple):
    """One way to the hyper-gradient, compared with central differences of Phi_tau along random directions."""

    method: str
    norm: float  # of the whole gradient; nan for the finite differences, which see only some directions
    relative_error: float  # of the directional derivatives


def check_hypergradient(
    problem: Problem,
    x: PyTree | None = None,
    tau: float = 0.1,
    w: float = 1e-3,
    seed: int = 0,
    show: Callable[[str], None] | None = print,
) -> list[Check]:
    """Compare every way to grad Phi_tau(x) that the library has, in float64, and print a small table.

    `implicit` must agree with `finite differences` to rounding, `penalty` within O(w / tau), `central` within its
    square, and the `estimator` (the step's own formula, in expectation at exact policies) with `penalty`.

    Args:
      problem: any tabular problem; write your own and check it here first.
      x: where; a random point near the start unless given.
      tau: entropy weight, > 0.
      w: penalty parameter, > 0.
      seed: of the point and the directions.
      show: prints one line; None prints nothing.

    Returns:
      One `Check` per method.

    Raises:
      ValueError: if tau or w is not positive.
    """
    if not tau > 0 or not w > 0:
        raise ValueError(f"tau and w must be positive, got tau = {tau}, w = {w}")
    with jax.enable_x64(True):
        checks = _compare(problem, x, tau, w, np.random.default_rng(seed))
    if show is not None:
        show(f"hyper-gradient of {problem.name} at tau = {tau:g}, w = {w:g} (float64)")
        show(f"{'method':<20} {'norm':>12} {'relative error':>15}")
        for check in checks:
            norm = "-" if np.isnan(check.norm) else f"{check.norm:.6g}"
            error = "the measure" if np.isnan(check.norm) else f"{check.relative_error:.2e}"
            show(f"{check.method:<20} {norm:>12} {error:>15}")
    return checks


def _compare(problem: Problem, x: PyTree | None, tau: float, w: float, rng: np.random.Generator) -> list[Check]:
    start = problem.first_x(random.key(0)) if x is None else x
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), start))
    if x is None:
        flat = flat + jnp.asarray(rng.normal(scale=0.5, size=flat.size))
    directions, _ = np.linalg.qr(rng.normal(size=(flat.size, min(NUM_DIRECTIONS, flat.size))))
    at = unravel(flat)
    objective = jax.jit(lambda flat: exact.hyper_objective(problem, unravel(flat), tau))
    slopes = np.array(
        [float(objective(flat + STEP * d) - objective(flat - STEP * d)) / (2 * STEP) for d in directions.T]
    )
    ways: dict[str, Callable[[], PyTree]] = {
        "implicit": lambda: exact.hypergradient(problem, at, tau),
        "penalty": lambda: exact.penalty_hypergradient(problem, at, w, tau),
        "penalty, central": lambda: exact.penalty_hypergradient(problem, at, w, tau, "central"),
        "estimator": lambda: _expected_estimate(problem, at, tau, w),
    }
    checks = [Check("finite differences", float("nan"), 0.0)]
    for method, way in ways.items():
        grad = np.asarray(ravel_pytree(jax.jit(way)())[0])
        error = np.linalg.norm(grad @ directions - slopes) / np.linalg.norm(slopes)
        checks.append(Check(method, float(np.linalg.norm(grad)), float(error)))
    return checks


def _expected_estimate(problem: Problem, x: PyTree, tau: float, w: float) -> PyTree:
    """The step's hyper-gradient with every sample replaced by its expectation at the exact policies."""
    pi, pi_pen = exact.penalty_response(problem, x, w, tau)
    mdp = problem.mdp.astype(jnp.float64)
    sampler = sampling.exact(mdp, policies.tabular_softmax(mdp.num_states, mdp.num_actions, jnp.float64))
    batch, batch_pen = sampler.draw(random.key(0), (), jnp.log(pi), jnp.log(pi_pen)).batches
    weight = jnp.asarray(w, jnp.float64)
    return densify(x, estimators.penalty_hypergradient(problem, x, batch, batch_pen, pi, pi_pen, weight))

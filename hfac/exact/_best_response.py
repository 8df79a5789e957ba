"""Best responses: the soft-optimal policy, its limit at zero entropy, the penalised policy.

Solvers return NaN where they did not converge, never a silent approximation.
"""

import jax
import jax.numpy as jnp

from hfac.exact._policy import upper_objective
from hfac.tabular.dynamics import (
    MAX_ITERATIONS,
    Model,
    Response,
    as_float,
    backup,
    model,
    soft_optimal,
    soft_value,
    visits,
)
from hfac.tabular.mdp import TabularMDP
from hfac.tabular.problem import Problem
from hfac.tabular.problem import as_float as returning_float
from hfac.types import PyTree, Scalar

TIE_TOLERANCE = 1e-9  # relative to max |Q|: actions this close to the best are optimal


def respond(problem: Problem, x: PyTree, tau: Scalar, start: jax.Array | None = None) -> Response:
    """The best response with its soft value, from which the response at a nearby x is found sooner.

    Args:
      problem: any tabular problem.
      x: upper variable.
      tau: entropy weight, > 0.
      start: values to start from [S]; zero unless given.
    """
    at, _ = model(problem, x)
    return soft_optimal(at.mdp, at.reward, jnp.asarray(tau, at.reward.dtype), start=start)


def best_response(problem: Problem, x: PyTree, tau: Scalar) -> jax.Array:
    """pi*_tau(x) = argmax_pi J_tau(x, pi), the policy table [S, A]; tau > 0."""
    return respond(problem, x, tau).pi


def optimal_actions(mdp: TabularMDP, rewards: jax.Array) -> jax.Array:
    """Actions optimal without entropy, by policy iteration, ties within `TIE_TOLERANCE`. bool [S, A]."""
    eps = jnp.finfo(rewards.dtype).eps

    def is_open(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        _, is_improving, iteration = carry
        return is_improving & (iteration < MAX_ITERATIONS)

    def improve(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        v, _, iteration = carry
        greedy = jax.nn.one_hot(jnp.argmax(backup(mdp, rewards, v), -1), rewards.shape[1], dtype=rewards.dtype)
        new = soft_value(mdp, rewards, greedy, 0.0)
        gain = jnp.max(new - v)
        is_improving = (iteration == 0) | (gain > 100 * eps * (1 + jnp.max(jnp.abs(new))))
        return jnp.where(iteration == 0, new, jnp.maximum(new, v)), is_improving, iteration + 1

    v, is_improving, _ = jax.lax.while_loop(
        is_open, improve, (jnp.zeros_like(rewards[:, 0]), jnp.array(True), jnp.int32(0))
    )
    q = jnp.where(is_improving, jnp.nan, backup(mdp, rewards, v))
    slack = jnp.maximum(TIE_TOLERANCE, 100 * eps) * (1 + jnp.max(jnp.abs(q)))
    return q >= jnp.max(q, -1, keepdims=True) - slack


def limit_policy(problem: Problem, x: PyTree) -> jax.Array:
    """pi*(x) = lim_{tau->0} pi*_tau(x): of the optimal policies the one of largest discounted entropy. [S, A].

    Actions count as optimal within `TIE_TOLERANCE`.
    """
    at, _ = model(problem, x)
    return limit_response(at)


def limit_response(at: Model) -> jax.Array:
    """The limit policy of a tabulated problem, [S, A]."""
    allowed = optimal_actions(at.mdp, at.reward)
    return soft_optimal(at.mdp, jnp.zeros_like(at.reward), jnp.ones((), at.reward.dtype), allowed).pi


def penalty_response(problem: Problem, x: PyTree, w: Scalar, tau: Scalar) -> tuple[jax.Array, ...]:
    """(pi*_tau(x), pi_{w,tau}(x)): the best response and the minimiser of L_{w,tau}(x, .).

    With g = 0 the latter is the best response to r_x - w (1 - gamma) c, exactly; with g it is followed from the
    best response by Newton steps on the logits. A negative w gives the maximiser of J_tau + |w| f.
    """
    at, x = model(problem, x)
    return penalized(problem, at, x, jnp.stack([jnp.zeros(()), jnp.asarray(w, float)]), tau)


def penalized(problem: Problem, at: Model, x: PyTree, w: jax.Array, tau: Scalar) -> tuple[jax.Array, ...]:
    """Maximisers of J_tau - w_i f for every w_i of [n], solved as one batch."""
    tau = jnp.asarray(tau, at.reward.dtype)
    rewards = at.reward[None] - w[:, None, None] * ((1 - at.mdp.discount) * at.cost)[None]
    responses = jax.vmap(lambda r: soft_optimal(at.mdp, r, tau))(rewards)
    if problem.g is None:
        return tuple(responses.pi)
    return tuple(jax.lax.map(lambda pair: _newton(problem, at, x, pair[0], tau, pair[1]), (w, responses.pi)))


def _newton(
    problem: Problem, at: Model, x: PyTree, w: jax.Array, tau: jax.Array, pi: jax.Array, max_iterations: int = 100
) -> jax.Array:
    """Minimise w g - (J_tau - w c) over logits by Newton steps, guarded by a search along the natural gradient.

    Plain Newton steps leave the basin where the Hessian is indefinite and then stop near a deterministic policy,
    where every gradient vanishes. A step is taken only if the loss does not rise; a point where nothing lowers it
    counts as the minimum only if it is stationary and the Hessian has no negative curvature.
    """
    shape = pi.shape
    rewards = at.reward - w * (1 - at.mdp.discount) * at.cost
    tiny, eps = jnp.finfo(pi.dtype).tiny, jnp.finfo(pi.dtype).eps
    fractions = 4.0 ** -jnp.arange(12, dtype=pi.dtype)

    def table(logits: jax.Array) -> jax.Array:
        return jax.nn.softmax(logits.reshape(shape))

    def loss(logits: jax.Array) -> jax.Array:
        soft_return = jnp.vdot(at.mdp.initial, soft_value(at.mdp, rewards, table(logits), tau))
        return w * returning_float(problem.g)(x, table(logits)) - soft_return  # type: ignore[arg-type]

    def improve(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        logits, _, _, iteration = carry
        pi = table(logits)
        (value, grad), curve = jax.linearize(jax.value_and_grad(loss), logits)
        hessian = jax.vmap(curve)(jnp.eye(logits.size))[1]
        is_minimum = (jnp.max(jnp.abs(grad)) < 1e-8) & (jnp.min(jnp.linalg.eigvalsh(hessian)) > -1e-8)
        occupancy = jnp.maximum((visits(at.mdp, pi)[:, None] / (1 - at.mdp.discount) * pi).ravel(), tiny)
        natural = grad / occupancy / tau
        steps = jnp.concatenate(
            [_scaled_solve(hessian, grad, occupancy, shape)[None], fractions[:, None] * natural[None]]
        )
        losses = jax.lax.map(loss, logits[None] - steps)  # not vmap: no second batched factorisation
        losses = losses.at[0].add(-100 * eps * (1 + jnp.abs(value)))  # at rounding the Newton step wins
        best = jnp.argmin(jnp.where(jnp.isfinite(losses), losses, jnp.inf))
        new = jnp.where(
            losses[best] <= value, jax.nn.log_softmax((logits - steps[best]).reshape(shape)).ravel(), logits
        )
        return new, is_minimum, jnp.max(jnp.abs(table(new) - pi)), iteration + 1

    def is_open(carry: tuple[jax.Array, ...]) -> jax.Array:
        _, _, change, iteration = carry
        return (change > 1e-13) & (iteration < max_iterations)

    start = jnp.log(jnp.maximum(pi, tiny)).ravel()
    first: tuple[jax.Array, ...] = (start, jnp.array(False), jnp.full((), jnp.inf, pi.dtype), jnp.int32(0))
    logits, is_minimum, _, _ = jax.lax.while_loop(is_open, improve, first)
    return jnp.where(is_minimum, table(logits), jnp.nan)


def _scaled_solve(hessian: jax.Array, grad: jax.Array, occupancy: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The Newton step in coordinates in which the curvature of the entropy is one.

    Actions of probability 1e-30 make the plain system singular to rounding. Logits move freely along 1 in each state,
    which is the vector of square roots here.
    """
    root = jnp.sqrt(occupancy)
    free = root.reshape(shape) / jnp.linalg.norm(root.reshape(shape), axis=-1, keepdims=True)
    gauge = jax.vmap(jnp.outer)(free, free)
    block = jnp.kron(jnp.eye(shape[0]), jnp.ones((shape[1], shape[1]))) * jnp.tile(
        gauge.reshape(-1, shape[1]), shape[0]
    )
    return jnp.linalg.solve(hessian / jnp.outer(root, root) + block, grad / root) / root


def penalty_objective(problem: Problem, x: PyTree, pi: jax.Array, w: Scalar, tau: Scalar) -> jax.Array:
    """L_{w,tau}(x, pi) = f(x, pi) + (J_tau(x, pi*_tau(x)) - J_tau(x, pi)) / w."""
    at, x = model(problem, x)
    pi = as_float(pi)
    best = soft_optimal(at.mdp, at.reward, jnp.asarray(tau, pi.dtype))
    gap = jnp.vdot(at.mdp.initial, best.value - soft_value(at.mdp, at.reward, pi, tau))
    return upper_objective(problem, x, pi) + gap / w

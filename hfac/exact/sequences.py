"""Ground truth for episodic problems whose sequences can be listed: closed forms over the whole language.

    pi*_tau(x) ~ pi_ref exp(R_x / tau),    pi_{w,tau}(x) = argmin_pi f(x, pi) + 1/w ( J_tau(x, pi*) - J_tau(x, pi) )

A policy is its distribution over all sequences, [Y]; the gradients are autodiff of these expressions, or the envelope
formula of the penalty, and share nothing with the estimators.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from hfac.sequences.policies import sequence_log_prob
from hfac.sequences.problem import EpisodicProblem
from hfac.types import PyTree, Scalar

MAX_SEQUENCES = 4_096
NEWTON_STEPS = 50


def enumerate_sequences(num_tokens: int, length: int, end: int = 0) -> np.ndarray:
    """All sequences over a vocabulary, int32 [Y, L]; `end` fills what follows an end.

    Raises:
      ValueError: if there are more than 4,096.
    """
    others = [token for token in range(num_tokens) if token != end]
    count = sum(len(others) ** n for n in range(length)) + len(others) ** length
    if count > MAX_SEQUENCES:
        raise ValueError(f"at most {MAX_SEQUENCES:,} sequences can be listed, got {count:,}; shorten the language")
    rows = [[*word, *[end] * (length - n)] for n in range(length + 1) for word in itertools.product(others, repeat=n)]
    return np.array(rows, np.int32)


def log_probs(problem: EpisodicProblem, every: jax.Array, theta: PyTree) -> jax.Array:
    """Log-probability of every sequence, [Y]."""
    return jax.vmap(lambda y: sequence_log_prob(problem.policy, theta, y))(every)


def best_response(problem: EpisodicProblem, every: jax.Array, x: PyTree, tau: Scalar) -> jax.Array:
    """pi*_tau(x) ~ pi_ref exp(R_x / tau) over all sequences, [Y]; tau > 0."""
    return jax.nn.softmax(log_probs(problem, every, problem.reference) + _rewards(problem, every, x) / tau)


def regularized_return(problem: EpisodicProblem, every: jax.Array, x: PyTree, pi: jax.Array, tau: Scalar) -> jax.Array:
    """J_tau(x, pi) = E_pi[R_x] - tau KL(pi | pi_ref) of a distribution over all sequences [Y]. []."""
    ratio = jnp.log(jnp.where(pi > 0, pi, 1)) - log_probs(problem, every, problem.reference)
    return pi @ _rewards(problem, every, x) - tau * jnp.sum(jnp.where(pi > 0, pi * ratio, 0))


def upper_objective(problem: EpisodicProblem, every: jax.Array, x: PyTree, pi: jax.Array) -> jax.Array:
    """f(x, pi) of a distribution over all sequences [Y]. []."""
    value = jnp.zeros((), pi.dtype) if problem.h is None else problem.h(x)
    rate = jax.vmap(problem.rating)
    if problem.cost is not None:
        value += pi @ jax.vmap(problem.cost, (None, 0, 0))(x, every, rate(every))
    if problem.pair_loss is not None:
        against = every if problem.anchors is None else problem.anchors
        weight = pi if problem.anchors is None else jnp.full(len(against), 1 / len(against), pi.dtype)
        beside = jax.vmap(problem.pair_loss, (None, None, None, 0, 0))
        losses = jax.vmap(beside, (None, 0, 0, None, None))(x, every, rate(every), against, rate(against))
        value += pi @ losses @ weight
    return value


def hyper_objective(problem: EpisodicProblem, every: jax.Array, x: PyTree, tau: Scalar) -> jax.Array:
    """Phi_tau(x) = f(x, pi*_tau(x)). []."""
    return upper_objective(problem, every, x, best_response(problem, every, x, tau))


def hypergradient(problem: EpisodicProblem, every: jax.Array, x: PyTree, tau: Scalar) -> PyTree:
    """Gradient of Phi_tau(x), same tree as x."""
    return jax.grad(lambda x: hyper_objective(problem, every, x, tau))(x)


def penalty_response(problem: EpisodicProblem, every: jax.Array, x: PyTree, w: Scalar, tau: Scalar) -> jax.Array:
    """pi_{w,tau}(x) by Newton steps on log pi from the best response, [Y].

    It solves tau log(pi / pi_ref) = R_x - w d_pi f(x, pi) + const; where f is linear in pi that is
    pi_ref exp((R_x - w c) / tau). With pairs from pi it is the minimum next to the best response; far from it, at
    large w / tau, there can be others, and no answer: then the result is not finite.
    """
    start = jnp.log(best_response(problem, every, x, tau))
    gradient = jax.grad(lambda pi: upper_objective(problem, every, x, pi))

    def residual(logits: jax.Array) -> jax.Array:
        excess = logits - start + w / tau * gradient(jax.nn.softmax(logits))
        return excess - excess.mean()

    def newton(_: jax.Array, logits: jax.Array) -> jax.Array:
        # the mean row makes the constant direction, which the residual does not see, invertible
        jacobian = jax.jacfwd(residual)(logits) + 1 / logits.size
        moved = logits - jnp.linalg.solve(jacobian, residual(logits))
        return moved - jax.nn.logsumexp(moved)

    logits = jax.lax.fori_loop(0, NEWTON_STEPS, newton, start)
    is_solved = jnp.max(jnp.abs(residual(logits))) < jnp.sqrt(jnp.finfo(logits.dtype).eps)
    return jnp.where(is_solved, jax.nn.softmax(logits), jnp.nan)


def penalty_hyper_objective(problem: EpisodicProblem, every: jax.Array, x: PyTree, w: Scalar, tau: Scalar) -> jax.Array:
    """Phi_{w,tau}(x) = min over pi of f(x, pi) + 1/w ( J_tau(x, pi*_tau) - J_tau(x, pi) ). []."""
    best, pulled = best_response(problem, every, x, tau), penalty_response(problem, every, x, w, tau)
    gap = regularized_return(problem, every, x, best, tau) - regularized_return(problem, every, x, pulled, tau)
    return upper_objective(problem, every, x, pulled) + gap / w


def penalty_hypergradient(problem: EpisodicProblem, every: jax.Array, x: PyTree, w: Scalar, tau: Scalar) -> PyTree:
    """Gradient d_x f(x, pi_w) + 1/w ( E_pi*[grad R_x] - E_pi_w[grad R_x] ) of Phi_{w,tau}, same tree as x."""
    best, pulled = best_response(problem, every, x, tau), penalty_response(problem, every, x, w, tau)

    def envelope(x: PyTree) -> jax.Array:
        return upper_objective(problem, every, x, pulled) + (best - pulled) @ _rewards(problem, every, x) / w

    return jax.grad(envelope)(x)


def _rewards(problem: EpisodicProblem, every: jax.Array, x: PyTree) -> jax.Array:
    return jax.vmap(problem.reward, (None, 0))(x, every)

"""What a reward asks for, pi*_tau(x) ~ pi_ref exp(R_x / tau), by importance weights on sequences of the reference."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler import random
from hfac.judging import OBJECTIVE, Judge, Metric, check_taus
from hfac.sequences import episodes
from hfac.sequences.episodes import Episodes
from hfac.sequences.problem import EpisodicProblem
from hfac.types import PyTree, Scalar

NUM_SEQUENCES = 4_096  # of the reference policy that a reward is judged on
NUM_OPPONENTS = 256  # that each of them is compared with, where the leader compares


def judge(problem: EpisodicProblem, taus: float | Sequence[float], num_sequences: int = NUM_SEQUENCES) -> Judge:
    """How a problem over sequences is judged: f at the best response, its divergence, and how many carry the weights.

    Args:
      problem: any problem over sequences.
      taus: weights of the divergence, > 0.
      num_sequences: of the reference policy.

    Raises:
      ValueError: if a tau is not positive.
    """
    each = check_taus(taus)
    sample: Any = jax.jit(problem.policy.sample, static_argnums=2)
    every = sample(random.key(0), problem.reference, num_sequences)
    carry = {"tokens": every, "rating": jax.jit(jax.vmap(problem.rating))(every)}  # an argument, not a constant

    def function(carry: Any, record: Mapping[str, Any]) -> tuple[Any, dict[str, jax.Array]]:
        def at(tau: jax.Array) -> dict[str, jax.Array]:
            batch, divergence = best_response(problem, record["x"], carry["tokens"], carry["rating"], tau)
            value = objective(problem, record["x"], batch)
            return {OBJECTIVE: value, "response_divergence": divergence, "response_effective": effective(batch)}

        return carry, jax.lax.map(at, jnp.asarray(each, jnp.float32))

    vectors = (OBJECTIVE, "response_divergence", "response_effective")
    like = {"x": jax.eval_shape(problem.init_x, random.key(0))}
    return Judge(Metric(function, carry, "judged_tau", each, vectors, like), None)


def best_response(
    problem: EpisodicProblem, x: PyTree, every: jax.Array, rating: PyTree, tau: Scalar
) -> tuple[Episodes, jax.Array]:
    """Sequences of the reference policy [M, L] weighted as the best response weighs them, and its KL to it, nats."""
    rewards = jax.vmap(problem.reward, (None, 0))(x, every)
    tilt = rewards / jnp.asarray(tau, rewards.dtype)
    weight = jax.nn.softmax(tilt)
    mean = jax.nn.logsumexp(tilt) - jnp.log(jnp.asarray(len(every), tilt.dtype))
    return Episodes(every, weight, rating), weight @ tilt - mean


def effective(batch: Episodes) -> jax.Array:
    """Sequences that carry the weights, (sum w)^2 / sum w^2. []."""
    return 1 / jnp.sum(batch.weight**2)


def objective(problem: EpisodicProblem, x: PyTree, batch: Episodes, num_opponents: int = NUM_OPPONENTS) -> jax.Array:
    """f(x, pi) of weighted sequences. []."""
    value = batch.weight @ episodes.costs(problem, x, batch)
    if problem.h is not None:
        value += problem.h(x)
    if problem.pair_loss is not None:
        value += _expected_pair_loss(problem, x, batch, num_opponents)
    return value


def _expected_pair_loss(problem: EpisodicProblem, x: PyTree, batch: Episodes, num_opponents: int) -> jax.Array:
    """E[l(x, y, y')], y weighted and y' drawn from the weights, or the anchors, by equally spaced quantiles."""
    loss: Any = jax.vmap(problem.pair_loss, (None, 0, 0, None, None))  # type: ignore[type-var]
    if problem.anchors is None:
        spaced = jnp.asarray((np.arange(num_opponents) + 0.5) / num_opponents, batch.weight.dtype)
        chosen = jnp.searchsorted(jnp.cumsum(batch.weight), spaced).clip(0, len(batch.tokens) - 1)
        others, ratings = batch.tokens[chosen], jax.tree.map(lambda leaf: leaf[chosen], batch.rating)
    else:
        chosen = jnp.asarray(np.linspace(0, len(problem.anchors) - 1, num_opponents), jnp.int32)
        others = problem.anchors[chosen]
        ratings = jax.vmap(problem.rating)(others)

    def against(other: tuple[jax.Array, PyTree]) -> jax.Array:
        return batch.weight @ loss(x, batch.tokens, batch.rating, *other)

    return jnp.mean(jax.lax.map(against, (others, ratings)))

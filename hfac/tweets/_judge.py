"""What a run of happy tweets is worth: what its policies write, and what its rewards ask for."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler import random
from hfac.sequences import episodes, judging
from hfac.sequences.episodes import Episodes
from hfac.sequences.policies import written
from hfac.sequences.problem import EpisodicProblem
from hfac.tweets._tokenizer import EOS
from hfac.types import PyTree

NUM_TWEETS = 256  # written at every record point
HAPPY = 0.05  # compound above which VADER calls a text positive
MIN_EFFECTIVE = 500  # tweets that must carry an importance-weighted mean
SAME_NUMBERS = 7  # key of all recorded tweets: they differ by the policy alone


def record(problem: EpisodicProblem, count: int = NUM_TWEETS) -> Callable[[Any, Any, Any], dict[str, Any]]:
    """Record function: x, and what theta writes from the same random numbers everywhere, with both models' opinions."""

    def keep(state: Any, info: Any, schedules: Any) -> dict[str, Any]:
        del info
        tokens = problem.policy.sample(random.key(SAME_NUMBERS), state.theta, count)
        batch = Episodes(tokens, jnp.full(count, 1 / count, jnp.float32), ())
        own, _ = episodes.path(problem, state.theta, batch)
        reference, _ = episodes.path(problem, problem.reference, batch)
        return {
            "x": state.x,
            "tokens": tokens,
            "log_prob": jnp.sum(own.log_prob, 1),
            "reference_log_prob": jnp.sum(reference.log_prob, 1),
            "divergences": jnp.sum(own.divergence, 1),
            "entropy_weight": schedules.at(state.step).entropy,
            "status": state.status,
            "failed_at": state.failed_at,
        }

    return keep


class Writing(NamedTuple):
    """What a policy writes; means over tweets [...] of a record."""

    score: Any  # mean of the rater's score
    score_se: Any  # its standard error
    happy: Any  # share above `HAPPY`
    divergence: Any  # KL(pi | pi_ref), nats per tweet
    entropy: Any  # nats per tweet
    perplexity: Any  # of its tweets under the reference, per token
    distinct: Any  # distinct pairs of neighbours among all
    repetition: Any  # share of tokens that stand in the same tweet before
    length: Any  # tokens per tweet
    accuracy: Any  # share of fresh pairs of tweets that R_x orders as the rater does; a tie of R_x is half right


def writing(
    data: Mapping[str, Any], rater: Callable[[jax.Array], jax.Array], reward: Callable[..., jax.Array]
) -> Writing:
    """Look at the tweets of records.

    Args:
      data: `record`'s leaves with any leading axes [...].
      rater: score of one tweet [L].
      reward: ``(x, tokens [L]) -> []``.
    """
    lead = np.shape(data["divergences"])[:-1]
    flat = jax.tree.map(lambda leaf: jnp.asarray(leaf).reshape(-1, *np.shape(leaf)[len(lead) :]), dict(data))

    def one(at: dict[str, Any]) -> Any:
        tokens = at["tokens"]
        count = jnp.asarray(tokens.shape[0], jnp.float32)
        is_written = jax.vmap(written, (0, None))(tokens, EOS)
        is_word = is_written & (tokens != EOS)
        score = jax.vmap(rater)(tokens)
        worth = jax.vmap(reward, (None, 0))(at["x"], tokens)
        half = tokens.shape[0] // 2
        score_gap, worth_gap = score[:half] - score[half : 2 * half], worth[:half] - worth[half : 2 * half]
        order = jnp.sign(score_gap)
        is_earlier = jnp.tril(tokens[:, :, None] == tokens[:, None, :], -1) & is_word[:, None, :]
        return Writing(
            score=score.mean(),
            score_se=score.std() / jnp.sqrt(count),
            happy=(score > HAPPY).mean(),
            divergence=at["divergences"].mean(),
            entropy=-at["log_prob"].mean(),
            perplexity=jnp.exp(-at["reference_log_prob"].sum() / is_written.sum().astype(jnp.float32)),
            distinct=episodes.distinct_bigrams(tokens, EOS),
            repetition=(is_earlier.any(-1) & is_word).sum() / jnp.maximum(is_word.sum(), 1),
            length=is_word.sum(1).astype(jnp.float32).mean(),
            accuracy=0.5 + 0.5 * jnp.sum(order * jnp.sign(worth_gap)) / jnp.maximum(jnp.sum(jnp.abs(order)), 1.0),
        )

    names = ("x", "tokens", "log_prob", "reference_log_prob", "divergences")
    found = jax.jit(lambda at: jax.lax.map(one, at))({name: flat[name] for name in names})
    return Writing(*(np.asarray(leaf).reshape(lead) for leaf in found))


class Response(NamedTuple):
    """The best response to a reward, by importance weights on tweets of the reference policy."""

    objective: Any  # f(x, pi*_tau(x))
    score: Any  # E[rater's score] under pi*_tau(x)
    divergence: Any  # KL(pi*_tau(x) | pi_ref), nats
    effective: Any  # tweets that carry the weights, (sum w)^2 / sum w^2


def response(
    problem: EpisodicProblem,
    xs: PyTree,
    tau: float,
    tokens: np.ndarray,
    num_opponents: int = judging.NUM_OPPONENTS,
) -> Response:
    """Judge rewards by f(x, pi*_tau(x)), pi* ~ pi_ref exp(R_x / tau).

    Args:
      problem: the bi-level problem.
      xs: upper variables, leaves [N, ...].
      tau: weight of the divergence, > 0.
      tokens: written by the reference policy [M, L].
      num_opponents: that every tweet is compared with, where the leader compares.
    """

    def one(x: PyTree, every: jax.Array, rating: jax.Array) -> Any:
        batch, divergence = judging.best_response(problem, x, every, rating, tau)
        value = judging.objective(problem, x, batch, num_opponents)
        return Response(value, batch.weight @ rating, divergence, judging.effective(batch))

    @jax.jit
    def judge(xs: PyTree, every: jax.Array) -> Any:
        rating = jax.vmap(problem.rating)(every)
        return jax.lax.map(lambda x: one(x, every, rating), xs)

    return Response(*(np.asarray(leaf) for leaf in judge(xs, jnp.asarray(tokens))))


class Frontier(NamedTuple):
    """The happiest policies for their divergence, pi ~ pi_ref exp(lambda score)."""

    tilt: np.ndarray  # [K], lambda
    divergence: np.ndarray  # [K], nats
    score: np.ndarray  # [K]


def frontier(scores: np.ndarray, tilts: np.ndarray | None = None) -> Frontier:
    """Compute the frontier from scores of tweets of the reference policy [M]."""
    tilts = np.linspace(0, 12, 49) if tilts is None else np.asarray(tilts)
    scores = np.asarray(scores, float)
    powers = tilts[:, None] * scores[None]
    top = powers.max(1, keepdims=True)
    mass = np.exp(powers - top)
    log_mean = top[:, 0] + np.log(mass.mean(1))
    mean = (mass @ scores) / mass.sum(1)
    return Frontier(tilts, tilts * mean - log_mean, mean)

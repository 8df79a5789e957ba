"""Completions of three prompts in a small language, and each prompt alone as a problem with closed forms."""

import jax
import jax.numpy as jnp
import numpy as np

from hfac.exact import sequences as exact
from hfac.language import policies
from hfac.language.problem import Anchors, CompletionProblem, Written
from hfac.sequences.policies import tabular_prefixes
from hfac.sequences.problem import EpisodicProblem
from hfac.types import PyTree

PROMPTS, VOCABULARY, LENGTH, ANCHORS, SLOPE = 3, 3, 3, 4, 1.5
EVERY = exact.enumerate_sequences(VOCABULARY, LENGTH)  # [15, 3]
PREFIXES = (VOCABULARY**LENGTH - 1) // (VOCABULARY - 1)
LEADERS = ("policy", "anchored", "score")
TAU, W = 0.4, 0.2


def features(written: Written) -> jax.Array:
    """Tokens' counts, and products of them with the prompt, [G, N, 6]."""
    counts = jnp.sum(
        jax.nn.one_hot(written.tokens, VOCABULARY, dtype=float) * written.is_written[..., None].astype(float), axis=-2
    )
    sign = jnp.cos(1.7 * written.prompt.astype(counts.dtype))[:, None, None]
    return jnp.concatenate([counts, sign * counts], -1)


def score(written: Written) -> jax.Array:
    """Of a rater who knows every completion, [G, N]."""
    place = written.tokens.astype(float) @ jnp.array([1.0, 3.1, 9.3], float)
    return jnp.sin(place + written.prompt.astype(place.dtype)[:, None])


def reward(x: PyTree, found: jax.Array) -> jax.Array:
    """Bounded, not linear."""
    return jnp.tanh(found @ x["linear"]) + 0.3 * jnp.sin(found @ x["wave"])


def init_x(key) -> PyTree:
    keys = jax.random.split(key)
    return {
        name: 0.4 * jax.random.normal(k, (2 * VOCABULARY,), float)
        for name, k in zip(("linear", "wave"), keys, strict=True)
    }


def problem(leader: str = "policy", dtype=float) -> CompletionProblem:
    """With a reference that is not uniform."""
    table = 0.5 * np.random.default_rng(0).normal(size=(PROMPTS, PREFIXES, VOCABULARY))
    policy = policies.Tabular(jnp.asarray(table, dtype), LENGTH)
    anchors = None
    if leader == "anchored":
        rows = np.random.default_rng(1).integers(len(EVERY), size=(PROMPTS, ANCHORS))
        written = policy.listed(jnp.arange(PROMPTS, dtype=jnp.int32), jnp.asarray(EVERY)[rows])
        anchors = Anchors(features(written), score(written))
    return CompletionProblem(
        policy,
        features,
        reward,
        init_x,
        rate=score,
        leader="score" if leader == "score" else "preference",
        anchors=anchors,
        slope=SLOPE,
        h=lambda x: 0.05 * sum(jnp.sum(leaf**2) for leaf in x.values()),
    )


def of_prompt(whole: CompletionProblem, prompt: jax.Array) -> EpisodicProblem:
    """The same of one prompt, written anew from its definition; [Y] sequences as `EVERY` lists them."""

    def one(y: jax.Array) -> Written:
        return whole.policy.listed(jnp.asarray(prompt, jnp.int32)[None], y[None, None])

    def cost(x, y, rating):
        return -rating

    def pair_loss(x, y, rating, other, other_rating):
        gap = reward(x, features(one(y))[0, 0]) - reward(x, features(one(other))[0, 0])
        wanted = jax.nn.sigmoid(SLOPE * (rating - other_rating))
        return -wanted * jnp.log(jax.nn.sigmoid(gap)) - (1 - wanted) * jnp.log(1 - jax.nn.sigmoid(gap))

    is_anchored = whole.anchors is not None
    rows = jnp.asarray(np.random.default_rng(1).integers(len(EVERY), size=(PROMPTS, ANCHORS)))[prompt]
    return EpisodicProblem(
        tabular_prefixes(VOCABULARY, LENGTH, float),
        whole.policy.reference[prompt],
        lambda x, y: reward(x, features(one(y))[0, 0]),
        init_x,
        h=whole.h,
        rating=lambda y: score(one(y))[0, 0],
        cost=cost if whole.leader == "score" else None,
        pair_loss=pair_loss if whole.leader == "preference" else None,
        anchors=jnp.asarray(EVERY)[rows] if is_anchored else None,
    )


def table_of(pi: np.ndarray) -> np.ndarray:
    """Logits of the prefixes [prefixes, V] of a distribution over `EVERY`, [Y]."""
    mass = np.full((PREFIXES, VOCABULARY), 1e-300)
    for row, weight in zip(EVERY, pi, strict=True):
        prefix = 0
        for token in row:
            mass[prefix, token] += weight
            if token == 0:
                break
            prefix = prefix * VOCABULARY + 1 + token
    return np.log(mass)


def responses(whole: CompletionProblem, x: PyTree, w: float = W, tau: float = TAU) -> tuple[jax.Array, jax.Array]:
    """Best and penalised responses to x, as tables of all prompts."""
    best = each_of(exact.best_response, whole, x, tau)
    pulled = each_of(exact.penalty_response, whole, x, w, tau)
    best, pulled = (np.stack([table_of(pi) for pi in np.asarray(found)]) for found in (best, pulled))
    return jnp.asarray(best), jnp.asarray(pulled)


def each_of(function, whole: CompletionProblem, *args) -> PyTree:
    """A closed form of every prompt, leaves [P, ...]."""

    @jax.jit
    def every(*args):
        one = lambda prompt: function(of_prompt(whole, prompt), jnp.asarray(EVERY), *args)  # noqa: E731
        return jax.vmap(one)(jnp.arange(PROMPTS, dtype=jnp.int32))

    return every(*args)


def mean_of(function, whole: CompletionProblem, *args) -> PyTree:
    """A closed form's mean over the prompts."""
    return jax.tree.map(lambda leaf: leaf.mean(0), each_of(function, whole, *args))

"""What people say of tweets: a rater fitted to their preferences, and how well a reward agrees with them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hfac.sequences.episodes import preference_loss
from hfac.tweets._corpus import RATINGS, Tweet
from hfac.tweets._reward import init_reward, reward
from hfac.tweets._sentiment import lexicon
from hfac.tweets._tokenizer import SPECIAL, UNK, Tokenizer
from hfac.types import Key, PyTree

HELD_OUT_OF, HELD_OUT = 10, 7  # tweets whose id leaves this rest are never fitted


@dataclasses.dataclass(frozen=True)
class FitRecipe:
    """How a rater is fitted; found on tweets with id % 10 == 3."""

    epochs: int = 6
    """Passes over the tweets."""
    batch_size: int = 64
    """Tweets of a step; all pairs among them are compared."""
    learning_rate: float = 1e-3
    """Peak of a half cosine, of AdamW."""
    weight_decay: float = 0.01
    """Of AdamW."""
    word_dropout: float = 0.5
    """Share of words that are hidden while fitting: no word may be relied on alone."""
    length: int = 40
    """Tokens of a tweet that are read."""


def is_held_out(tweet: Tweet) -> bool:
    """Whether a tweet is kept for judging."""
    return tweet.id % HELD_OUT_OF == HELD_OUT


def preferences(tweets: Sequence[Tweet]) -> np.ndarray:
    """P(a random rater of i rates higher than a random rater of j), ties split, [N, N]."""
    counts = np.stack([np.bincount(t.ratings - RATINGS[0], minlength=len(RATINGS)) for t in tweets])
    mass = counts / counts.sum(1, keepdims=True)
    return mass @ (np.cumsum(mass, 1) - mass / 2).T


def fit(tweets: Sequence[Tweet], tokenizer: Tokenizer, key: Key, recipe: FitRecipe = FitRecipe()) -> PyTree:
    """Fit a reward to people's preferences by the Bradley-Terry log-loss of all pairs in a batch.

    The embeddings start from VADER's valences. Its values are log-odds.

    Args:
      tweets: with their ratings.
      tokenizer: the vocabulary.
      key: of the start, the order and the hidden words.
      recipe: how.

    Raises:
      ValueError: if there are fewer than two tweets.
    """
    if len(tweets) < 2:
        raise ValueError(f"preferences need two tweets, got {len(tweets)}")
    tokens = jnp.asarray(tokenizer.encode_all([t.text for t in tweets], recipe.length))
    preferred = jnp.asarray(preferences(tweets), jnp.float32)
    size = min(recipe.batch_size, len(tweets))
    steps = len(tweets) // size
    rate = optax.cosine_decay_schedule(recipe.learning_rate, recipe.epochs * steps)
    optimizer = optax.adamw(rate, weight_decay=recipe.weight_decay)
    x = init_reward(jax.random.fold_in(key, 0), tokenizer.size, valence=lexicon(tokenizer).valence)

    def loss(x: PyTree, rows: jax.Array, key: Key) -> jax.Array:
        batch = tokens[rows]
        is_hidden = jax.random.bernoulli(key, recipe.word_dropout, batch.shape) & (batch >= len(SPECIAL))
        worth = jax.vmap(reward, (None, 0))(x, jnp.where(is_hidden, UNK, batch))
        gap, wanted = worth[:, None] - worth[None], preferred[rows[:, None], rows[None]]
        each = preference_loss(gap, wanted)
        return jnp.mean(jnp.where(jnp.eye(size, dtype=bool), 0, each))

    def step(carry: tuple[PyTree, Any], now: tuple[jax.Array, Key]) -> tuple[tuple[PyTree, Any], None]:
        x, moments = carry
        grad = jax.grad(loss)(x, *now)
        with jax.numpy_dtype_promotion("standard"):
            update, moments = optimizer.update(grad, moments, x)
        return (jax.tree.map(lambda p, u: p + u.astype(p.dtype), x, update), moments), None

    @jax.jit
    def epoch(x: PyTree, moments: Any, key: Key) -> tuple[PyTree, Any]:
        rows = jax.random.permutation(jax.random.fold_in(key, 0), len(tokens))[: steps * size].reshape(steps, size)
        return jax.lax.scan(step, (x, moments), (rows, jax.random.split(jax.random.fold_in(key, 1), steps)))[0]

    moments = optimizer.init(x)
    for i in range(recipe.epochs):
        x, moments = epoch(x, moments, jax.random.fold_in(key, 1 + i))
    return x


class Agreement(NamedTuple):
    """How a score agrees with people on tweets it has not seen."""

    spearman: float  # rank correlation with the mean ratings
    log_loss: float  # of preferences under sigmoid(slope * difference), nats
    slope: float  # the best one, fitted to these very preferences
    floor: float  # log-loss of the preferences' own probabilities
    num_tweets: int


def agreement(
    score: Callable[[jax.Array], jax.Array], tokenizer: Tokenizer, tweets: Sequence[Tweet], length: int
) -> Agreement:
    """Compare a score of tweets with people's ratings.

    Args:
      score: of one tweet [L].
      tokenizer: the vocabulary.
      tweets: held out.
      length: tokens of a tweet that are read.
    """
    from scipy.stats import spearmanr

    values = np.asarray(jax.jit(jax.vmap(score))(jnp.asarray(tokenizer.encode_all([t.text for t in tweets], length))))
    means = np.array([t.mean for t in tweets])
    above, below = np.triu_indices(len(tweets), 1)
    wanted, gap = preferences(tweets)[above, below], values[above] - values[below]

    def loss(slope: float) -> float:
        signed = slope * gap
        return float(np.mean(np.logaddexp(0, -signed) + (1 - wanted) * signed))

    slopes = np.geomspace(0.01, 100, 161) / max(float(np.std(values)), 1e-12)
    best = min(slopes, key=loss)
    certain = np.clip(wanted, 1e-12, 1 - 1e-12)
    floor = float(np.mean(-wanted * np.log(certain) - (1 - wanted) * np.log(1 - certain)))
    return Agreement(float(spearmanr(values, means).statistic), loss(best), float(best), floor, len(tweets))

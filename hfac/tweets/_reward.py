"""The reward that the leader designs: embeddings summed over a tweet, one tanh layer, one number."""

import jax
import jax.numpy as jnp

from hfac.sequences.policies import written
from hfac.tweets._tokenizer import EOS
from hfac.types import Key, PyTree


def init_reward(
    key: Key, vocabulary: int, width: int = 32, hidden: int = 64, valence: jax.Array | None = None
) -> PyTree:
    """A reward that is zero everywhere, ready to learn.

    Args:
      key: of embeddings and hidden weights.
      vocabulary: V.
      width: of the embeddings.
      hidden: units of the tanh layer.
      valence: what is known of every word [V], the first coordinate of the embeddings; nothing unless given.
    """
    keys = jax.random.split(key)
    embed = 0.1 * jax.random.normal(keys[0], (vocabulary, width), jnp.float32)
    return {
        "embed": embed if valence is None else embed.at[:, 0].set(valence),
        "hidden": jax.random.normal(keys[1], (width, hidden), jnp.float32) / jnp.sqrt(jnp.float32(width)),
        "bias": jnp.zeros(hidden, jnp.float32),
        "out": jnp.zeros(hidden, jnp.float32),
    }


def reward(x: PyTree, tokens: jax.Array) -> jax.Array:
    """R_x of one tweet [L]. []."""
    is_word = written(tokens, EOS) & (tokens != EOS)
    total = jnp.sum(jnp.where(is_word[:, None], x["embed"][tokens], 0), axis=0)
    return jnp.tanh(total @ x["hidden"] + x["bias"]) @ x["out"]

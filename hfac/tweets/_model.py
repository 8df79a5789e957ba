"""A small pre-norm decoder that writes tweets: layers under one scan, one code path with and without a cache."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfac.sequences.policies import SequencePolicy, Walk, written
from hfac.tweets._tokenizer import BOS, EOS, PAD, UNK
from hfac.types import Key, PyTree

NEVER = -1e9  # logit of a token that is never written
UNWRITTEN = (PAD, BOS, UNK)


@dataclasses.dataclass(frozen=True)
class Size:
    """Shape of a decoder.

    Raises:
      ValueError: if a number is out of range.
    """

    vocabulary: int
    length: int = 24
    layers: int = 4
    width: int = 64
    heads: int = 4

    def __post_init__(self) -> None:
        """Check the numbers."""
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1, got {getattr(self, field.name)}")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads = {self.heads}, got {self.width}")


class Cache(NamedTuple):
    """Keys and values of tokens already read, of every layer."""

    keys: jax.Array  # [layers, M, heads, width / heads]
    values: jax.Array  # the same


class Block(nn.Module):
    """Attention and a perceptron, each on a normalised copy of what it adds to."""

    heads: int
    dropout: float

    @nn.compact
    def __call__(self, h: jax.Array, cache: Cache, position: jax.Array, train: bool) -> tuple[jax.Array, Cache]:
        """Read tokens `h` [T, d], attending to those before and to the first `position` of the cache [M, heads, d]."""
        width = h.shape[-1]
        split = (self.heads, width // self.heads)
        normed = nn.LayerNorm(use_bias=False)(h)
        query, key, value = (
            nn.DenseGeneral(split, use_bias=False, name=name)(normed) for name in ("query", "key", "value")
        )
        keys, values = jnp.concatenate([cache.keys, key]), jnp.concatenate([cache.values, value])
        is_cached = jnp.arange(len(cache.keys), dtype=jnp.int32) < position
        is_before = jnp.tril(jnp.ones((len(h), len(h)), bool))
        is_seen = jnp.concatenate([jnp.broadcast_to(is_cached, (len(h), *is_cached.shape)), is_before], axis=1)
        scores = jnp.einsum("thd,mhd->htm", query, keys) / jnp.sqrt(jnp.asarray(split[1], h.dtype))
        weights = nn.softmax(jnp.where(is_seen[None], scores, jnp.asarray(NEVER, h.dtype)))
        attended = jnp.einsum("htm,mhd->thd", weights, values)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        h = h + drop(nn.DenseGeneral(width, axis=(-2, -1), use_bias=False, name="out")(attended))
        inner = nn.gelu(nn.Dense(4 * width, use_bias=False, name="up")(nn.LayerNorm(use_bias=False)(h)))
        return h + drop(nn.Dense(width, use_bias=False, name="down")(inner)), Cache(key, value)


class Decoder(nn.Module):
    """Embeddings, blocks, and the embeddings again as the output layer."""

    size: Size
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, tokens: jax.Array, cache: Cache, position: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array, Cache]:
        """Read tokens [T] that stand at `position` and after; what stands before is in the cache.

        Returns:
          Logits of what follows each [T, V], hidden features [T, d], and their own keys and values [layers, T, ...].
        """
        size = self.size
        embed = nn.Embed(size.vocabulary, size.width, embedding_init=nn.initializers.normal(0.1), name="embed")
        places = self.param("positions", nn.initializers.normal(0.1), (size.length, size.width), jnp.float32)
        h = embed(tokens) + jax.lax.dynamic_slice_in_dim(places, position, tokens.shape[0])
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        layers = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(0, nn.broadcast, nn.broadcast),
            length=size.layers,
            unroll=size.layers,  # no copies of what the backward pass needs: twice as fast
        )
        h, read = layers(size.heads, self.dropout, name="layers")(h, cache, position, train)
        h = nn.LayerNorm(use_bias=False, name="final")(h)
        return embed.attend(h), h, read


def empty_cache(size: Size, length: int = 0) -> Cache:
    """A cache with room for so many tokens; none are needed to read a whole tweet."""
    zeros = jnp.zeros((size.layers, length, size.heads, size.width // size.heads), jnp.float32)
    return Cache(zeros, zeros)


def init(size: Size, key: Key) -> PyTree:
    """Parameters of an untrained decoder."""
    return Decoder(size).init(key, jnp.zeros(size.length, jnp.int32), empty_cache(size), jnp.int32(0))["params"]


def shifted(tokens: jax.Array) -> jax.Array:
    """What a model has read before each token [L]: <bos> first."""
    return jnp.concatenate([jnp.full((1,), BOS, tokens.dtype), tokens[:-1]])


def policy(size: Size) -> SequencePolicy:
    """The decoder as a policy that writes tweets; it never writes <pad>, <bos> or <unk>."""
    read: Any = Decoder(size).apply
    is_written = _writable(size.vocabulary)

    def walk(theta: PyTree, tokens: jax.Array) -> Walk:
        logits, hidden, _ = read({"params": theta}, shifted(tokens), empty_cache(size), jnp.int32(0))
        return Walk(_log_probs(logits, is_written), _features(hidden))

    def sample(key: Key, theta: PyTree, batch_size: int) -> jax.Array:
        empty = empty_cache(size, size.length)
        start = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch_size, *leaf.shape)), empty)

        def one(token: jax.Array, cache: Cache, position: jax.Array) -> tuple[jax.Array, Cache]:
            logits, _, new = read({"params": theta}, token[None], cache, position)
            cache = jax.tree.map(
                lambda old, now: jax.lax.dynamic_update_slice_in_dim(old, now, position, 1), cache, new
            )
            return _log_probs(logits[0], is_written), cache

        def write(carry: tuple[jax.Array, Cache], position: jax.Array) -> tuple[tuple[jax.Array, Cache], jax.Array]:
            log_probs, cache = jax.vmap(one, (0, 0, None))(*carry, position)
            token = draw_by_clocks(jax.random.fold_in(key, position), log_probs)
            return (token, cache), token

        first = jnp.full(batch_size, BOS, jnp.int32)
        _, tokens = jax.lax.scan(write, (first, start), jnp.arange(size.length, dtype=jnp.int32))
        return ended(tokens.T)

    return SequencePolicy(lambda key: init(size, key), sample, walk, EOS)


def from_apply(
    apply: Callable[[PyTree, jax.Array], jax.Array], init: Callable[[Key], PyTree], vocabulary: int, length: int
) -> SequencePolicy:
    """Any causal model as a policy that writes tweets, without a cache; its critics know the place in the tweet only.

    Args:
      apply: ``(params, tokens [L]) -> logits [L, V]`` of what follows each token; the first it reads is <bos>.
      init: ``key -> params``.
      vocabulary: V.
      length: L, longest tweet.
    """
    is_written = _writable(vocabulary)

    def walk(theta: PyTree, tokens: jax.Array) -> Walk:
        return Walk(_log_probs(apply(theta, shifted(tokens)), is_written), jnp.eye(length, dtype=jnp.float32))

    def sample(key: Key, theta: PyTree, batch_size: int) -> jax.Array:
        def write(position: jax.Array, tokens: jax.Array) -> jax.Array:
            log_probs = jax.vmap(lambda row: walk(theta, row).log_probs[position])(tokens)
            return tokens.at[:, position].set(draw_by_clocks(jax.random.fold_in(key, position), log_probs))

        return ended(jax.lax.fori_loop(0, length, write, jnp.full((batch_size, length), PAD, jnp.int32)))

    return SequencePolicy(init, sample, walk, EOS)


def draw_by_clocks(key: Key, log_probs: jax.Array) -> jax.Array:
    """Draw tokens [B] from log-probabilities [B, V]: the first of exponential clocks, one per token, to ring.

    Two policies that race the same clocks draw the same token wherever they nearly agree.
    """
    uniforms = jax.random.uniform(key, log_probs.shape, log_probs.dtype, minval=jnp.finfo(log_probs.dtype).tiny)
    clocks = -jnp.log(uniforms)  # never zero
    return jnp.argmin(clocks * jnp.exp(-log_probs), axis=-1).astype(jnp.int32)


def ended(tokens: jax.Array) -> jax.Array:
    """Tokens [B, L] with <pad> after the first <eos>."""
    return jnp.where(jax.vmap(written, (0, None))(tokens, EOS), tokens, jnp.int32(PAD))


def _writable(vocabulary: int) -> jax.Array:
    return jnp.ones(vocabulary, bool).at[jnp.array(UNWRITTEN)].set(False)


def _log_probs(logits: jax.Array, is_written: jax.Array) -> jax.Array:
    return nn.log_softmax(jnp.where(is_written, logits, jnp.asarray(NEVER, logits.dtype)))


def _features(hidden: jax.Array) -> jax.Array:
    """Hidden features and a constant, which pass no gradient: critics do not move the policy."""
    return jnp.concatenate([jax.lax.stop_gradient(hidden), jnp.ones_like(hidden[:, :1])], axis=-1)

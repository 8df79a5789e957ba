"""The forward pass of a decoder of the Llama family, with and without adapters, with and without a cache.

Sequences stand in groups that share a beginning, [groups, members, tokens]: completions of one prompt attend to its
keys and values without a copy of their own. Weights keep the orientation of their files, [out, in]; layers are not
stacked: separate ones decode faster than a scan on CPUs.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac.language.architecture import Architecture
from hfac.types import Key, PyTree

PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")
NEVER = -1e30  # score of a token that is not attended to


class Prefix(NamedTuple):
    """What a group of sequences begins with, in one layer."""

    keys: jax.Array  # [G, P, key heads, head width], turned to their positions
    values: jax.Array  # the same
    is_token: jax.Array  # bool [G, P], not padding


class Cache(NamedTuple):
    """Keys and values that members of groups have written so far, in one layer."""

    keys: jax.Array  # [G, N, M, key heads, head width]
    values: jax.Array  # the same


class Places(NamedTuple):
    """Where tokens stand, and what they attend to beside their group's prefix."""

    position: jax.Array  # int32 [G, N or 1, T]
    is_seen: jax.Array  # bool [G or 1, N or 1, T, M], which of a member's own tokens
    start: jax.Array | int = 0  # int32 [], of these tokens in the cache


def init(architecture: Architecture, key: Key, scale: float = 0.02, dtype: Any = jnp.float32) -> PyTree:
    """Random weights, normal with deviation `scale`, norms at one: for tests and for measuring."""
    keys = iter(jax.random.split(key, 2 + architecture.layers * len(architecture.shapes)))

    def weight(name: str, shape: tuple[int, ...]) -> jax.Array:
        own = next(keys)
        if name.endswith("norm"):
            return jnp.ones(shape, dtype)
        return (scale * jax.random.normal(own, shape, jnp.float32)).astype(dtype)

    layers = [
        {name: weight(name, shape) for name, shape in architecture.shapes.items()} for _ in range(architecture.layers)
    ]
    outer = (architecture.vocabulary, architecture.width)
    params = {"embed": weight("embed", outer), "layers": layers, "norm": jnp.ones(architecture.width, dtype)}
    return params if architecture.is_tied else params | {"head": weight("head", outer)}


def embed(params: PyTree, tokens: jax.Array) -> jax.Array:
    """Embeddings of tokens [...], [..., d]."""
    return params["embed"][tokens]


def head(params: PyTree) -> jax.Array:
    """The output layer, [V, d]."""
    return params.get("head", params["embed"])


def logits(architecture: Architecture, params: PyTree, hidden: jax.Array) -> jax.Array:
    """Logits of the next token, float32 [..., V], of what the last layer gave [..., d]."""
    normed = rms_norm(hidden, params["norm"], architecture.norm_epsilon)
    return linear(normed, head(params)).astype(jnp.float32)


def linear(h: jax.Array, weight: jax.Array) -> jax.Array:
    """Rows times the transpose of a weight [out, in], [..., out]."""
    return jax.lax.dot_general(h, weight, (((h.ndim - 1,), (1,)), ((), ())))


def rms_norm(h: jax.Array, scale: jax.Array, epsilon: float) -> jax.Array:
    """Root-mean-square normalisation in float32, in the type of its scale."""
    wide = h.astype(jnp.float32)
    mean = jnp.mean(wide * wide, -1, keepdims=True)
    return _row(scale, h) * (wide * jax.lax.rsqrt(mean + jnp.float32(epsilon))).astype(scale.dtype)


def _row(vector: jax.Array, like: jax.Array) -> jax.Array:
    """A vector along the last axis of something."""
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


def project(name: str, layer: PyTree, adapter: PyTree, h: jax.Array) -> jax.Array:
    """One of `PROJECTIONS` of a layer, with what its adapter adds.

    Args:
      name: of the projection.
      layer: its weights.
      adapter: projection -> (down [r, in], up [out, r], whose scale is in `up`); those that are missing add nothing.
      h: [..., in].
    """
    out = linear(h, layer[name])
    if name in adapter:
        down, up = adapter[name]
        out = out + linear(linear(h, down.astype(h.dtype)), up.astype(h.dtype))
    return out + _row(layer[f"{name}_bias"], out) if f"{name}_bias" in layer else out


def turned(heads: jax.Array, angles: jax.Array) -> jax.Array:
    """Heads [G, N, T, heads, d] turned to their positions by angles [G, N or 1, T, d / 2]."""
    cos, sin = (function(angles)[:, :, :, None].astype(heads.dtype) for function in (jnp.cos, jnp.sin))
    first, second = jnp.split(heads, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def attend(query: jax.Array, own: Cache, is_seen: jax.Array, prefix: Prefix | None, key_heads: int) -> jax.Array:
    """Attention of queries [G, N, T, heads, d] to their member's own keys and their group's prefix, the same shape."""
    *lead, heads, width = query.shape
    grouped = query.reshape(*lead, key_heads, heads // key_heads, width) * jnp.asarray(width**-0.5, query.dtype)
    scores = jnp.einsum("gntkhd,gnmkd->gntkhm", grouped, own.keys).astype(jnp.float32)
    scores = jnp.where(is_seen[:, :, :, None, None], scores, jnp.float32(NEVER))
    if prefix is None:
        weights = jax.nn.softmax(scores).astype(query.dtype)
        return jnp.einsum("gntkhm,gnmkd->gntkhd", weights, own.values).reshape(query.shape)
    before = jnp.einsum("gntkhd,gpkd->gntkhp", grouped, prefix.keys).astype(jnp.float32)
    before = jnp.where(prefix.is_token[:, None, None, None, None], before, jnp.float32(NEVER))
    length = before.shape[-1]
    weights = jax.nn.softmax(jnp.concatenate([before, scores], -1)).astype(query.dtype)
    found = jnp.einsum("gntkhp,gpkd->gntkhd", weights[..., :length], prefix.values)
    found += jnp.einsum("gntkhm,gnmkd->gntkhd", weights[..., length:], own.values)
    return found.reshape(query.shape)


def block(
    architecture: Architecture,
    layer: PyTree,
    adapter: PyTree,
    h: jax.Array,
    places: Places,
    prefix: Prefix | None = None,
    cache: Cache | None = None,
) -> tuple[jax.Array, Cache]:
    """One layer.

    Args:
      architecture: of the model.
      layer: its weights.
      adapter: of this layer; empty for none.
      h: [G, N, T, d].
      places: of these tokens.
      prefix: what the groups begin with.
      cache: what members have written before; none means that these tokens are all.

    Returns:
      The tokens after the layer, and the cache with their keys and values in it.
    """
    heads = (*h.shape[:-1], -1, architecture.head_width)
    normed = rms_norm(h, layer["attention_norm"], architecture.norm_epsilon)
    query, key, value = (project(name, layer, adapter, normed).reshape(heads) for name in ("q", "k", "v"))
    if architecture.normalizes_heads:
        query = rms_norm(query, layer["q_norm"], architecture.norm_epsilon)
        key = rms_norm(key, layer["k_norm"], architecture.norm_epsilon)
    frequencies = jnp.asarray(architecture.rope.frequencies(architecture.head_width))
    angles = places.position[..., None].astype(jnp.float32) * frequencies[None, None, None]
    query, key = turned(query, angles), turned(key, angles)
    own = Cache(key, value)
    if cache is not None:
        own = jax.tree.map(lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, places.start, 2), cache, own)
    attended = attend(query, own, places.is_seen, prefix, architecture.key_heads)
    h = h + project("o", layer, adapter, attended.reshape(*h.shape[:-1], -1))
    normed = rms_norm(h, layer["inner_norm"], architecture.norm_epsilon)
    gate, up = (project(name, layer, adapter, normed) for name in ("gate", "up"))
    return h + project("down", layer, adapter, jax.nn.silu(gate) * up), own


def blocks(
    architecture: Architecture,
    layers: Sequence[PyTree],
    adapters: Sequence[PyTree],
    h: jax.Array,
    places: Places,
    prefixes: Sequence[Prefix] | None = None,
    caches: Sequence[Cache] | None = None,
) -> tuple[jax.Array, list[Cache]]:
    """Layers one after another, each with its adapter, prefix and cache; see `block`."""
    kept = []
    for i, layer in enumerate(layers):
        prefix = None if prefixes is None else prefixes[i]
        cache = None if caches is None else caches[i]
        h, own = block(architecture, layer, adapters[i], h, places, prefix, cache)
        kept.append(own)
    return h, kept


def prompt_places(is_token: jax.Array) -> Places:
    """Places of left-padded prompts, bool [G, P]: padding stands at 0 and is seen by itself alone."""
    position = jnp.maximum(jnp.cumsum(is_token, -1, dtype=jnp.int32) - 1, 0)
    length = is_token.shape[-1]
    causal = jnp.tril(jnp.ones((length, length), bool))
    is_seen = (causal[None] & is_token[:, None]) | jnp.eye(length, dtype=bool)[None]
    return Places(position[:, None], is_seen[:, None])


def completion_places(lengths: jax.Array, num_tokens: int) -> Places:
    """Places of so many tokens that follow prompts of these lengths [G], each seeing those before it."""
    position = lengths[:, None] + jnp.arange(num_tokens, dtype=jnp.int32)[None]
    return Places(position[:, None], jnp.tril(jnp.ones((num_tokens, num_tokens), bool))[None, None])


def read(
    architecture: Architecture, params: PyTree, adapters: Sequence[PyTree], tokens: jax.Array, is_token: jax.Array
) -> jax.Array:
    """Logits after every token of left-padded texts, float32 [G, P, V]: the plain forward pass.

    Args:
      architecture: of the model.
      params: its weights.
      adapters: one of every layer, empty ones included.
      tokens: int32 [G, P].
      is_token: bool [G, P], not padding.
    """
    h, _ = blocks(architecture, params["layers"], adapters, embed(params, tokens)[:, None], prompt_places(is_token))
    return logits(architecture, params, h[:, 0])


def no_adapters(architecture: Architecture) -> list[PyTree]:
    """Adapters that add nothing."""
    return [{} for _ in range(architecture.layers)]

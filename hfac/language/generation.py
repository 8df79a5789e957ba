"""Writing completions with a cache: prompts are read once for all members of their group, then one token at a time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac.language import decoder
from hfac.language.architecture import Architecture
from hfac.language.decoder import Cache, Places, Prefix
from hfac.types import Key, PyTree

BLOCK = 256  # tokens of the vocabulary that are added up together before one of them is looked for


class Prompts(NamedTuple):
    """Left-padded beginnings, one of each group."""

    tokens: jax.Array  # int32 [G, P]
    is_token: jax.Array  # bool [G, P], not padding

    @property
    def lengths(self) -> jax.Array:
        """Tokens of each, int32 [G]."""
        return jnp.sum(self.is_token, -1, dtype=jnp.int32)


class Begun(NamedTuple):
    """Prompts that were read through some layers."""

    hidden: jax.Array  # [G, P, d], after them
    prefixes: list[Prefix]  # of each of them


class Completions(NamedTuple):
    """What members wrote."""

    tokens: jax.Array  # int32 [G, N, T]; after an end, that end again
    hidden: jax.Array  # [G, N, T, d], of each token, where the adapters begin


def begin(
    architecture: Architecture,
    layers: Sequence[PyTree],
    adapters: Sequence[PyTree],
    hidden: jax.Array,
    prompts: Prompts,
) -> Begun:
    """Read prompts through some layers, from [G, P, d] before them."""
    places = decoder.prompt_places(prompts.is_token)
    hidden, caches = decoder.blocks(architecture, layers, adapters, hidden[:, None], places)
    prefixes = [Prefix(cache.keys[:, 0], cache.values[:, 0], prompts.is_token) for cache in caches]
    return Begun(hidden[:, 0], prefixes)


def write(
    architecture: Architecture,
    params: PyTree,
    adapters: Sequence[PyTree],
    prompts: Prompts,
    uniforms: jax.Array,
    ends: Sequence[int],
    temperature: float = 1.0,
    first_adapted: int = 0,
) -> Completions:
    """Complete prompts.

    Args:
      architecture: of the model.
      params: its weights.
      adapters: one of every layer, empty ones included.
      prompts: that are completed.
      uniforms: float32 [G, N, T] in [0, 1): each member's random numbers, one for each of T tokens.
      ends: tokens that end a text.
      temperature: logits are divided by it, > 0; 0 takes the likeliest token.
      first_adapted: layer that the first adapter is in; what stands below is kept of every token.
    """
    lower, upper = params["layers"][:first_adapted], params["layers"][first_adapted:]
    groups, members, length = uniforms.shape
    embedded = decoder.embed(params, prompts.tokens)
    below = begin(architecture, lower, adapters[:first_adapted], embedded, prompts)
    above = begin(architecture, upper, adapters[first_adapted:], below.hidden, prompts)
    first = decoder.logits(architecture, params, above.hidden[:, -1])
    first = jnp.broadcast_to(first[:, None], (groups, members, first.shape[-1]))
    room = (groups, members, length, architecture.key_heads, architecture.head_width)
    empty = jnp.zeros(room, above.hidden.dtype)
    caches = [Cache(empty, empty) for _ in params["layers"]]

    def places(place: jax.Array) -> Places:
        position = jnp.broadcast_to((prompts.lengths + place)[:, None, None], (groups, 1, 1))
        is_seen = jnp.arange(length, dtype=jnp.int32) <= place
        return Places(position, is_seen[None, None, None], place)

    def read_below(token: jax.Array, place: jax.Array, caches: list[Cache]) -> tuple[jax.Array, list[Cache]]:
        h = decoder.embed(params, token)[:, :, None]
        return decoder.blocks(
            architecture, lower, adapters[:first_adapted], h, places(place), below.prefixes, caches[:first_adapted]
        )

    def step(carry: tuple[jax.Array, list[Cache]], now: tuple[jax.Array, jax.Array]) -> tuple[Any, Any]:
        token, caches = carry
        place, uniform = now
        hidden, written_below = read_below(token, place, caches)
        h, written_above = decoder.blocks(
            architecture,
            upper,
            adapters[first_adapted:],
            hidden,
            places(place),
            above.prefixes,
            caches[first_adapted:],
        )
        found = draw(decoder.logits(architecture, params, h[:, :, 0]), uniform, temperature)
        after = jnp.where(is_end(token, ends), token, found)
        return (after, [*written_below, *written_above]), (after, hidden[:, :, 0])

    token = draw(first, uniforms[..., 0], temperature)
    place = jnp.arange(length - 1, dtype=jnp.int32)
    (last, caches), (later, hidden) = jax.lax.scan(step, (token, caches), (place, jnp.moveaxis(uniforms, -1, 0)[1:]))
    final, _ = read_below(last, jnp.int32(length - 1), caches)
    return Completions(
        jnp.moveaxis(jnp.concatenate([token[None], later]), 0, -1),
        jnp.moveaxis(jnp.concatenate([hidden, jnp.moveaxis(final, 2, 0)]), 0, 2),
    )


def is_end(tokens: jax.Array, ends: Sequence[int]) -> jax.Array:
    """Which tokens end a text, bool, the same shape."""
    found = jnp.zeros(tokens.shape, bool)
    for end in ends:
        found |= tokens == end
    return found


def is_written(tokens: jax.Array, ends: Sequence[int]) -> jax.Array:
    """Which tokens of completions [..., T] were chosen: all up to the first end, and that. bool [..., T]."""
    has_ended = jnp.cumsum(is_end(tokens, ends), -1) > 0
    return jnp.concatenate([jnp.ones_like(has_ended[..., :1]), ~has_ended[..., :-1]], -1)


def draw(logits: jax.Array, uniform: jax.Array, temperature: float) -> jax.Array:
    """Draw tokens from logits [..., V] by one number each in [0, 1): the place where the running sum passes it. int32.

    Policies that nearly agree nearly always draw the same token from the same number.
    """
    if temperature == 0:
        return jnp.argmax(logits, -1).astype(jnp.int32)
    mass = jax.nn.softmax(logits / jnp.asarray(temperature, logits.dtype))
    mass = jnp.pad(mass, [(0, 0)] * (mass.ndim - 1) + [(0, -mass.shape[-1] % BLOCK)])
    mass = mass.reshape(*mass.shape[:-1], -1, BLOCK)
    sums = jnp.cumsum(jnp.sum(mass, -1), -1)
    target = uniform.astype(sums.dtype) * sums[..., -1]
    block = _first_above(sums, target, jnp.sum(mass, -1))
    inside = jnp.take_along_axis(mass, block[..., None, None], axis=-2)[..., 0, :]
    before = jnp.take_along_axis(sums, block[..., None], axis=-1)[..., 0] - jnp.sum(inside, -1)
    return block * BLOCK + _first_above(jnp.cumsum(inside, -1), target - before, inside)


def _first_above(sums: jax.Array, target: jax.Array, mass: jax.Array) -> jax.Array:
    """First place whose running sum [..., K] is above the target; the heaviest where rounding leaves none. int32."""
    is_above = sums > target[..., None]
    found = jnp.where(is_above.any(-1), jnp.argmax(is_above, -1), jnp.argmax(mass, -1))
    return found.astype(jnp.int32)


def uniforms(key: Key, groups: int, members: int, length: int) -> jax.Array:
    """Random numbers of members of groups, float32 [groups, members, length]."""
    return jax.random.uniform(key, (groups, members, length), jnp.float32)

"""Random numbers of a step: `jax.random.fold_in` bit for bit, and uniforms from both words of every hash.

jax.random runs threefry as a loop on CPUs, one small kernel per round; written out, it fuses with its consumers.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

GENERATOR = "threefry2x32"  # whatever a process sets as its default: a seed is a stream

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def key(seed: Any) -> jax.Array:
    """A key of the library's own generator, whatever offset the process has set for its seeds."""
    offset = jax.config.jax_random_seed_offset  # type: ignore[attr-defined]
    return jax.random.key(seed - offset if offset else seed, impl=GENERATOR)


def pinned() -> Any:
    """Context in which `jax.random` draws as it does by default, whatever the process has set."""
    return jax.threefry_partitionable(True)


def _threefry(k0: jax.Array, k1: jax.Array, x0: jax.Array, x1: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al., 2011) of the counter (x0, x1)."""
    keys = (k0, k1, k0 ^ k1 ^ _PARITY)
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = x0 ^ ((x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation)))
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def _words(key: jax.Array) -> tuple[jax.Array, jax.Array] | None:
    """The two words of a threefry key, or None for another generator."""
    if jax.random.key_impl(key) != GENERATOR:
        return None
    data = jax.random.key_data(key)
    return data[..., 0], data[..., 1]


def fold_in(key: jax.Array, number: Any) -> jax.Array:
    """The key that `jax.random.fold_in` returns."""
    words = _words(key)
    if words is None:
        return jax.random.fold_in(key, number)
    data = jnp.asarray(number).astype(jnp.uint32)
    pair = _threefry(*words, jnp.zeros_like(data), data)
    return jax.random.wrap_key_data(jnp.stack(pair, -1), impl=GENERATOR)


def uniform(key: jax.Array, size: int, dtype: Any) -> jax.Array:
    """Uniforms in [0, 1), a vector [size]; the key is consumed."""
    words = _words(key)
    if words is None or jnp.dtype(dtype) != jnp.float32:
        return jax.random.uniform(key, (size,), dtype)
    counters = jnp.arange((size + 1) // 2, dtype=jnp.uint32)
    pair = _threefry(*words, jnp.zeros_like(counters), counters)
    bits = jnp.concatenate(pair)[:size]
    one = np.uint32(0x3F800000)  # exponent of [1, 2)
    return jax.lax.bitcast_convert_type((bits >> np.uint32(9)) | one, jnp.float32) - np.float32(1)

"""Products, sums and maxima as exact and as fast as the dtype allows.

Left alone, a GPU rounds the factors of a float32 product to 10 bits, and a CPU reduces in one serial chain.
"""

import functools

import jax
import jax.numpy as jnp

LANES = 16  # entries of the widest CPU register
FOLDS = 8  # pieces laid over each other in one pass

dot = functools.partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)


def sum_all(values: jax.Array) -> jax.Array:
    """Sum of all entries: a product with ones, which is vectorised everywhere."""
    flat = values.ravel()
    return dot(flat, jnp.ones_like(flat))


def largest(values: jax.Array) -> jax.Array:
    """Largest entry: pieces of the vector are laid over each other until few entries are left. NaN if one is NaN."""
    flat = values.ravel()
    size = flat.shape[0]
    if size <= LANES:
        return jnp.max(flat)
    width = max(LANES, size // FOLDS)
    pieces = [flat[i : i + width] for i in range(0, size - size % width, width)]
    folded = largest(functools.reduce(jnp.maximum, pieces))
    return folded if size % width == 0 else jnp.maximum(folded, largest(flat[size - size % width :]))


def softmax(logits: jax.Array) -> jax.Array:
    """Softmax over all entries of a vector."""
    weights = jnp.exp(logits - jax.lax.stop_gradient(largest(logits)))
    return weights / sum_all(weights)

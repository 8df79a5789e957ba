"""What a policy says of tokens over the whole vocabulary: log-probability and exact divergence, and their gradients.

The vocabulary is gone through once, some tokens of it at a time, with running largest logits, sums and means, so that
nothing of its size is kept, for the gradients neither: they are means of rows of the output layer. With z = W h / T,
p = softmax(z), q the reference's,

    d_h log p(y)   = ( W_y - sum_v p_v W_v ) / T
    d_h KL(p | q)  = sum_v p_v ( log p_v / q_v - KL ) W_v / T
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

BLOCK = 2_048  # tokens of the vocabulary at a time
LOWEST = -1e30  # below every logit


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def said(
    head: jax.Array,
    hidden: jax.Array,
    reference: jax.Array,
    tokens: jax.Array,
    temperature: float,
    block: int = BLOCK,
) -> tuple[jax.Array, jax.Array]:
    """Log-probability of tokens and KL(pi | pi_ref) where they were chosen; differentiable in the policy's side alone.

    Args:
      head: output layer [V, d].
      hidden: normalised, of the policy [M, d].
      reference: the same of the reference policy.
      tokens: int32 [M].
      temperature: logits are divided by it, > 0.
      block: tokens of the vocabulary at a time.

    Returns:
      Both float32 [M].
    """
    return _with_gradients(head, hidden, reference, tokens, temperature, block)[0]


class _Running(NamedTuple):
    """What is known after a part of the vocabulary; sums are of exp(z - largest), of z - z_ref times it, [M, ...]."""

    largest: jax.Array
    mass: jax.Array
    rows: jax.Array  # sum of rows of the output layer, [M, d]
    gap: jax.Array
    gap_rows: jax.Array  # [M, d]
    largest_reference: jax.Array
    mass_reference: jax.Array


def _with_gradients(
    head: jax.Array, hidden: jax.Array, reference: jax.Array, tokens: jax.Array, temperature: float, block: int
) -> tuple[Any, Any]:
    cool = jnp.float32(1 / temperature)
    whole = head.shape[0] - head.shape[0] % block

    def step(old: _Running, part: jax.Array) -> tuple[_Running, None]:
        ones = jnp.ones(part.shape[0], jnp.float32)
        z, other = (cool * _product(h, part.T) for h in (hidden, reference))
        largest = jnp.maximum(jnp.max(z, -1), old.largest)
        largest_reference = jnp.maximum(jnp.max(other, -1), old.largest_reference)
        kept, kept_reference = jnp.exp(old.largest - largest), jnp.exp(old.largest_reference - largest_reference)
        mass, mass_reference = jnp.exp(z - largest[:, None]), jnp.exp(other - largest_reference[:, None])
        gap = mass * (z - other)
        return _Running(
            largest,
            old.mass * kept + mass @ ones,
            old.rows * kept[:, None] + _product(mass.astype(part.dtype), part),
            old.gap * kept + gap @ ones,
            old.gap_rows * kept[:, None] + _product(gap.astype(part.dtype), part),
            largest_reference,
            old.mass_reference * kept_reference + mass_reference @ ones,
        ), None

    zero, zeros, low = jnp.zeros(len(hidden)), jnp.zeros(hidden.shape), jnp.full(len(hidden), LOWEST)
    start = jax.tree.map(jnp.float32, _Running(low, zero, zeros, zero, zeros, low, zero))
    end, _ = jax.lax.scan(step, start, head[:whole].reshape(-1, block, head.shape[1]))
    if whole < head.shape[0]:
        end, _ = step(end, head[whole:])
    level = end.largest + jnp.log(end.mass)
    shift = level - end.largest_reference - jnp.log(end.mass_reference)
    rows = head[tokens]
    chosen = cool * jnp.sum(rows.astype(jnp.float32) * hidden.astype(jnp.float32), -1) - level
    gap = end.gap / end.mass
    mean, tilted = end.rows / end.mass[:, None], end.gap_rows / end.mass[:, None]
    of_chosen, of_divergence = rows.astype(jnp.float32) - mean, tilted - gap[:, None] * mean
    gradients = tuple((cool * each).astype(hidden.dtype) for each in (of_chosen, of_divergence))
    return (chosen, jnp.maximum(gap - shift, 0)), gradients  # rounding alone makes it negative


def _product(first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.matmul(first, second, preferred_element_type=jnp.float32)


def _pull(temperature: float, block: int, gradients: Any, cotangents: Any) -> tuple[Any, ...]:
    del temperature, block
    pairs = zip(cotangents, gradients, strict=True)
    found = sum(cotangent[:, None].astype(gradient.dtype) * gradient for cotangent, gradient in pairs)
    return None, found, None, None


said.defvjp(_with_gradients, _pull)

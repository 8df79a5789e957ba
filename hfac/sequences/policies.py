"""Policies that write sequences token by token."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac.tabular.policies import sample_action
from hfac.types import Key, PyTree


class Walk(NamedTuple):
    """What a sequence policy says and sees along one sequence, at every prefix."""

    log_probs: jax.Array  # [L, V], of the next token given the tokens before
    features: jax.Array  # [L, d], what a linear critic may use


class SequencePolicy(NamedTuple):
    """A policy that writes a sequence token by token: it ends with `end`, or at the length that `sample` draws."""

    init: Callable[[Key], PyTree]
    sample: Callable[[Key, PyTree, int], jax.Array]  # (key, theta, B) -> tokens int32 [B, L]
    walk: Callable[[PyTree, jax.Array], Walk]  # (theta, tokens [L]) -> what it says along them
    end: int  # token that ends a sequence; whatever stands after it means nothing


def written(tokens: jax.Array, end: int) -> jax.Array:
    """Which tokens of a sequence the policy chose: all up to the first `end`, and that. bool [L]."""
    has_ended = jnp.cumsum(tokens == end) > 0
    return jnp.concatenate([jnp.array([True]), ~has_ended[:-1]])


def sequence_log_prob(policy: SequencePolicy, theta: PyTree, tokens: jax.Array) -> jax.Array:
    """Log-probability of one sequence, int32 [L]. []."""
    chosen = jnp.take_along_axis(policy.walk(theta, tokens).log_probs, tokens[:, None], axis=-1)[:, 0]
    return jnp.sum(jnp.where(written(tokens, policy.end), chosen, 0))


def tabular_prefixes(num_tokens: int, length: int, dtype: Any = jnp.float32) -> SequencePolicy:
    """Softmax over a table of logits [prefixes, V], one row for every prefix: for small, enumerable languages.

    Token 0 ends a sequence. The features name the prefix, so that a linear critic is a table too.

    Args:
      num_tokens: V, >= 2.
      length: longest sequence, >= 1.
      dtype: of the table.

    Raises:
      ValueError: if a number is out of range.
    """
    if num_tokens < 2 or length < 1:
        raise ValueError(f"a language needs two tokens and a length of one, got {num_tokens} and {length}")
    num_prefixes = (num_tokens**length - 1) // (num_tokens - 1)

    def init(key: Key) -> jax.Array:
        del key
        return jnp.zeros((num_prefixes, num_tokens), dtype)

    def walk(theta: jax.Array, tokens: jax.Array) -> Walk:
        prefix = _prefixes(tokens, num_tokens)
        return Walk(jax.nn.log_softmax(theta[prefix]), jax.nn.one_hot(prefix, num_prefixes, dtype=theta.dtype))

    def sample(key: Key, theta: jax.Array, batch_size: int) -> jax.Array:
        uniforms = jax.random.uniform(key, (length, batch_size), theta.dtype)

        def write(prefix: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
            token = sample_action(jax.nn.log_softmax(theta[prefix]), u)
            return jnp.minimum(prefix * num_tokens + 1 + token, num_prefixes - 1), token

        tokens = jax.lax.scan(write, jnp.zeros(batch_size, jnp.int32), uniforms)[1].T
        return jnp.where(jax.vmap(written, (0, None))(tokens, 0), tokens, 0)

    return SequencePolicy(init, sample, walk, end=0)


def _prefixes(tokens: jax.Array, num_tokens: int) -> jax.Array:
    """Place in the table of the prefix before every token: the empty one first, then by length. int32 [L]."""

    def extend(prefix: jax.Array, token: jax.Array) -> tuple[jax.Array, jax.Array]:
        return prefix * num_tokens + 1 + token, prefix

    return jax.lax.scan(extend, jnp.int32(0), tokens)[1]

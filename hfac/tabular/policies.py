"""Policies: functions from parameters and a state to action probabilities, with their scores."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from hfac.types import Key, PyTree, Rows

UNROLLED_ACTIONS = 8  # sums over so few actions are written out: one fused kernel instead of several


class Policy(NamedTuple):
    """A stochastic policy as pure functions of one state; callers vmap."""

    init: Callable[[Key], PyTree]
    log_probs: Callable[[PyTree, jax.Array], jax.Array]  # (theta, s) -> [A]
    score: Callable[[PyTree, jax.Array, jax.Array], PyTree]  # (theta, s, a) -> grad log pi(a|s)


def tabular_softmax(num_states: int, num_actions: int, dtype: Any = jnp.float32) -> Policy:
    """Softmax over a table of logits [S, A], zero at the start; its score touches one row."""

    def init(key: Key) -> jax.Array:
        del key
        return jnp.zeros((num_states, num_actions), dtype)

    def log_probs(theta: jax.Array, state: jax.Array) -> jax.Array:
        return _log_softmax(theta[state])

    def score(theta: jax.Array, state: jax.Array, action: jax.Array) -> Rows:
        chosen = (jnp.arange(num_actions, dtype=action.dtype) == action).astype(theta.dtype)
        return Rows(state, chosen - jnp.exp(log_probs(theta, state)))

    return Policy(init, log_probs, score)


def _log_softmax(logits: jax.Array) -> jax.Array:
    """Log-softmax of one row [A]; written out for few actions, so that it fuses instead of reducing."""
    if logits.shape[0] > UNROLLED_ACTIONS:
        return jax.nn.log_softmax(logits)
    shifted = logits - functools.reduce(jnp.maximum, list(logits))
    return shifted - jnp.log(sum(jnp.exp(shifted[a]) for a in range(logits.shape[0])))


def from_flax(module: Any, features: Any) -> Policy:
    """A flax.linen module that maps features [d] to logits [A] as a policy over tabular states.

    Args:
      module: a `flax.linen.Module`.
      features: [S, d], the module's input in each state; the parameters take its dtype.
    """
    table = jnp.asarray(features)
    return _neural(lambda key: module.init(key, table[0]), lambda theta, state: module.apply(theta, table[state]))


def from_nnx(build: Callable[[Any], Any], features: Any) -> Policy:
    """A flax.nnx module that maps features [d] to logits [A] as a policy over tabular states.

    Args:
      build: ``rngs -> module``, called with an `nnx.Rngs`.
      features: [S, d], the module's input in each state.
    """
    from flax import nnx

    table = jnp.asarray(features)
    graph, _ = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))
    return _neural(
        lambda key: nnx.state(build(nnx.Rngs(key))).to_pure_dict(),
        lambda theta, state: _merge(nnx, graph, theta)(table[state]),
    )


def _merge(nnx: Any, graph: Any, theta: PyTree) -> Any:
    return nnx.merge(graph, nnx.State(theta))


def _neural(init: Callable[[Key], PyTree], logits: Callable[[PyTree, jax.Array], jax.Array]) -> Policy:
    def log_probs(theta: PyTree, state: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(logits(theta, state))

    def score(theta: PyTree, state: jax.Array, action: jax.Array) -> PyTree:
        return jax.grad(lambda theta: log_probs(theta, state)[action])(theta)

    return Policy(init, log_probs, score)


def policy_table(policy: Policy, theta: PyTree, num_states: int) -> jax.Array:
    """Probabilities of every action in every state, [S, A]."""
    return jnp.exp(jax.vmap(policy.log_probs, (None, 0))(theta, jnp.arange(num_states)))


def sample_action(log_probs: jax.Array, u: jax.Array) -> jax.Array:
    """Draw actions by inverting the distribution function; equal uniforms give coupled draws.

    Args:
      log_probs: [B, A].
      u: uniforms [B].

    Returns:
      int32 [B].
    """
    chex.assert_shape(u, log_probs.shape[:1])
    probs = jnp.exp(log_probs)
    if probs.shape[1] > UNROLLED_ACTIONS:
        return jnp.sum(u[:, None] >= jnp.cumsum(probs, axis=-1)[:, :-1], axis=-1, dtype=jnp.int32)
    action, cumulative = jnp.zeros(u.shape, jnp.int32), jnp.zeros_like(u)
    for a in range(probs.shape[1] - 1):
        cumulative = cumulative + probs[:, a]
        action = action + (u >= cumulative).astype(jnp.int32)
    return action

"""Critics: state values as functions of parameters, with their gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac.types import Key, PyTree, Rows, apply_updates


class Critic(NamedTuple):
    """A state-value function as pure functions of one state; callers vmap."""

    init: Callable[[Key], PyTree]
    value: Callable[[PyTree, jax.Array], jax.Array]  # (v, s) -> []
    grad: Callable[[PyTree, jax.Array], PyTree]  # (v, s) -> gradient of the value in v


def table(num_states: int, dtype: Any = jnp.float32) -> Critic:
    """One number per state [S], zero at the start; its gradient e_s touches one row."""

    def init(key: Key) -> jax.Array:
        del key
        return jnp.zeros(num_states, dtype)

    def value(v: jax.Array, state: jax.Array) -> jax.Array:
        return v[state]

    def grad(v: jax.Array, state: jax.Array) -> Rows:
        return Rows(state, jnp.ones_like(state, v.dtype))

    return Critic(init, value, grad)


def from_flax(module: Any, features: Any) -> Critic:
    """A flax.linen module that maps features [d] to a single number [1] as a critic.

    Args:
      module: a `flax.linen.Module`.
      features: [S, d], the module's input in each state.
    """
    inputs = jnp.asarray(features)

    def value(v: PyTree, state: jax.Array) -> jax.Array:
        return module.apply(v, inputs[state])[0]

    def grad(v: PyTree, state: jax.Array) -> PyTree:
        return jax.grad(value)(v, state)

    return Critic(lambda key: module.init(key, inputs[0]), value, grad)


def projection(name: str) -> Callable[[PyTree, PyTree, jax.Array | None], PyTree]:
    """The rule ``(params, update, bound) -> params`` that keeps a critic within its bound.

    Args:
      name: box clips the touched entries to [-bound, bound]; ball scales the whole table back onto the Euclidean
        ball of radius bound sqrt(S), the paper's projection.

    Raises:
      ValueError: if the name is neither.
    """
    if name == "box":
        return apply_updates
    if name == "ball":
        return _onto_ball
    raise ValueError(f"projection must be 'box' or 'ball', got '{name}'")


def _onto_ball(params: PyTree, updates: PyTree, bound: jax.Array | None) -> PyTree:
    moved = apply_updates(params, updates)
    if bound is None:
        return moved

    def scale(v: jax.Array) -> jax.Array:
        radius = bound * jnp.sqrt(jnp.asarray(v.size, v.dtype))
        return v * jnp.minimum(1, radius / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny))

    return jax.tree.map(scale, moved)

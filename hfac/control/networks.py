"""Networks as pairs of functions, and what their outputs say about actions."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.control.environment import Box, Discrete
from hfac.types import Key, PyTree

LOG_SCALE = (-5.0, 2.0)  # range of the logarithm of a Gaussian actor's standard deviation


class Network(NamedTuple):
    """A network of one observation; callers vmap."""

    init: Callable[[Key, jax.Array], PyTree]  # (key, an input) -> parameters
    apply: Callable[[PyTree, jax.Array], jax.Array]  # (parameters, input) -> outputs [n]


def mlp(
    num_outputs: int, hidden: Sequence[int] = (32, 32), last_scale: float = 1.0, dtype: Any = jnp.float32
) -> Network:
    """Dense layers with tanh between them; without hidden layers, a linear map.

    Weights are normal with variance 1 / inputs; biases are zero.

    Args:
      num_outputs: n.
      hidden: width of every hidden layer.
      last_scale: factor of the last layer's weights; near 0 the first outputs are near 0.
      dtype: of the parameters.
    """

    def init(key: Key, like: jax.Array) -> PyTree:
        sizes = [like.size, *hidden, num_outputs]
        layers = []
        for i, (num_in, num_out) in enumerate(itertools.pairwise(sizes)):
            scale = (last_scale if i == len(hidden) else 1.0) / np.sqrt(num_in)
            weights = jax.random.normal(jax.random.fold_in(key, i), (num_in, num_out), dtype)
            layers.append({"weights": jnp.asarray(scale, dtype) * weights, "bias": jnp.zeros(num_out, dtype)})
        return tuple(layers)

    def apply(params: PyTree, features: jax.Array) -> jax.Array:
        for layer in params[:-1]:
            features = jnp.tanh(features @ layer["weights"] + layer["bias"])
        return features @ params[-1]["weights"] + params[-1]["bias"]

    return Network(init, apply)


def linear(num_outputs: int, dtype: Any = jnp.float32) -> Network:
    """A linear map without a bias, zero at the start."""

    def init(key: Key, like: jax.Array) -> jax.Array:
        del key
        return jnp.zeros((like.size, num_outputs), dtype)

    return Network(init, lambda params, features: features @ params)


def from_flax(module: Any) -> Network:
    """A `flax.linen.Module` that maps [d] to [n]."""
    return Network(module.init, module.apply)


def from_nnx(build: Callable[[Any], Any]) -> Network:
    """A `flax.nnx` module that maps [d] to [n].

    Args:
      build: ``rngs -> module``.
    """
    from flax import nnx

    graph = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))[0]

    def init(key: Key, like: jax.Array) -> PyTree:
        del like
        return nnx.to_pure_dict(nnx.split(build(nnx.Rngs(key)))[1])

    def apply(params: PyTree, features: jax.Array) -> jax.Array:
        state = nnx.state(nnx.eval_shape(lambda: build(nnx.Rngs(0))))
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(features)

    return Network(init, apply)


class Distribution(NamedTuple):
    """Actions as a function of a network's outputs and of noise that does not depend on them.

    Two policies that are given the same noise act alike where they agree.
    """

    num_outputs: int
    noise: Callable[[Key, Any], jax.Array]  # (key, dtype) -> noise
    act: Callable[[jax.Array, jax.Array], jax.Array]  # (outputs, noise) -> what is kept of an action
    log_prob: Callable[[jax.Array, jax.Array], jax.Array]  # (outputs, what is kept) -> []
    action: Callable[[jax.Array], jax.Array]  # what is kept -> what the environment takes


def categorical(actions: Discrete) -> Distribution:
    """Softmax over discrete actions, by the same Gumbel noise for all policies."""

    def log_prob(outputs: jax.Array, action: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(jnp.arange(actions.num, dtype=action.dtype) == action, jax.nn.log_softmax(outputs), 0))

    return Distribution(
        actions.num,
        lambda key, dtype: jax.random.gumbel(key, (actions.num,), dtype),
        lambda outputs, noise: jnp.argmax(outputs + noise).astype(jnp.int32),
        log_prob,
        lambda action: action,
    )


def gaussian(actions: Box) -> Distribution:
    """Independent normals, clipped to the box by the environment's side only."""
    low, high = (np.asarray(bound) for bound in actions)
    size = len(low)

    def log_prob(outputs: jax.Array, raw: jax.Array) -> jax.Array:
        mean, log_scale = _moments(outputs)
        return _normal_log_prob((raw - mean) * jnp.exp(-log_scale), log_scale)

    def clipped(raw: jax.Array) -> jax.Array:
        return jnp.clip(_to_box(raw, low, high), jnp.asarray(low, raw.dtype), jnp.asarray(high, raw.dtype))

    return Distribution(2 * size, lambda key, dtype: jax.random.normal(key, (size,), dtype), _shift, log_prob, clipped)


def tanh_gaussian(actions: Box) -> Distribution:
    """Normals squashed into the box by tanh (Haarnoja et al. [arXiv 1801.01290], appendix C).

    Densities are those of what was squashed, in units of half the box.
    """
    low, high = (np.asarray(bound) for bound in actions)
    size = len(low)

    def log_prob(outputs: jax.Array, raw: jax.Array) -> jax.Array:
        mean, log_scale = _moments(outputs)
        squashing = 2 * (math.log(2) - raw - jax.nn.softplus(-2 * raw))  # log(1 - tanh^2), without cancellation
        return _normal_log_prob((raw - mean) * jnp.exp(-log_scale), log_scale) - jnp.sum(squashing)

    return Distribution(
        2 * size,
        lambda key, dtype: jax.random.normal(key, (size,), dtype),
        _shift,
        log_prob,
        lambda raw: _to_box(jnp.tanh(raw), low, high),
    )


def _moments(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log_scale = jnp.split(outputs, 2)
    return mean, jnp.clip(log_scale, *LOG_SCALE)


def _shift(outputs: jax.Array, noise: jax.Array) -> jax.Array:
    mean, log_scale = _moments(outputs)
    return mean + jnp.exp(log_scale) * noise


def _normal_log_prob(z: jax.Array, log_scale: jax.Array) -> jax.Array:
    return jnp.sum(-0.5 * z**2 - log_scale - 0.5 * math.log(2 * math.pi))


def _to_box(unit: jax.Array, low: np.ndarray, high: np.ndarray) -> jax.Array:
    """[-1, 1] onto the box."""
    middle, half = ((high + low) / 2, (high - low) / 2)
    return jnp.asarray(middle, unit.dtype) + jnp.asarray(half, unit.dtype) * unit

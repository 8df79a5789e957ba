"""Reductions written for vectors: the numbers of the plain ones, at every length and with their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac._compiler import reduce

SIZES = [1, 2, 15, 16, 17, 100, 127, 128, 1_000, 10_001]


@pytest.mark.parametrize("size", SIZES)
def test_the_largest_entry_wherever_it_is(size):
    values = np.random.default_rng(size).normal(size=size).astype(np.float32)
    found = jax.jit(jax.vmap(lambda i: reduce.largest(jnp.asarray(values).at[i].set(9.0))))
    assert float(reduce.largest(jnp.asarray(values))) == values.max()
    np.testing.assert_array_equal(found(jnp.arange(0, size, max(1, size // 50))), 9.0)
    assert jnp.isnan(reduce.largest(jnp.asarray(values).at[size // 2].set(jnp.nan)))


@pytest.mark.parametrize("size", SIZES)
def test_totals_and_softmax(size):
    values = np.random.default_rng(size).normal(size=size).astype(np.float32)
    # float32: size rounding errors of 6e-8 in a sum of size terms of about 1
    np.testing.assert_allclose(reduce.sum_all(jnp.asarray(values)), values.astype(float).sum(), atol=6e-8 * size * 4)
    np.testing.assert_allclose(reduce.softmax(jnp.asarray(values)), jax.nn.softmax(values), rtol=3e-6)


def test_softmax_of_extreme_and_forbidden_logits():
    logits = jnp.asarray([1e4, -jnp.inf, 1e4, -1e4] * 8)
    np.testing.assert_allclose(reduce.softmax(logits), jax.nn.softmax(logits), rtol=1e-6)


def test_derivatives_are_those_of_softmax():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=33), jnp.float32)
    ours, plain = (jax.jacrev(function)(logits) for function in (reduce.softmax, jax.nn.softmax))
    np.testing.assert_allclose(ours, plain, atol=1e-7)

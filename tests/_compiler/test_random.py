"""The fused generator: the same keys as jax.random, uniforms that are uniform and independent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac._compiler import random

NUM_KEYS = 50_000
BOUND = 5.0  # standard errors


def data(key):
    return np.asarray(jax.random.key_data(key))


@pytest.mark.parametrize("number", [0, 1, 17, 2**20 + 3, 2**31 - 1])
@pytest.mark.parametrize("seed", [0, 1, 123_456])
def test_fold_in_is_that_of_jax(seed, number):
    key = jax.random.key(seed)
    np.testing.assert_array_equal(data(random.fold_in(key, number)), data(jax.random.fold_in(key, number)))


@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None)])
def test_fold_in_under_vmap(axes):
    keys = jax.random.key(5) if axes[0] is None else jax.random.split(jax.random.key(5), 64)
    numbers = jnp.int32(9) if axes[1] is None else jnp.arange(64, dtype=jnp.int32)
    ours = jax.jit(jax.vmap(random.fold_in, axes))(keys, numbers)
    theirs = jax.vmap(jax.random.fold_in, axes)(keys, numbers)
    np.testing.assert_array_equal(data(ours), data(theirs))
    assert ours.dtype == theirs.dtype


def test_fold_in_under_scan():
    key = jax.random.key(1)
    _, ours = jax.lax.scan(lambda k, i: (random.fold_in(k, i),) * 2, key, jnp.arange(20, dtype=jnp.int32))
    for i in range(20):
        key = jax.random.fold_in(key, i)
        np.testing.assert_array_equal(data(ours[i]), data(key))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33])
def test_uniform_shape_range_and_dtype(size, key):
    u = np.asarray(random.uniform(key, size, jnp.float32))
    assert u.shape == (size,)
    assert u.dtype == np.float32
    assert np.all((u >= 0) & (u < 1))
    assert len(set(u.tolist())) == size
    np.testing.assert_array_equal(u, random.uniform(key, size, jnp.float32))


@pytest.fixture(scope="module")
def draws():
    """Eight uniforms from every step key of a run, as a step draws them: [NUM_KEYS, 8]."""
    root = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 3), 1)

    def draw(k):
        return random.uniform(random.fold_in(root, k), 8, jnp.float32)

    return np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(NUM_KEYS, dtype=jnp.int32)), np.float64)


@pytest.mark.parametrize("power", [1, 2, 3, 4])
def test_uniform_moments(draws, power):
    error = np.std(draws**power, axis=0) / np.sqrt(NUM_KEYS)
    np.testing.assert_array_less(np.abs(np.mean(draws**power, axis=0) - 1 / (power + 1)), BOUND * error)


def test_uniform_entries_are_independent(draws):
    correlation = np.corrcoef(draws, rowvar=False) - np.eye(8)
    assert np.max(np.abs(correlation)) < BOUND / np.sqrt(NUM_KEYS)
    fine = np.corrcoef(np.mod(draws * 1024, 1), rowvar=False) - np.eye(8)  # low bits too
    assert np.max(np.abs(fine)) < BOUND / np.sqrt(NUM_KEYS)


def test_uniform_steps_are_independent(draws):
    for lag in (1, 2, 5):
        cross = np.corrcoef(draws[:-lag], draws[lag:], rowvar=False)[:8, 8:]
        assert np.max(np.abs(cross)) < BOUND / np.sqrt(NUM_KEYS)


def test_uniform_is_flat(draws):
    counts = np.stack([np.histogram(column, bins=64, range=(0, 1))[0] for column in draws.T])
    statistic = np.sum((counts - NUM_KEYS / 64) ** 2, axis=1) / (NUM_KEYS / 64)
    assert np.all(np.abs(statistic - 63) < BOUND * np.sqrt(2 * 63))  # chi-square, 63 degrees of freedom


@pytest.mark.parametrize("size", [1, 5, 8])
def test_float64_falls_back(size, key):
    dtype = jnp.result_type(float)
    if dtype == jnp.float64:
        np.testing.assert_array_equal(random.uniform(key, size, dtype), jax.random.uniform(key, (size,), dtype))


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_generators_fall_back(impl):
    key = jax.random.key(2, impl=impl)
    np.testing.assert_array_equal(data(random.fold_in(key, 6)), data(jax.random.fold_in(key, 6)))
    expected = jax.random.uniform(key, (5,), jnp.float32)
    np.testing.assert_array_equal(random.uniform(key, 5, jnp.float32), expected)

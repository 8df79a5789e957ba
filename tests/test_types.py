"""Row updates: what they add, clip, sum to and densify to."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import types
from hfac.types import Rows, Status

DTYPE = jnp.float32


def rows(index, values):
    return Rows(jnp.asarray(index, jnp.int32), jnp.asarray(values, DTYPE))


def table(values):
    return jnp.asarray(values, DTYPE)


def test_rows_add_up_where_they_repeat():
    moved = types.apply_updates(jnp.ones((3, 2), DTYPE), rows([2, 0, 2], [[1, 2], [3, 4], [5, 6]]))
    np.testing.assert_array_equal(moved, [[4, 5], [1, 1], [7, 9]])


@pytest.mark.parametrize(
    ("index", "values", "expected"),
    [
        ([1], [0.5], [5, 1, -5]),  # touched, inside
        ([1], [3.0], [5, 2, -5]),  # touched, clipped
        ([1, 1], [3.0, -2.5], [5, 1, -5]),  # the sum is clipped, not its terms
        ([0, 1], [0.0, 0.0], [2, 0.5, -5]),  # touched by nothing is touched
        ([2, 2, 2], [1, 1, 1], [5, 0.5, -2]),
    ],
)
def test_only_touched_entries_are_clipped(index, values, expected):
    moved = types.apply_updates(table([5, 0.5, -5]), rows(index, values), jnp.asarray(2, DTYPE))
    np.testing.assert_array_equal(moved, expected)


def test_a_dense_update_touches_everything():
    moved = types.apply_updates(table([5, 0.5, -5]), table([0, 1, 0]), jnp.asarray(2, DTYPE))
    np.testing.assert_array_equal(moved, [2, 1.5, -2])


def test_apply_updates_on_trees():
    params = {"a": table([1, 2]), "b": table([[1, 1], [2, 2]])}
    moved = types.apply_updates(params, {"a": table([1, 1]), "b": rows([1], [[1, -1]])})
    np.testing.assert_array_equal(moved["a"], [2, 3])
    np.testing.assert_array_equal(moved["b"], [[1, 1], [3, 1]])


@pytest.mark.parametrize("batch_size", [1, 2, types.UNROLLED_BATCH, types.UNROLLED_BATCH + 1, 40])
def test_weighted_sum_unrolled_and_reduced(batch_size):
    rng = np.random.default_rng(batch_size)
    weights = rng.normal(size=batch_size)
    dense, values = rng.normal(size=(batch_size, 3, 2)), rng.normal(size=(batch_size, 2))
    index = rng.integers(4, size=batch_size)
    found = types.weighted_sum(table(weights), {"dense": table(dense), "rows": rows(index, values)})
    np.testing.assert_allclose(found["dense"], np.tensordot(weights, dense, 1), rtol=0, atol=1e-5)  # float32 sums
    expected = np.zeros((4, 2))
    np.add.at(expected, index, weights[:, None] * values)
    total = types.densify(jnp.zeros((4, 2), DTYPE), found["rows"])
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-5)


def test_weighted_sum_of_several_rows_per_sample():
    found = types.weighted_sum(table([1, 10]), rows([[0, 1], [1, 1]], [[1, 2], [3, 4]]))
    np.testing.assert_array_equal(types.densify(jnp.zeros(3, DTYPE), found), [1, 72, 0])


def test_a_run_of_any_batch_size_agrees_with_its_exact_sum():
    values = table(np.arange(9.0))
    unrolled = types.weighted_sum(jnp.ones(8, DTYPE), values[:8]) + values[8]
    assert types.weighted_sum(jnp.ones(9, DTYPE), values) == unrolled == 36


def test_add_updates():
    params = jnp.zeros((2, 2), DTYPE)
    few, more, dense = rows([0], [[1, 2]]), rows([0, 1], [[1, 1], [1, 1]]), jnp.full((2, 2), 10, DTYPE)
    chex.assert_trees_all_equal(types.add_updates(params, None, few), few)
    both = types.add_updates(params, few, None, more)
    assert types.is_rows(both)
    np.testing.assert_array_equal(types.densify(params, both), [[2, 3], [1, 1]])
    mixed = types.add_updates(params, few, dense, more, dense)
    assert mixed.index.shape == (3,)  # what is dense stands beside the rows
    np.testing.assert_array_equal(types.densify(params, mixed), [[22, 23], [21, 21]])
    twice = types.add_updates(params, mixed, types.map_values(jnp.negative, mixed))
    np.testing.assert_array_equal(types.densify(params, twice), np.zeros((2, 2)))
    np.testing.assert_array_equal(types.add_updates(params, dense, dense), jnp.full((2, 2), 20, DTYPE))


@pytest.mark.parametrize("terms", [(), (None,), (None, None)])
def test_the_sum_of_no_terms_is_zero(terms):
    found = types.add_updates({"a": jnp.ones(3, DTYPE)}, *terms)
    np.testing.assert_array_equal(found["a"], jnp.zeros(3, DTYPE))


def test_add_updates_on_trees():
    params = {"a": jnp.zeros(2, DTYPE), "b": jnp.zeros(2, DTYPE)}
    found = types.add_updates(
        params, {"a": rows([1], [1]), "b": table([1, 1])}, {"a": rows([1], [1]), "b": rows([0], [5])}
    )
    assert types.is_rows(found["a"])
    dense = types.densify(params, found)
    np.testing.assert_array_equal(dense["a"], [0, 2])
    np.testing.assert_array_equal(dense["b"], [6, 1])


def test_map_values_keeps_the_index():
    update = {"a": rows([3, 1], [1, 2]), "b": table([1, 2])}
    found = types.map_values(lambda v, w: v - 3 * w, update, update)
    np.testing.assert_array_equal(found["a"].index, [3, 1])
    np.testing.assert_array_equal(found["a"].values, [-2, -4])
    np.testing.assert_array_equal(found["b"], [-2, -4])


def test_rows_and_dense_agree_under_jit_and_vmap(key):
    index = jax.random.randint(key, (5, 3), 0, 4, jnp.int32)
    values = jax.random.normal(jax.random.fold_in(key, 1), (5, 3, 2), DTYPE)
    params = jax.random.normal(jax.random.fold_in(key, 2), (4, 2), DTYPE)
    bound = jnp.asarray(1, DTYPE)
    clipped = jnp.clip(params, -1, 1)
    sparse = jax.jit(jax.vmap(lambda i, v: types.apply_updates(clipped, Rows(i, v), bound)))(index, values)
    dense = jax.vmap(lambda i, v: types.apply_updates(clipped, types.densify(params, Rows(i, v)), bound))(index, values)
    np.testing.assert_allclose(sparse, dense, rtol=0, atol=1e-6)  # sums in another order


@pytest.mark.parametrize("bound", [None, 1.0])
def test_rows_with_a_dense_part_move_the_whole_table(bound):
    bound = None if bound is None else jnp.asarray(bound, DTYPE)
    update = Rows(jnp.asarray([1, 1], jnp.int32), table([1, 2]), table([-3, 0.5, 0.25]))
    moved = types.apply_updates(table([0, 0, 0]), update, bound)
    whole = types.densify(table([0, 0, 0]), update)
    np.testing.assert_array_equal(whole, [-3, 3.5, 0.25])
    np.testing.assert_array_equal(moved, whole if bound is None else [-1, 1, 0.25])
    both = types.weighted_sum(table([2, -1]), jax.vmap(lambda _: update)(jnp.arange(2)))
    np.testing.assert_array_equal(types.densify(table([0, 0, 0]), both), whole)


@pytest.mark.parametrize("status", list(Status))
def test_every_status_says_what_to_do(status):
    assert len(status.meaning) > 10
    assert status == Status.OK or ";" in status.meaning  # what happened; what to try

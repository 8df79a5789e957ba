import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import mdp as mdps
from support.helpers import FLOAT, ROUNDING, UNION_WEIGHTS, needs_x64, random_kernel, random_mdp, union_parts

NUM_DRAWS = 200_000
NEXT = np.array([[[0, 1]], [[1, 0]]])  # [S = 2, A = 1, K = 2]
PROBS = np.array([[[0.25, 0.75]], [[1.0, 0.0]]])
START = np.array([0.5, 0.5])


def dense(mdp: mdps.TabularMDP) -> np.ndarray:
    num_states, num_actions, width = mdp.next_states.shape
    kernel = np.zeros((num_states, num_actions, num_states))
    for s, a, k in np.ndindex(num_states, num_actions, width):
        kernel[s, a, mdp.next_states[s, a, k]] += mdp.probs[s, a, k]
    return kernel


def replaced(array: np.ndarray, where: tuple[int, ...], value: float) -> np.ndarray:
    out = array.copy()
    out[where] = value
    return out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"next_states": NEXT[0]}, r"\[S, A, K\], got \(1, 2\) and \(2, 1, 2\)"),
        ({"next_states": NEXT[:, :, :1]}, r"got \(2, 1, 1\) and \(2, 1, 2\)"),
        ({"next_states": NEXT.astype(float)}, r"integers, got float64; cast with .astype\(int\)"),
        ({"next_states": replaced(NEXT, (0, 0, 1), 2)}, r"\[0, 2\), got 2"),
        ({"next_states": replaced(NEXT, (0, 0, 1), -1)}, r"\[0, 2\), got -1"),
        ({"next_states": NEXT[:, :0], "probs": PROBS[:, :0]}, r"at least one state.* got shape \(2, 0, 2\)"),
        ({"probs": replaced(PROBS, (0, 0, 1), 0.7)}, r"sum to 1 .*, got 0.95 at \(0, 0\)"),
        ({"probs": np.array([[[-0.25, 1.25]], [[1.0, 0.0]]])}, r"negative, got -0.25 at \(0, 0, 0\)"),
        ({"probs": replaced(PROBS, (1, 0, 0), np.nan)}, r"finite, got nan at \(1, 0, 0\)"),
        ({"initial": np.array([1.0])}, r"initial must have shape \(2,\), got \(1,\)"),
        ({"initial": np.array([0.5, 0.6])}, "initial must sum to 1 .* got 1.1"),
        ({"initial": np.array([1.5, -0.5])}, r"initial must not be negative, got -0.5 at \(1,\)"),
        ({"discount": 1.0}, "strictly between 0 and 1, got 1.0"),
        ({"discount": 0.0}, "strictly between 0 and 1, got 0.0"),
        ({"discount": float("nan")}, "strictly between 0 and 1, got nan"),
        ({"ends": np.array([0, 1])}, r"ends must be bool of shape \(2,\), got int64 \(2,\)"),
        ({"ends": np.array([True])}, r"ends must be bool of shape \(2,\), got bool \(1,\)"),
    ],
)
def test_wrong_dynamics_are_refused(change, message):
    arguments = {"next_states": NEXT, "probs": PROBS, "initial": START, "discount": 0.9, **change}
    with pytest.raises(ValueError, match=message):
        mdps.from_successors(**arguments)


def test_a_dense_kernel_must_be_square():
    with pytest.raises(ValueError, match=r"\[S, A, S\], got \(2, 1, 3\)"):
        mdps.from_dense(np.ones((2, 1, 3)) / 3, START, 0.9)


@pytest.mark.parametrize("row", [[0.0, 0.0], [0.5, 0.4], [1.5, -0.5]])
def test_a_dense_kernel_must_hold_distributions(row):
    with pytest.raises(ValueError, match="probs must"):
        mdps.from_dense(np.array([[[0.5, 0.5]], [row]]), START, 0.9)


@pytest.mark.parametrize("num_successors", [1, 2, 5])
def test_from_dense_keeps_the_kernel_and_only_reachable_successors(num_successors):
    kernel = random_kernel(np.random.default_rng(0), 5, 3, num_successors)
    mdp = mdps.from_dense(kernel, np.full(5, 0.2), 0.9)
    assert mdp.next_states.shape == (5, 3, num_successors)
    np.testing.assert_array_equal(dense(mdp), kernel)  # copied, not computed


def law_of_tables(threshold: np.ndarray, draws: np.ndarray, size: int) -> np.ndarray:
    """Distribution that one row of alias tables draws from, read off the tables."""
    law = np.zeros(size)
    np.add.at(law, draws[:, 0], threshold / len(threshold))
    np.add.at(law, draws[:, 1], (1 - threshold) / len(threshold))
    return law


@pytest.mark.parametrize("num_successors", [1, 2, 7, 40])
def test_alias_tables_hold_the_law_exactly(num_successors):
    mdp = random_mdp(3, num_states=40, num_actions=2, num_successors=num_successors)
    kernel = dense(mdp)
    for s, a in np.ndindex(40, 2):
        law = law_of_tables(mdp.threshold[s, a], mdp.draws[s, a], 40)
        np.testing.assert_allclose(law, kernel[s, a], atol=1e-14)  # K rounding errors
    start = law_of_tables(mdp.start_threshold, mdp.start_draws, 40)
    np.testing.assert_allclose(start, mdp.initial, atol=1e-14)


@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.float64, marks=needs_x64)])
def test_sampling_frequencies(key, dtype):
    mdp = random_mdp(4, num_states=7, num_actions=2, num_successors=5)
    held = mdp.astype(dtype)
    u = jax.random.uniform(key, (2, NUM_DRAWS), dtype)
    state, action = jnp.full(NUM_DRAWS, 3, jnp.int32), jnp.full(NUM_DRAWS, 1, jnp.int32)
    drawn = mdps.sample_next(held, u[0], state, action)
    for sample, law in ((drawn, dense(mdp)[3, 1]), (mdps.sample_start(held, u[1]), mdp.initial)):
        assert sample.shape == (NUM_DRAWS,) and sample.dtype == jnp.int32
        frequency = np.bincount(np.asarray(sample), minlength=7) / NUM_DRAWS
        error = np.sqrt(law * (1 - law) / NUM_DRAWS)
        assert np.all(np.abs(frequency - law) <= 5 * error)  # 0 where impossible


@pytest.mark.parametrize("u", [0.0, 1 / 3, 0.5, 2 / 3, np.nextafter(FLOAT.type(1), FLOAT.type(0))])
def test_impossible_successors_are_never_drawn(u):
    next_states = np.array([[[2, 0, 1]], [[1, 1, 0]], [[0, 2, 1]]])
    probs = np.array([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])
    mdp = mdps.from_successors(next_states, probs, [0.0, 1.0, 0.0], 0.9)
    held = mdp.astype(FLOAT)
    everywhere = jnp.full(3, u, FLOAT)
    drawn = mdps.sample_next(held, everywhere, jnp.arange(3), jnp.zeros(3, jnp.int32))
    np.testing.assert_array_equal(drawn, [2, 1, 1])
    np.testing.assert_array_equal(mdps.sample_start(held, everywhere), [1, 1, 1])


def test_one_draw_costs_the_same_whatever_the_number_of_successors():
    def sizes(num_successors: int) -> list[int]:
        mdp = random_mdp(0, num_states=50, num_actions=2, num_successors=num_successors).astype(jnp.float32)
        arguments = jnp.zeros(4, jnp.float32), jnp.zeros(4, jnp.int32), jnp.zeros(4, jnp.int32)
        jaxpr = jax.make_jaxpr(lambda u, s, a: mdps.sample_next(mdp, u, s, a))(*arguments)
        return [v.aval.size for equation in jaxpr.jaxpr.eqns for v in equation.outvars]

    assert sizes(2) == sizes(50)
    assert max(sizes(50)) <= 4 * 4  # four draws, each an index of four numbers


@pytest.mark.parametrize(("ends", "expected"), [(None, [0.9, 0.9]), ([False, True], [0.9, 0.0])])
def test_continuation_is_zero_where_the_episode_ends(ends, expected):
    mdp = mdps.from_successors(NEXT, PROBS, START, 0.9, None if ends is None else np.array(ends))
    np.testing.assert_allclose(mdp.continuation(), expected, rtol=ROUNDING)  # 0.9 in float32
    assert mdp.astype(jnp.float32).continuation().dtype == jnp.float32


def test_ends_nowhere_are_no_ends():
    assert mdps.from_successors(NEXT, PROBS, START, 0.9, np.array([False, False])).ends is None


def test_astype_casts_numbers_and_nothing_else():
    held = random_mdp(0, ends=np.arange(6) == 2).astype(jnp.float32)
    assert {held.probs.dtype, held.threshold.dtype, held.initial.dtype, held.discount.dtype} == {jnp.dtype("float32")}
    assert {held.next_states.dtype, held.draws.dtype, held.start_draws.dtype} == {jnp.dtype("int32")}
    assert held.ends.dtype == bool
    assert (held.num_states, held.num_actions) == (6, 3)


def test_a_union_is_block_diagonal():
    first, second = parts = union_parts(0)
    both = mdps.disjoint_union(parts, UNION_WEIGHTS)
    kernel = dense(both)
    np.testing.assert_array_equal(kernel[:3, :, :3], dense(first))
    np.testing.assert_array_equal(kernel[3:, :, 3:], dense(second))
    assert kernel[:3, :, 3:].sum() == kernel[3:, :, :3].sum() == 0
    np.testing.assert_allclose(both.initial, np.r_[0.3 * first.initial, 0.7 * second.initial], rtol=1e-15)
    np.testing.assert_array_equal(both.ends, [False] * 4 + [True] + [False] * 2)
    assert both.discount == first.discount


@pytest.mark.parametrize(
    ("change", "weights", "message"),
    [
        ({}, [1.0], "got 2 MDPs, 1 weights"),
        ({}, [0.5, 0.6], "weights must sum to 1 .* got 1.1"),
        ({}, [1.5, -0.5], "weights must not be negative, got -0.5"),
        ({"num_actions": 2}, [0.5, 0.5], r"same actions, got \[2, 3\]"),
        ({"discount": 0.8}, [0.5, 0.5], r"same discount, got \[0.8, 0.9\]"),
    ],
)
def test_unequal_mdps_make_no_union(change, weights, message):
    with pytest.raises(ValueError, match=message):
        mdps.disjoint_union([random_mdp(0), random_mdp(1, **change)], weights)


def test_nothing_makes_no_union():
    with pytest.raises(ValueError, match="got 0 MDPs"):
        mdps.disjoint_union([], [])

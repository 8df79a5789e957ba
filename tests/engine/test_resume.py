"""Cutting a run into pieces changes no bit; record points and starting points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import engine
from hfac.algorithms import hfac as build
from hfac.engine import _sweep
from support import cases
from support.slow import few

OPTIONS = {
    "markov": {},
    "coupled_central": {"coupled": True, "difference": "central", "batch_size": 2},
    "iid": {"sampler": "iid"},
    "tail_average": {"tail_average": 0.5},
}


def assert_bits(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.fixture(scope="module")
def algorithm():
    return build(cases.goal())


@pytest.mark.parametrize("which", few(OPTIONS, "coupled_central", "tail_average"))
def test_run_and_run_on(which):
    algorithm = build(cases.goal(), **OPTIONS[which])
    key, rates = hfac.run_key(3), cases.gentle()
    whole, history = hfac.run(algorithm, key, rates, 100, record_at=[0, 40, 100])
    part, _ = hfac.run(algorithm, key, rates, 40, record_at=[0, 10, 40])
    on, history_on = hfac.run(algorithm, key, rates, 60, record_at=[0, 10, 60], initial=part)
    assert_bits(whole, on)
    np.testing.assert_array_equal(history_on.step, [40, 50, 100])
    np.testing.assert_array_equal(history_on.record["x"][np.array([0, 2])], history.record["x"][1:])


def test_sweep_and_sweep_on(algorithm):
    rates = cases.gentle()
    whole, states = hfac.sweep(algorithm, rates, 3, 100, record_at=[40, 100], return_state=True)
    _, part = hfac.sweep(algorithm, rates, 3, 40, record_at=[10, 40], return_state=True)
    data, on = hfac.sweep(algorithm, rates, 3, 60, record_at=[10, 60], initial=part, return_state=True)
    assert_bits(states, on)
    np.testing.assert_array_equal(data.x[:, -1], whole.x[:, -1])


@pytest.mark.parametrize("chunks", [[[40, 60]], [[40], [60]], [[1], [2, 37], [60]], [[0], [100]]])
def test_programs_in_chunks(algorithm, chunks):
    program, runs, *_ = _sweep.lay_out(algorithm, cases.gentle(), 3)
    whole, history = program.whole(runs, [50, 50])
    states = program.start(runs)
    num_samples = 0
    for lengths in chunks:
        states, part = program.advance(runs, states, lengths)
        num_samples += int(jnp.sum(part.num_samples[0]))
    assert_bits(whole, states)
    assert num_samples == int(jnp.sum(history.num_samples[0])) == 200


def test_start_at_an_upper_variable(algorithm):
    x = jnp.linspace(-1, 1, 16)
    state, history = hfac.run(algorithm, hfac.run_key(0), cases.gentle(), 5, record_at=[0, 2, 5], initial=x)
    np.testing.assert_array_equal(history.record["x"][0], x.astype(jnp.float32))
    assert int(state.step) == 5
    data = hfac.sweep(algorithm, cases.gentle(), 2, 5, initial=jnp.stack([x, -x]))
    np.testing.assert_array_equal(data.x[:, 0], np.stack([x, -x]).astype(np.float32))


@pytest.mark.parametrize(
    "initial", [jnp.zeros(15), jnp.zeros((16, 1)), jnp.zeros(()), {"x": jnp.zeros(16)}, (1.0, 2.0)]
)
def test_a_wrong_start_is_refused(algorithm, initial):
    with pytest.raises(ValueError, match="initial must be a state or an upper variable"):
        hfac.run(algorithm, hfac.run_key(0), cases.gentle(), 5, initial=initial)


def test_a_state_of_another_problem_is_refused(algorithm):
    other = build(cases.goal(size=5))
    state = other.init(jax.random.key(0), cases.gentle())
    with pytest.raises(ValueError, match="initial"):
        hfac.run(algorithm, hfac.run_key(0), cases.gentle(), 5, initial=state)


@pytest.mark.parametrize("initial", [jnp.zeros(16), jnp.zeros((3, 16))])
def test_a_sweep_wants_one_start_per_run(algorithm, initial):
    with pytest.raises(ValueError, match="one entry per run, 2 here"):
        hfac.sweep(algorithm, cases.gentle(), 2, 5, initial=initial)


@pytest.mark.parametrize(
    ("num_steps", "expected"),
    [
        (0, [0]),
        (1, [0, 1]),
        (7, [0, 1, 2, 3, 4, 6, 7]),
        (10, [0, 1, 2, 3, 4, 6, 7, 10]),
        (30, [0, 1, 2, 3, 4, 6, 7, 10, 13, 18, 24, 30]),
        (1000, [0, 1, 2, 3, 4, 6, 7, 10, 13, 18, 24, 32, 42, 56, 75, 100, 133, 178, 237, 316, 422, 562, 750, 1000]),
    ],
)
def test_record_points(num_steps, expected):
    points = engine.record_points(num_steps)
    assert points.dtype == np.int32
    assert points.tolist() == expected


def test_given_record_points():
    assert engine.record_points(10, [3, 10]).tolist() == [3, 10]
    assert engine.record_points(10, [0]).tolist() == [0]
    assert engine.record_points(2**31 - 1)[-1] == 2**31 - 1


@pytest.mark.parametrize("num_steps", [-1, 2**31, 1.5])
def test_wrong_num_steps(num_steps):
    with pytest.raises(ValueError, match="num_steps must be a whole number"):
        engine.record_points(num_steps)


@pytest.mark.parametrize("record_at", [[], [[1, 2]], [0, 0], [3, 2], [-1, 2], [5, 11], [0.5, 1]])
def test_wrong_record_points(record_at):
    with pytest.raises(ValueError, match="record_at must"):
        engine.record_points(10, record_at)


@pytest.mark.parametrize("seeds", [0, [], [1, 1], [-1], [0.5], 2.5, [2**31], [[1]]])
def test_wrong_seeds(algorithm, seeds):
    with pytest.raises(ValueError, match="seeds must be"):
        hfac.sweep(algorithm, cases.gentle(), seeds, 5)


@pytest.mark.parametrize(("batch_size", "per_step"), few([(1, 2), (3, 6)], (3, 6)))
def test_samples_are_cumulative(batch_size, per_step):
    algorithm = build(cases.goal(), batch_size=batch_size)
    data = hfac.sweep(algorithm, cases.gentle(), 3, 30, record_at=[7, 30])
    assert data.samples.dtype == np.int64
    np.testing.assert_array_equal(data.samples, np.tile([7 * per_step, 30 * per_step], (3, 1)))
    assert data.samples.dims == ("seed", "step")


def test_steps_beyond_the_last_record_point_are_done(algorithm):
    state, history = hfac.run(algorithm, hfac.run_key(0), cases.gentle(), 50, record_at=[0, 5, 10])
    assert int(state.step) == 50
    np.testing.assert_array_equal(history.step, [0, 5, 10])
    data, states = hfac.sweep(algorithm, cases.gentle(), 3, 50, record_at=[5, 10], return_state=True)
    np.testing.assert_array_equal(states.step, [50, 50, 50])
    np.testing.assert_array_equal(data.step, [5, 10])


def test_a_record_sees_the_info_of_the_interval(algorithm):
    def record(state, info, schedules):
        return {"samples": info.num_samples, "k": state.step, "tau": schedules.at(state.step).entropy}

    _, history = hfac.run(algorithm, hfac.run_key(0), cases.gentle(), 9, record, record_at=[0, 4, 9])
    np.testing.assert_array_equal(history.record["samples"], [0, 8, 10])
    np.testing.assert_array_equal(history.record["k"], [0, 4, 9])
    assert np.all(np.diff(history.record["tau"]) < 0)

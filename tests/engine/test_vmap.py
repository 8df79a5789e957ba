"""A run does not notice its neighbours: bit for bit at equal width, to rounding at another."""

import jax
import numpy as np
import pytest

import hfac
from hfac.algorithms import hfac as build
from hfac.schedules import grid
from support import cases
from support.slow import few

WIDTH = 4
STEPS = 200


@pytest.fixture(scope="module")
def algorithm():
    return build(cases.goal())


def swept(algorithm, schedules, seeds, **options):
    options = {"num_steps": STEPS, "width": WIDTH, "return_state": True} | options
    return hfac.sweep(algorithm, schedules, seeds, record_at=points(options["num_steps"]), **options)


def points(num_steps):
    """As many for every length: one compilation serves them all."""
    return [0, num_steps // 2, num_steps]


def assert_bits(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def row(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def on_devices(monkeypatch, count):
    devices = jax.devices()[:count]
    monkeypatch.setattr(jax, "local_devices", lambda *args, **kwargs: devices)


@pytest.mark.parametrize("seed", [0, 5])
def test_a_row_is_the_run_alone(algorithm, seed):
    data, states = swept(algorithm, cases.gentle(), 6)
    alone, state = swept(algorithm, cases.gentle(), [seed])
    assert_bits(row(states, seed), row(state, 0))
    np.testing.assert_array_equal(data.x.sel(seed=seed), alone.x.sel(seed=seed))
    np.testing.assert_array_equal(data.samples.sel(seed=seed), alone.samples.sel(seed=seed))


def test_seeds_and_configurations_can_be_added(algorithm):
    few, _ = swept(algorithm, grid(cases.gentle(), {"entropy.scale": [0.1]}), [3, 1])
    more, _ = swept(algorithm, grid(cases.gentle(), {"entropy.scale": [0.2, 0.1, 0.05]}), [0, 1, 2, 3])
    np.testing.assert_array_equal(few.x[0], more.x.sel({"entropy.scale": 0.1, "seed": [3, 1]}))


def test_configurations_share_their_streams(algorithm):
    data, _ = swept(algorithm, grid(cases.gentle(), {"entropy.scale": [0.1, 0.1]}), 3)
    np.testing.assert_array_equal(data.x[0], data.x[1])
    assert len({value.tobytes() for value in data.x.values[0, :, -1]}) == 3  # seeds do not


def test_devices_change_no_bit(algorithm, monkeypatch):
    found = {}
    for count in (1, 2):
        on_devices(monkeypatch, count)
        found[count] = swept(algorithm, cases.gentle(), 7)
        assert found[count][0].attrs["num_devices"] == count
    assert_bits(found[1][1], found[2][1])
    np.testing.assert_array_equal(found[1][0].x, found[2][0].x)


def test_root_changes_every_stream(algorithm):
    first, second = (swept(algorithm, cases.gentle(), 2, root=root)[0].x.values[:, -1] for root in (0, 1))
    assert not np.any(np.all(first == second, axis=-1))


@pytest.mark.parametrize("width", few([1, 3], 1))
def test_other_widths_agree_to_rounding(algorithm, width):
    """10^4 steps: a rounding error flips a sampled action with probability 1e-7 a step, so no stream departs."""
    steps = 10_000
    reference, _ = hfac.run(algorithm, hfac.run_key(2), cases.gentle(), steps, record_at=points(steps))
    _, states = swept(algorithm, cases.gentle(), [0, 2, 4], num_steps=steps, width=width)
    for name, truth in cases.variables(reference).items():
        found = np.asarray(getattr(states, name))[1]
        assert np.linalg.norm(found - truth) <= 1e-5 * np.linalg.norm(truth), name


def test_a_sweep_is_a_set_of_runs(algorithm):
    data, _ = swept(algorithm, cases.gentle(), [4, 9])
    for seed in (4, 9):
        _, history = hfac.run(algorithm, hfac.run_key(seed), cases.gentle(), STEPS, record_at=points(STEPS))
        np.testing.assert_allclose(history.record["x"], data.x.sel(seed=seed), rtol=0, atol=1e-6)  # another fusion
        np.testing.assert_array_equal(history.step, data.step)
        np.testing.assert_array_equal(np.cumsum(history.num_samples), data.samples.sel(seed=seed))


def test_what_is_no_algorithm_or_metric_is_refused(algorithm):
    problem = cases.goal()
    with pytest.raises(ValueError, match=r"algorithm must be what a builder returns, such as .*, got Problem"):
        hfac.sweep(problem, cases.gentle(), 2, 3)
    data = hfac.sweep(algorithm, cases.gentle(), 2, 3)
    with pytest.raises(ValueError, match=r"metric must be an hfac.judging.Metric, such as .*, got Problem"):
        hfac.judge(data, problem)

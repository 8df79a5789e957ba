"""What does not fit into memory is refused, whoever asks; what is only looked at is not."""

import math
import shutil

import jax
import pytest
from test_durable import SIZE, swept

import hfac
from hfac import algorithms, schedules
from hfac.cli import InputError, _memory, _sweep, main
from hfac.cli._request import Processes

RUN = ["--steps", "2_000", "--seeds", "4"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return swept(tmp_path_factory, *SIZE, *RUN)[0]


@pytest.fixture(scope="module")
def parts():
    """A method, its grid of one configuration, and the bytes that a run's state takes."""
    algorithm = algorithms.hfac(hfac.problems.goal_placement())
    grid = schedules.grid(schedules.attenuating(), {})
    return algorithm, grid, hfac.engine.state_bytes(algorithm, grid[0])


def asked(*args):
    return _sweep.request(["goal_placement", *args])


def test_a_state_has_the_bytes_of_its_arrays(parts):
    algorithm, grid, found = parts
    own = jax.tree.map(lambda leaf: leaf[0], grid[0])
    state = algorithm.init(jax.random.key(0), own)
    assert found == sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def test_runs_are_counted_where_they_are_run(parts, monkeypatch):
    algorithm, grid, each = parts
    monkeypatch.setattr(_memory, "host", lambda: 2.0 * each * 100)
    _memory.check(asked("--seeds", "100", "--steps", "1"), algorithm, grid)
    too_many = asked("--seeds", "101", "--steps", "1")
    with pytest.raises(InputError, match=r"101 runs need .* for their states .* or more shares"):
        _memory.check(too_many, algorithm, grid)
    _memory.check(too_many._replace(processes=Processes(0, 2)), algorithm, grid)
    _memory.check(asked("--seeds", "200", "--steps", "1", "--shard", "1/2"), algorithm, grid)
    with pytest.raises(InputError, match="101 runs need"):
        _memory.check(asked("--seeds", "202", "--steps", "1", "--shard", "1/2"), algorithm, grid)


def test_results_must_fit_where_they_are_judged(parts, monkeypatch):
    algorithm, grid, each = parts
    monkeypatch.setattr(_memory, "host", lambda: 2.0 * each * 100_000)
    with pytest.raises(InputError, match=r"100,000 runs need .* for their results"):
        _memory.check(asked("--seeds", "1e5", "--steps", "1e6"), algorithm, grid)
    _memory.check(asked("--seeds", "1e5", "--steps", "1e6", "--shard", "1/2"), algorithm, grid)
    _memory.check(asked("--seeds", "1e5", "--steps", "1"), algorithm, grid)


def test_a_run_that_was_made_elsewhere_can_be_looked_at_but_not_grown(whole, tmp_path, monkeypatch, capsys):
    """Neither a replay nor a resume of what is finished holds all runs."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    monkeypatch.setattr(_memory, "host", lambda: 1.0)
    monkeypatch.setattr("hfac.cli._sweep_run.configure_jax", lambda *args: None)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        main(["replay", str(folder), "--seed", "1"])
        main(["resume", str(folder)])
    said = capsys.readouterr()
    assert "healthy" in said.out and "is finished" in said.err
    before = (folder / "config.json").read_bytes()
    for more in (["--seeds", "5"], ["--steps", "3_000"]):
        with pytest.raises(SystemExit) as stop:
            main(["extend", str(folder), *more])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and "runs need" in said and said.count("\n") == 1, said
    assert (folder / "config.json").read_bytes() == before


def test_memory_is_what_the_container_or_the_accelerators_have(monkeypatch, tmp_path):
    class Card:
        platform = "gpu"

        def memory_stats(self):
            return {"bytes_limit": 5}

    monkeypatch.setattr(_memory, "CGROUP", tmp_path / "memory.max")
    machine = _memory.host()
    assert 2**28 < machine < math.inf
    _memory.CGROUP.write_text("max\n")
    assert _memory.host() == machine
    _memory.CGROUP.write_text("1000\n")
    assert _memory.host() == 1000
    assert _memory.device() == 1000
    monkeypatch.setattr(jax, "local_devices", lambda: [Card(), Card()])
    assert _memory.device() == 10

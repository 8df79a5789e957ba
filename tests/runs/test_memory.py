"""What does not fit into memory is refused, whoever asks; what is only looked at is not."""

import math
import shutil

import jax
import pytest

import hfac
from hfac import algorithms, runs, schedules
from hfac.cli import InputError, main
from hfac.runs import Execution, Processes, _memory
from support.folders import SIZE, swept

RUN = ["--steps", "2_000", "--seeds", "2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return swept(tmp_path_factory, *SIZE, *RUN)[0]


@pytest.fixture(scope="module")
def parts():
    """A method, its grid of one configuration, and the bytes that a run's state takes."""
    algorithm = algorithms.hfac(hfac.problems.goal_placement())
    grid = schedules.single(schedules.attenuating())
    return algorithm, grid, hfac.engine.state_bytes(algorithm, grid.schedules)


def check(seeds, steps, **execution):
    job = runs.job("goal_placement", seeds=seeds, steps=steps, preset="attenuating")
    _memory.check_memory(job, Execution(**execution))


def test_a_state_has_the_bytes_of_its_arrays(parts):
    algorithm, grid, found = parts
    own = jax.tree.map(lambda leaf: leaf[0], grid[0])
    state = algorithm.init(jax.random.key(0), own)
    assert found == sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def test_runs_are_counted_where_they_are_run(parts, monkeypatch):
    monkeypatch.setattr(_memory, "host", lambda: 2.0 * parts[2] * 100)
    check(100, 1)
    with pytest.raises(InputError, match=r"101 runs need .* for their states .* or more shares"):
        check(101, 1)
    check(101, 1, processes=Processes(0, 2))
    check(200, 1, share=(1, 2))
    with pytest.raises(InputError, match="101 runs need"):
        check(202, 1, share=(1, 2))


def test_problems_of_a_list_are_moved_one_after_another(parts, monkeypatch):
    monkeypatch.setattr(_memory, "host", lambda: 2.0 * parts[2] * 100)
    job = runs.job("goal_placement", seeds=100, steps=1, preset="attenuating", problem_options={"slip": (0.0, 0.1)})
    assert job.num_runs == 200
    _memory.check_memory(job, Execution())


def test_results_must_fit_where_they_are_judged(parts, monkeypatch):
    monkeypatch.setattr(_memory, "host", lambda: 2.0 * parts[2] * 100_000)
    with pytest.raises(InputError, match=r"100,000 runs need .* for their results"):
        check(100_000, 1_000_000)
    check(100_000, 1_000_000, share=(1, 2))
    check(100_000, 1)


def test_a_run_that_was_made_elsewhere_can_be_looked_at_but_not_grown(whole, tmp_path, monkeypatch, capsys):
    """Neither a replay nor a resume of what is finished holds all runs."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    monkeypatch.setattr(_memory, "host", lambda: 1.0)
    monkeypatch.setattr("hfac.runs.configure", lambda *args: None)
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

"""A sweep that is stopped, killed or made larger ends in the numbers of one that was not."""

import itertools
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hfac import engine, results
from hfac.algorithms import hfac as build
from hfac.engine import Checkpoints, advance_part, first_shapes
from support import cases, reported
from support.commands import command, start
from support.folders import RECORDED, SIZE, same, swept
from support.slow import few

NUM_KILLS = 20


@pytest.mark.parametrize("stop_after", few([1, 3], 1))
def test_stopped_again_and_again(tmp_path, stop_after):
    """Every stop is followed by a new store, new checkpoints and a new layout; nothing else carries over."""
    algorithm, rates, points = build(cases.goal(), tail_average=0.5), cases.gentle(), np.array([0, 3, 70, 200])

    def run(folder: Path, patience: float) -> int:
        path, sessions = folder / "r.zarr", 0
        while True:
            sessions += 1
            store = results.Store(path) if path.exists() else results.Store.create(path, {})
            layout = engine.lay_out(algorithm, rates, 3)
            part = store.parts[0] if store.parts else store.add(layout.table, layout.record_shapes, points, 2)
            checkpoints = Checkpoints(folder / "c", {})
            start, _ = checkpoints.latest(first_shapes(layout))
            pieces = itertools.count(1)
            if advance_part(layout, part, checkpoints, start, lambda *_, n=pieces: next(n) >= patience, 1e9):
                return sessions

    assert run(tmp_path / "whole", np.inf) == 1
    assert run(tmp_path / "cut", stop_after) >= 2
    first, second = (results.load(tmp_path / name / "r.zarr") for name in ("whole", "cut"))
    for name in ("x", "samples", "status"):
        np.testing.assert_array_equal(first[name], second[name], strict=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return swept(tmp_path_factory, *SIZE, *RUN)[0]


RUN = ["--steps", "900", "--seeds", "3", "--entropy", "0.01", "0.03"]
KILLED = ["--steps", "90_000", "--seeds", "3", "--entropy", "0.01", "0.03"]


def kill(line: list[str], is_time: Callable[[], bool]) -> None:
    """Start a command in a process of its own, and kill it when it is time."""
    process = start(*line)
    while not is_time():
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def line_of(folder: Path, run: list[str]) -> list[str]:
    """The command that goes on with a run; one that had written nothing is started again."""
    again = ["sweep", "goal_placement", *SIZE, *run, "--checkpoint-minutes", "0.002", "--out", str(folder)]
    return ["resume", str(folder)] if (folder / "config.json").exists() else again


MOMENTS = {
    "configured": lambda folder: (folder / "config.json").exists(),
    "recording": lambda folder: any((folder / "results.zarr" / "part-000" / "x" / "c").rglob("*")),
    "saved": lambda folder: any(p.name.isdigit() for p in (folder / "checkpoints").glob("part-000/*")),
}


def test_killed_and_resumed_and_killed_again(tmp_path_factory, tmp_path):
    folder = tmp_path / "run"
    for is_time in MOMENTS.values():
        kill(line_of(folder, KILLED), lambda is_time=is_time: is_time(folder))
    done = command(*line_of(folder, KILLED))
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    same(folder, swept(tmp_path_factory, *SIZE, *KILLED)[0])


LONG = ["--steps", "3_000_000", "--seeds", "3", "--entropy", "0.01", "0.03"]


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> tuple[Path, float]:
    """A long run, and the seconds that it took."""
    began = time.monotonic()
    return swept(tmp_path_factory, *SIZE, *LONG)[0], time.monotonic() - began


@pytest.mark.stress
@pytest.mark.parametrize("attempt", range(NUM_KILLS))
def test_killed_at_a_random_moment_and_resumed(long, tmp_path, attempt):
    whole, seconds = long
    moment = time.monotonic() + random.Random(attempt).uniform(0.05, 0.85) * seconds
    folder = tmp_path / "run"
    kill(line_of(folder, LONG), lambda: time.monotonic() > moment and folder.exists())
    done = command(*line_of(folder, LONG))
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    same(folder, whole)


def test_a_finished_run_says_so(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    done = command("resume", str(folder))
    assert done.returncode == 0 and "is finished" in done.stderr, done.stderr
    same(folder, whole)


GROWN = ["--steps", "1_100", "--seeds", "5", "--entropy", "0.01", "0.03", "0.1"]


def test_growth_leaves_what_is_there_as_it_is(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    done = command("extend", str(folder), *GROWN)
    assert done.returncode == 0, done.stderr
    old, new = (results.load(f / "results.zarr") for f in (whole, folder))
    for name in RECORDED:
        kept = new[name].sel({"seed": old["seed"], "entropy.scale": old["entropy.scale"], "step": old["step"]})
        np.testing.assert_array_equal(kept, old[name], strict=True)
    assert dict(new.sizes) | {"seed": 5, "entropy.scale": 3} == dict(new.sizes) and int(new["step"][-1]) == 1_100
    again = command("resume", str(folder))
    assert again.returncode == 0 and "is finished" in again.stderr
    judged = command("extend", str(folder), "--judge", "0.01", "0.003")
    assert judged.returncode == 0, judged.stderr
    assert results.load(folder / "results.zarr")["judged_tau"].values.tolist() == [0.01, 0.003]


@pytest.mark.slow
def test_what_has_grown_is_what_a_larger_sweep_is(whole, tmp_path):
    folder, large = tmp_path / "run", tmp_path / "large"
    shutil.copytree(whole, folder)
    for line in (["extend", str(folder)], ["sweep", "goal_placement", *SIZE, "--out", str(large)]):
        done = command(*line, *GROWN)
        assert done.returncode == 0, done.stderr
    new, fresh = (results.load(f / "results.zarr") for f in (folder, large))
    assert set(fresh["step"].values) | {900} == set(new["step"].values)
    there = new["x"].sel(seed=fresh["seed"], step=fresh["step"])  # other widths: rounding may differ
    assert there.sizes == fresh["x"].sizes and np.isfinite(there).all()
    assert float(np.abs(there.sel(step=100) - fresh["x"].sel(step=100)).max()) < 1e-5


def test_an_extension_that_does_not_fit_changes_nothing(whole):
    before = (whole / "config.json").read_bytes()
    done = command("extend", str(whole), "--seeds", "1e9")
    assert done.returncode == 2 and "runs need" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert (whole / "config.json").read_bytes() == before


@pytest.mark.slow
def test_an_extension_that_is_killed_is_finished_later(whole, tmp_path):
    folder, rest = tmp_path / "run", ["--steps", "60_000", "--seeds", "5"]
    shutil.copytree(whole, folder)
    kill(["extend", str(folder), *rest], (folder / "results.zarr" / "part-001").exists)
    done = command("resume", str(folder))
    assert done.returncode == 0 and "is finished" not in done.stderr, done.stderr
    old, new = (results.load(f / "results.zarr") for f in (whole, folder))
    assert (new.sizes["seed"], int(new["step"][-1])) == (5, 60_000)
    for name in RECORDED:
        kept = new[name].sel({"seed": old["seed"], "step": old["step"]})
        np.testing.assert_array_equal(kept, old[name], strict=True)


def test_a_damaged_result_ends_in_one_line(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    chunks = [p for p in (folder / "results.zarr" / "part-000" / "x" / "c").rglob("*") if p.is_file()]
    assert len(chunks) > 1  # those that are still being read when one has failed say nothing
    for chunk in chunks:
        chunk.write_bytes(chunk.read_bytes()[:-1])
    done = command("report", str(folder))
    assert done.returncode == 2 and "is damaged" in done.stderr and done.stderr.count("\n") == 1


WRONG = {
    "less steps": (["--steps", "800"], "--steps can only grow: the run has 900, got 800"),
    "less seeds": (["--seeds", "2"], "--seeds can only grow"),
    "another option": (["--problem.slip", "0.3"], "a run keeps its problem_options.slip"),
    "another value": (["--entropy", "0.02", "0.03"], "--entropy must hold what it held: 0.01, 0.03"),
    "no list": (["--upper", "0.1", "0.2"], "--upper is no list in this run"),
    "another offset": (["--offset", "200", "--steps", "1_100"], "--offset is no list in this run"),
    "another pairing": (["--zip", "entropy,penalty", "--penalty", "1", "2"], "a run keeps its"),
    "another method": (["--algorithm", "partial"], "--algorithm: an extended run keeps its own"),
}


@pytest.mark.parametrize("args, expected", WRONG.values(), ids=WRONG)
def test_what_cannot_grow(whole, args, expected):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*")}
    done = command("extend", str(whole), *args)
    assert done.returncode == 2 and expected in done.stderr and done.stderr.count("\n") == 1
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*")} == before


def test_one_process_at_a_time_until_it_is_interrupted(whole, tmp_path):
    folder = tmp_path / "run"
    first = start("sweep", "goal_placement", *SIZE, "--steps", "2e8", "--seeds", "2", "--out", str(folder))
    deadline = time.monotonic() + 120
    while not MOMENTS["recording"](folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    for other in ("resume", "report"):
        second = command(other, str(folder))
        assert second.returncode == 2 and f"in use by process {first.pid}" in second.stderr
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 130 and f"`hfac resume {folder}` goes on from there" in said
    assert "stopped at step" in said and "Traceback" not in said
    assert results.load(folder)["step"].values[0] == 0  # what was recorded can be read


def test_a_folder_with_another_run_is_not_touched(whole):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*")}
    done = command("sweep", "goal_placement", *SIZE, *RUN, "--seeds", "4", "--out", str(whole))
    assert done.returncode == 2 and "it differs in seeds (3, not 4)" in done.stderr
    done = command("sweep", "goal_placement", *SIZE, *RUN, "--out", str(whole))
    assert done.returncode == 2 and f"`hfac resume {whole}` goes on with it" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*")} == before


def test_a_search_goes_on(tmp_path, tmp_path_factory):
    """Rungs that are kept are not run again; what is run later finds what it would have found at once."""
    whole, cut = reported.folder("tune", tmp_path_factory), tmp_path / "cut"
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints" / "round-1")
    (cut / "checkpoints" / "round-0" / "rung-1.json").unlink()
    for name in ("search.csv", "best.json"):
        (cut / name).unlink()
    again = command("resume", str(cut))
    assert again.returncode == 0, again.stderr
    assert again.stdout == (whole.parent / "said").read_text(encoding="utf-8")
    for name in ("search.csv", "best.json"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    for args, expected in (
        (["--rounds", "3"], "--rounds 3 needs --budget 6000"),
        (["--rounds", "1"], "--rounds can only grow"),
        (["--samples", "500"], "a search keeps its samples"),
    ):
        wrong = command("extend", str(cut), *args)
        assert wrong.returncode == 2 and expected in wrong.stderr, wrong.stderr
    log = cut / "checkpoints" / "round-0" / "rung-0.json"
    log.write_text(log.read_text()[:20])
    done = command("resume", str(cut))
    assert done.returncode == 2 and "is damaged" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_search_grows(tmp_path, tmp_path_factory):
    whole, grown = reported.folder("tune", tmp_path_factory), tmp_path / "grown"
    shutil.copytree(whole, grown)
    done = command("extend", str(grown), "--rounds", "3", "--budget", "6e3")
    assert done.returncode == 0, done.stderr
    old, new = ((folder / "search.csv").read_text().splitlines() for folder in (whole, grown))
    assert new[: len(old)] == old and len(new) > len(old)


def test_no_run_to_resume(tmp_path):
    done = command("resume", str(tmp_path))
    assert done.returncode == 2 and "holds no run: config.json is missing" in done.stderr
    (tmp_path / "config.json").write_text('{"command": "sweep", "steps": 1')
    done = command("resume", str(tmp_path))
    assert done.returncode == 2 and "is damaged" in done.stderr and done.stderr.count("\n") == 1
    (tmp_path / "config.json").write_text('{"command": "report"}')
    done = command("resume", str(tmp_path))
    assert done.returncode == 2 and "cannot go on" in done.stderr

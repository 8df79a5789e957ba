"""Runs that diverge, disks that are full, folders that cannot be written, other clocks and languages."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hfac import results
from support.commands import TIMEOUT, command, environment
from support.folders import SIZE, same, swept
from support.slow import few

RUN = ["--steps", "2_000", "--seeds", "2"]
WILD = ["--upper", "1e30", "0.01", "--penalty", "1"]  # the first value overflows at once


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Path:
    return swept(tmp_path_factory, *SIZE, *RUN)[0]


@pytest.fixture(scope="module")
def wild(tmp_path_factory) -> tuple[Path, str]:
    return swept(tmp_path_factory, *SIZE, *RUN, *WILD)


def test_diverged_runs_are_listed_and_the_others_go_on(wild):
    folder, said = wild
    failed = results.load(folder / "results.zarr")["failed_at"].isel(step=-1)
    assert failed.sel({"upper.scale": 1e30}).values.min() >= 0 and (failed.sel({"upper.scale": 0.01}) == -1).all()
    step = int(failed.sel({"upper.scale": 1e30}).isel(seed=1))
    assert f"diverged: upper 1e+30, seed 1, at step {step:,}: an update was not finite" in said


def test_a_diverged_run_is_replayed_and_explained(wild):
    folder, _ = wild
    done = command("replay", str(folder), "--seed", "1", "--upper", "1e30")
    assert done.returncode == 0, done.stderr
    step = int(results.load(folder / "results.zarr")["failed_at"].isel(step=-1).sel({"upper.scale": 1e30}).isel(seed=1))
    assert f"upper.scale 1e+30, seed 1: at step {step:,}: an update was not finite" in done.stdout
    assert "first number that is not finite" in done.stdout and "as in the stored run" in done.stdout


@pytest.mark.slow
def test_its_neighbour_is_replayed_to_its_last_record(wild):
    done = command("replay", str(wild[0]), "--seed", "0", "--upper", "0.01")
    assert done.returncode == 0 and "the run is healthy" in done.stdout
    said = re.search(r"at its last record x (is the same|agrees to (\S+) of its norm)", done.stdout)
    assert said is not None and float(said[2] or 0) < 1e-5


WRONG = {
    "which run": (["--seed", "1"], "2 runs have seed 1; say which, by upper.scale"),
    "no such seed": (["--seed", "7", "--upper", "0.01"], "--seed 7: the sweep has 0 to 1"),
    "no such value": (["--seed", "1", "--upper", "0.5"], "--upper 0.5: the sweep has 1e+30, 0.01"),
    "no such list": (["--seed", "1", "--tau", "0.5"], "--tau: the sweep has no list of these"),
}


@pytest.mark.parametrize("args, expected", WRONG.values(), ids=WRONG)
def test_replay_of_no_run(wild, args, expected):
    done = command("replay", str(wild[0]), *args)
    assert done.returncode == 2 and expected in done.stderr and done.stderr.count("\n") == 1


def test_a_diverged_run_can_stop_the_sweep(tmp_path):
    folder = tmp_path / "run"
    done = command("sweep", "goal_placement", *SIZE, *RUN, *WILD, "--on-divergence", "stop", "--out", str(folder))
    assert done.returncode == 130 and "2 of 4 runs diverged" in done.stderr and "Traceback" not in done.stderr
    assert int(results.load(folder / "results.zarr")["step"][-1]) < 2_000


BIG = ["--steps", "2000", "--seeds", "2", "--record", "tables", "--no-figures"]


@pytest.fixture(scope="module")
def big(tmp_path_factory) -> Path:
    return swept(tmp_path_factory, *BIG)[0]


@pytest.mark.parametrize("limits", few([[2], [1, 2, 6]], [2]), ids=str)
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(limits, big, tmp_path):
    """No file may grow past so many kilobytes: at 1 the configuration is the first to do so, then a record, at 6 a
    checkpoint."""
    folder = tmp_path / "run"
    sweep = ["sweep", "goal_placement", *BIG, "--no-cache", "--out", str(folder)]
    for kilobytes in limits:
        args = ["resume", str(folder)] if (folder / "config.json").exists() else sweep
        limited = ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash", sys.executable, "-m", "hfac", *args]
        own = environment(JAX_ENABLE_COMPILATION_CACHE="false")
        done = subprocess.run(limited, capture_output=True, text=True, timeout=TIMEOUT, env=own, check=False)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        said = done.stderr.strip().splitlines()[-1]
        assert said.startswith(f"hfac {args[0]}: error: cannot write"), done.stderr
        assert (folder / "config.json").exists() == (kilobytes > 1)
    again = command("resume", str(folder))
    assert again.returncode == 0, again.stderr
    same(folder, big)


@pytest.fixture
def small_disk(tmp_path):
    """A file system in memory: its folder, and a function that sets its size in kilobytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, timeout=30, check=False).returncode:
        pytest.skip("no right to mount a file system")

    def resize(kilobytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(place)], timeout=30, check=True)

    yield place, resize
    subprocess.run(["umount", "-l", str(place)], timeout=30, check=True)


@pytest.mark.stress
@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.3, 0.4, 0.5])
def test_a_small_disk_is_one_line_and_the_run_goes_on_on_a_larger_one(big, small_disk, share):
    place, resize = small_disk
    folder, blocks = place / "run", sum(4 * -(-path.stat().st_size // 4096) for path in big.rglob("*"))
    resize(int(share * blocks))
    done = command("sweep", "goal_placement", *BIG, "--no-cache", "--out", str(folder))
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("hfac sweep: error: cannot write"), done.stderr
    resize(4 * blocks)
    again = command("resume", str(folder))
    assert again.returncode == 0, again.stderr
    same(folder, big)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("kept")
    done = command("sweep", "goal_placement", *SIZE, *RUN, "--out", str(tmp_path / "file" / "run"))
    assert done.returncode == 2 and "cannot be made" in done.stderr and (tmp_path / "file").read_text() == "kept"


def test_on_cpus_every_run_is_deterministic(calm, tmp_path):
    done = command("sweep", "goal_placement", *SIZE, *RUN, "--deterministic", "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    same(tmp_path / "run", calm)
    other = command("extend", str(tmp_path / "run"), "--no-deterministic", "--seeds", "3")
    assert other.returncode == 2 and "a run keeps its deterministic" in other.stderr, other.stderr

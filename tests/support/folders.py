"""Folders of small sweeps of goal placement, made once, and whether two of them hold the same."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hfac import results, runs
from support.commands import command

CELLS = ["--problem.size", "4", "--problem.landmark", "3", "3", "--problem.hazard-rows", "1", "2"]
CELLS += ["--problem.hazard-columns", "1", "2"]
SIZE = [*CELLS, "--no-figures"]
SMALL = {"size": 4, "landmark": (3, 3), "hazard_rows": (1, 2), "hazard_columns": (1, 2)}
RECORDED = ("x", "samples", "status", "failed_at", "hyper_objective")


def same(first: Path, second: Path):
    """Both folders hold the same results, bit for bit."""
    pair = [results.load(folder / "results.zarr") for folder in (first, second)]
    assert pair[0].sizes == pair[1].sizes
    for name in RECORDED:
        np.testing.assert_array_equal(pair[0][name], pair[1][name], strict=True)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made by whichever worker needs it first, the same for all; nobody writes to it later."""
    root = factory.getbasetemp()
    place = (root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root) / "once"
    place.mkdir(exist_ok=True)
    folder, made = place / name, place / f"{name}.made"
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            made.touch()
    return folder


def swept(factory: pytest.TempPathFactory, *args: str) -> tuple[Path, str]:
    """A finished sweep's folder, and what it said."""

    def make(folder: Path) -> None:
        done = command("sweep", "goal_placement", *args, "--out", str(folder / "run"))
        assert done.returncode == 0, done.stderr
        (folder / "said").write_text(done.stderr, encoding="utf-8")

    folder = once(factory, hashlib.sha256(repr(args).encode()).hexdigest()[:16], make)
    return folder / "run", (folder / "said").read_text(encoding="utf-8")


def kept(factory: pytest.TempPathFactory) -> Path:
    """A finished sweep over two entropy weights and three seeds that keeps its policies."""
    rates = {"upper": 0.01, "entropy": [0.01, 0.03]}

    def make(folder: Path) -> None:
        job = runs.job("goal_placement", settings=rates, steps=40, seeds=3, problem_options=SMALL, record="policies")
        runs.start(job, folder, runs.Execution(quiet=True))

    return once(factory, "kept", make)

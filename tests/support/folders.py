"""Folders of small sweeps of goal placement, and whether two of them hold the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hfac import results
from support.commands import command

CELLS = ["--problem.size", "4", "--problem.landmark", "3", "3", "--problem.hazard-rows", "1", "2"]
CELLS += ["--problem.hazard-columns", "1", "2"]
SIZE = [*CELLS, "--no-figures"]
RECORDED = ("x", "samples", "status", "failed_at", "hyper_objective")


def same(first: Path, second: Path):
    """Both folders hold the same results, bit for bit."""
    pair = [results.load(folder / "results.zarr") for folder in (first, second)]
    assert pair[0].sizes == pair[1].sizes
    for name in RECORDED:
        np.testing.assert_array_equal(pair[0][name], pair[1][name], strict=True)


def swept(factory: pytest.TempPathFactory, *args: str, run: Callable = command) -> tuple[Path, str]:
    """A finished sweep's folder, and what it said."""
    folder = factory.mktemp("swept") / "run"
    done = run("sweep", "goal_placement", *args, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    return folder, done.stderr

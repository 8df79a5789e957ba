"""Whether a sweep can be held on this machine, before anything is run or written."""

import math
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hfac import engine, results
from hfac.cli import InputError, _folder, _sweep, as_input_error
from hfac.cli._request import Request
from hfac.schedules import Coordinates, Schedules
from hfac.types import Algorithm

COPIES = 2  # of every state that a compiled step holds
LOADED = 3  # copies of the results while they are judged
LISTED = 230  # bytes that naming a run takes, whoever runs it
ALWAYS_FITS = 2**20  # records; fewer are not worth the second that looking at their shapes takes
CGROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use, where control groups are of version 2


def check(request: Request, algorithm: Algorithm, grid: tuple[Schedules, Coordinates], record: Any = None) -> None:
    """Refuse runs that do not fit beside each other, or whose results could not be judged.

    Args:
      request: what is asked for.
      algorithm: of its runs.
      grid: their schedules and coordinates.
      record: what a record point keeps, as for `hfac.engine.sweep`.

    Raises:
      InputError: if they do not fit, or what the folder holds cannot be read.
    """
    own = at_once(request, grid[1]) if request.processes.is_first else 0
    if not own:
        return
    settings = request.settings
    num_runs = math.prod(grid[1].shape) * settings.seeds
    own = max(own, settings.block_width)
    here, there = host(), device()
    _compare("their states", own, COPIES * engine.state_bytes(algorithm, grid[0]), there, ", or more shares (--shard)")
    _compare("their names", num_runs, LISTED, here)
    num_records = num_runs * len(engine.record_points(settings.steps))
    if request.shard is None and num_records > ALWAYS_FITS:
        one = engine.lay_out(algorithm, grid, np.zeros(1, int), record, subset=np.zeros(1, int))
        kept = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one.record_shapes))
        _compare("their results", num_runs, LOADED * kept * num_records // num_runs, here)


def _compare(what: str, num_runs: int, each: int, have: float, remedy: str = "") -> None:
    if num_runs * each > have:
        raise InputError(
            f"{num_runs:,} runs need {size(num_runs * each)} of memory for {what} and there are {size(have)}: give "
            f"fewer seeds at a time, the others with --first-seed in folders of their own{remedy}"
        )


def at_once(request: Request, coordinates: Coordinates) -> int:
    """Runs that this process would hold beside each other: those it lacks, or the largest part that is not at its end.

    Raises:
      InputError: if what the folder holds cannot be read.
    """
    settings = request.settings
    shares = 1 if request.shard is None else _sweep.share(request.shard)[1]
    held, unfinished = 0, 0
    if request.resumed and (settings.out / _folder.RESULTS).exists():
        with as_input_error():
            for part in results.Store(settings.out / _folder.RESULTS).parts:
                held += part.table.num_runs
                if part.points[-1] < settings.steps or part.reached < len(part.points):
                    unfinished = max(unfinished, part.table.num_runs)
    missing = math.prod(coordinates.shape) * settings.seeds / shares - held
    return max(math.ceil(missing / request.processes.count), unfinished)


def device() -> float:
    """Bytes of memory that states may take: of all accelerators, or the host's; inf where one does not say."""
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        return host()
    return sum((each.memory_stats() or {}).get("bytes_limit", math.inf) for each in devices)


def host() -> float:
    """Bytes of this machine's memory, or what its container may use of it."""
    limit = CGROUP.read_text(encoding="utf-8").strip() if CGROUP.is_file() else "max"
    return min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), math.inf if limit == "max" else int(limit))


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"

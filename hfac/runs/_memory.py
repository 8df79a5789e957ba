"""Whether runs can be held on this machine, before anything is run or written."""

import math
import os
from pathlib import Path

import jax
import numpy as np

from hfac import engine, results
from hfac._errors import InputError, as_input_error
from hfac.runs._execution import Execution
from hfac.runs._folder import RESULTS
from hfac.runs._job import Job
from hfac.schedules import Schedules
from hfac.types import Algorithm

COPIES = 2  # of every state that a compiled step holds
LOADED = 3  # copies of the results while they are judged
LISTED = 230  # bytes that naming a run takes, whoever runs it
ALWAYS_FITS = 2**20  # records without policies; fewer are not worth the second that looking at their shapes takes
CGROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use, where control groups are of version 2
FEWER_SEEDS = "give fewer seeds at a time, the others with --first-seed in folders of their own"


def check_memory(job: Job, execution: Execution, folder: Path | None = None) -> None:
    """Refuse runs that do not fit beside each other, or whose results could not be judged.

    Args:
      job: what is to be run.
      execution: how.
      folder: of a run that goes on, or None.

    Raises:
      InputError: if they do not fit, or what the folder holds cannot be read.
    """
    own = at_once(job, execution, folder) if execution.processes.is_first else 0
    if not own:
        return
    own = max(own, execution.block_width)
    here = host()
    check_beside(own, job.algorithm, job.grid.schedules, f"{FEWER_SEEDS}, or more shares (--shard)")
    _compare("their names", job.num_runs, LISTED, here, FEWER_SEEDS)
    num_records = job.num_runs * len(job.points)
    are_small = num_records <= ALWAYS_FITS and job.configuration.get("record") != "policies"
    if execution.share == (1, 1) and not are_small:
        record = job.variants[0].record
        one = engine.lay_out(job.algorithm, job.grid, np.zeros(1, int), record, subset=np.zeros(1, int))
        kept = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one.record_shapes))
        _compare("their results", job.num_runs, LOADED * kept * num_records // job.num_runs, here, FEWER_SEEDS)


def check_beside(num_runs: int, algorithm: Algorithm, schedules: Schedules, remedy: str) -> None:
    """Raise `InputError` unless the states of so many runs fit beside each other."""
    _compare("their states", num_runs, COPIES * engine.state_bytes(algorithm, schedules), device(), remedy)


def _compare(what: str, num_runs: int, each: int, have: float, remedy: str) -> None:
    if num_runs * each > have:
        raise InputError(
            f"{num_runs:,} runs need {size(num_runs * each)} of memory for {what} and there are {size(have)}: {remedy}"
        )


def at_once(job: Job, execution: Execution, folder: Path | None = None) -> int:
    """Runs that a process would hold beside each other: those it lacks, or the largest part that is not at its end.

    Raises:
      InputError: if what the folder holds cannot be read.
    """
    held, unfinished = 0, 0
    if folder is not None and (folder / RESULTS).exists():
        with as_input_error():
            for part in results.Store(folder / RESULTS).parts:
                held += part.table.num_runs
                if part.points[-1] < job.steps or part.reached < len(part.points):
                    unfinished = max(unfinished, part.table.num_runs)
    missing = min(job.num_runs / execution.share[1] - held, job.runs_per_variant)
    return max(math.ceil(missing / execution.processes.count), unfinished)


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

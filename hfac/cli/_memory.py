"""Whether a sweep's states can be held on this machine, before anything is run or written."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from hfac import engine
from hfac.cli import InputError
from hfac.schedules import Schedules
from hfac.types import Algorithm

COPIES = 2  # of every state that a compiled step holds
CGROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use


def check(algorithm: Algorithm, schedules: Schedules, num_runs: int) -> None:
    """Refuse runs that do not fit beside each other in this process.

    Args:
      algorithm: theirs.
      schedules: one run's, or a batch of them.
      num_runs: how many there are.

    Raises:
      InputError: if they do not fit.
    """
    need = COPIES * engine.state_bytes(algorithm, schedules) * num_runs
    have = total(jax.local_devices())
    if need > have:
        raise InputError(
            f"{num_runs:,} runs at once need {size(need)} of memory and there are {size(have)}: give fewer seeds at a "
            f"time, or {math.ceil(need / have)} times as many shares (--shard I/N)"
        )


def total(devices: Sequence[Any]) -> float:
    """Bytes of memory that all the devices have; inf where none of them says so."""
    if devices[0].platform != "cpu":
        return sum((device.memory_stats() or {}).get("bytes_limit", math.inf) for device in devices)
    limit = CGROUP.read_text(encoding="utf-8").strip() if CGROUP.is_file() else "max"
    return min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), math.inf if limit == "max" else int(limit))


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"

"""One run of a stored sweep again, and what went wrong in it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hfac import _files, engine
from hfac._errors import InputError
from hfac._progress import progress
from hfac._trees import named_leaves
from hfac.engine import Replay
from hfac.runs import _folder, _work
from hfac.runs._build import as_paths, build
from hfac.runs._find import one_run
from hfac.runs._job import Job
from hfac.types import Algorithm


class Repeated(NamedTuple):
    """A run of a stored sweep that was run again."""

    words: str  # which
    replay: Replay
    stored_failed_at: int  # step of the stored run's first fault, or -1
    gap: float  # distance of x at the end from the stored one, relative to its norm; nan where either failed

    def lines(self) -> list[str]:
        """What was found, in words."""
        again = self.replay
        end = f"at step {again.failed_at:,}: " if again.failed_at >= 0 else ""
        found = [f"{self.words}: {end}{again.status.meaning}", *(f"  {line}" for line in again.findings)]
        if self.stored_failed_at != again.failed_at:
            at = self.stored_failed_at
            return [*found, f"  the stored run {f'failed at {at:,}' if at >= 0 else 'is healthy'}"]
        if again.failed_at >= 0:
            return [*found, "  as in the stored run"]
        close = "x is the same" if self.gap == 0 else f"x agrees to {self.gap:.1g} of its norm"
        return [*found, f"  the stored run is healthy too; at its last record {close}"]


def replay(
    folder: str | Path,
    seed: int,
    which: Mapping[str, float] | None = None,
    debug: bool = True,
    problem: Any = None,
    algorithm: Callable[..., Algorithm] | None = None,
) -> Repeated:
    """Repeat one run of a stored sweep.

    Args:
      folder: of the sweep.
      seed: of the run.
      which: values of the lists that the sweep crossed, by name, such as ``{"entropy": 0.01}``.
      debug: look for the first number that is not finite, step by step and slowly.
      problem: that the sweep is about, where that is your own.
      algorithm: builder of the method, where that is your own.

    Raises:
      ValueError: if no run, or more than one, is meant.
    """
    place = _files.place(folder)
    stored = as_paths(_folder.read_config(place))
    if stored["command"] not in ("sweep", "rates"):
        raise InputError(f"{place} holds a run of `hfac {stored['command']}`; replay takes a sweep's or rates'")
    return repeat(build(stored, problem, algorithm, place), place, seed, which or {}, debug)


def repeat(job: Job, folder: Path, seed: int, which: Mapping[str, float], debug: bool, quiet: bool = True) -> Repeated:
    """Repeat one run of a job that is stored in a folder; see `replay`."""
    data = _work.load(job, folder, quiet)
    index, words = one_run(job, which, seed)
    variant, within = divmod(index, job.runs_per_variant)
    algorithm, own = job.variants[variant].algorithm, job.grid.one(within // len(job.seeds))
    with progress("running again", None, "steps", quiet) as bar:
        again = engine.replay(algorithm, engine.run_key(seed), own, job.steps, debug, bar.update)
    stored_at = int(_of_run(data["failed_at"], index)[-1])
    gap = float("nan")
    if stored_at == again.failed_at == -1:
        x = named_leaves({"x": algorithm.solution(again.state).x})
        gap = max((_gap(_of_run(data[name], index)[-1], leaf) for name, leaf in x.items()), default=0.0)
    return Repeated(words, again, stored_at, gap)


def _of_run(values: Any, index: int) -> Any:
    """One run's records [P, ...] of what was stored with an axis for every swept quantity, seeds and steps."""
    at = list(values.dims).index("step")
    return values.values.reshape(int(np.prod(values.shape[:at], dtype=int)), *values.shape[at:])[index]


def _gap(stored: Any, again: Any) -> float:
    """Euclidean distance, relative to what was stored."""
    distance, size = np.linalg.norm(np.asarray(again) - stored), np.linalg.norm(stored)
    return float(distance / size) if size > 0 else float(distance)

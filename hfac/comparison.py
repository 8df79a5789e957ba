"""Methods beside each other: the same seeds, the same samples, one table.

A budget of samples ends at the last record point not above it. Methods that use no samples do a number of steps
instead and are compared among themselves.
"""

import csv
import dataclasses
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from hfac import _files, algorithms, judging, results, statistics, tuning
from hfac.engine import lay_out, record_points, stream
from hfac.schedules import Schedules
from hfac.tuning import Setting
from hfac.types import Algorithm, Needs, Status

if TYPE_CHECKING:
    import xarray

SPREAD = np.linspace(0.8, 1.25, 10)  # record points around the end of a budget whose pace varies between runs


@dataclasses.dataclass(frozen=True)
class Entry:
    """One method's runs."""

    name: str  # as it is to be shown
    setting: Setting
    needs: Needs
    data: "xarray.Dataset"  # judged; dimensions seed, step
    seconds: float  # of all runs together, without compilation
    num_samples: int  # the budget; 0 where none are counted

    @property
    def counts_samples(self) -> bool:
        """Whether the method uses environment samples."""
        return bool(self.data["samples"].max() > 0)

    def ends(self) -> np.ndarray:
        """Index of every seed's last record point within the budget, [N]."""
        samples = self.data["samples"].transpose("seed", "step").values
        if not self.counts_samples:
            return np.full(samples.shape[0], samples.shape[1] - 1)
        return np.maximum(0, (samples <= self.num_samples).sum(1) - 1)

    def objective(self) -> np.ndarray:
        """Hyper-objective of every seed at the end of the budget, [N]."""
        values = self.data["hyper_objective"].isel(judged_tau=0).transpose("seed", "step").values
        return values[np.arange(len(values)), self.ends()]

    def samples_to(self, target: float) -> np.ndarray:
        """Samples, or steps where none are counted, until the target is first met within the budget; else +inf. [N]."""
        values = self.data["hyper_objective"].isel(judged_tau=0).transpose("seed", "step").values
        clock = (
            self.data["samples"].transpose("seed", "step").values if self.counts_samples else self.data["step"].values
        )
        clock = np.broadcast_to(np.asarray(clock, float), values.shape)
        is_met = (values <= target) & (np.arange(values.shape[1]) <= self.ends()[:, None])
        return np.where(is_met.any(1), clock[np.arange(len(values)), is_met.argmax(1)], np.inf)

    def diverged(self) -> int:
        """Runs that had failed when the budget ended."""
        status = self.data["status"].transpose("seed", "step").values
        return int((status[np.arange(len(status)), self.ends()] != Status.OK).sum())


class Row(NamedTuple):
    """One line of the table."""

    method: str
    needs: str
    objective: statistics.Interval  # interquartile mean of the hyper-objective
    worst: float
    difference: statistics.Interval | None  # to the first method, paired over seeds
    to_target: float  # interquartile mean of samples, or steps
    samples: float  # used per run
    steps: int
    seconds: float
    diverged: int
    seeds: int


class Pace(NamedTuple):
    """How a budget of samples is spent by a method."""

    num_steps: int  # of a run
    record_at: tuple[int, ...]  # record points beside the usual ones: a budget ends at the last one not above it
    counts_samples: bool  # whether the method uses any


def pace(
    algorithm: Algorithm, schedules: Schedules, seeds: Sequence[int], num_samples: int, num_steps: int | None = None
) -> Pace:
    """Measure how many samples a step uses, and how many steps use a budget.

    Args:
      algorithm: of the runs.
      schedules: of the runs.
      seeds: of the runs; the first is looked at.
      num_samples: environment transitions of every run.
      num_steps: steps of a method that uses no samples; as many as there are samples unless given.
    """
    rate = tuning.samples_per_step(algorithm, schedules, seeds)
    if rate == 0:
        return Pace(num_steps or num_samples, (), False)
    steps = tuning.steps_for(num_samples, rate)
    spread = np.unique(np.round(steps * SPREAD).astype(int)) if rate != round(rate) else ()
    return Pace(max([steps, *spread]), tuple(map(int, spread)), True)


def run(
    problem: Any,
    name: str,
    setting: Setting,
    tau: float,
    seeds: Sequence[int],
    num_samples: int,
    num_steps: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    label: str | None = None,
) -> Entry:
    """Run one method on every seed and judge every record.

    Args:
      problem: what to solve.
      name: of the method in `hfac.algorithms.REGISTRY`.
      setting: its options and schedules.
      tau: entropy weight at which x is judged.
      seeds: of the runs, shared by all methods that are to be compared.
      num_samples: environment transitions of every run.
      num_steps: steps of a method that uses no samples; as many as there are samples unless given.
      progress: called with (steps done, steps in all).
      label: how to show it; its name unless given.

    Raises:
      ValueError: if the method refuses the problem or an option.
    """
    algorithm = getattr(algorithms, name)(problem, **setting.options)
    rates = tuning.to_schedules(setting)
    own = pace(algorithm, rates, seeds, num_samples, num_steps)
    points = np.union1d(record_points(own.num_steps), np.asarray(own.record_at, int)).astype(int)
    layout = lay_out(algorithm, rates, list(seeds))
    before, records, counts = layout.program.compile_seconds, [], []
    began = time.perf_counter()
    for piece in stream(layout, points):
        progress(piece.step, int(points[-1]))
        if piece.point is not None:
            records.append(piece.record)
            counts.append(piece.num_samples)
    seconds = time.perf_counter() - began - (layout.program.compile_seconds - before)
    record = jax.tree.map(lambda *leaves: np.stack(leaves, 1), *records)
    data = results.dataset(
        record, np.stack(counts, 1), points, layout.seeds, layout.coordinates, {"problem": problem.name, "method": name}
    )
    judged = results.judge(data, judging.judge_of(problem, tau).metric)
    budget = num_samples if own.counts_samples else 0
    return Entry(label or name, setting, algorithms.needs(name), judged, seconds, budget)


def table(entries: Sequence[Entry], target: float) -> list[Row]:
    """One row per method; differences are to the first, over shared seeds.

    Args:
      entries: methods run on the same seeds.
      target: value of the hyper-objective whose first crossing is timed.
    """
    rows = []
    for entry in entries:
        values, ends = entry.objective(), entry.ends()
        is_first = entry is entries[0]
        samples = entry.data["samples"].transpose("seed", "step").values
        rows.append(
            Row(
                method=entry.name,
                needs=str(entry.needs),
                objective=statistics.bootstrap(values),
                worst=float(values.max()),
                difference=None if is_first else statistics.paired_difference(values, entries[0].objective()),
                to_target=float(statistics.interquartile_mean(entry.samples_to(target))),
                samples=float(samples[np.arange(len(values)), ends].mean()),
                steps=int(entry.data["step"].values[ends].max()),
                seconds=entry.seconds,
                diverged=entry.diverged(),
                seeds=len(values),
            )
        )
    return rows


def cells(row: Row, target: float) -> dict[str, str]:
    """A row as it is printed and stored."""
    unit = "samples" if row.samples else "steps"
    return {
        "method": row.method,
        "interquartile mean [95 %]": str(row.objective),
        "worst": f"{row.worst:.4f}" if np.isfinite(row.worst) else "diverged",
        "minus the first, paired [95 %]": "" if row.difference is None else str(row.difference),
        f"to {target:.3f}": f"{row.to_target:.3g} {unit}" if np.isfinite(row.to_target) else "not reached",
        "samples": f"{row.samples:.3g}",
        "steps": f"{row.steps:.3g}",
        "seconds": f"{row.seconds:.1f}",
        "diverged": f"{row.diverged} of {row.seeds}",
        "needs": row.needs,
    }


def lines(rows: Sequence[dict[str, str]]) -> list[str]:
    """A table of cells, columns aligned to the right."""
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    return [
        "  ".join(row[key].rjust(width) for key, width in widths.items()) for row in ({k: k for k in widths}, *rows)
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of cells as a file."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    _files.replace(path, text.getvalue())

"""What is to be run: problems, method, schedules, seeds, steps, and what for. It knows nothing of flags and folders."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from hfac import algorithms, results, schedules
from hfac._places import short
from hfac.engine import record_points
from hfac.runs import _configuration
from hfac.schedules import Coordinates, Grid
from hfac.settings import METHOD, PROBLEM, RATES
from hfac.types import Algorithm


class Variant(NamedTuple):
    """A problem and the method that solves it."""

    problem: Any
    algorithm: Algorithm
    record: Callable[[Any, Any, Any], Any] | None = None  # what a record point keeps; None keeps x


@dataclasses.dataclass(frozen=True)
class Job:
    """A sweep that can be stored, stopped and made larger; `job` makes one from names or from your own objects."""

    variants: tuple[Variant, ...]  # one for every combination of listed numbers of the problem
    axes: Coordinates  # of them
    grid: Grid  # schedules that each of them is run with
    seeds: range  # [N]
    steps: int
    judge: tuple[float, ...]  # entropy weights at which x is judged
    configuration: Mapping[str, Any]  # what all this was made from, as config.json holds it
    preset: str  # that the schedules come from
    record_at: tuple[int, ...] = ()  # record points beside the usual ones

    @property
    def points(self) -> np.ndarray:
        """Steps that are recorded, int32 [T]: the usual ones, the problem's own, and those asked for."""
        usual, more = record_points(self.steps), getattr(self.problem, "record_points", None)
        own = [] if more is None else more(self.steps)
        return np.union1d(usual, np.asarray([*own, *self.record_at], usual.dtype)).astype(usual.dtype)

    @property
    def problem(self) -> Any:
        """The first of them."""
        return self.variants[0].problem

    @property
    def algorithm(self) -> Algorithm:
        """The method on the first problem."""
        return self.variants[0].algorithm

    @property
    def coordinates(self) -> Coordinates:
        """Of all configurations, those of the problem first."""
        own = self.grid.coordinates
        return Coordinates((*self.axes.dims, *own.dims), {**self.axes.values, **own.values})

    @property
    def num_runs(self) -> int:
        """Configurations x seeds."""
        return len(self.variants) * self.runs_per_variant

    @property
    def runs_per_variant(self) -> int:
        """Schedules x seeds."""
        return self.grid.size * len(self.seeds)

    @property
    def table(self) -> results.RunTable:
        """All runs, configurations major, seeds minor."""
        return results.run_table(self.coordinates, np.asarray(self.seeds))

    @property
    def name(self) -> str:
        """Problem and method in words."""
        return " / ".join(short(self.configuration[name]) for name in (PROBLEM, METHOD))

    @property
    def words(self) -> str:
        """The scales of the first configuration's rates."""
        own = self.grid.one(0)
        return ", ".join(f"{rate} {float(getattr(own, rate).scale):.3g}" for rate in RATES)

    @property
    def lists(self) -> tuple[str, ...]:
        """Keys of options that are dimensions, such as "problem_options.slip"."""
        names = (name.partition(".") for name in self.coordinates.dims)
        return tuple(f"{owner}_options.{option}" for owner, _, option in names if owner in (METHOD, PROBLEM))

    @property
    def source(self) -> str | None:
        """Package and version of the problem's environment, where another package has it."""
        return getattr(getattr(self.problem, "environment", None), "source", None)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must have in common with the job that goes on from it."""
        found = _configuration.identity(self.configuration, self.lists)
        if self.algorithm.shared is not None:
            found["shared"] = self.algorithm.shared.digest
        return found if self.source is None else found | {"environment": self.source}

    def alone(self, index: int) -> "Job":
        """One configuration of it, without a name."""
        variant, own = divmod(index, self.grid.size)
        one = schedules.single(self.grid.one(own))
        return dataclasses.replace(self, variants=(self.variants[variant],), axes=Coordinates((), {}), grid=one)

    def remarks(self) -> list[str]:
        """What the theory would question in the numbers that a person chose, and what nothing bounds."""
        chosen = {path for paths in _configuration.schedule_axes(self.configuration) for path in paths}
        name = self.configuration["algorithm"]
        has_penalty = name not in algorithms.REGISTRY or algorithms.needs(name).penalty
        found = [
            each.words
            for each in self.grid.schedules.remarks(self.steps)
            if chosen & set(each.about) and (has_penalty or not any(path.startswith("penalty") for path in each.about))
        ]
        missing = [name for name in ("reward_bound", "cost_bound") if getattr(self.problem, name, 0) is None]
        found += getattr(self.problem, "notes", list)()
        return found + [f"{self.problem.name} states no {name}: that critic is not projected" for name in missing]

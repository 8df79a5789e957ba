"""Methods beside each other on one environment: what fresh episodes of their policies earn."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import hfac
from experiments import page, shown
from experiments.goal_placement import write_csv
from experiments.random_mdp import show, write_study
from hfac import pages, statistics
from hfac.schedules import Schedules

RATES = {"actor": 1e-2, "critic": 1e-2, "entropy": 0.01, "offset": 100.0}
POWERS = {"upper_power": 0.5, "actor_power": 0.5, "critic_power": 0.5, "penalty_power": 0.0, "entropy_power": 0.0}
DRAWS = {"num_envs": 32, "num_steps": 32, "epochs": 4}
POINTS = 13  # record points
LAST = 3  # of them make an end


@dataclasses.dataclass(frozen=True)
class Study:
    """What to run."""

    out: Path
    """Folder to write to; must not exist."""
    arms: tuple[str, ...]
    """Which methods and problems."""
    environment: str = "cartpole"
    """Whose reward is hidden."""
    seeds: int = 8
    """Runs of every arm."""
    first_seed: int = 1_000
    """The first of them."""
    steps: int = 600
    """Of every run: 1,024 environment steps of each policy, of which episodes that wait for a restart take some."""


class Arm(NamedTuple):
    """A method on a problem, with its rates."""

    build: Callable[..., Any]  # of the problem
    method: str
    upper: float  # rate of x
    penalty: float = 1.0
    problem_options: Mapping[str, Any] = {}


def rates(arm: Arm) -> Schedules:
    """Of an arm."""
    return hfac.schedules.attenuating(upper=arm.upper, penalty=arm.penalty, **RATES, **POWERS)


def main(name: str, study: Study, arms: Mapping[str, Arm]) -> None:
    """Run the study's arms on the same seeds; write table, figure, page and what it took."""
    unknown = [arm for arm in study.arms if arm not in arms]
    if unknown:
        raise SystemExit(f"--arms must be of {', '.join(arms)}, got {unknown[0]}")
    study.out.mkdir(parents=True, exist_ok=False)
    began = time.perf_counter()
    found = {label: run(study, label, arm) for label, arm in arms.items() if label in study.arms}
    table = [row(label, data) for label, data in found.items()]
    write_csv(study.out / "table.csv", table)
    draw(name, study, found)
    ends = "; ".join(f"{each['arm']}: {each['end [95 %]']}" for each in table)
    labels = ("environment steps", "return")
    parts = {
        study.environment: [pages.curves("Return of fresh episodes", labels, found, {}, steps_taken, measure="return")],
        "Where they end": [pages.printed("Arms", table)],
    }
    headline = f"Return of fresh episodes on {study.environment}, {study.seeds} seeds: {ends}."
    page.write(pages.study(name, headline, parts, page.origin(name, study)), study)
    write_study(name, study, time.perf_counter() - began)
    show(table)
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


def run(study: Study, label: str, arm: Arm) -> Any:
    """A sweep over the study's seeds that records returns."""
    problem = arm.build(environment=study.environment, **arm.problem_options)
    options = problem.method_options(arm.method) | DRAWS
    algorithm = getattr(hfac.algorithms, arm.method)(problem, **options)
    seeds = range(study.first_seed, study.first_seed + study.seeds)
    points = sorted({round(each) for each in np.linspace(0, study.steps, POINTS)})
    return shown.sweep(label, algorithm, rates(arm), seeds, study.steps, record=problem.record, record_at=points)


def steps_taken(data: Any) -> Any:
    """Environment steps of one run at every record point."""
    return data["samples"].mean("seed").values


def row(label: str, data: Any) -> dict[str, str]:
    """Where an arm ends: of every seed the mean over the last record points."""
    values = data["return"].transpose("seed", "step").values
    ends = values[:, -LAST:].mean(1)
    interval = statistics.bootstrap(ends)
    last = statistics.bootstrap(values[:, -1])
    return {
        "arm": label,
        "environment steps": f"{int(steps_taken(data)[-1]):,}",
        "start": f"{values[:, 0].mean():.1f}",
        "end [95 %]": interval.format(1),
        "worst": f"{ends.min():.1f}",
        "at the last point": last.format(1),
        "diverged": str(int((data["status"].isel(step=-1) != 0).sum())),
    }


def draw(name: str, study: Study, found: Mapping[str, Any]) -> None:
    """Return against environment steps."""
    import matplotlib

    matplotlib.use("Agg")
    from hfac import plots

    with plots.styled():
        figure, axes = plots.subplots(1, 1, (plots.WIDTH, 3.6), squeeze=False)
        axis = axes[0][0]
        for (label, data), color in zip(found.items(), plots.COLORS, strict=False):
            curve = plots.curve(data, "return")
            axis.plot(curve.clock, curve.interval.estimate, color=color, label=label + curve.diverged)
            axis.fill_between(curve.clock, curve.interval.low, curve.interval.high, color=color, alpha=0.2, lw=0)
        first = float(np.mean([data["return"].isel(step=0).mean() for data in found.values()]))
        axis.axhline(first, color="0.35", ls=":", lw=1.1, label=f"first policies, {first:.4g}")
        axis.set(xlabel="environment steps", ylabel="return of fresh episodes")
        axis.set_title(f"{study.environment}: interquartile mean and 95 % interval, {study.seeds} seeds", fontsize=9)
        axis.legend(fontsize=7.5)
        plots.save(figure, study.out / f"{name}.png")

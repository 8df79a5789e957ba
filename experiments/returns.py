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

OFFSET = 100.0
POWERS = {"upper_power": 0.5, "actor_power": 0.5, "critic_power": 0.5, "penalty_power": 0.0, "entropy_power": 0.0}
POINTS = 13  # record points
LAST = 3  # of them make an end
UNIT = 1_024  # environment steps of each policy, by which a study counts


class Setting(NamedTuple):
    """How followers learn in an environment, whoever pays them."""

    draws: Mapping[str, Any]  # options of every method
    rates: Mapping[str, float]  # and their powers and offset, where they differ
    problem: Mapping[str, Any] = {}  # options of the problem
    hidden_rates: Mapping[str, float] = {}  # on the environment's own reward, where that is far from 1


PAIRED = {"num_envs": 32, "num_steps": 64, "epochs": 4, "starts": "paired"}
SETTINGS = {
    "cartpole": Setting(
        {"num_envs": 32, "num_steps": 32, "epochs": 4}, {"actor": 1e-2, "critic": 1e-2, "entropy": 0.01}
    ),
    "acrobot": Setting(PAIRED, {"actor": 3e-3, "critic": 1e-2, "entropy": 0.01}),
    "mountain_car": Setting(PAIRED, {"actor": 3e-3, "critic": 1e-2, "entropy": 0.001}),
    "pendulum": Setting(
        {"num_envs": 32, "num_steps": 64, "epochs": 10},
        {"actor": 3e-3, "critic": 1e-2, "entropy": 0.05},
        {"discount": 0.95},
        {"critic": 3e-2, "entropy": 0.3},
    ),
}


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
    """1,024 environment steps of each policy, of which episodes that wait for a restart take some."""


class Arm(NamedTuple):
    """A method on a problem, with its rates."""

    build: Callable[..., Any]  # of the problem
    method: str
    upper: float  # rate of x
    penalty: float = 1.0
    problem_options: Mapping[str, Any] = {}
    draws: Mapping[str, Any] = {}  # where they are not the environment's
    rates: Mapping[str, float] = {}


def setting(study: Study, arm: Arm, settings: Mapping[str, Setting]) -> Setting:
    """Of an arm in the study's environment; those of CartPole where it has none."""
    own = settings.get(study.environment, settings["cartpole"])
    hidden = own.hidden_rates if arm.method == "true_reward" else {}
    return own._replace(draws={**own.draws, **arm.draws}, rates={**own.rates, **hidden, **arm.rates})


def rates(arm: Arm, own: Setting) -> Schedules:
    """Of an arm."""
    given = {"upper": arm.upper, "penalty": arm.penalty, "offset": OFFSET, **POWERS, **own.rates}
    return hfac.schedules.attenuating(**given)


def main(
    name: str, study: Study, arms: Mapping[str, Arm], baseline: str, settings: Mapping[str, Setting] = SETTINGS
) -> None:
    """Run the study's arms on the same seeds; write table, figure, page and what it took.

    Args:
      name: of the study's files.
      study: what to run.
      arms: by label.
      baseline: arm that the others are compared with, seed by seed, where it is run.
      settings: by environment.

    Raises:
      SystemExit: if an arm is unknown.
    """
    unknown = [arm for arm in study.arms if arm not in arms]
    if unknown:
        raise SystemExit(f"--arms must be of {', '.join(arms)}, got {unknown[0]}")
    study.out.mkdir(parents=True, exist_ok=False)
    began = time.perf_counter()
    found = {
        label: run(study, label, arm, setting(study, arm, settings))
        for label, arm in arms.items()
        if label in study.arms
    }
    table = [row(label, data, found.get(baseline), baseline) for label, data in found.items()]
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


def run(study: Study, label: str, arm: Arm, own: Setting) -> Any:
    """A sweep over the study's seeds that records returns."""
    problem = arm.build(environment=study.environment, **{**own.problem, **arm.problem_options})
    options = problem.method_options(arm.method) | dict(own.draws)
    algorithm = getattr(hfac.algorithms, arm.method)(problem, **options)
    seeds = range(study.first_seed, study.first_seed + study.seeds)
    steps = -(-study.steps * UNIT // (own.draws["num_envs"] * own.draws["num_steps"]))
    points = sorted({round(each) for each in np.linspace(0, steps, POINTS)})
    return shown.sweep(label, algorithm, rates(arm, own), seeds, steps, record=problem.record, record_at=points)


def steps_taken(data: Any) -> Any:
    """Environment steps of one run at every record point."""
    return data["samples"].mean("seed").values


def ends_of(data: Any) -> np.ndarray:
    """Of every seed the mean return over the last record points. [seeds]."""
    return data["return"].transpose("seed", "step").values[:, -LAST:].mean(1)


def row(label: str, data: Any, reference: Any, baseline: str) -> dict[str, str]:
    """Where an arm ends, and how much higher than the baseline on the same seeds."""
    values, ends = data["return"].transpose("seed", "step").values, ends_of(data)
    interval = statistics.bootstrap(ends)
    last = statistics.bootstrap(values[:, -1])
    return {
        "arm": label,
        "environment steps": f"{int(steps_taken(data)[-1]):,}",
        "start": f"{values[:, 0].mean():.1f}",
        "end [95 %]": interval.format(1),
        "worst": f"{ends.min():.1f}",
        "at the last point": last.format(1),
        f"above {baseline}, paired [95 %]": ""
        if reference is None or reference is data
        else statistics.paired_difference(ends, ends_of(reference)).format(1),
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

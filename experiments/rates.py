"""How fast HFAC converges, measured: exponents of gradients and residuals beside the theory's, both presets.

    python -m experiments.rates --out runs/rates

Goal placement and linear_reward, each with the theory's powers for the original problem (attenuating, k^-1/10) and for
the regularised one (fixed, k^-1/3); scales found on other seeds. Every quantity is exact, at log-spaced steps; the
slope is fitted over the last two decades of k, its interval is over seeds.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

import hfac
from experiments import page, shown
from experiments.goal_placement import write_csv
from experiments.random_mdp import show, write_study
from hfac import diagnostics, pages, plots, schedules


class Arm(NamedTuple):
    """One problem under one preset."""

    problem: Callable[[], hfac.Problem]
    schedules: schedules.Schedules
    judge: float  # a fixed entropy weight at which the gradient is also taken


LINEAR = {"upper": 0.03, "actor": 0.3, "critic": 0.3, "penalty": 1.0, "entropy": 1.0, "offset": 1_000.0}
ARMS = {
    "goal_placement, attenuating": Arm(hfac.problems.goal_placement, schedules.attenuating(), 0.003),
    "goal_placement, fixed": Arm(hfac.problems.goal_placement, schedules.fixed(), 0.003),
    "linear_reward, attenuating": Arm(hfac.problems.linear_reward, schedules.attenuating(**LINEAR), 0.3),
    "linear_reward, fixed": Arm(hfac.problems.linear_reward, schedules.fixed(**LINEAR), 1.0),
}


@dataclasses.dataclass(frozen=True)
class Study:
    """What to run."""

    out: Path = Path("runs/rates")
    """Folder to write to; must not exist."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Problem and preset of every arm."""
    seeds: int = 16
    """Seeds of every arm."""
    first_seed: int = 0
    """The first of them."""
    steps: int = 10_000_000
    """Iterations of every run."""
    decades: float = 2.0
    """Of the window that the slopes are fitted over; it ends with the run."""


def main(study: Study) -> None:
    """Run, judge and fit every arm; write table, figures and what it took."""
    jax.config.update("jax_num_cpu_devices", hfac.engine.num_cores())
    jax.config.update("jax_enable_x64", True)
    study.out.mkdir(parents=True, exist_ok=False)
    began = time.perf_counter()
    window = (study.steps / 10**study.decades, float(study.steps))
    table, every, measured = [], [], []
    for name in study.arms:
        problem, rates, judge = ARMS[name][0](), *ARMS[name][1:]
        seeds = range(study.first_seed, study.first_seed + study.seeds)
        data = shown.sweep(name, hfac.algorithms.hfac(problem), rates, seeds, study.steps, hfac.metrics.state)
        judged = shown.judge(name, data, diagnostics.metric(problem, judge))
        stem = name.replace(", ", "_")
        hfac.results.write(judged, study.out / f"{stem}.zarr")
        balance = schedules.balance(rates)
        fits = diagnostics.fit_rates(judged, balance, window)
        figure = plots.rates(judged, fits, window, f"{name}: {study.steps:,} steps of Algorithm 1\n{rates}")
        plots.save(figure, study.out / f"{stem}.png")
        every.append(judged)
        measured.append(pages.Measured(f"{name}; {rates}", judged, balance, fits))
        print(f"{name}: {balance}; {rates}; {time.perf_counter() - began:.0f} s", flush=True)
        table += [
            {
                "arm": name,
                "quantity": fit.quantity,
                "slope [95 %]": fit.slope.format(3),
                "theory": "" if fit.predicted is None else f"{fit.predicted:+.3f}",
                "verdict": fit.verdict,
            }
            for fit in fits
        ]
        write_csv(study.out / "table.csv", table)
    settings = {name: str(ARMS[name].schedules) for name in study.arms}
    write_study("rates", study, time.perf_counter() - began, schedules=settings, algorithm="hfac, every default")
    print(f"exponents of k over steps {window[0]:,.0f} to {window[1]:,.0f}, {study.seeds} seeds")
    show(table)
    problems = ", ".join(dict.fromkeys(name.partition(",")[0] for name in study.arms))
    page.write(pages.rates(every, measured, window, problems, "hfac", page.origin("rates", study)), study)
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    shown.run(main, Study)

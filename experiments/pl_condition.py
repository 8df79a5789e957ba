"""Does the condition that the theory rests on hold? Along runs, at random policies, and where problems strain it.

    python -m experiments.pl_condition --out runs/pl_condition

The special Polyak-Lojasiewicz condition |grad J_tau|^2 >= C tau (J_tau(pi*) - J_tau(pi)) on goal placement,
linear_reward and the two problems that strain it: `beacon` (several local optima) and `slippery_grid` (high
stochasticity). Per problem: the smallest C along the runs of ten or more seeds, and at random policies; the curvature
of J_tau at the best response; how steeply the best response answers; what is left of the gradient at the end; and
where the runs end, since none of that says whether a minimum is a good one.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import hfac
from experiments import page, shown
from experiments.goal_placement import write_csv
from experiments.random_mdp import show, write_study
from experiments.rates import LINEAR
from hfac import diagnostics, pages, plots, recommended, schedules
from hfac.diagnostics import Diagnosis
from hfac.runs import progress


class Arm(NamedTuple):
    """A problem and how it is run."""

    problem: Callable[[], hfac.Problem]
    options: Mapping[str, Any]
    schedules: schedules.Schedules
    judge: float


COUPLED = {"coupled": True}
BEACON = {"upper": 0.02, "actor": 1.0, "critic": 0.5, "penalty": 0.3, "entropy": 0.03, "offset": 10_000.0}
ARMS = {
    "goal_placement": Arm(
        hfac.problems.goal_placement,
        recommended.options("goal_placement"),
        recommended.schedules("goal_placement"),
        0.003,
    ),
    "slippery_grid": Arm(
        hfac.problems.slippery_grid,
        recommended.options("goal_placement"),
        recommended.schedules("goal_placement"),
        0.003,
    ),
    "beacon": Arm(hfac.problems.beacon, COUPLED, schedules.attenuating(**BEACON), 0.01),
    "linear_reward": Arm(hfac.problems.linear_reward, COUPLED, schedules.fixed(**LINEAR), 1.0),
}


@dataclasses.dataclass(frozen=True)
class Study:
    """What to run."""

    out: Path = Path("runs/pl_condition")
    """Folder to write to; must not exist."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Problems."""
    seeds: int = 12
    """Seeds of every problem."""
    first_seed: int = 0
    """The first of them."""
    steps: int = 1_000_000
    """Iterations of every run."""


def main(study: Study) -> None:
    """Run and diagnose every problem; write table, figures and what it took."""
    jax.config.update("jax_num_cpu_devices", hfac.engine.num_cores())
    jax.config.update("jax_enable_x64", True)
    study.out.mkdir(parents=True, exist_ok=False)
    began = time.perf_counter()
    found, table = {}, []
    for name in study.arms:
        build, options, rates, judge = ARMS[name]
        problem = build()
        seeds = range(study.first_seed, study.first_seed + study.seeds)
        data = shown.sweep(
            name, hfac.algorithms.hfac(problem, **options), rates, seeds, study.steps, hfac.metrics.state
        )
        judged = shown.judge(name, data, hfac.metrics.exact(problem, judge))
        hfac.results.write(judged, study.out / f"{name}.zarr")
        sampled = {"coupled": options.get("coupled", False)}
        with progress(f"diagnosing {name}", None, "parts") as bar:
            found[name] = diagnostics.diagnose(problem, data, rates, judge, sampled, bar.update)
        ends = judged["hyper_objective"].isel(step=-1, judged_tau=0).values
        lowest = lowest_minimum(problem, judge)
        table.append({"problem": name, **row(found[name], ends, lowest)})
        settings = ", ".join(f"{option}={value}" for option, value in options.items())
        words = f"{name}, hfac({settings}): {study.steps:,} steps, {len(found[name].seeds)} seeds"
        plots.save(plots.diagnosis(found[name], words, judge, str(rates)), study.out / f"{name}.png")
        write_csv(study.out / "table.csv", table)
        print(f"{name}: {found[name].verdict()}; {time.perf_counter() - began:.0f} s", flush=True)
        print(f"  limited by {found[name].limit_words()}", flush=True)
    draw(study, found)
    write_page(study, found, table)
    settings = {name: str(ARMS[name].schedules) for name in study.arms}
    options = {name: dict(ARMS[name].options) for name in study.arms}
    write_study("pl_condition", study, time.perf_counter() - began, schedules=settings, options=options)
    show(table)
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


def write_page(study: Study, found: Mapping[str, Diagnosis], table: list[dict]) -> None:
    """The same to look at in a browser."""
    verdicts = "; ".join(f"{name}: {one.verdict()}" for name, one in found.items())
    headline = f"After {study.steps:,} steps with {study.seeds} seeds the theory's condition was looked at. {verdicts}."
    parts = {"Problems": [pages.printed("Problems", table)]}
    parts |= {name: list(pages.condition(one)) for name, one in found.items()}
    page.write(pages.study("pl_condition", headline, parts, page.origin("pl_condition", study)), study)


def lowest_minimum(problem: hfac.Problem, judge: float, num_starts: int = 8) -> float:
    """The best end of exact descents from several starts of the problem's own."""
    starts = [problem.init_x(jax.random.key(i)) for i in range(num_starts)]
    distinct = starts if any(np.any(np.asarray(start != starts[0])) for start in starts[1:]) else starts[:1]
    return min(float(shown.minimize(problem, judge, x=start).value) for start in distinct)


def row(found: Diagnosis, ends: np.ndarray, lowest: float) -> dict[str, str]:
    """One problem's line of the table."""
    ratio = found.along.ratio
    gentle, extreme = (found.at_random.ratio[found.scales == s] for s in (found.scales[0], found.scales[-1]))
    signal = np.linalg.norm(found.split.mean, axis=-1) / np.sqrt(found.split.noise)
    return {
        "C along, smallest": f"{found.constant:.2g}",
        "median": f"{np.nanmedian(ratio):.2g}",
        "needed": f"{found.needed:.2g}",
        "C at random, scale 0.03": f"{np.median(gentle):.2g}",
        "scale 30": f"{np.median(extreme):.2g}",
        "least curvature at pi*": f"{found.curvature_best[0]:.2g}",
        "signal to noise of x's direction": f"{np.median(signal):.2g}",
        "limited by": found.limit,
        "ends: best, median, worst": " ".join(f"{v:.3f}" for v in (ends.min(), np.median(ends), ends.max())),
        "lowest minimum": f"{lowest:.3f}",
    }


def draw(study: Study, found: Mapping[str, Diagnosis]) -> None:
    """The ratio along the runs and at random policies, one column per problem, the same axes for all."""
    import matplotlib

    matplotlib.use("Agg")
    with plots.styled():
        size = (plots.WIDTH * 0.36 * len(found) + 0.8, 4.6)
        figure, axes = plots.subplots(2, len(found), size, sharey=True, squeeze=False)
        for (along, random), (name, one) in zip(axes.T, found.items(), strict=True):
            shown = (one.step > 0) & np.isfinite(one.along.ratio).any(1)
            ratio = one.along.ratio[shown]
            along.plot(one.step[shown], ratio, color=plots.COLORS[0], linewidth=0.7, alpha=0.6)
            random.scatter(one.scales, one.at_random.ratio, s=7, color=plots.COLORS[1])
            for axis in (along, random):
                axis.axhline(one.needed, color="0.35", linestyle=":", linewidth=1.2)
                axis.set(xscale="log", yscale="log")
            along.set_title(name, fontsize=9)
            along.set_xlabel("step $k$")
            random.set_xlabel("scale of random logits")
        axes[0, 0].set_ylabel("$C$ along the runs")
        axes[1, 0].set_ylabel("$C$ at random policies")
        title = r"$C=|\nabla J_\tau|^2/(\tau\,(J_\tau(\pi^*)-J_\tau(\pi)))$"
        title += f", {study.seeds} seeds, {study.steps:,} steps; dotted: what pulls a policy in within the run"
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
        plots.save(figure, study.out / "pl_condition.png")


if __name__ == "__main__":
    shown.run(main, Study)

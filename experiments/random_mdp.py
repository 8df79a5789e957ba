"""The synthetic problem of Yang et al. (AISTATS 2025) cannot tell methods apart: even one that is wrong solves it.

    python -m experiments.random_mdp --out runs/random_mdp

Every method starts from the same points, tau = 1. x acts through one number, the best x is zero and f there is
S / (2 A); partial SGD, which ignores that the policy answers to x, gets there as fast as the exact hyper-gradient.
"""

import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import hfac
from experiments import page, shown
from experiments.goal_placement import write_csv
from hfac import pages
from hfac.runs import waiting
from hfac.schedules import RATES, Schedules
from hfac.statistics import bootstrap, format_interval

TAU = 1.0  # the entropy weight of both synthetic problems
STEP_SIZE = 8e-3  # published
FRESH = 1  # HFAC's settings were chosen on starts of `default_rng(instance)`
SMALLEST_GAP = 1e-15  # of the axis; float64 sees no less
DASHES = ("-", (0, (6, 2)), (0, (3, 3)), (0, (1, 2)))  # the lines of several methods lie on each other


@dataclasses.dataclass(frozen=True)
class Study:
    """What to run."""

    out: Path = Path("runs/random_mdp")
    """Folder to write to; must not exist."""
    seeds: int = 16
    """Starts, standard normal, shared by all methods."""
    steps: int = 3_000
    """Iterations of every run."""
    instance: int = 0
    """Seed of the problem."""


def constant(upper: float, actor: float = 1.0, critic: float = 1.0, penalty: float = 1.0) -> Schedules:
    """Constant rates at tau = 1."""
    scales = dict(zip(RATES, (upper, actor, critic, penalty, TAU), strict=True))
    return hfac.schedules.make(scales, dict.fromkeys(RATES, 0.0), 1.0, {})


Method = tuple[Callable, dict, Schedules]  # builder, its options, rates
METHODS: dict[str, Method] = {
    "exact_gradient": (hfac.algorithms.exact_gradient, {}, constant(STEP_SIZE)),
    "m_sobirl": (hfac.algorithms.m_sobirl, {}, constant(STEP_SIZE)),
    # far from zero the policies are nearly deterministic and lag behind x: with w below 1 some runs diverge
    "hfac, exact sampler": (hfac.algorithms.hfac, {"sampler": "exact"}, constant(STEP_SIZE, 1.0, 8.0, 10.0)),
    "partial, exact sampler": (hfac.algorithms.partial, {"sampler": "exact"}, constant(STEP_SIZE)),
}


def draw_starts(instance: int, count: int) -> np.ndarray:
    """Standard normal starts [count, 100], apart from those that the settings were chosen on."""
    return np.random.default_rng([instance, FRESH]).normal(size=(count, 100))


def run_methods(problem, methods: Mapping[str, Method], starts: np.ndarray, steps: int) -> dict:
    """Judged runs of every method from the same starts, in float64."""
    metric = hfac.metrics.exact(problem, TAU)
    judged = {}
    for name, (build, options, rates) in methods.items():
        algorithm = build(problem, dtype=jnp.float64, **options)
        with waiting(f"running {name}"):  # in one call, as its time is reported
            data = hfac.sweep(algorithm, rates, len(starts), steps, initial=jnp.asarray(starts))
        judged[name] = shown.judge(name, data, metric).isel(judged_tau=0)
    return judged


def seconds_per_run(data) -> np.ndarray:
    """Seconds that one of the runs side by side had taken at every record point, compilation left out."""
    return data["step"].values / data["step"].values[-1] * data.attrs["run_seconds"] / data.sizes["seed"]


def rows(judged: Mapping, best: float) -> list[dict]:
    """One row per method: where it ends, how far above the best value, how long it takes."""
    found = []
    for method, data in judged.items():
        values = data["hyper_objective"].transpose("step", "seed").values
        gap = np.maximum(values[-1] - best, 0)
        found.append(
            {
                "method": method,
                "start": f"{np.mean(values[0]):.4f}",
                "end [95 %]": format_interval(*(float(v) for v in bootstrap(values[-1]))),
                "worst end": f"{values[-1].max():.4f}",
                "worst gap": f"{gap.max():.1e}",
                "ms / 1000 its": f"{1e6 * seconds_per_run(data)[-1] / data['step'].values[-1]:.1f}",
                "compile s": f"{data.attrs['compile_seconds']:.1f}",
            }
        )
    return found


def show(table: list[dict]) -> None:
    """Print a table in columns."""
    lines = [list(table[0]), *(list(row.values()) for row in table)]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(line, widths, strict=True)))


def write_study(name: str, study, seconds: float, **more) -> None:
    """Settings, command, wall time and versions, to repeat a study, and what more it has to say."""
    about = {
        "command": shlex.join(["python", "-m", f"experiments.{name}", *sys.argv[1:]]),
        "settings": {name: str(value) for name, value in dataclasses.asdict(study).items()},
        "wall_seconds": round(seconds, 1),
        **more,
        **hfac.results.provenance(),
    }
    (study.out / "study.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def main(study: Study) -> None:
    """Run every method; write table, figure and what it took."""
    jax.config.update("jax_enable_x64", True)
    study.out.mkdir(parents=True, exist_ok=False)
    began = time.perf_counter()
    problem = hfac.problems.random_mdp(seed=study.instance)
    best = problem.mdp.num_states / (2 * problem.mdp.num_actions)
    starts = draw_starts(study.instance, study.seeds)
    judged = run_methods(problem, METHODS, starts, study.steps)
    table = rows(judged, best)
    write_csv(study.out / "table.csv", table)
    draw(study, judged, best)
    write_page(study, judged, table, best)
    write_study("random_mdp", study, time.perf_counter() - began)
    print(f"random_mdp {study.instance}: Phi_1 of {study.seeds} starts after {study.steps:,} iterations; best {best:g}")
    show(table)
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


def write_page(study: Study, judged: Mapping, table: list[dict], best: float) -> None:
    """The same to look at in a browser."""
    ends = "; ".join(f"{row['method']} {row['end [95 %]']}" for row in table)
    headline = (
        f"On random_mdp {study.instance}, whose minimum is {best:g}, methods end from {study.seeds} starts at: {ends}."
    )
    labels = ("iterations", "Φ_1(x)")
    chart = pages.curves(
        "Objective", labels, judged, {"exact minimum": best}, lambda data: data["step"].values, is_y_log=True
    )
    parts = {"Objective": [chart], "Where they end": [pages.printed("Methods", table)]}
    page.write(pages.study("random_mdp", headline, parts, page.origin("random_mdp", study)), study)


def draw(study: Study, judged: Mapping, best: float) -> None:
    """Phi_1 and its distance from the best value against iterations."""
    import matplotlib

    matplotlib.use("Agg")
    from hfac import plots

    with plots.styled():
        figure, (left, right) = plots.subplots(1, 2, (plots.WIDTH, 3.5))
        for (method, data), color, dash in zip(judged.items(), plots.COLORS, DASHES, strict=False):
            gap = np.maximum(data["hyper_objective"] - best, SMALLEST_GAP)
            for axis, shown in ((left, data), (right, data.assign(hyper_objective=gap))):
                plots.objective_line(axis, shown, method, color)
                axis.lines[-1].set_linestyle(dash)
        left.axhline(best, label=f"exact minimum, {best:g}", color="0.35", linestyle="--", linewidth=1.1)
        left.set(xscale="log", yscale="log", ylabel=r"$\Phi_1(x_k)$", xlabel="iterations k")
        steps = np.linspace(1, study.steps, 200)
        rate = (
            0.01
            * float(judged["exact_gradient"]["hyper_objective"].isel(step=0).mean())
            * (1 - STEP_SIZE) ** (2 * steps)
        )
        right.plot(steps, rate, label=r"slope of $(1-\zeta)^{2k}$", color="0.35", linestyle=":", linewidth=1.1)
        right.set(yscale="log", ylim=(SMALLEST_GAP / 2, 1e3), xlabel="iterations k")
        right.set_ylabel(r"$\Phi_1(x_k) - \min\Phi_1$")
        handles = [*left.lines, right.lines[-1]]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7.5)
        title = f"random_mdp, interquartile mean and 95 % interval over {study.seeds} starts"
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
        plots.save(figure, study.out / "random_mdp.png")


if __name__ == "__main__":
    shown.run(main, Study)

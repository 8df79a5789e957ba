"""Neural followers on tables: networks that see coordinates and act through reset and step, x judged by the oracle.

    python -m experiments.control_exact --out runs/control_exact    # some five minutes on two cores

The leader and its x are those of the table; only the follower differs. `partial` has the same samples and rates.
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

import hfac
from experiments import page, shown
from experiments.goal_placement import write_csv
from experiments.random_mdp import rows, show, write_study
from hfac import pages

JUDGED_AT = {"goal_placement": 0.003, "beacon": 0.003, "incentives": 0.1}
METHODS = ("hfac", "partial")


@dataclasses.dataclass(frozen=True)
class Study:
    """What to run."""

    out: Path = Path("runs/control_exact")
    """Folder to write to; must not exist."""
    seeds: int = 8
    """Runs of every method."""
    first_seed: int = 1_000
    """The first of them."""
    steps: tuple[int, ...] = (6_000, 3_000, 10_000)
    """Of each problem's runs."""
    problems: tuple[str, ...] = tuple(JUDGED_AT)
    """Tables, each of which has a recommended setting as `NAME_control`."""


def main(study: Study, name: str = "control_exact") -> None:
    """Run both methods on every problem; write table, figure, page and what it took."""
    jax.config.update("jax_enable_x64", True)
    unknown = sorted(set(study.problems) - set(JUDGED_AT))
    if unknown or len(study.steps) != len(study.problems):
        got = unknown[0] if unknown else f"{len(study.problems)} and {len(study.steps)}"
        raise SystemExit(f"--problems must be of {', '.join(JUDGED_AT)}, with as many --steps, got {got}")
    study.out.mkdir(parents=True, exist_ok=False)
    began = time.perf_counter()
    judged: dict[str, dict[str, Any]] = {}
    best: dict[str, float] = {}
    table = []
    for problem, num_steps in zip(study.problems, study.steps, strict=True):
        best[problem] = float(shown.minimize(getattr(hfac.problems, problem)(), JUDGED_AT[problem]).value)
        judged[problem] = {method: run(study, problem, method, num_steps) for method in METHODS}
        found = rows(judged[problem], best[problem])
        samples = [int(data["samples"].isel(step=-1).mean()) for data in judged[problem].values()]
        table += [
            {"problem": problem} | row | {"environment steps": f"{count:,}"}
            for row, count in zip(found, samples, strict=True)
        ]
    write_csv(study.out / "table.csv", table)
    draw(name, study, judged, best)
    write_page(name, study, judged, table, best)
    write_study(name, study, time.perf_counter() - began)
    print(f"{name}: Phi at {study.seeds} seeds; exact descent from the same x: {best}")
    show(table)
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


def run(study: Study, name: str, method: str, num_steps: int) -> Any:
    """A judged sweep of a method on a table with neural followers, at the recommended setting of hfac."""
    problem = getattr(hfac.problems, f"{name}_control")()
    options = hfac.recommended.options(problem.name) | problem.method_options(method)
    algorithm = getattr(hfac.algorithms, method)(problem, **options)
    seeds = range(study.first_seed, study.first_seed + study.seeds)
    points = sorted({round(num_steps * share**2) for share in (i / 16 for i in range(17))})
    schedules = hfac.recommended.schedules(problem.name)
    data = shown.sweep(f"{name}, {method}", algorithm, schedules, seeds, num_steps, record_at=points)
    judged = shown.judge(f"{name}, {method}", data, problem.judge(JUDGED_AT[name]).metric)
    return judged.isel(judged_tau=0)


def steps_in_the_environment(data: Any) -> Any:
    """Environment steps of one run at every record point, in millions."""
    return data["samples"].mean("seed").values / 1e6


def write_page(name: str, study: Study, judged: Mapping, table: list[dict], best: Mapping[str, float]) -> None:
    """The same to look at in a browser."""
    ends = "; ".join(f"{row['problem']}, {row['method']}: {row['end [95 %]']}" for row in table)
    headline = f"Neural followers, {study.seeds} seeds, judged exactly at x: {ends}."
    labels = ("million environment steps", "Φ(x)")
    parts = {
        each: [pages.curves(each, labels, arms, {"exact descent": best[each]}, steps_in_the_environment)]
        for each, arms in judged.items()
    }
    parts["Where they end"] = [pages.printed("Methods", table)]
    page.write(pages.study(name, headline, parts, page.origin(name, study)), study)


def draw(name: str, study: Study, judged: Mapping, best: Mapping[str, float]) -> None:
    """Phi against environment steps, one panel per problem."""
    import matplotlib

    matplotlib.use("Agg")
    from hfac import plots

    with plots.styled():
        figure, axes = plots.subplots(1, len(judged), (plots.WIDTH, 2.9), squeeze=False)
        for axis, (problem, arms) in zip(axes[0], judged.items(), strict=True):
            for (method, data), color in zip(arms.items(), plots.COLORS, strict=False):
                plots.objective_line(axis, data.assign_coords(step=steps_in_the_environment(data)), method, color)
            axis.axhline(best[problem], color="0.35", linestyle="--", linewidth=1.1, label="exact descent")
            axis.set(xlabel="million environment steps", title=problem)
        axes[0][0].set_ylabel(r"$\Phi(x_k)$")
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7.5)
        plots.save(figure, study.out / f"{name}.png")


if __name__ == "__main__":
    shown.run(main, Study)

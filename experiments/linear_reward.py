"""A synthetic problem that tells methods apart: partial SGD ends worse than it starts, the five others solve it.

    python -m experiments.linear_reward --out runs/linear_reward

The random MDPs of `experiments.random_mdp` with a reward that is linear in x; the leader wants a hidden policy and an
x near an anchor. Every method starts from the same points, tau = 1, and takes the same upper step.
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

import jax

import hfac
from experiments import page, shown
from experiments.goal_placement import write_csv
from experiments.random_mdp import (
    TAU,
    Method,
    constant,
    draw_starts,
    rows,
    run_methods,
    seconds_per_run,
    show,
    write_study,
)
from hfac import pages

CENTRAL = {"sampler": "exact", "difference": "central"}
METHODS: dict[str, Method] = {
    "exact_gradient": (hfac.algorithms.exact_gradient, {}, constant(1.0)),
    "m_sobirl": (hfac.algorithms.m_sobirl, {}, constant(1.0)),
    "aid": (hfac.algorithms.aid, {}, constant(1.0)),
    "itd": (hfac.algorithms.itd, {}, constant(1.0)),
    "hfac, central, exact sampler": (hfac.algorithms.hfac, CENTRAL, constant(1.0, 10.0, 5.0, 0.1)),
    "partial, exact sampler": (hfac.algorithms.partial, {"sampler": "exact"}, constant(1.0)),
}
DASHES = ("-", (0, (6, 2)), (0, (4, 4)), (0, (1, 2)), "-", "-")  # the lines of several methods lie on each other


@dataclasses.dataclass(frozen=True)
class Study:
    """What to run."""

    out: Path = Path("runs/linear_reward")
    """Folder to write to; must not exist."""
    seeds: int = 12
    """Starts per instance, shared by all methods."""
    instances: tuple[int, ...] = (0, 1)
    """Seeds of the problem."""
    steps: int = 1_500
    """Iterations of every run."""
    spread: float = 0.3
    """Standard deviation of the starts around zero."""


def main(study: Study) -> None:
    """Run every method on every instance; write table, figure and what it took."""
    jax.config.update("jax_enable_x64", True)
    study.out.mkdir(parents=True, exist_ok=False)
    began = time.perf_counter()
    judged, minima, table = {}, {}, []
    for instance in study.instances:
        problem = hfac.problems.linear_reward(seed=instance)
        starts = study.spread * draw_starts(instance, study.seeds)
        minima[instance] = float(shown.minimize(problem, TAU, learning_rates=(0.1,)).value)
        judged[instance] = run_methods(problem, METHODS, starts, study.steps)
        table += [{"instance": instance} | row for row in rows(judged[instance], minima[instance])]
    write_csv(study.out / "table.csv", table)
    draw(study, judged, minima)
    write_page(study, judged, table, minima)
    write_study("linear_reward", study, time.perf_counter() - began)
    best = ", ".join(f"{value:.4f}" for value in minima.values())
    print(f"linear_reward: Phi_1 of {study.seeds} starts after {study.steps:,} iterations; exact descent {best}")
    show(table)
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


def write_page(study: Study, judged: Mapping, table: list[dict], minima: Mapping[int, float]) -> None:
    """The same to look at in a browser."""
    ends = "; ".join(f"{row['method']} {row['end [95 %]']}" for row in table if row["instance"] == study.instances[0])
    headline = (
        f"On linear_reward {study.instances[0]}, from {study.seeds} starts, after {study.steps:,} iterations: {ends}; "
        f"an exact descent ends at {minima[study.instances[0]]:.4f}."
    )
    parts = {}
    for instance, best in minima.items():
        known = {"exact descent": best}
        parts[f"Instance {instance}"] = [
            pages.curves("Against iterations", ("iterations", "Φ_1(x)"), judged[instance], known),
            pages.curves("Against time", ("seconds of a run", "Φ_1(x)"), judged[instance], known, seconds_per_run),
        ]
    parts["Where they end"] = [pages.printed("Methods", table)]
    page.write(pages.study("linear_reward", headline, parts, page.origin("linear_reward", study)), study)


def draw(study: Study, judged: Mapping, minima: Mapping[int, float]) -> None:
    """Phi_1 against iterations and against seconds, one row per instance."""
    import matplotlib

    matplotlib.use("Agg")
    from hfac import plots

    with plots.styled():
        size = (plots.WIDTH, 2.4 * len(minima) + 0.9)
        figure, axes = plots.subplots(len(minima), 2, size, squeeze=False, sharey="row", sharex="col")
        for (left, right), (instance, best) in zip(axes, minima.items(), strict=True):
            for (method, data), color, dash in zip(judged[instance].items(), plots.COLORS, DASHES, strict=False):
                for axis, step in ((left, data["step"].values), (right, seconds_per_run(data))):
                    plots.objective_line(axis, data.assign_coords(step=step), method, color)
                    axis.lines[-1].set_linestyle(dash)
            for axis in (left, right):
                axis.axhline(best, color="0.35", linestyle="--", linewidth=1.1, label="exact descent")
                axis.set(xscale="log", ylim=(0, None))
            left.set_ylabel(rf"$\Phi_1(x_k)$, instance {instance}")
        axes[-1, 0].set_xlabel("iterations k")
        axes[-1, 1].set_xlabel(f"seconds per run, {study.seeds} side by side")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7.5)
        title = f"linear_reward, interquartile mean and 95 % interval over {study.seeds} starts"
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
        plots.save(figure, study.out / "linear_reward.png")


if __name__ == "__main__":
    shown.run(main, Study)

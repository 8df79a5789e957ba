"""The paper's GridWorld study: attenuating entropy against fixed entropy, every arm tuned alike.

    python -m experiments.goal_placement --out runs/goal_placement_study

Arms: tau fixed at 0.3, 0.1, 0.03, 0.01; the theory's powers; free powers. Each gets the same random search with
successive halving, on seeds of its own; the winners are judged at tau = 0.001 on fresh seeds, by paired differences.
"""

import csv
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

import hfac
from experiments import page, shown
from hfac import pages
from hfac.schedules import ATTENUATING_POWERS, FIELDS, RATES
from hfac.statistics import bootstrap, format_interval, interquartile_mean, paired_difference

FIXED_TAUS = (0.3, 0.1, 0.03, 0.01)
FREE_POWERS = {
    "upper": (0.6, 0.75, 0.9, 1.05, 1.2),
    "actor": (0.0, 0.15, 0.3, 0.5),
    "critic": (0.0, 0.15, 0.3, 0.5),
    "penalty": (0.0, 0.15, 0.3, 0.5),
    "entropy": (0.05, 0.15, 0.3),
}
RANGES = {  # of the log-uniform scales
    "upper": (0.002, 0.05),
    "actor": (0.5, 12.0),
    "critic": (0.4, 1.2),
    "penalty_over_entropy": (10.0, 1_000.0),
    "entropy": (0.006, 0.1),
    "offset": (3e3, 1e5),
}
SETTINGS = tuple(f"{rate}.{field}" for rate in RATES for field in FIELDS)
TUNING_SEED = 1_000_000  # seeds from here on are never reported


@dataclasses.dataclass(frozen=True)
class Study:
    """Budget of the study; the search of every arm costs the same."""

    out: Path = Path("runs/goal_placement_study")
    """Folder to write to; must not exist."""
    seeds: int = 16
    """Fresh seeds that the winners are judged on."""
    steps: int = 1_000_000
    """Iterations of a judged run."""
    candidates: int = 256
    """Random settings tried for every arm; an eighth of them go on, then a quarter of those."""
    coupled: bool = True
    """Couple the two chains."""
    judge: float = 0.001
    """Entropy weight at which x is judged."""
    search_seed: int = 0
    """Of the random settings."""


def draw_settings(rng: np.random.Generator, powers: Callable[[np.random.Generator], dict], tau: float | None) -> tuple:
    """One random setting: the numbers of `SETTINGS`."""
    scale = {name: float(np.exp(rng.uniform(*np.log(ends)))) for name, ends in RANGES.items()}
    entropy = scale["entropy"] if tau is None else tau
    penalty = min(scale["penalty_over_entropy"] * entropy, 30.0)
    scales = {
        "upper": scale["upper"],
        "actor": scale["actor"],
        "critic": scale["critic"],
        "penalty": penalty,
        "entropy": entropy,
    }
    power = powers(rng)
    rows = ((scales[rate], power[rate], scale["offset"], 0.0) for rate in RATES)
    return tuple(float(value) for row in rows for value in row)


def free(rng: np.random.Generator) -> dict[str, float]:
    """Powers drawn from the lists."""
    return {rate: float(rng.choice(choices)) for rate, choices in FREE_POWERS.items()}


def free_but_entropy(rng: np.random.Generator) -> dict[str, float]:
    """The same with a constant tau."""
    return free(rng) | {"entropy": 0.0}


def theory(rng: np.random.Generator) -> dict[str, float]:
    """The powers of the theory; only scales and offset are searched."""
    del rng
    return ATTENUATING_POWERS


ARMS: dict[str, tuple[Callable[[np.random.Generator], dict], float | None]] = {
    **{f"fixed tau {tau:g}": (free_but_entropy, tau) for tau in FIXED_TAUS},
    "attenuating, theory's powers": (theory, None),
    "attenuating, free powers": (free, None),
}


def run_settings(name: str, algorithm, settings: list[tuple], seeds, steps: int, record_at=None):
    """Sweep a list of settings as one dimension."""
    grid = hfac.schedules.grid(hfac.schedules.attenuating(), {SETTINGS: settings})
    return shown.sweep(name, algorithm, grid, list(seeds), steps, record_at=[steps] if record_at is None else record_at)


def last_objective(name: str, metric, data) -> np.ndarray:
    """Phi_tau at the last step, [settings, seeds]."""
    judged = shown.judge(name, data.isel(step=[-1]), metric)
    return judged["hyper_objective"].isel(step=0, judged_tau=0).values


def search(study: Study, metric, algorithm, arm: str) -> tuple[tuple, list[dict]]:
    """Random search with successive halving; returns the best setting and the log."""
    powers, tau = ARMS[arm]
    rng = np.random.default_rng([study.search_seed, list(ARMS).index(arm)])
    settings = [draw_settings(rng, powers, tau) for _ in range(study.candidates)]
    log, first_seed = [], TUNING_SEED
    for share, num_seeds, divisor in ((0.1, 2, 8), (0.3, 4, 4), (1.0, 8, None)):
        steps = max(1, int(share * study.steps))
        data = run_settings(arm, algorithm, settings, range(first_seed, first_seed + num_seeds), steps)
        worth = interquartile_mean(last_objective(arm, metric, data))
        first_seed += num_seeds
        order = np.argsort(worth)
        log += [
            {"arm": arm, "steps": steps, "worth": float(worth[i]), **dict(zip(SETTINGS, settings[i], strict=True))}
            for i in order
        ]
        settings = [settings[i] for i in order[: max(1, len(settings) // divisor) if divisor else 1]]
    return settings[0], log


def main(study: Study) -> None:
    """Tune and judge every arm; write results, table and figure."""
    jax.config.update("jax_num_cpu_devices", hfac.engine.num_cores())
    jax.config.update("jax_enable_x64", True)
    study.out.mkdir(parents=True, exist_ok=False)
    began = time.perf_counter()
    problem = hfac.problems.goal_placement()
    algorithm = hfac.algorithms.hfac(problem, coupled=study.coupled)
    metric = hfac.metrics.exact(problem, study.judge)
    winners, log = [], []
    for arm in ARMS:
        setting, rows = search(study, metric, algorithm, arm)
        winners.append(setting)
        log += rows
        final = min(row["worth"] for row in rows if row["steps"] == study.steps)
        print(f"{arm}: {final:.4f} on its tuning seeds, {time.perf_counter() - began:.0f} s", flush=True)
    record_at = hfac.engine.record_points(study.steps)
    data = run_settings("the winners", algorithm, winners, range(study.seeds), study.steps, record_at)
    judged = shown.judge("the winners", data, metric)
    judged = judged.rename({SETTINGS[0]: "arm"}).assign_coords(arm=range(len(ARMS)))
    judged.attrs |= {"arms": list(ARMS), "study": json.dumps({k: str(v) for k, v in dataclasses.asdict(study).items()})}
    hfac.results.write(judged, study.out / "results.zarr")
    write_csv(study.out / "search.csv", log)
    reference = float(shown.minimize(problem, study.judge).value)
    write_table(study, judged, reference)
    draw(study, judged, reference)
    write_page(study, judged, reference)
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


def write_csv(path: Path, rows: list[dict]) -> None:
    """Rows of one table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_table(study: Study, judged, reference: float) -> None:
    """Interquartile mean, worst run and the paired difference to the free powers, printed and stored."""
    last = dict(
        zip(ARMS, judged["hyper_objective"].isel(step=-1, judged_tau=0).transpose("arm", "seed").values, strict=True)
    )
    rows = []
    for arm, values in last.items():
        mean, difference = bootstrap(values), paired_difference(values, last["attenuating, free powers"])
        rows.append(
            {
                "arm": arm,
                "interquartile mean [95 %]": format_interval(*(float(v) for v in mean)),
                "worst": f"{values.max():.4f}",
                "minus free powers, paired [95 %]": format_interval(*(float(v) for v in difference)),
            }
        )
    write_csv(study.out / "table.csv", rows)
    print(f"Phi_{study.judge:g} after {study.steps:,} steps, {study.seeds} fresh seeds; exact descent {reference:.4f}")
    for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(row.values(), (28, 28, 8, 32), strict=True)))


def write_page(study: Study, judged, reference: float) -> None:
    """The same to look at in a browser."""
    with (study.out / "table.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    best = table[-1]
    headline = (
        f"HFAC with {best['arm']} ends at Φ = {best['interquartile mean [95 %]']} at τ = {study.judge:g} after "
        f"{study.steps:,} steps of goal placement on {study.seeds} fresh seeds; an exact descent ends at "
        f"{reference:.4f}."
    )
    arms = {arm: judged.isel(arm=i, judged_tau=0) for i, arm in enumerate(ARMS)}
    labels = ("environment samples", f"Φ_τ(x) at τ = {study.judge:g}")
    chart = pages.curves("Every arm tuned alike", labels, arms, {"exact descent": reference})
    parts = {"Objective": [chart], "Where they end": [pages.printed("Arms", table)]}
    page.write(pages.study("goal_placement", headline, parts, page.origin("goal_placement", study)), study)


def draw(study: Study, judged, reference: float) -> None:
    """One line per arm against samples."""
    import matplotlib

    matplotlib.use("Agg")
    from hfac import plots

    with plots.styled():
        figure, axis = plots.subplots(1, 1, (plots.WIDTH, 3.8))
        for i, (arm, color) in enumerate(zip(ARMS, plots.COLORS, strict=False)):
            plots.objective_line(axis, judged.isel(arm=i, judged_tau=0), arm, color)
        axis.axhline(reference, color="0.35", linestyle="--", linewidth=1.1, label=f"exact descent, {reference:.4f}")
        axis.set(xscale="log", xlabel="environment samples", ylabel=rf"$\Phi_{{\tau}}(x_k)$ at $\tau={study.judge:g}$")
        axis.set_title(f"goal placement, every arm tuned alike; {study.seeds} fresh seeds", fontsize=9, loc="left")
        axis.legend(loc="lower left", fontsize=7.5)
        plots.save(figure, study.out / "goal_placement.png")


if __name__ == "__main__":
    shown.run(main, Study)

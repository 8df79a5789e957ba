"""The paper's comparison on goal placement: HFAC beside other model-free methods, tuned alike.

    python -m experiments.goal_placement_baselines --out runs/goal_placement_baselines

Every arm gets the same search (rounds of successive halving, each around the best of the one before, on seeds of
their own; arms that share an axis start from the same values), then the same fresh seeds and samples. `nested` chooses
its N among 1, 3, 10, 30 and 100.
"""

import dataclasses
import json
import time
from pathlib import Path

import jax

import hfac
from experiments import page, shown
from hfac import algorithms, comparison, pages, plots, tuning
from hfac.runs import progress

ARMS: dict[str, tuple[str, tuning.Space]] = {
    "hfac": ("hfac", {}),
    "hfac, fixed tau": ("hfac", {"entropy.power": (0.0,)}),
    "nested": ("nested", {}),
    "partial": ("partial", {}),
    "zeroth_order": ("zeroth_order", {}),
    "single_loop_penalty": ("single_loop_penalty", {}),
    "value_penalty": ("value_penalty", {}),
    "penalty_gaur": ("penalty_gaur", {}),
    "f2sa": ("f2sa", {}),
    "sobirl": ("sobirl", {}),
    "advantage": ("advantage", {}),
}
TARGET = -0.38  # nine tenths of the way from x = 0 to the exact descent


@dataclasses.dataclass(frozen=True)
class Study:
    """Budget of the study; every arm costs the same."""

    out: Path = Path("runs/goal_placement_baselines")
    """Folder to write to; must not exist."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Arms to run; the first is what the others are compared to."""
    samples: int = 2_000_000
    """Environment samples of a judged run."""
    seeds: int = 16
    """Fresh seeds that the winners are judged on."""
    first_seed: int = 800
    """The first of them."""
    budget: int = 2_400_000_000
    """Environment samples of every search."""
    tuning_seeds: int = 2
    """Seeds of every candidate in the first round; they double from round to round."""
    rounds: int = 4
    """Rounds of every search."""
    judge: float = 0.003
    """Entropy weight at which x is judged."""
    search_seed: int = 5
    """Of the random candidates."""


def tune(study: Study, problem: hfac.Problem, arm: str) -> tuple[tuning.Setting, list[list[tuning.Trial]]]:
    """The arm's best setting and the log of its search."""
    method, overrides = ARMS[arm]
    builder = getattr(algorithms, method)
    plan = tuning.SearchPlan(
        study.samples, study.budget, study.tuning_seeds, num_rounds=study.rounds, search_seed=study.search_seed
    )
    space = tuning.space_of(builder, algorithms.needs(method), overrides)
    with progress(f"tuning {arm}", None, "run-steps") as bar:
        log = list(tuning.tune(problem, builder, space, plan, study.judge, bar.update))
    return log[-1][0].setting, log


def main(study: Study) -> None:
    """Tune and judge every arm; write results, settings, table and figures."""
    jax.config.update("jax_num_cpu_devices", hfac.engine.num_cores())
    jax.config.update("jax_enable_x64", True)
    if unknown := [arm for arm in study.arms if arm not in ARMS]:
        raise SystemExit(f"--arms must be of {', '.join(ARMS)}, got {unknown[0]}")
    study.out.mkdir(parents=True, exist_ok=False)
    began = time.perf_counter()
    problem = hfac.problems.goal_placement()
    entries, settings = [], {}
    for arm in study.arms:
        setting, log = tune(study, problem, arm)
        plots.save(plots.search(log, f"goal placement, {arm}", study.judge), study.out / f"search_{_file(arm)}.png")
        seeds = range(study.first_seed, study.first_seed + study.seeds)
        with progress(f"running {arm}", None, "steps") as bar:
            entry = comparison.run(
                problem, ARMS[arm][0], setting, study.judge, seeds, study.samples, progress=bar.update, label=arm
            )
        hfac.results.write(entry.data, study.out / f"{_file(arm)}.zarr")
        entries.append(entry)
        settings[arm] = {"options": setting.options, "rates": setting.rates, "tuned": log[-1][0].objective}
        (study.out / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        mean = hfac.statistics.interquartile_mean(entry.objective())
        print(f"{arm}: {mean:.4f}, {setting.options}, {time.perf_counter() - began:.0f} s", flush=True)
    reference = float(shown.minimize(problem, study.judge).value)
    rows = [comparison.cells(row, TARGET) for row in comparison.table(entries, TARGET)]
    comparison.write_csv(study.out / "table.csv", rows)
    print(
        f"Phi_{study.judge:g} after {study.samples:,} samples, {study.seeds} fresh seeds; exact descent {reference:.4f}"
    )
    print("\n".join(comparison.lines(rows)))
    figure = plots.comparison(entries, "goal placement, every arm tuned alike", study.judge, reference, TARGET)
    plots.save(figure, study.out / "goal_placement_baselines.png")
    groups = [pages.Group("Every arm tuned alike", entries)]
    found = pages.comparison(
        groups, problem.name, study.judge, reference, TARGET, page.origin("goal_placement_baselines", study)
    )
    page.write(found, study)
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


def _file(arm: str) -> str:
    return arm.replace(", ", "_").replace(" ", "_")


if __name__ == "__main__":
    shown.run(main, Study)

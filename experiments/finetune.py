"""Fine-tuning a real decoder: hfac beside partial, at equal samples and at equal KL.

    python -m experiments.finetune --out runs/finetune       # SmolLM2-135M, 3 seeds each: an hour on two cores
    python -m experiments.finetune --model path/to/folder --steps 1000 --seeds 8 --length 32 --out runs/large   # a GPU

32 neutral openings, VADER's score, the library's recommended settings. partial tracks one policy and hfac two, so that
partial does twice as many steps on as many completions. A run that was stopped goes on where it was.
"""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import hfac
from experiments import page, shown, smollm2
from experiments.goal_placement import write_csv
from experiments.random_mdp import show, write_study
from hfac import pages, statistics

OPENINGS = Path(__file__).with_name("openings.txt")
ARMS = {"hfac": 2, "partial": 1}  # method -> policies that write in a step
LAST = 0.25  # of a run, in which the KL has to have settled


@dataclasses.dataclass(frozen=True)
class Study:
    """What to run."""

    out: Path = Path("runs/finetune")
    """Folder to write to; a study in it goes on."""
    model: Path | None = None
    """Folder of a decoder; SmolLM2-135M-Instruct from its wheel unless given."""
    prompts: Path = OPENINGS
    """One text a line, or JSON a line."""
    rater: str = "vader"
    """Who scores completions."""
    seeds: int = 3
    """Runs of every method, one after another."""
    steps: int = 60
    """Of hfac."""
    length: int = 12
    """Tokens of a completion."""
    levels: tuple[float, ...] = (1.0, 2.0, 2.5)
    """KL, nats, at which the methods are compared."""
    options: tuple[str, ...] = ()
    """More options of hfac finetune, such as --actor 1e-3, after all others."""


def main(study: Study) -> None:
    """Run both methods; write table, figure, page and what it took."""
    model = smollm2.folder() if study.model is None else study.model
    study.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    found = {name: [run(study, model, name, seed) for seed in range(study.seeds)] for name in ARMS}
    ends = [row(name, seed, data) for name, every in found.items() for seed, data in enumerate(every)]
    compared = [*at_equal_samples(found), *at_equal_divergence(found, study.levels)]
    write_csv(study.out / "table.csv", ends)
    write_csv(study.out / "compared.csv", compared)
    draw(study, found)
    draw_page(study, found, ends, compared)
    write_study("finetune", study, time.perf_counter() - began)
    show(ends)
    print()
    show(compared)
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


def run(study: Study, model: Path, name: str, seed: int) -> Any:
    """The records of one run, which is made, gone on with, or already there."""
    out = study.out / f"{name}-{seed}"
    if not (out / "measures.csv").is_file():
        steps = study.steps * max(ARMS.values()) // ARMS[name]
        given = ("--prompts", study.prompts, "--rater", study.rater, "--length", study.length, "--steps", steps)
        line = ["finetune", model, *given, "--algorithm", name, "--first-seed", seed, *study.options]
        whole = ["resume", str(out)] if out.is_dir() else [*map(str, line), "--out", str(out)]
        subprocess.run([sys.executable, "-m", "hfac", *whole], check=True, stdout=subprocess.DEVNULL)
    return hfac.results.load(out).isel(seed=0).assign_attrs(measures=measures(out))


def measures(out: Path) -> dict[str, float]:
    """Of fresh completions of the last policy."""
    names, values = (line.split(",") for line in (out / "measures.csv").read_text().splitlines())
    return {name: float(value) for name, value in zip(names, values, strict=True) if name != "run"}


def row(name: str, seed: int, data: Any) -> dict[str, str]:
    """Where a run ends."""
    own, divergence = data.attrs["measures"], data["divergence_0"].values
    late = divergence[data["step"].values >= (1 - LAST) * data["step"].values[-1]]
    return {
        "method": name,
        "seed": str(seed),
        "completions": f"{int(data['samples'].values[-1]):,}",
        "score before": f"{own['score before']:.3f}",
        "score after [s.e.]": f"{own['score']:.3f} [{own['score error']:.3f}]",
        "KL, last quarter": f"{late.mean():.2f}",
        "its range": f"{late.min():.2f} to {late.max():.2f}",
        "distinct-2, of the base's": f"{own['distinct']:.2f}",
        "accuracy of R": f"{own['accuracy']:.2f}",
        "f": f"{data['loss'].values[-1]:.4f}",
        "status": hfac.Status(int(data["status"].values[-1])).name.lower(),
    }


def at_equal_samples(found: dict[str, list[Any]]) -> list[dict[str, str]]:
    """Scores of fresh completions at the end, and f over the last quarter, seed by seed."""
    late = {name: [_late(data, "loss") for data in every] for name, every in found.items()}
    score = {name: [data.attrs["measures"]["score"] for data in every] for name, every in found.items()}
    return [_compared("score, equal samples", score), _compared("f, equal samples", late)]


def at_equal_divergence(found: dict[str, list[Any]], levels: tuple[float, ...]) -> list[dict[str, str]]:
    """Scores where each run first passes a KL, between its records."""
    rows = []
    for level in levels:
        scores = {name: [_at(data, level) for data in every] for name, every in found.items()}
        rows.append(_compared(f"score, KL {level:g}", scores))
    return rows


def _compared(what: str, values: dict[str, list[float]]) -> dict[str, str]:
    first, second = (np.asarray(each) for each in values.values())
    both = np.isfinite(first) & np.isfinite(second)
    cells = {name: f"{np.mean(np.asarray(each)[both]):.3f}" if both.any() else "" for name, each in values.items()}
    difference = statistics.paired_difference(first[both], second[both]).format(3) if both.sum() > 1 else ""
    return {"measure": what, **cells, "difference, paired [95 %]": difference, "seeds": str(int(both.sum()))}


def _late(data: Any, name: str) -> float:
    return float(data[name].values[data["step"].values >= (1 - LAST) * data["step"].values[-1]].mean())


def _at(data: Any, level: float) -> float:
    """Score where the divergence first passes a level, a straight line between two records; nan if it never does."""
    divergence, score = data["divergence_0"].values, data["score_0"].values
    after = np.flatnonzero(divergence >= level)
    if not after.size:
        return np.nan
    high = after[0]
    share = (level - divergence[high - 1]) / (divergence[high] - divergence[high - 1])
    return float(score[high - 1] + share * (score[high] - score[high - 1]))


def draw(study: Study, found: dict[str, list[Any]]) -> None:
    """Score and KL against completions, score against KL."""
    import matplotlib

    matplotlib.use("Agg")
    from hfac import plots

    with plots.styled():
        figure, axes = plots.subplots(1, 3, (1.35 * plots.WIDTH, 2.8))
        for (name, every), color in zip(found.items(), plots.COLORS, strict=False):
            for data in every:
                label = name if data is every[0] else None
                for axis, measure in zip(axes, ("score_0", "divergence_0"), strict=False):
                    axis.plot(data["samples"], data[measure], color=color, lw=0.9, label=label)
                axes[2].plot(data["divergence_0"], data["score_0"], color=color, lw=0.9, label=label)
        axes[0].set(xlabel="completions", ylabel="mean score of a step's completions")
        axes[1].set(xlabel="completions", ylabel="KL to the base, nats")
        axes[2].set(xlabel="KL to the base, nats", ylabel="mean score")
        axes[0].legend(fontsize=7.5)
        plots.save(figure, study.out / "finetune.png")


def draw_page(study: Study, found: dict[str, list[Any]], ends: list[Any], compared: list[Any]) -> None:
    """The same to look at in a browser."""
    runs = [(f"{name}, seed {seed}", data) for name, every in found.items() for seed, data in enumerate(every)]
    lines = {}
    for y, x in (("score_0", "samples"), ("divergence_0", "samples"), ("score_0", "divergence_0")):
        ways = [(name, *(pages.numbers(data[axis].values) for axis in (x, y))) for name, data in runs]
        lines[y, x] = tuple(pages.Line(name, xs, ys, kind="tracks") for name, xs, ys in ways)
    words = {"score_0": "mean score", "divergence_0": "KL to the base, nats", "samples": "completions"}
    charts = [
        pages.Chart(f"{words[y][0].upper()}{words[y][1:]} against {words[x]}", words[x], words[y], each, is_small=True)
        for (y, x), each in lines.items()
    ]
    headline = "; ".join(f"{each['measure']}: {each['difference, paired [95 %]']}" for each in compared)
    parts = {
        "Along the runs": charts,
        "Where they end": [pages.printed("Runs", ends)],
        "hfac less partial, seed by seed": [pages.printed("Compared", compared)],
    }
    title = f"hfac less partial, paired over {study.seeds} seeds, {headline}."
    page.write(pages.study("finetune", title, parts, page.origin("finetune", study)), study)


if __name__ == "__main__":
    shown.run(main, Study)

"""The report of a job of fine-tuning: adapters as PEFT reads them, the reward, samples before and after, measures."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray

from hfac import _files, comparison, pages
from hfac._places import short
from hfac._progress import progress, waiting
from hfac.language import adapters, completing, finetuning, folders, rewards
from hfac.pages import Page
from hfac.runs import _objective_report, _policies
from hfac.runs._execution import Execution
from hfac.runs._job import Job
from hfac.runs._report import Report

SAMPLES, MEASURES, ADAPTERS, REWARD = "samples.md", "measures.csv", "adapters", "reward"
NUM_FRESH = 256  # completions that the ends of a run are measured on
SHOWN = 2  # of them for every prompt in samples.md
FRESH_SEED = 1_000_003  # of their random numbers: they differ by the policy alone


def report(job: Job, data: xarray.Dataset, folder: Path, taus: Sequence[float], execution: Execution) -> Report:
    """The report by the objective, and adapters, samples and measures of fresh completions of every run."""
    done = _objective_report.report(job, data, folder, taus, execution)
    setup: finetuning.Finetuning = job.problem
    if job.configuration.get("record") != "policies" or len(job.variants) > 1:
        return done
    with waiting("writing adapters", execution.quiet):
        digest = folders.digest(setup.problem.policy.params)
        runs = [_save(job, data, folder / ADAPTERS, row, digest) for row in range(job.num_runs)]
    with progress("writing fresh completions", None, "completions", execution.quiet) as bar:
        texts = _fresh(setup, [setup.problem.policy.reference, *(run["theta"] for run in runs)], bar.update)
    with waiting("rating them", execution.quiet):
        step = int(data["step"].values[-1])
        names = [("base", 0), *((_name(job, row), step) for row in range(len(runs)))]
        scores = [
            np.asarray(setup.ratings.of_texts(f"fresh, {name}", at, 0, each))
            for (name, at), each in zip(names, texts, strict=True)
        ]
    rows = [_row(job, row, texts[0], scores[0], texts[1 + row], scores[1 + row], data) for row in range(len(runs))]
    comparison.write_csv(folder / MEASURES, rows)
    pairs = list(_pairs(setup, [row["run"] for row in rows], texts, scores))
    _files.replace(folder / SAMPLES, "\n".join(_samples(pairs)) + "\n")

    def page() -> Page:
        origin = pages.origin(job.configuration, done.data.attrs)
        return pages.finetune(done.data, rows, pairs, short(job.configuration["algorithm"]), origin)

    lines = (*done.lines, "", *_lines(rows))
    return done._replace(lines=lines, files=(*done.files, f"{ADAPTERS}/", MEASURES, SAMPLES), page=page)


def _pairs(
    setup: finetuning.Finetuning, runs: Sequence[str], texts: Sequence[Any], scores: Sequence[np.ndarray]
) -> Iterator[dict[str, Any]]:
    """The first completions of every prompt, of the base and of every run."""
    for place, prompt in enumerate(setup.prompts):
        for row, run in enumerate(runs, start=1):
            for sample in range(min(SHOWN, len(texts[0][place]))):
                yield {
                    "prompt": prompt.text,
                    "run": run,
                    "before": texts[0][place][sample],
                    "after": texts[row][place][sample],
                    "score_before": float(scores[0][place][sample]),
                    "score_after": float(scores[row][place][sample]),
                }


def _name(job: Job, row: int) -> str:
    """A run by its lists and its seed, whatever stands beside it."""
    return "_".join(f"{name}={values[row]:.6g}" for name, values in job.table.labels.items())


def _of_run(job: Job, data: xarray.Dataset, row: int) -> xarray.Dataset:
    """Last record of a run, configurations major, seeds minor."""
    config, seed = divmod(row, len(job.seeds))
    where = np.unravel_index(config, job.grid.coordinates.shape) if job.grid.coordinates.dims else ()
    pick = dict(zip(job.grid.coordinates.dims, map(int, where), strict=True))
    return data.isel({**pick, "seed": seed, "step": -1})


def _save(job: Job, data: xarray.Dataset, folder: Path, row: int, digest: str) -> dict[str, Any]:
    """Write a run's adapters and reward at its last step, unless they are there; they come back as trees."""
    setup, lora = job.problem, job.problem.problem.policy.lora
    last = _of_run(job, data, row)
    found = _policies.trees(job.variants[0].algorithm, job.grid.one(row // len(job.seeds)), last)
    place = folder / _name(job, row) / f"step={int(last['step'])}"
    for name, policy in (("adapter", "theta"), ("adapter_pen", "theta_pen")):
        if policy in found and not (place / name / adapters.CONFIG).is_file():
            adapters.save(place / name, jax.tree.map(np.asarray, found[policy]), lora, setup.base, digest)
    if not (place / REWARD / rewards.ABOUT).is_file():
        rewards.save(place / REWARD, found["x"], setup.problem.policy, setup.base, digest)
    return found


def _fresh(setup: finetuning.Finetuning, trees: Sequence[Any], update: Any) -> list[list[list[str]]]:
    """Texts by policy, prompt and sample."""
    policy = setup.problem.policy
    samples = -(-NUM_FRESH // len(setup.prompts))
    options = completing.Options(samples, policy.length, policy.temperature, FRESH_SEED)
    found: list[list[list[str]]] = []
    for number, tree in enumerate(trees):

        def show(done: int, total: int, before: int = number) -> None:
            update(before * total + done, len(trees) * total)

        model = folders.Model(policy.architecture, policy.params, {})
        found += completing.complete(model, setup.tokenizer, setup.prompts, [tree], policy.lora.scale, options, show)
    return found


def distinct(texts: Sequence[Sequence[str]]) -> float:
    """Distinct pairs of neighbouring words among all, in (0, 1]."""
    pairs = [pair for each in texts for text in each for pair in zip(text.split()[:-1], text.split()[1:], strict=True)]
    return len(set(pairs)) / max(len(pairs), 1)


def _row(
    job: Job,
    row: int,
    base: Sequence[Sequence[str]],
    base_scores: np.ndarray,
    texts: Sequence[Sequence[str]],
    scores: np.ndarray,
    data: xarray.Dataset,
) -> dict[str, Any]:
    """Measures of a run's last policy on fresh completions, beside the base's."""
    last = _of_run(job, data, row)
    return {
        "run": _name(job, row),
        "step": int(last["step"]),
        "score before": float(base_scores.mean()),
        "score": float(scores.mean()),
        "score error": float(scores.std() / np.sqrt(scores.size)),
        "divergence": float(last["divergence_0"]),
        "accuracy": float(last["accuracy"]),
        "distinct": distinct(texts) / max(distinct(base), 1e-9),
    }


def _lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    table = [
        {
            "run": str(row["run"]),
            "score before": f"{row['score before']:.3f}",
            "score after [s.e.]": f"{row['score']:.3f} [{row['score error']:.3f}]",
            "KL": f"{row['divergence']:.2f}",
            "accuracy of R": f"{row['accuracy']:.2f}",
            "distinct-2, of the base's": f"{row['distinct']:.2f}",
        }
        for row in rows
    ]
    return comparison.lines(table)


def _samples(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Base and tuned completions beside each other, from the same random numbers."""
    words = "Base (before) and fine-tuned (after), from the same random numbers, with their scores."
    several = len({row["run"] for row in pairs}) > 1
    lines, prompt = ["# Samples", "", words], None
    for row in pairs:
        if row["prompt"] != prompt:
            prompt = row["prompt"]
            lines += ["", f"**{prompt}**", ""]
        run = f", {row['run']}" if several else ""
        for who, owner in (("before", ""), ("after", run)):
            lines.append(f"- {who}{owner} ({row[f'score_{who}']:+.2f}): {row[who]!r}")
    return lines

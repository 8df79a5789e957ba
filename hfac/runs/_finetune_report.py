"""The report of a job of fine-tuning: adapters as PEFT reads them, the reward, samples before and after, measures."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from hfac import _files, comparison, pages
from hfac._compiler import random
from hfac._places import short
from hfac._progress import progress, waiting
from hfac.language import adapters, finetuning, folders, judging, rewards
from hfac.language.estimators import accuracy
from hfac.language.judging import Fresh
from hfac.pages import Page
from hfac.runs import _objective_report, _policies
from hfac.runs._execution import Execution
from hfac.runs._job import Job
from hfac.runs._report import Report
from hfac.types import Status

SAMPLES, MEASURES, ADAPTERS, REWARD = "samples.md", "measures.csv", "adapters", "reward"
NUM_FRESH = 256  # completions that the ends of a run are measured on
SHOWN = 2  # of them for every prompt in samples.md
FRESH_SEED = 1_000_003  # of their random numbers: they differ by the policy alone


def report(job: Job, data: xarray.Dataset, folder: Path, taus: Sequence[float], execution: Execution) -> Report:
    """Adapters, samples and measures of fresh completions of every run, and the report by the objective."""
    if job.configuration.get("record") != "policies" or len(job.variants) > 1:
        return _objective_report.report(job, data, folder, taus, execution)
    setup: finetuning.Finetuning = job.problem
    with waiting("writing adapters", execution.quiet):
        digest = folders.digest(setup.problem.policy.params)
        runs = [_save(job, data, folder / ADAPTERS, row, digest) for row in range(job.num_runs)]
    first = {"theta": setup.problem.policy.reference, "x": setup.problem.init_x(random.key(0))}
    with progress("writing fresh completions", None, "completions", execution.quiet) as bar:
        written = _fresh(setup, [first, *runs], bar.update)
    with waiting("rating them", execution.quiet):
        names = [("base", 0), *((_name(job, row), _end(_of_run(job, data, row))) for row in range(len(runs)))]
        scores = [
            np.asarray(setup.ratings.of_texts(f"fresh, {name}", at, 0, each.texts))
            for (name, at), each in zip(names, written, strict=True)
        ]
    rows = [_row(names[i], written[0], scores[0], written[i], scores[i]) for i in range(1, len(names))]
    comparison.write_csv(folder / MEASURES, rows)
    pairs = list(_pairs(setup, [row["run"] for row in rows], [each.texts for each in written], scores))
    _files.replace(folder / SAMPLES, "\n".join(_samples(pairs)) + "\n")
    done = _objective_report.report(job, data, folder, taus, execution)  # last: a finished run is known by its summary

    def page() -> Page:
        origin = pages.origin(job.configuration, done.data.attrs)
        return pages.finetune(done.data, rows, pairs, short(job.configuration["algorithm"]), origin)

    return done._replace(lines=tuple(_lines(rows)), files=(*done.files, f"{ADAPTERS}/", MEASURES, SAMPLES), page=page)


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


def _end(last: xarray.Dataset) -> int:
    """The step that a run ended at: its last, or the one at which it was stopped."""
    return int(last["step"] if last["status"] == Status.OK else last["failed_at"])


def _save(job: Job, data: xarray.Dataset, folder: Path, row: int, digest: str) -> dict[str, Any]:
    """Write a run's adapters and reward at its last step, unless they are there; they come back as trees."""
    setup, lora = job.problem, job.problem.problem.policy.lora
    last = _of_run(job, data, row)
    found = _policies.trees(job.variants[0].algorithm, job.grid.one(row // len(job.seeds)), last)
    place = folder / _name(job, row) / f"step={_end(last)}"
    for name, policy in (("adapter", "theta"), ("adapter_pen", "theta_pen")):
        if policy in found and not (place / name / adapters.CONFIG).is_file():
            adapters.save(place / name, jax.tree.map(np.asarray, found[policy]), lora, setup.base, digest)
    if not (place / REWARD / rewards.ABOUT).is_file():
        rewards.save(place / REWARD, found["x"], setup.problem.policy, setup.base, digest)
    return found


def _fresh(setup: finetuning.Finetuning, runs: Sequence[Mapping[str, Any]], update: Any) -> list[Fresh]:
    """What the base and every run write."""
    samples = -(-NUM_FRESH // len(setup.prompts))
    found: list[Fresh] = []
    for run in runs:

        def show(done: int, total: int, before: int = len(found)) -> None:
            update(before * total + done, len(runs) * total)

        found.append(judging.fresh(setup, run["theta"], run["x"], samples, FRESH_SEED, show))
    return found


def distinct(texts: Sequence[Sequence[str]]) -> float:
    """Distinct pairs of neighbouring words among all, in (0, 1]."""
    pairs = [pair for each in texts for text in each for pair in zip(text.split()[:-1], text.split()[1:], strict=True)]
    return len(set(pairs)) / max(len(pairs), 1)


def _row(run: tuple[str, int], base: Fresh, base_scores: np.ndarray, own: Fresh, scores: np.ndarray) -> dict[str, Any]:
    """Measures of a run's last policy on fresh completions, beside the base's."""
    return {
        "run": run[0],
        "step": run[1],
        "score before": float(base_scores.mean()),
        "score": float(scores.mean()),
        "score error": float(scores.std() / np.sqrt(scores.size)),
        "divergence": float(own.divergence.mean()),
        "accuracy": float(accuracy(jnp.asarray(own.reward), jnp.asarray(scores, own.reward.dtype))),
        "distinct": distinct(own.texts) / max(distinct(base.texts), 1e-9),
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
    words = "Before and after fine-tuning, from the same random numbers, with their scores."
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

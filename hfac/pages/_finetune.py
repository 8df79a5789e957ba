"""The page of a run of fine-tuning: samples before and after, measures along the run, what each run came to."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hfac import plots
from hfac.pages import _shared
from hfac.pages._page import Cell, Chart, Fact, Line, Origin, Page, Section, cell, numbers, table

if TYPE_CHECKING:
    import xarray


def finetune(
    data: "xarray.Dataset",
    rows: Sequence[Mapping[str, Any]],
    samples: Sequence[Mapping[str, Any]],
    method: str,
    origin: Origin,
) -> Page:
    """A run whose last policies wrote fresh completions.

    Args:
      data: recorded.
      rows: measures of every run's fresh completions.
      samples: completions before and after, with prompt, run and scores.
      method: that was run.
      origin: of the numbers.
    """
    before, after, error = (np.array([row[name] for row in rows]) for name in ("score before", "score", "score error"))
    runs = f"{len(rows)} run{'s' if len(rows) > 1 else ''}"
    divergence, distinct = (np.array([row[name] for row in rows]) for name in ("divergence", "distinct"))
    spread = f"{after.min():.3f} to {after.max():.3f}" if len(rows) > 1 else f"standard error {error[0]:.3f}"
    headline = (
        f"{method} fine-tuned a decoder for {int(data['step'][-1]):,} steps in {runs}; the mean score of fresh "
        f"completions went from {before.mean():.3f}, the base's, to {after.mean():.3f} ({spread}) at a KL of "
        f"{divergence.mean():.2f} nats."
    )
    owners = ["prompt", "run"] if len(rows) > 1 else ["prompt"]
    words = "Completions from the same random numbers before and after the run, and the rater's score of each."
    measured = _shared.measures(data, plots.WRITTEN, "completions", "base", is_small=True)
    return Page(
        kind="hfac finetune",
        title="Fine-tuning",
        headline=headline,
        facts=(
            Fact("Mean score after", f"{after.mean():.3f}", spread),
            Fact("Mean score before", f"{before.mean():.3f}", "the base's"),
            Fact("KL to the reference", f"{divergence.mean():.3g}", "nats per completion"),
            Fact("Distinct-2", f"{distinct.mean():.2f}", "of the base's"),
            Fact("Runs", f"{len(rows):,}", f"{int(data['step'][-1]):,} steps"),
        ),
        sections=(
            Section("Samples before and after", tuple(_shared.before_and_after(samples, owners, words, "samples.md"))),
            Section("What is written along the run", (*measured, _frontier(data))),
            Section("Every run at the last step", (_table(rows),)),
            _shared.statuses(data),
            *_shared.provenance(origin),
        ),
    )


def _frontier(data: "xarray.Dataset") -> Chart:
    """Score against divergence, a line for every run."""
    lines = []
    for pick in plots.configurations(data):
        one = data.isel(pick)
        words = plots.describe(data, pick)
        for i, seed in enumerate(one["seed"].values):
            own = one.isel(seed=i, step=_shared.kept(one.sizes["step"], data["status"].isel(step=-1).size))
            name = ", ".join([*([words] if words else []), f"seed {int(seed)}"])
            lines.append(Line(name, numbers(own["divergence_0"].values), numbers(own["score_0"].values), kind="tracks"))
    return Chart("Score against divergence", "KL to the reference, nats", "mean score", tuple(lines), is_small=True)


def _table(rows: Sequence[Mapping[str, Any]]) -> Any:
    cells = [
        {
            "run": Cell(str(row["run"]).replace("_", " ")),
            "score before": cell(row["score before"], f"{row['score before']:.3f}"),
            "score after": cell(row["score"], f"{row['score']:.3f}"),
            "standard error": cell(row["score error"], f"{row['score error']:.3f}"),
            "KL, nats": cell(row["divergence"], f"{row['divergence']:.2f}"),
            "accuracy of R": cell(row["accuracy"], f"{row['accuracy']:.2f}"),
            "distinct-2, of the base's": cell(row["distinct"], f"{row['distinct']:.2f}"),
        }
        for row in rows
    ]
    return table(
        "Fresh completions of the last policies",
        cells,
        "R is the last reward; its accuracy is that of pairs within a prompt.",
    )

"""The page of a run of tweets: samples before and after, measures along the run, the frontier it moves along."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hfac import plots, statistics
from hfac.pages import _shared
from hfac.pages._page import (
    Cell,
    Chart,
    Fact,
    Line,
    Origin,
    Page,
    Part,
    Section,
    Table,
    cell,
    numbers,
    table,
)
from hfac.types import Status

if TYPE_CHECKING:
    import xarray


def tweets(
    data: "xarray.Dataset",
    frontier: Any,
    rows: Sequence[Mapping[str, Any]],
    samples: Sequence[Mapping[str, Any]],
    tau: float,
    origin: Origin,
) -> Page:
    """A judged run of tweets.

    Args:
      data: judged.
      frontier: `hfac.tweets.frontier`'s.
      rows: `hfac.tweets.summary`'s.
      samples: `hfac.tweets.samples`'s.
      tau: at which rewards were judged.
      origin: of the numbers.
    """
    score = next(row for row in rows if row["measure"] == "score")
    end = statistics.format_interval(score["interquartile_mean"], score["low"], score["high"], 3)
    seeds = f"{data.sizes['seed']} seed{'s' if data.sizes['seed'] > 1 else ''}"
    hacked = int((data["status"].isel(step=-1) == Status.REWARD_HACKED).sum())
    first = f", {score['configuration']}," if score["configuration"] else ""
    headline = (
        f"A language model learned to write happy tweets in {int(data['step'][-1]):,} steps with {seeds}{first}; their "
        f"mean score went from {score['before']:.3f}, the pretrained model's, to {end}."
    )
    arms = {plots.describe(data, pick): data.isel(pick) for pick in plots.configurations(data)}
    end_words, _, spread = end.partition(" ")
    measured = _shared.measures(data, plots.PANELS, "step", "pretrained", is_small=True)
    divergence = next(row for row in rows if row["measure"] == "divergence")
    return Page(
        kind="hfac tweets",
        title="Happy tweets",
        headline=headline,
        facts=(
            Fact("Mean score after", end_words, spread),
            Fact("Mean score before", f"{score['before']:.3f}", "pretrained model"),
            Fact("KL to the pretrained model", f"{divergence['interquartile_mean']:.3g}", "nats per tweet"),
            Fact("Runs", f"{data['status'].isel(step=-1).size:,}", seeds),
            Fact("Reward hacked", f"{hacked:,}", "runs stopped"),
        ),
        sections=(
            Section("Samples before and after", tuple(_samples(samples))),
            Section("What is written along the run", (*measured, divergences(arms, frontier, tau))),
            Section("Summary", (_summary(rows, tau),)),
            _shared.statuses(data),
            *_shared.provenance(origin),
        ),
    )


def _samples(samples: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    several = len({row["configuration"] for row in samples}) > 1
    words = "Tweets from the same random numbers before and after the run, and the rater's score of each."
    owners = ["configuration", "seed"] if several else ["seed"]
    return _shared.before_and_after(samples, owners, words, "samples.csv")


def divergences(arms: "Mapping[str, xarray.Dataset]", frontier: Any, tau: float) -> Chart:
    """Score against divergence of several arms, one configuration each, beside the best that is possible.

    Args:
      arms: name -> judged.
      frontier: `hfac.tweets.frontier`'s.
      tau: at which rewards were judged.
    """
    lines = [Line("best for its KL", numbers(frontier.divergence), numbers(frontier.score), kind="guide")]
    for name, data in arms.items():
        lines += [_trail(data, name), _points(data.isel(step=-1), name, tau)]
    return Chart(
        "Score against divergence",
        "KL to the pretrained model, nats",
        "mean score",
        tuple(lines),
        note="A line is every seed from its start to its end; points are best responses to the last rewards at "
        f"τ = {tau:.3g}; dotted: the happiest policies for their divergence.",
    )


def _trail(data: "xarray.Dataset", words: str) -> Line:
    """Every seed's way, with gaps between them."""
    xs: list[float] = []
    ys: list[float] = []
    for i in range(data.sizes["seed"]):
        seed = data.isel(seed=i)
        xs += [*seed["divergence"].values.tolist(), math.nan]
        ys += [*seed["score"].values.tolist(), math.nan]
    return Line(f"runs, {words}", numbers(xs), numbers(ys), kind="trail")


def _points(end: "xarray.Dataset", words: str, tau: float) -> Line:
    x, y = (np.ravel(end[name].values) for name in ("response_divergence", "response_score"))
    return Line(f"best responses at τ = {tau:.3g}, {words}", numbers(x), numbers(y), kind="points")


def _summary(rows: Sequence[Mapping[str, Any]], tau: float) -> Table:
    found = []
    for row in rows:
        own = {"configuration": Cell(row["configuration"])} if row["configuration"] else {}
        own["measure"] = Cell(row["measure"].replace("_", " "))
        start = row["before"]
        own["before"] = Cell("", math.nan) if math.isnan(start) else cell(start, f"{start:.3f}")
        own["after"] = cell(row["interquartile_mean"], f"{row['interquartile_mean']:.3f}")
        spread = "one run" if math.isnan(row["low"]) else f"{row['low']:.3f} to {row['high']:.3f}"
        own["95 % interval"] = cell(row["low"], spread)
        own["least"], own["most"] = cell(row["least"], f"{row['least']:.3f}"), cell(row["most"], f"{row['most']:.3f}")
        found.append(own)
    note = f"Measures of 256 tweets; the best response to a reward is judged at τ = {tau:.3g}."
    return table("Measures before and after", found, note)

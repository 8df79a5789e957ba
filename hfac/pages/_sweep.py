"""The page of a sweep that is judged by its objective: curves, one row per configuration, the answer on a grid."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hfac import plots, results, statistics
from hfac.pages import _shared
from hfac.pages._page import (
    Cell,
    Chart,
    Fact,
    Heatmap,
    Line,
    Origin,
    Page,
    Panel,
    Part,
    Reference,
    Section,
    cell,
    number,
    numbers,
    table,
)

if TYPE_CHECKING:
    import xarray

Variant = tuple[Mapping[str, int], Any]  # where its records stand, and the problem
NUMBERS = ("judged_tau", "samples", "interquartile_mean", "low", "high", "worst", "diverged", "seeds", "reference")

JUDGED = (
    "Interquartile mean over seeds with its 95 % bootstrap interval; lower is better. A run that diverged enters "
    "as +inf."
)


def sweep(data: "xarray.Dataset", variants: Sequence[Variant], method: str, origin: Origin) -> Page:
    """A judged sweep.

    Args:
      data: judged, with a coordinate `reference`: the lowest objective known, nan where none is.
      variants: every problem and its place in the data.
      method: that was run.
      origin: of the numbers.
    """
    rows = results.summary(data)
    name = variants[0][1].name
    best = _best(rows)
    summary = table("Every configuration at the last step", [_cells(row) for row in rows], JUDGED)
    parts = tuple(chart for variant in variants for chart in _charts(data, variant, len(variants)))
    grids = tuple(part for variant in variants for part in _grid(data, variant))
    return Page(
        kind="hfac sweep",
        title=f"{method} on {name}",
        headline=f"{_what(data, method, name)} {_outcome(best)}",
        facts=tuple(_facts(data, rows, best)),
        sections=(
            Section("The objective", parts),
            Section("Along the run", tuple(chart for variant in variants for chart in _measures(data, variant))),
            Section("What the leader pays", tuple(chart for variant in variants for chart in _payments(data, variant))),
            Section("Summary", (summary,)),
            Section("The leader's answer on the grid", grids),
            _shared.statuses(data),
            *_shared.provenance(origin),
        ),
    )


def _best(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The row that ends lowest at the smallest judged tau."""
    tau = min(row["judged_tau"] for row in rows)
    return min((row for row in rows if row["judged_tau"] == tau), key=lambda row: row["interquartile_mean"])


def _what(data: "xarray.Dataset", method: str, name: str) -> str:
    count = len(plots.configurations(data))
    seeds = data.sizes["seed"]
    words = f"{method} ran {int(data['step'][-1]):,} steps on {name} with {seeds} seed{'s' if seeds > 1 else ''}"
    return words + (f" of each of {count:,} configurations;" if count > 1 else ";")


def _outcome(best: Mapping[str, Any]) -> str:
    interval = statistics.format_interval(best["interquartile_mean"], best["low"], best["high"])
    if not math.isfinite(best["interquartile_mean"]):
        return "every configuration diverged."
    words = f"its objective at τ = {best['judged_tau']:g} ends at {interval}"
    labels = _labels(best)
    if labels:
        chosen = ", ".join(f"{_plain(label)} {best[label]:.4g}" for label in labels)
        words = f"the best, {chosen}, ends at an objective of {interval} at τ = {best['judged_tau']:g}"
    reference = best["reference"]
    return words + (f"; an exact descent ends at {reference:.4f}." if math.isfinite(reference) else ".")


def _labels(row: Mapping[str, Any]) -> list[str]:
    return [key for key in row if key not in NUMBERS]


def _plain(label: str) -> str:
    return label.removeprefix("algorithm.").replace(".scale", "").replace(".", " ").replace("_", " ")


def _facts(data: "xarray.Dataset", rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> Iterator[Fact]:
    interval = statistics.format_interval(best["interquartile_mean"], best["low"], best["high"])
    value, _, spread = interval.partition(" ")
    yield Fact("Best objective", value, spread)
    if math.isfinite(best["reference"]):
        yield Fact("Exact descent", f"{best['reference']:.4f}", f"at τ = {best['judged_tau']:g}")
    status = data["status"].isel(step=-1)
    yield Fact("Runs", f"{status.size:,}", f"{data.sizes['seed']} seeds")
    yield Fact("Diverged", f"{int((status != 0).sum()):,}", f"of {status.size:,}")
    if best["samples"]:
        yield Fact("Samples of a run", f"{best['samples']:,.0f}", f"{int(data['step'][-1]):,} steps")


def _cells(row: Mapping[str, Any]) -> dict[str, Cell]:
    found = {_plain(label): cell(row[label]) for label in _labels(row)}
    found["judged at τ"] = cell(row["judged_tau"], f"{row['judged_tau']:g}")
    found["samples"] = cell(row["samples"], f"{row['samples']:,.0f}")
    found["objective"] = cell(row["interquartile_mean"], _end(row["interquartile_mean"]))
    found["95 % interval"] = cell(row["low"], _ends(row["low"], row["high"]))
    found["worst run"] = cell(row["worst"], _end(row["worst"]))
    found["diverged"] = cell(row["diverged"], f"{row['diverged']} of {row['seeds']}")
    if math.isfinite(row["reference"]):
        found["exact descent"] = cell(row["reference"], f"{row['reference']:.4f}")
    return found


def _end(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "diverged"


def _ends(low: float, high: float) -> str:
    if math.isnan(low) and math.isnan(high):
        return "one run"
    return "" if math.isinf(low) else f"{low:.4f} to {high:.4f}"


def _charts(data: "xarray.Dataset", variant: Variant, num_variants: int) -> Iterator[Chart]:
    """One for every judged tau."""
    pick, problem = variant
    own = data.isel(pick)
    picks = plots.configurations(own)
    own = own.isel(step=_shared.kept(own.sizes["step"], len(picks)))
    where = f", {plots.describe(data, pick)}" if num_variants > 1 else ""
    counts = bool(float(own["samples"].max()) > 0)
    for i, tau in enumerate(map(float, own["judged_tau"].values)):
        at = own.isel(judged_tau=i)
        lines = _shared.curves([(plots.describe(own, each), plots.curve(at.isel(each))) for each in picks])
        lowest = float(at["reference"])
        known = (Reference(f"exact descent, {lowest:.4f}", lowest),) if math.isfinite(lowest) else ()
        yield Chart(
            f"Objective at τ = {tau:g}{where}",
            "environment samples" if counts else "steps",
            f"Φ_τ(x) at τ = {tau:g}",
            lines,
            known,
            is_x_log=True,
            note=f"{_shared.shown_note(len(lines))}{problem.name}: interquartile mean and 95 % bootstrap interval over "
            f"{own.sizes['seed']} seeds; lower is better.",
        )


def _measures(data: "xarray.Dataset", variant: Variant) -> Iterator[Chart]:
    """What was recorded of neural policies, a chart each."""
    pick, problem = variant
    note = f"{problem.name}: interquartile mean and 95 % bootstrap interval over {data.sizes['seed']} seeds."
    return _shared.measures(data.isel(pick), plots.MEASURES, "environment steps", "first policies", note)


def _payments(data: "xarray.Dataset", variant: Variant) -> Iterator[Chart]:
    """What r_x says along each of the first two observations."""
    pick, problem = variant
    found = plots.paid(data.isel(pick), problem)
    if found is None:
        return
    middle = len(found.moments[0].pays) // 2
    for axis, reach in enumerate(found.reaches):
        ticks = numbers(np.linspace(-reach, reach, 2 * middle + 1))
        ways = [(each, each.pays[middle] if axis == 0 else each.pays[:, middle]) for each in found.moments]
        name = ("first", "second")[axis]
        yield Chart(
            f"What r_x pays along the {name} observation",
            f"{name} observation",
            "r_x, mean over actions",
            tuple(Line(f"step {each.step:,}", ticks, numbers(pays)) for each, pays in ways),
            note=f"Of {found.words}; the other observations are 0.",
            is_small=True,
        )


def _grid(data: "xarray.Dataset", variant: Variant) -> Iterator[Part]:
    pick, problem = variant
    on_grid = plots.of_grid(problem)
    if on_grid is None:
        return
    table, layout = on_grid
    found = plots.answer(data.isel(pick), table, layout)
    marks = tuple((label, _places(*layout.places(states))) for label, states in layout.marks.items())
    panels = tuple(
        Panel(
            f"Step {moment.step:,}: objective {_end(moment.value)}",
            tuple(tuple(number(v) if v > 0 else None for v in row) for row in moment.field.tolist()),
            tuple(tuple(row) for row in np.round(np.nan_to_num(moment.visits), 6).tolist()),
            tuple(tuple((a, b) for a, b in row) for row in np.round(np.nan_to_num(moment.drift), 5).tolist()),
        )
        for moment in found.moments
    )
    low, high = numbers(found.limits)
    yield Heatmap(
        f"{layout.field_label}: first, middle and last record point",
        layout.field_label,
        panels,
        marks,
        (low or 1.0, high or 1.0),
        f"Of {found.words}. Arrows: mean move under the best response at τ = {found.tau:g}; circles: the time it "
        f"spends in a cell (area); {plots.marked(layout.marks, 'crossed')}.",
    )


def _places(rows: np.ndarray, columns: np.ndarray) -> tuple[tuple[int, int], ...]:
    return tuple(zip(rows.tolist(), columns.tolist(), strict=True))

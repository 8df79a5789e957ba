"""The page of a comparison: methods against samples and seconds, tables, the settings that were found."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from hfac import comparison as library
from hfac import plots
from hfac.comparison import Entry, Row
from hfac.pages import _shared
from hfac.pages._page import Cell, Chart, Fact, Line, Origin, Page, Reference, Section, Table, Text, cell, table, text
from hfac.statistics import Interval


class Group(NamedTuple):
    """Methods that can be compared with each other, what the others are compared to first."""

    title: str
    entries: Sequence[Entry]


def comparison(groups: Sequence[Group], name: str, tau: float, reference: float, target: float, origin: Origin) -> Page:
    """Methods beside each other.

    Args:
      groups: with the same first entry.
      name: of the problem.
      tau: entropy weight at which x was judged.
      reference: lowest objective known.
      target: a level whose first crossing is timed.
      origin: of the numbers.
    """
    tables = [library.table(group.entries, target) for group in groups]
    rows = list({row.method: row for each in tables for row in each}.values())
    best, first = min(rows, key=lambda row: float(row.objective.estimate)), rows[0]
    others = f"{len(rows) - 1} other{'s' if len(rows) > 2 else ''}"
    beside = "" if best is first else f"; {first.method} ends at {first.objective}"
    headline = (
        f"{first.method} and {others}, tuned alike, ran on {name} with the same {first.seeds} seeds; {best.method} "
        f"ends lowest, at an objective of {best.objective} at τ = {tau:g}{beside}; an exact descent ends at "
        f"{reference:.4f}."
    )
    value, _, spread = str(best.objective).partition(" ")
    failed = sum(row.diverged for row in rows)
    return Page(
        kind="hfac compare",
        title=f"Methods on {name}",
        headline=headline,
        facts=(
            Fact(f"Lowest objective, {best.method}", value, spread),
            Fact("Exact descent", f"{reference:.4f}", f"at τ = {tau:g}"),
            Fact("Target", f"{target:.4f}", "first crossing is timed"),
            Fact("Methods", f"{len(rows)}", f"{first.seeds} seeds each"),
            Fact("Diverged", f"{failed}", f"of {sum(row.seeds for row in rows)} runs"),
        ),
        sections=(
            *(
                Section(group.title, (_table(each, target), *_charts(group, tau, reference, target)))
                for group, each in zip(groups, tables, strict=True)
            ),
            Section("Settings that were found", tuple(_settings(groups))),
            Section("Status of the runs", tuple(_statuses(groups))),
            *_shared.provenance(origin),
        ),
    )


def _table(rows: Sequence[Row], target: float) -> Table:
    def interval(value: Interval | None) -> Cell:
        return Cell("", math.nan) if value is None else cell(float(value.estimate), str(value))

    cells = [
        {
            "method": Cell(row.method),
            "objective [95 %]": interval(row.objective),
            "worst run": cell(row.worst, f"{row.worst:.4f}" if math.isfinite(row.worst) else "diverged"),
            f"minus {rows[0].method}, paired [95 %]": interval(row.difference),
            f"to {target:.3f}": cell(row.to_target, printed[f"to {target:.3f}"]),
            "samples": cell(row.samples, f"{row.samples:,.0f}"),
            "steps": cell(row.steps, f"{row.steps:,}"),
            "seconds": cell(row.seconds, f"{row.seconds:.1f}"),
            "diverged": cell(row.diverged, f"{row.diverged} of {row.seeds}"),
            "needs": Cell(row.needs),
        }
        for row, printed in ((row, library.cells(row, target)) for row in rows)
    ]
    note = (
        "Interquartile means over seeds with 95 % bootstrap intervals; lower is better. Seconds are those of all seeds "
    )
    return table("Methods", cells, note + "together, without compilation.")


def _charts(group: Group, tau: float, reference: float, target: float) -> Iterator[Chart]:
    tracks = [(entry.name, plots.track(entry)) for entry in group.entries]
    has_samples = all(entry.counts_samples for entry in group.entries)
    clocks = {"environment samples": 0, "seconds, all seeds together": 1} if has_samples else {"steps": 0, "seconds": 1}
    for label, which in clocks.items():
        lines: list[Line] = []
        for name, track in tracks:
            kept = _shared.kept(len(track.seconds), len(tracks))
            clock = track.seconds if which else track.samples if has_samples else track.steps
            interval = Interval(*(values[kept] for values in track.interval))
            lines.append(_shared.line(name + track.diverged, clock[kept], interval))
        yield Chart(
            f"Objective against {label.partition(',')[0]}",
            label,
            f"Φ_τ(x) at τ = {tau:g}",
            tuple(lines),
            (Reference(f"exact descent, {reference:.4f}", reference), Reference(f"target, {target:.4f}", target)),
            is_x_log=True,
            note=f"Interquartile mean and 95 % interval over {tracks[0][1].num_seeds} seeds.",
        )


def _settings(groups: Sequence[Group]) -> Iterator[Table]:
    entries = {entry.name: entry for group in groups for entry in group.entries}
    found: dict[str, Mapping[str, object]] = {
        name: {
            **{key.replace("_", " "): value for key, value in entry.setting.options.items()},
            **{
                key.replace(".scale", "").replace(".", " "): f"{value:.4g}"
                for key, value in entry.setting.rates.items()
                if value or not key.endswith("floor")
            },
        }
        for name, entry in entries.items()
    }
    names = list(dict.fromkeys(key for each in found.values() for key in each))
    rows = [
        {"setting": Cell(key), **{method: text(each.get(key, "")) for method, each in found.items()}} for key in names
    ]
    yield table("Settings of every method", rows, "Options of the method first, then numbers of its schedules.")


def _statuses(groups: Sequence[Group]) -> Iterator[Text | Table]:
    entries = {entry.name: entry for group in groups for entry in group.entries}
    rows = []
    for name, entry in entries.items():
        failed, _ = plots.failures(entry.data, _shared.LONGEST_TABLE)
        rows += [{"method": Cell(name), **_shared.failed_run(one)} for one in failed]
    count = sum(entry.data.sizes["seed"] for entry in entries.values())
    if not rows:
        yield Text(f"All {count:,} runs ended healthy.", True)
        return
    yield Text(f"{len(rows):,} of {count:,} runs diverged; they enter every statistic as +inf.", False)
    yield table("Runs that failed", rows, is_long_text=True)

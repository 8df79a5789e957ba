"""What several kinds of page share: thinned curves, who failed, where the numbers come from."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hfac import __version__, plots
from hfac.pages._page import (
    Cell,
    Chart,
    Code,
    Line,
    Origin,
    Part,
    Reference,
    Section,
    Table,
    Text,
    cell,
    numbers,
    table,
)
from hfac.plots import Curve, Failure
from hfac.settings import only_in_python
from hfac.statistics import Interval

if TYPE_CHECKING:
    import xarray

MOST_POINTS, FEWEST_POINTS = 400, 40  # of a line
POINTS_OF_A_CHART = 120_000  # of all its lines
SHOWN_AT_FIRST = 24  # lines; a reader turns others on
LONGEST_TABLE = 200  # runs that failed
MOST_PAIRS = 120  # of samples in a table


def kept(num_points: int, num_lines: int = 1, most: int = MOST_POINTS) -> np.ndarray:
    """Indices of the points that a line of a chart keeps, both ends among them."""
    most = max(FEWEST_POINTS, min(most, POINTS_OF_A_CHART // max(num_lines, 1)))
    return np.unique(np.round(np.linspace(0, num_points - 1, min(num_points, most))).astype(int))


def line(name: str, clock: np.ndarray, interval: Interval, **options: Any) -> Line:
    """A curve with its interval; where the estimate is not finite it has a gap."""
    low, high = numbers(interval.low), numbers(interval.high)
    return Line(name, numbers(clock), numbers(interval.estimate), low, high, **options)


def curves(found: Sequence[tuple[str, Curve]]) -> tuple[Line, ...]:
    """A line for every curve; the first ones are shown at first."""
    return tuple(
        line(f"{name}{curve.diverged}", curve.clock, curve.interval, is_shown=index < SHOWN_AT_FIRST)
        for index, (name, curve) in enumerate(found)
    )


def measures(
    data: "xarray.Dataset",
    titles: Mapping[str, str],
    clock: str,
    start: str,
    note: str = "",
    is_small: bool = False,
) -> Iterator[Chart]:
    """A chart of every measure that is there: a line for each configuration, and where the first record point stands.

    Args:
      data: recorded.
      titles: of variables.
      clock: what samples are called; "step" draws against steps.
      start: name of the reference line.
      note: below every chart.
      is_small: several charts stand beside each other.
    """
    picks = plots.configurations(data)
    there = {name: title for name, title in titles.items() if name in data}
    own = data.isel(step=kept(data.sizes["step"], len(picks) * (len(there) if is_small else 1)))
    for name, title in there.items():
        found = [(plots.describe(own, pick), plots.curve(own.isel(pick), name)) for pick in picks]
        if clock == "step":
            found = [(label, curve._replace(clock=own["step"].values)) for label, curve in found]
        first = float(own[name].isel(step=0).mean())
        known = (Reference(f"{start}, {first:.3g}", first),) if math.isfinite(first) else ()
        words = f"{shown_note(len(found))}{note}"
        yield Chart(title[0].upper() + title[1:], clock, title, curves(found), known, note=words, is_small=is_small)


def before_and_after(
    rows: Sequence[Mapping[str, Any]], owners: Sequence[str], first: str, whole: str
) -> Iterator[Part]:
    """What was written before and after from the same random numbers, and the scores of both.

    Args:
      rows: with before, after, score_before, score_after.
      owners: what else of a row is shown, in front.
      first: a sentence on them.
      whole: name of the file with all of them.
    """
    yield Text(first)
    keep = kept(len(rows), most=MOST_PAIRS)
    cells = []
    for row in (rows[i] for i in keep):
        found = {name: Cell(row[name]) if isinstance(row[name], str) else cell(row[name]) for name in owners}
        for name in ("before", "after"):
            score = row[f"score_{name}"]
            found |= {f"score {name}": cell(score, f"{score:+.2f}"), name: Cell(row[name])}
        change = row["score_after"] - row["score_before"]
        cells.append(found | {"change": cell(change, f"{change:+.2f}")})
    left = f"{len(keep):,} of {len(rows):,} pairs; {whole} holds all." if len(keep) < len(rows) else ""
    yield table("Samples", cells, left, is_long_text=True)


def shown_note(count: int) -> str:
    """Says that not all lines are shown, if so."""
    if count <= SHOWN_AT_FIRST:
        return ""
    return f"The first {SHOWN_AT_FIRST} of {count:,} lines are shown; the buttons below turn others on. "


def statuses(*every: "xarray.Dataset") -> Section:
    """How many runs ended well, and which did not, at which step and why."""
    count = sum(data["status"].isel(step=-1).size for data in every)
    found = [plots.failures(data, LONGEST_TABLE) for data in every]
    num_failed = sum(num for _, num in found)
    failed = [one for each, _ in found for one in each][:LONGEST_TABLE]
    if not failed:
        return Section("Status of the runs", (Text(f"All {count:,} runs ended healthy.", True),))
    words = f"{count - num_failed:,} of {count:,} runs ended healthy, {num_failed:,} diverged or were stopped. "
    words += "A run that diverged is frozen and enters every statistic as +inf."
    rows = [{"configuration": Cell(one.configuration), **failed_run(one)} for one in failed]
    more = f"{num_failed - len(failed):,} more are not listed." if num_failed > len(failed) else ""
    return Section("Status of the runs", (Text(words, False), table("Runs that failed", rows, more, True)))


def failed_run(one: Failure) -> dict[str, Cell]:
    """Cells of a run that failed."""
    return {
        "seed": cell(one.seed, str(one.seed)),
        "first bad step": cell(one.step, f"{one.step:,}"),
        "why, and what to try": Cell(one.meaning),
    }


def origin(configuration: Mapping[str, Any], attributes: Mapping[str, Any], again: str = "") -> Origin:
    """Where numbers come from.

    Args:
      configuration: as config.json holds it.
      attributes: of the results: date, versions, device, seconds.
      again: command that reproduces them; the one that takes the configuration unless given.
    """
    if not again and (own := only_in_python(configuration)):
        again = f"hfac.runs.resume('.', {', '.join(f'{kind}=...' for kind in own)})  # in Python, with one's own"
    return Origin(
        again or f"hfac {configuration['command']} --config config.json",
        tuple(_flat(configuration)),
        tuple(_flat({"hfac": configuration.get("version", __version__), **attributes})),
        json.dumps(dict(configuration), indent=2, default=str),
    )


def _flat(content: Mapping[str, Any], owner: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        elif value not in (None, [], ()):
            words = " ".join(map(_words, value)) if isinstance(value, list | tuple) else _words(value)
            yield f"{owner}{key}".replace("_options.", ".").replace("_", " "), words


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def provenance(origin: Origin) -> tuple[Section, ...]:
    """Settings, and where the numbers come from."""
    settings = Table("Every setting", ("setting", "value"), _pairs(origin.settings), is_long_text=True)
    source = Table("Versions, machine and date", ("what", "value"), _pairs(origin.attributes), is_long_text=True)
    again = Code("Command that reproduces it, in its folder", origin.again)
    whole = Code("Configuration", origin.configuration, is_folded=True)
    return (Section("Settings", (settings,)), Section("Where the numbers come from", (again, whole, source)))


def _pairs(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple((Cell(name), Cell(value)) for name, value in pairs)

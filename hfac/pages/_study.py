"""The page of a study that is no single run: its tables as they are printed, curves of its arms."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hfac import plots
from hfac.judging import OBJECTIVE
from hfac.pages import _shared
from hfac.pages._page import Cell, Chart, Origin, Page, Part, Reference, Section, Table, table, text

if TYPE_CHECKING:
    import xarray


def study(name: str, headline: str, parts: Mapping[str, Sequence[Part]], origin: Origin) -> Page:
    """A study.

    Args:
      name: of the study.
      headline: what was run and what came out, in one sentence.
      parts: heading -> what stands under it.
      origin: of the numbers.
    """
    sections = tuple(Section(title, tuple(under)) for title, under in parts.items())
    return Page(name, name, headline, (), (*sections, *_shared.provenance(origin)))


def printed(title: str, rows: Sequence[Mapping[str, Any]], note: str = "") -> Table:
    """A table as it is printed; a cell that begins with a number is sorted by it."""
    return table(title, [{key: _beginning(value) for key, value in row.items()} for row in rows], note)


def _beginning(value: Any) -> Cell:
    words = str(value)
    first = text(words.split()[0]) if words.strip() else Cell("")
    return Cell(words, first.value)


def curves(
    title: str,
    labels: tuple[str, str],
    arms: "Mapping[str, xarray.Dataset]",
    references: Mapping[str, float],
    clock: "Callable[[xarray.Dataset], np.ndarray] | None" = None,
    is_y_log: bool = False,
    measure: str = OBJECTIVE,
) -> Chart:
    """The objective of several arms, or another measure, interquartile mean and interval over seeds.

    Args:
      title: of the chart.
      labels: of x and y.
      arms: name -> judged, dimensions seed and step.
      references: label -> level.
      clock: x of every record [T]; samples, or steps where none are counted, unless given.
      is_y_log: whether y is logarithmic at first.
      measure: name of the variable.
    """
    found = []
    for name, data in arms.items():
        kept = _shared.kept(data.sizes["step"], len(arms))
        one = plots.curve(data.isel(step=kept), measure)
        found.append((name, one if clock is None else one._replace(clock=np.asarray(clock(data))[kept])))
    levels = tuple(Reference(f"{label}, {value:.4g}", float(value)) for label, value in references.items())
    count = next(iter(arms.values())).sizes["seed"]
    note = f"Interquartile mean and 95 % bootstrap interval over {count} seeds."
    return Chart(title, *labels, _shared.curves(found), levels, is_x_log=True, is_y_log=is_y_log, note=note)

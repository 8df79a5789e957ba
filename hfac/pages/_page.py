"""A page as values: plain numbers and texts, which say nothing of how they are shown."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Number = float | None  # None where there is no finite value


class Line(NamedTuple):
    """A curve, or points without one, with its interval where it has one.

    Kinds: curve, points, mark (one point that counts), trail (thin, without marks), tracks (thin, with marks), guide
    (dotted, such as a theory's slope).
    """

    name: str
    x: tuple[Number, ...]
    y: tuple[Number, ...]  # None parts the curve
    low: tuple[Number, ...] = ()
    high: tuple[Number, ...] = ()
    kind: str = "curve"
    is_shown: bool = True  # at first
    words: tuple[str, ...] = ()  # of every point, in place of its interval


class Reference(NamedTuple):
    """A labelled horizontal line."""

    name: str
    value: float


class Chart(NamedTuple):
    """Lines over one pair of axes."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    references: tuple[Reference, ...] = ()
    is_x_log: bool = False
    is_y_log: bool = False
    window: tuple[float, float] | None = None  # of x, shaded
    note: str = ""
    is_small: bool = False  # whether it stands beside others


class Bars(NamedTuple):
    """Labelled shares; one may be marked."""

    title: str
    x_label: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    marked: str = ""
    note: str = ""
    is_small: bool = True


class Panel(NamedTuple):
    """A grid at one record point; rows of cells, first row on top."""

    title: str
    field: tuple[tuple[Number, ...], ...]
    visits: tuple[tuple[float, ...], ...]  # share of time in every cell
    drift: tuple[tuple[tuple[float, float], ...], ...]  # mean move (down, right) of the policy


class Heatmap(NamedTuple):
    """A field on a grid at several record points, with what the policy does there."""

    title: str
    label: str  # of the field
    panels: tuple[Panel, ...]
    marks: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]  # what is marked -> cells (row, column)
    limits: tuple[float, float]  # of the field, the same for all panels
    note: str = ""


class Cell(NamedTuple):
    """What a table shows, and the number that it is sorted by where it is one; nan comes last."""

    text: str
    value: float | None = None


class Table(NamedTuple):
    """Rows under named columns; it can be sorted by every column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    is_long_text: bool = False  # whether cells are sentences


class Text(NamedTuple):
    """A paragraph."""

    text: str
    is_good: bool | None = None  # marked as good or bad news


class Code(NamedTuple):
    """Lines as they would be typed, which a button copies."""

    title: str
    text: str
    is_folded: bool = False  # until it is asked for


Part = Chart | Bars | Heatmap | Table | Text | Code


class Section(NamedTuple):
    """Parts under a heading."""

    title: str
    parts: tuple[Part, ...]


class Fact(NamedTuple):
    """A number that a reader looks for first."""

    label: str
    value: str
    detail: str = ""


class Page(NamedTuple):
    """A report on one folder."""

    kind: str  # such as "hfac sweep"
    title: str  # of the window
    headline: str  # what was run and what came out, in one sentence
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]


class Origin(NamedTuple):
    """Where the numbers of a page come from."""

    again: str  # the command line that reproduces them
    settings: tuple[tuple[str, str], ...]  # every setting of the run
    attributes: tuple[tuple[str, str], ...]  # date, versions, device, seconds
    configuration: str  # as the folder holds it


def number(value: float) -> Number:
    """A value of five digits, None where it is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def numbers(values: Iterable[float]) -> tuple[Number, ...]:
    """Values of five digits, None where they are not finite."""
    return tuple(number(float(value)) for value in values)


def text(value: object) -> Cell:
    """A cell of words; what reads as a number is sorted as one."""
    words = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    try:
        return Cell(words, float(words.replace(",", "")))
    except ValueError:
        return Cell(words)


def cell(value: float, words: str | None = None) -> Cell:
    """A cell of a number, shown in words of its own or with four digits."""
    return Cell(f"{value:.4g}" if words is None else words, float(value))


def table(title: str, rows: Sequence[dict[str, Cell]], note: str = "", is_long_text: bool = False) -> Table:
    """A table of rows that all have the columns of the first."""
    columns = tuple(rows[0]) if rows else ()
    return Table(title, columns, tuple(tuple(row[name] for name in columns) for row in rows), note, is_long_text)

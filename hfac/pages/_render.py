"""A page as one HTML file that needs nothing else: styles, scripts, the plotting library and the numbers are in it."""

import functools
import html
import importlib.resources
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from hfac._errors import InputError
from hfac.pages._page import Bars, Cell, Chart, Code, Heatmap, Line, Page, Section, Table, Text

NAMED_IN_LABEL = 8  # lines of a chart whose ends its label says
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def render(page: Page) -> str:
    """The page as HTML; every text of it is escaped.

    Raises:
      InputError: if the plotting library is not installed.
    """
    plotly, style, script = plotting_library(), _packaged("page.css"), _packaged("page.js")
    sections = [section for section in page.sections if section.parts]
    numbered = _Numbers()
    body = "\n".join(_section(section, numbered) for section in sections)
    links = "".join(f'<li><a href="#{_anchor(s.title)}">{_safe(s.title)}</a></li>' for s in sections)
    facts = "".join(
        f"<div><dt>{_safe(fact.label)}</dt><dd>{_safe(fact.value)}"
        f"{f'<small>{_safe(fact.detail)}</small>' if fact.detail else ''}</dd></div>"
        for fact in page.facts
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{_safe(page.title)}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<p class="kind">{_safe(page.kind)}</p>
<h1>{_safe(page.headline)}</h1>
<dl class="facts">{facts}</dl>
</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main id="content" tabindex="-1">
<noscript><p class="text">The charts need JavaScript; the tables do not, but for sorting.</p></noscript>
{body}
</main>
<footer><p>Written by <code>hfac report --html</code>. Everything is in this file; it asks no network.</p></footer>
<p id="live" class="unseen" role="status" aria-live="polite"></p>
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""


def plotting_library() -> str:
    """Plotly's script.

    Raises:
      InputError: if plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise InputError("--html needs plotly, which is not installed; `pip install plotly` gets it") from None
    script: str = get_plotlyjs()
    return script


@functools.cache
def _packaged(name: str) -> str:
    return importlib.resources.files("hfac.pages").joinpath(name).read_text(encoding="utf-8")


class _Numbers:
    """Counts the parts of a page."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last += 1
        return self._last


def _safe(text: str) -> str:
    return html.escape(text, quote=True)


def _anchor(title: str) -> str:
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in title.lower()).split())


def _section(section: Section, numbers: _Numbers) -> str:
    anchor = _anchor(section.title)
    pieces, small = [], []
    for part in section.parts:
        drawn = WRITERS[type(part)](part, f"part-{numbers.next()}")
        if getattr(part, "is_small", False):
            small.append(drawn)
            continue
        pieces += _side_by_side(small) + [drawn]
        small = []
    pieces += _side_by_side(small)
    inside = "\n".join(pieces)
    return f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{_safe(section.title)}</h2>\n{inside}\n</section>'


def _side_by_side(small: Sequence[str]) -> list[str]:
    return [f'<div class="beside">\n{"".join(small)}\n</div>'] if small else []


def _text(part: Text, _: str) -> str:
    kind = {None: "text", True: "text good", False: "text bad"}[part.is_good]
    return f'<p class="{kind}">{_safe(part.text)}</p>'


def _code(part: Code, name: str) -> str:
    inside = (
        f'<pre id="{name}" tabindex="0" role="region" aria-label="{_safe(part.title)}"><code>{_safe(part.text)}</code>'
        f'</pre><button type="button" class="copy" data-copy="{name}" aria-label="Copy: {_safe(part.title)}">Copy'
        "</button>"
    )
    if part.is_folded:
        return f'<details class="code"><summary>{_safe(part.title)}</summary>{inside}</details>'
    return f'<div class="code"><h3>{_safe(part.title)}</h3>{inside}</div>'


def _table(part: Table, name: str) -> str:
    is_number = [_is_number([row[i] for row in part.rows]) for i in range(len(part.columns))]
    head = "".join(
        f'<th scope="col" aria-sort="none"{_numeric(is_number[i])}><button type="button" data-column="{i}">'
        f'{_safe(column)}<span class="arrow" aria-hidden="true"></span></button></th>'
        for i, column in enumerate(part.columns)
    )
    rows = "\n".join(
        "<tr>" + "".join(_cell(cell, is_number[i], i == 0) for i, cell in enumerate(row)) + "</tr>" for row in part.rows
    )
    note = f'<p class="note">{_safe(part.note)}</p>' if part.note else ""
    kind = "sortable sentences" if part.is_long_text else "sortable"
    return (
        f'<h3 id="{name}">{_safe(part.title)}</h3>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}">\n<table class="{kind}">\n'
        f'<caption class="unseen">{_safe(part.title)}; a button in every column head sorts by it</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>{note}"
    )


def _is_number(column: Sequence[Cell]) -> bool:
    """Whether most of what a column says are numbers: they stand to the right and are sorted as such."""
    said = [cell for cell in column if cell.text]
    return 2 * sum(cell.value is not None for cell in said) > len(said)


def _numeric(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _cell(cell: Cell, is_number: bool, is_head: bool) -> str:
    value = "" if cell.value is None else f' data-value="{_javascript(cell.value)}"'
    tag = 'th scope="row"' if is_head else "td"
    return f"<{tag}{_numeric(is_number)}{value}>{_safe(cell.text)}</{tag.split()[0]}>"


def _javascript(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return repr(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _chart(part: Chart, name: str) -> str:
    xs = list(dict.fromkeys(line.x for line in part.lines))
    where = {x: i for i, x in enumerate(xs)}
    lines = [_compact(line) | {"x": where[line.x]} for line in part.lines]
    content = part._asdict() | {"lines": lines, "xs": xs, "references": [r._asdict() for r in part.references]}
    return _figure(part, name, "chart", content, _label(part), f'<div class="plot" role="img" id="{name}"></div>')


def _compact(line: Line) -> dict[str, Any]:
    """A line without what says nothing."""
    return {key: value for key, value in line._asdict().items() if key != "x" and value not in ((), "curve", True)}


def _bars(part: Bars, name: str) -> str:
    ends = "; ".join(f"{bar} {value:.3g}" for bar, value in zip(part.names, part.values, strict=True))
    label = f"{part.title}. Bars of {part.x_label}: {ends}."
    return _figure(part, name, "bars", part._asdict(), label, f'<div class="plot" role="img" id="{name}"></div>')


def _heatmap(part: Heatmap, name: str) -> str:
    panels = "".join(
        f'<div class="panel"><h4>{_safe(panel.title)}</h4><div class="plot" role="img" id="{name}-{i}" '
        f'aria-label="{_safe(_panel_label(part, i))}"></div></div>'
        for i, panel in enumerate(part.panels)
    )
    low, high = (f"{value:.3g}" for value in part.limits)
    scale = (
        f'<p class="scale"><span>{_safe(part.label)}</span> <span>{low}</span>'
        f'<span class="ramp" aria-hidden="true"></span><span>{high}</span></p>'
    )
    content = part._asdict() | {"panels": [panel._asdict() for panel in part.panels]}
    return _figure(part, name, "heatmap", content, "", f'<div class="panels">{panels}</div>{scale}')


def _panel_label(part: Heatmap, index: int) -> str:
    panel = part.panels[index]
    visits = [(v, (r, c)) for r, row in enumerate(panel.visits) for c, v in enumerate(row)]
    share, (row, column) = max(visits)
    field = [(v, (r, c)) for r, each in enumerate(panel.field) for c, v in enumerate(each) if v is not None]
    most = "nothing anywhere"
    if field:
        value, (at_row, at_column) = max(field)
        most = f"at most {value:.3g}, in row {at_row + 1}, column {at_column + 1}"
    return (
        f"{panel.title}. Grid of {len(panel.field)} rows and {len(panel.field[0])} columns. {part.label}: {most}. "
        f"The policy is most often in row {row + 1}, column {column + 1}: {share:.0%} of its time."
    )


def _figure(part: Chart | Bars | Heatmap, name: str, kind: str, content: Any, label: str, inside: str) -> str:
    """A figure whose controls and data table the script fills in."""
    labelled = inside.replace('role="img"', f'role="img" aria-label="{_safe(label)}"', 1) if label else inside
    note = f"<figcaption>{_safe(part.note)}</figcaption>" if part.note else ""
    return (
        f'<figure data-kind="{kind}" data-name="{name}" aria-labelledby="{name}-title">\n'
        f'<h3 id="{name}-title">{_safe(part.title)}</h3>\n'
        f'<div class="controls" role="group" aria-label="{_safe(f"Axes and marks of: {part.title}")}"></div>\n'
        f'{labelled}\n<div class="legend" role="group" aria-label="{_safe(f"Lines of: {part.title}")}"></div>\n{note}\n'
        f'<details class="data"><summary>Data as a table<span class="unseen">: {_safe(part.title)}</span></summary>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_safe(f"Data of: {part.title}")}"></div>'
        f'</details>\n<script type="application/json" id="{name}-data">{_json(content)}</script>\n</figure>'
    )


def _json(content: Any) -> str:
    """JSON that no HTML parser reads anything into."""
    dense = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return dense.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _label(chart: Chart) -> str:
    """What a chart shows, in words: where its lines end, and what they are compared with."""
    ends = [words for line in chart.lines if line.is_shown and (words := _end(line))]
    more = f"; and {len(ends) - NAMED_IN_LABEL} more lines" if len(ends) > NAMED_IN_LABEL else ""
    words = f"{chart.title}. {chart.y_label} against {chart.x_label}. "
    words += "; ".join(ends[:NAMED_IN_LABEL]) + more + "." if ends else "No line has finite values."
    return words + "".join(f" Dashed: {reference.name}." for reference in chart.references)


def _end(line: Line) -> str:
    there = [i for i, value in enumerate(line.y) if value is not None]
    if not there:
        return f"{line.name}: no finite value"
    last = there[-1]
    if line.kind == "points" or line.kind == "tracks":
        values = [line.y[i] for i in there]
        return f"{line.name}: {len(there)} points between {min(values):.4g} and {max(values):.4g}"  # type: ignore[type-var,str-format]
    words = f"{line.name} ends at {line.y[last]:.4g}"
    if line.low and line.low[last] is not None:
        high = line.high[last]
        words += f" [{line.low[last]:.4g}, {'infinity' if high is None else f'{high:.4g}'}]"
    return words


WRITERS: dict[type, Callable[[Any, str], str]] = {
    Text: _text,
    Code: _code,
    Table: _table,
    Chart: _chart,
    Bars: _bars,
    Heatmap: _heatmap,
}

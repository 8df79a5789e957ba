"""The page of a rate measurement: curves over the window of the fit, exponents beside the theory's."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hfac import diagnostics, plots, statistics
from hfac.diagnostics import Fit
from hfac.pages import _shared
from hfac.pages._page import Cell, Chart, Fact, Line, Origin, Page, Section, Table, Text, cell, numbers, table
from hfac.schedules import Balance

if TYPE_CHECKING:
    import xarray

PANELS = {True: "Upper level", False: "Residuals of the lower level and the critics"}


class Measured(NamedTuple):
    """The rates of one configuration."""

    words: str
    data: "xarray.Dataset"  # judged, dimensions seed and step
    balance: Balance
    fits: Sequence[Fit]


def rates(
    every: "Sequence[xarray.Dataset]",
    measured: Sequence[Measured],
    window: tuple[float, float],
    name: str,
    method: str,
    origin: Origin,
) -> Page:
    """Measured rates.

    Args:
      every: judged, all configurations.
      measured: every configuration.
      window: first and last step of the fits.
      name: of the problem.
      method: that was run.
      origin: of the numbers.
    """
    data = every[0]
    seeds = data.sizes["seed"]
    shown = next((fit for fit in measured[0].fits if fit.predicted is not None), measured[0].fits[0])
    first = f" ({measured[0].words})" if len(measured) > 1 else ""
    theory = "" if shown.predicted is None else f"; the theory's exponent is {shown.predicted:+.3f}: {shown.verdict}"
    headline = (
        f"{method} ran {int(data['step'][-1]):,} steps on {name} with {seeds} seeds{first}; the {shown.meaning} falls "
        f"as k to the power {shown.slope.format(3)}{theory}."
    )
    sections = [
        Section(
            "Measured rates" if len(measured) == 1 else f"Configuration {i + 1}: {one.words}",
            (Text(f"Schedules: {one.words}. Theory: {one.balance}."), _table(one.fits), *_charts(one, window)),
        )
        for i, one in enumerate(measured)
    ]
    value, _, spread = shown.slope.format(3).partition(" ")
    facts = [Fact(f"Exponent of the {shown.meaning.partition(' |')[0]}", value, spread)]
    if shown.predicted is not None:
        facts.append(Fact("Theory's exponent", f"{shown.predicted:+.3f}", shown.verdict))
    facts += [
        Fact("Window of the fit", f"{window[0]:,.0f} to {window[1]:,.0f}", "steps"),
        Fact("Seeds", f"{seeds:,}", f"{len(measured)} configuration{'s' if len(measured) > 1 else ''}"),
    ]
    return Page(
        kind="hfac rates",
        title=f"Rates of {method} on {name}",
        headline=headline,
        facts=tuple(facts),
        sections=(*sections, _shared.statuses(*every), *_shared.provenance(origin)),
    )


def _table(fits: Sequence[Fit]) -> Table:
    rows = []
    for fit in fits:
        slope = float(fit.slope.estimate)
        spread = f"{float(fit.slope.low):+.3f} to {float(fit.slope.high):+.3f}"
        is_there = np.isfinite(slope)
        rows.append(
            {
                "quantity": Cell(fit.meaning),
                "exponent of k": cell(slope, f"{slope:+.3f}" if is_there else "no slope"),
                "95 % interval": cell(float(fit.slope.low), spread if is_there else ""),
                "theory": Cell("") if fit.predicted is None else cell(fit.predicted, f"{fit.predicted:+.3f}"),
                "verdict": Cell(fit.verdict),
            }
        )
    return table("Fitted exponents", rows, "Least squares in the logarithms over the window; theory: an upper bound.")


def _charts(one: Measured, window: tuple[float, float]) -> Iterator[Chart]:
    step = np.asarray(one.data["step"].values, float)[1:]
    values = diagnostics.series(one.data)
    kept = _shared.kept(len(step))
    for is_upper, title in PANELS.items():
        fits = [fit for fit in one.fits if (fit.quantity in plots.GRADIENTS) == is_upper]
        lines: list[Line] = []
        for fit in fits:
            interval = statistics.bootstrap(values[fit.quantity][kept], num_resamples=500)
            lines.append(_shared.line(fit.meaning, step[kept], interval))
        for fit in fits:
            if fit.predicted is not None:
                ends, heights = plots.theory_line(step, values[fit.quantity], fit.predicted, window)
                words = f"theory for the {fit.meaning.partition(' |')[0]}: k^{fit.predicted:.3g}"
                lines.append(Line(words, numbers(ends), numbers(heights), kind="guide"))
        yield Chart(
            title,
            "step k",
            "value",
            tuple(lines),
            is_x_log=True,
            is_y_log=True,
            window=window,
            note=f"Interquartile mean and 95 % interval over {one.data.sizes['seed']} seeds; window of the fit shaded.",
        )

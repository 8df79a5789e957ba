"""Figures of what a run and a problem are like: fitted rates, the lower level's condition, shares of the error."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hfac import diagnostics, statistics
from hfac.diagnostics import Diagnosis, Fit
from hfac.plots._style import COLORS, WIDTH, styled, subplots
from hfac.statistics import Interval

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "smallest": r"smallest $|\nabla\Phi_{\tau_k}(x_k)|^2$ so far",
    "average": r"running average of $|\nabla\Phi_{\tau_k}(x_k)|^2$",
    "judged": r"$|\nabla\Phi_{\tau}(x_k)|^2$ at the judged $\tau$",
    "judged_average": "its running average",
    "best_response_gap": r"$J_\tau(\pi^*)-J_\tau(\pi)$",
    "penalty_gap": r"$L(x,\hat\pi)-\min\,L$",
    "value_error": r"$|V-V^\pi|^2$",
    "value_pen_error": r"$|\hat V-V^{\hat\pi}|^2$",
    "leader_value_error": r"$|U-U^{\hat\pi}|^2$",
}
GRADIENTS = ("smallest", "average", "judged", "judged_average")


def rates(judged: "xarray.Dataset", fits: Sequence[Fit], window: tuple[float, float], title: str) -> "Figure":
    """Gradients and residuals against k, interquartile mean and 95 % band, the theory's slope dotted over the window.

    Args:
      judged: one configuration, judged by `hfac.diagnostics.metric`.
      fits: of `hfac.diagnostics.fit_rates`.
      window: first and last step of the fits, shaded.
      title: of the figure.
    """
    step = np.asarray(judged["step"].values, float)[1:]
    values = diagnostics.series(judged)
    panels = [[fit for fit in fits if (fit.quantity in GRADIENTS) == first] for first in (True, False)]
    with styled():
        figure, axes = subplots(1, 2, (WIDTH * 1.5, 4.8))
        for axis, shown in zip(axes, panels, strict=True):
            axis.axvspan(*window, color="0.94", zorder=0)
            for fit, color in zip(shown, COLORS, strict=False):
                _power_line(axis, step, values[fit.quantity], fit, color)
            axis.set(xscale="log", yscale="log", xlabel="step $k$")
            axis.legend(
                loc="upper left",
                bbox_to_anchor=(0, -0.16),
                fontsize=7.5,
                title="exponent of $k$, 95 % interval",
                title_fontsize=7.5,
                alignment="left",
            )
        for fit in panels[0]:
            if fit.predicted is not None:
                _theory_line(axes[0], step, values[fit.quantity], fit.predicted, window)
        axes[0].set_title("upper level", fontsize=9, loc="left")
        axes[1].set_title("residuals of the lower level and the critics", fontsize=9, loc="left")
        count = judged.sizes["seed"]
        wrapped = textwrap.fill(title, 130, break_on_hyphens=False, replace_whitespace=False)
        note = f"interquartile mean and 95 % interval, {count} seeds; window shaded"
        figure.suptitle(f"{wrapped}\n{note}", fontsize=8)
    return figure


def _power_line(axis: "Axes", step: np.ndarray, values: np.ndarray, fit: Fit, color: str) -> None:
    interval = statistics.bootstrap(values, num_resamples=500)
    shown = np.isfinite(interval.estimate) & (interval.estimate > 0)
    slope = fit.slope.format(2)
    axis.plot(step[shown], interval.estimate[shown], color=color, label=f"{LABELS[fit.quantity]}: {slope}")
    low, high = np.maximum(interval.low, np.finfo(float).tiny), interval.high
    high = np.where(np.isfinite(high), high, interval.estimate)
    axis.fill_between(step[shown], low[shown], high[shown], color=color, alpha=0.2, linewidth=0)


def theory_line(
    step: np.ndarray, values: np.ndarray, power: float, window: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the power law through the curve's value where the window begins: steps [2], values [2]."""
    begin = int(np.searchsorted(step, window[0]))
    anchor = float(statistics.interquartile_mean(values[begin]))
    ends = np.array([step[begin], window[1]])
    return ends, anchor * (ends / step[begin]) ** power


def _theory_line(axis: "Axes", step: np.ndarray, values: np.ndarray, power: float, window: tuple[float, float]) -> None:
    ends, heights = theory_line(step, values, power, window)
    axis.plot(ends, heights, color="0.2", linestyle=":", linewidth=1.3, zorder=5)
    axis.annotate(rf"theory: $k^{{{power:.3g}}}$", (ends[1], heights[1]),
                  xytext=(-2, 3), textcoords="offset points", ha="right", va="bottom", fontsize=7.5)  # fmt: skip


def diagnosis(found: Diagnosis, title: str, judge: float, settings: str) -> "Figure":
    """One page: the condition along the run and at random policies, curvature, slope of the answer, the error.

    Args:
      found: from `hfac.diagnostics.diagnose`.
      title: of the figure.
      judge: entropy weight of the judged gradient.
      settings: the schedules in words, for the caption.
    """
    with styled():
        figure, axes = subplots(2, 3, (WIDTH * 1.75, 6.2))
        panels = (_ratio_along, _scatter, _ratio_at_random, _spectrum, _slope)
        for axis, draw in zip(axes.ravel(), panels, strict=False):
            draw(axis, found)
        _shares(axes[1, 2], found, judge)
        caption = textwrap.fill(settings, 150, break_on_hyphens=False)
        figure.suptitle(f"{title}\n{found.verdict()}", fontsize=9)
        figure.supxlabel(caption, fontsize=7)
    return figure


def ratio_along(found: Diagnosis) -> tuple[np.ndarray, Interval]:
    """Steps [T] at which some seed's ratio says something, and its median, least and most over seeds there."""
    shown = (found.step > 0) & np.isfinite(found.along.ratio).any(1)
    ratio = found.along.ratio[shown]
    return found.step[shown], Interval(np.nanmedian(ratio, 1), np.nanmin(ratio, 1), np.nanmax(ratio, 1))


def _ratio_along(axis: "Axes", found: Diagnosis) -> None:
    step, ratio = ratio_along(found)
    axis.plot(step, ratio.estimate, color=COLORS[0], label="median over seeds")
    axis.fill_between(step, ratio.low, ratio.high, color=COLORS[0], alpha=0.2, lw=0, label="range")
    axis.axhline(found.needed, color="0.35", linestyle=":", linewidth=1.2, label="needed in a run of this length")
    axis.set(xscale="log", yscale="log", xlabel="step $k$", title=r"PL ratio $|\nabla J_\tau|^2/(\tau\,$gap$)$ along")
    axis.legend(fontsize=7)


class Scatter(NamedTuple):
    """Gradients against gaps."""

    gap: np.ndarray  # [P], along the run
    square: np.ndarray  # [P], |grad J_tau|^2 there
    ends: np.ndarray  # [2], smallest and largest gap
    bound: np.ndarray  # [2], what the condition asks for there, at the constant that holds along the run


def scatter(found: Diagnosis) -> Scatter:
    """Gradients against gaps along the run, and the line that the condition draws."""
    counts = np.isfinite(found.along.ratio)
    gap, square = np.asarray(found.along.gap)[counts], np.asarray(found.along.gradient_square)[counts]
    ends = np.array([gap.min(), max(gap.max(), found.at_random.gap.max())])
    return Scatter(gap, square, ends, found.constant * found.entropy * ends)


def _scatter(axis: "Axes", found: Diagnosis) -> None:
    axis.scatter(found.at_random.gap, found.at_random.gradient_square, s=9, color=COLORS[1], label="random policies")
    along = scatter(found)
    axis.scatter(along.gap, along.square, s=5, color=COLORS[0], label="along the run")
    axis.plot(
        along.ends,
        along.bound,
        color="0.35",
        linestyle="--",
        linewidth=1,
        label=rf"$C\,\tau\,$gap, $C={found.constant:.2g}$",
    )
    axis.set(
        xscale="log", yscale="log", xlabel=r"gap $J_\tau(\pi^*)-J_\tau(\pi)$", ylabel=r"$|\nabla_\theta J_\tau|^2$"
    )
    axis.legend(fontsize=7)


def _ratio_at_random(axis: "Axes", found: Diagnosis) -> None:
    axis.scatter(found.scales, found.at_random.ratio, s=9, color=COLORS[1])
    axis.axhline(found.constant, color=COLORS[0], linewidth=1.2, label="smallest along the run")
    axis.axhline(found.needed, color="0.35", linestyle=":", linewidth=1.2, label="needed in a run of this length")
    axis.set(xscale="log", yscale="log", xlabel="scale of random logits", title="PL ratio at random policies")
    axis.legend(fontsize=7)


def _spectrum(axis: "Axes", found: Diagnosis) -> None:
    for values, label, color in (
        (found.curvature, "last policy", COLORS[0]),
        (found.curvature_best, "best response", COLORS[2]),
    ):
        axis.plot(np.linspace(0, 1, len(values)), values, ".", markersize=3, color=color, label=label)
    scale = float(np.max(np.abs(found.curvature_best)))
    axis.set_yscale("symlog", linthresh=max(scale * 1e-5, np.finfo(float).tiny))
    axis.axhline(0, color="0.5", linewidth=0.8)
    axis.set(xlabel="rank", title=rf"eigenvalues of $-\nabla^2_\theta J_\tau$, $\tau={found.entropy:.2g}$")
    axis.legend(fontsize=7)


def _slope(axis: "Axes", found: Diagnosis) -> None:
    axis.plot(1 / found.taus, found.slopes, marker="o", markersize=4, color=COLORS[0])
    first = float(found.slopes[-1] * found.taus[-1])
    axis.plot(1 / found.taus, first / found.taus, color="0.35", linestyle=":", linewidth=1.2, label=r"$\propto 1/\tau$")
    axis.set(xscale="log", yscale="log", xlabel=r"$1/\tau$", title=r"slope of the answer $|d\pi^*_\tau/dx|$")
    axis.legend(fontsize=7)


def _shares(axis: "Axes", found: Diagnosis, judge: float) -> None:
    names = list(found.shares)
    colors = [COLORS[1] if name == found.limit else "0.7" for name in names]
    axis.barh(names, [found.shares[name] for name in names], color=colors)
    axis.axvline(0, color="0.3", linewidth=0.8)
    axis.invert_yaxis()
    axis.set(xlabel="shares, they add up to 1", title=rf"what is left of $\nabla\Phi_{{{judge:g}}}$ at the end")
    axis.grid(visible=False, axis="y")

"""Figures of what a run and a problem are like: fitted rates, the lower level's condition, shares of the error."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hfac import diagnostics, statistics
from hfac.diagnostics import Fit
from hfac.plots._style import COLORS, STYLE, WIDTH, pyplot

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
    plt = pyplot()
    step = np.asarray(judged["step"].values, float)[1:]
    values = diagnostics.series(judged)
    panels = [[fit for fit in fits if (fit.quantity in GRADIENTS) == first] for first in (True, False)]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(WIDTH * 1.5, 4.8))
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
        figure.suptitle(f"{title}\ninterquartile mean and 95 % interval, {count} seeds; window shaded", fontsize=8)
    return figure


def _power_line(axis: "Axes", step: np.ndarray, values: np.ndarray, fit: Fit, color: str) -> None:
    interval = statistics.bootstrap(values, num_resamples=500)
    shown = np.isfinite(interval.estimate) & (interval.estimate > 0)
    slope = statistics.format_interval(*(float(end) for end in fit.slope), digits=2)
    axis.plot(step[shown], interval.estimate[shown], color=color, label=f"{LABELS[fit.quantity]}: {slope}")
    low, high = np.maximum(interval.low, np.finfo(float).tiny), interval.high
    high = np.where(np.isfinite(high), high, interval.estimate)
    axis.fill_between(step[shown], low[shown], high[shown], color=color, alpha=0.2, linewidth=0)


def _theory_line(axis: "Axes", step: np.ndarray, values: np.ndarray, power: float, window: tuple[float, float]) -> None:
    """The power law through the curve's value where the window begins."""
    begin = int(np.searchsorted(step, window[0]))
    anchor = float(statistics.interquartile_mean(values[begin]))
    ends = np.array([step[begin], window[1]])
    axis.plot(ends, anchor * (ends / step[begin]) ** power, color="0.2", linestyle=":", linewidth=1.3, zorder=5)
    axis.annotate(rf"theory: $k^{{{power:.3g}}}$", (ends[1], anchor * (ends[1] / ends[0]) ** power),
                  xytext=(-2, 3), textcoords="offset points", ha="right", va="bottom", fontsize=7.5)  # fmt: skip

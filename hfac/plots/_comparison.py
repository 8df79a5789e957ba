"""Figures of methods beside each other and of the search for their settings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hfac import statistics
from hfac.comparison import Entry
from hfac.plots._runs import diverged_words
from hfac.plots._style import COLORS, WIDTH, new_figure, styled, subplots
from hfac.statistics import Interval
from hfac.tuning import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Track(NamedTuple):
    """A method's runs as far as the budget goes."""

    steps: np.ndarray  # [T]
    samples: np.ndarray  # [T], mean over seeds
    seconds: np.ndarray  # [T], of all seeds together: every step takes the same time
    interval: Interval  # [T], interquartile mean of the objective
    num_seeds: int
    diverged: str  # how many runs did, as the end of a label; empty where none did


def track(entry: Entry) -> Track:
    """What is drawn of a method."""
    data = entry.data.isel(judged_tau=0)
    steps = data["step"].values
    inside = np.arange(len(steps)) <= int(entry.ends().max())
    values = data["hyper_objective"].transpose("step", "seed").values
    interval = statistics.bootstrap(values[inside], num_resamples=500)
    samples, seconds = data["samples"].mean("seed").values, entry.seconds * steps / steps[-1]
    count = values.shape[1]
    words = diverged_words(entry.diverged(), count)
    return Track(steps[inside], samples[inside], seconds[inside], interval, count, words)


def comparison(
    entries: Sequence[Entry], title: str, tau: float, reference: float, target: float | None = None
) -> "Figure":
    """Methods beside each other: the objective against samples (or steps) and against seconds.

    Interquartile mean and 95 % bootstrap band over seeds. Seconds are those of all seeds run together, without
    compilation; every step of a method takes the same time.

    Args:
      entries: methods run on the same seeds, from `hfac.comparison.run`.
      title: of the figure.
      tau: entropy weight at which x was judged.
      reference: end of an exact descent.
      target: a level to mark, or None.
    """
    has_samples = all(entry.counts_samples for entry in entries)
    with styled():
        figure, axes = subplots(1, 2, (WIDTH * 1.3, 3.6), sharey=True)
        styles = ("-", "--", "-.")
        for k, entry in enumerate(entries):
            found = track(entry)
            interval = found.interval
            shown = (found.steps > 0) & np.isfinite(interval.estimate)
            label = entry.name + found.diverged
            look = {"color": COLORS[k % len(COLORS)], "linestyle": styles[k // len(COLORS) % len(styles)]}
            high = np.where(np.isfinite(interval.high), interval.high, interval.estimate)
            for axis, clock in zip(axes, (found.samples if has_samples else found.steps, found.seconds), strict=True):
                axis.plot(clock[shown], interval.estimate[shown], label=label, zorder=3 + (k == 0), **look)
                axis.fill_between(clock[shown], interval.low[shown], high[shown], color=look["color"], alpha=0.15, lw=0)
        for axis in axes:
            axis.axhline(reference, color="0.35", linestyle=":", linewidth=1.2, label=f"exact descent, {reference:.3f}")
            if target is not None:
                axis.axhline(target, color="0.7", linewidth=0.8, label=f"target, {target:.3f}")
            axis.set_xscale("log")
        axes[0].set(
            xlabel="environment samples" if has_samples else "steps", ylabel=rf"$\Phi_{{\tau}}$ at $\tau={tau:g}$"
        )
        axes[1].set_xlabel("seconds, all seeds together")
        count = entries[0].data.sizes["seed"]
        axes[0].set_title(f"{title}: interquartile mean and 95 % interval, {count} seeds", fontsize=9, loc="left")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7.5)
    return figure


def tracks(log: Sequence[Sequence[Trial]]) -> dict[int, list[Trial]]:
    """Every candidate's trials, rung by rung."""
    found: dict[int, list[Trial]] = {}
    for trial in (trial for rung in log for trial in rung):
        found.setdefault(trial.candidate, []).append(trial)
    return found


def ceiling(log: Sequence[Sequence[Trial]]) -> float:
    """Where the worst tenth of the first rung begins: what lies above is drawn there."""
    return float(np.quantile([t.objective for t in log[0] if np.isfinite(t.objective)] or [0.0], 0.9))


def searched(log: Sequence[Sequence[Trial]]) -> list[str]:
    """Numbers of the schedules that differ between candidates; one offset stands for all of them."""
    first = log[0][0].setting.rates
    names = [n for n in first if len({trial.setting.rates[n] for trial in log[0]}) > 1]
    return [n for n in names if not n.endswith("offset") or n == "upper.offset"]


def search(log: Sequence[Sequence[Trial]], title: str, tau: float) -> "Figure":
    """A search by successive halving: candidates' objectives as they go on, and against each axis of the schedules.

    Args:
      log: trials of every rung, from `hfac.tuning.tune` or `hfac.tuning.search`.
      title: of the figure.
      tau: entropy weight at which x was judged.
    """
    best, shown = log[-1][0], searched(log)
    columns = 4
    rows = -(-(len(shown) + 2) // columns)
    with styled():
        figure = new_figure(WIDTH * 1.35, 1.9 * rows)
        layout = figure.add_gridspec(rows, columns)
        halving = figure.add_subplot(layout[0, :2])
        colors = ("#B8C4CE", "#6FA8DC", "#0072B2", "#003A5D")
        highest, every = ceiling(log), tracks(log)
        for trials in every.values():
            seen = [(max(t.samples, t.steps), min(t.objective, highest)) for t in trials]
            color = colors[min(len(trials) - 1, len(colors) - 1)]
            halving.plot(
                *zip(*seen, strict=True), marker=".", markersize=4, linewidth=0.9, color=color, zorder=len(trials)
            )
        halving.plot(max(best.samples, best.steps), best.objective, "*", color=COLORS[1], markersize=11, zorder=9)
        halving.set(xscale="log", ylabel=rf"$\Phi_{{{tau:g}}}$", xlabel="samples of a run")
        halving.set_title(f"{title}: {len(every)} candidates, best {best.objective:.4f}", fontsize=9, loc="left")
        for k, name in enumerate(shown):
            axis = figure.add_subplot(layout[(k + 2) // columns, (k + 2) % columns], sharey=halving)
            for rung in log:
                r = rung[0].rung
                values = [t.setting.rates[name] for t in rung]
                heights = [min(t.objective, highest) for t in rung]
                axis.scatter(values, heights, s=7, color=colors[min(r, len(colors) - 1)], zorder=r)
            axis.plot(best.setting.rates[name], best.objective, "*", color=COLORS[1], markersize=9, zorder=9)
            if not name.endswith("power"):
                axis.set_xscale("log")
            axis.set_xlabel("offset" if name == "upper.offset" else name.replace(".scale", "").replace(".", " "))
            axis.tick_params(labelleft=(k + 2) % columns == 0)
    return figure

"""Figures: one function each, named in `FIGURES`. matplotlib is imported where it is used.

A new figure is one function ``(data, problem, references) -> Figure or None`` and one line in `FIGURES`; None where
the data has nothing to show.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from hfac import exact, statistics
from hfac.comparison import Entry
from hfac.problem import GridLayout, Problem
from hfac.tuning import Trial
from hfac.types import Status

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

References = Mapping[float, float]  # tau -> value of the exact descent
WIDTH = 6.4  # inches
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG and close it."""
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save_all(data: "xarray.Dataset", problem: Problem, references: References, folder: Path) -> list[Path]:
    """Draw every figure that applies into a folder, as PNG; returns the files written."""
    written = []
    for name, draw in FIGURES.items():
        with _pyplot().rc_context(STYLE):
            figure = draw(data, problem, references)
            if figure is None:
                continue
            save(figure, folder / f"{name}.png")
        written.append(folder / f"{name}.png")
    return written


def objective(data: "xarray.Dataset", problem: Problem, references: References) -> "Figure":
    """Phi_tau(x_k) against environment samples, one panel per judged tau and one line per schedule.

    Interquartile mean and 95 % bootstrap band over seeds; dashed, the end of an exact descent at that tau.
    """
    import matplotlib.pyplot as plt

    taus = np.asarray(data["judged_tau"])
    figure, axes = plt.subplots(len(taus), 1, figsize=(WIDTH, 3.4 * len(taus) + 0.4), sharex=True, squeeze=False)
    for i, (axis, tau) in enumerate(zip(axes[:, 0], taus, strict=True)):
        for index, pick in enumerate(configurations(data)):
            objective_line(axis, data.isel(pick).isel(judged_tau=i), describe(data, pick), COLORS[index % len(COLORS)])
        if float(tau) in references:
            label = f"exact descent, {references[float(tau)]:.4f}"
            axis.axhline(references[float(tau)], color="0.35", linestyle="--", linewidth=1.1, label=label)
        axis.set_ylabel(rf"$\Phi_{{\tau}}(x_k)$ at $\tau={tau:g}$")
        axis.set_xscale("log")
        axis.set_xlim(1, 2 * max(float(data["samples"].max()), float(data["step"].max()), 1.0))
        axis.legend(loc="lower left", fontsize=7.5, frameon=True, edgecolor="none", framealpha=0.9)
    count = data.sizes["seed"]
    axes[-1, 0].set_xlabel(
        "environment samples" if float(data["samples"].max()) > 0 else "steps (model-based: no samples)"
    )
    axes[0, 0].set_title(f"{problem.name}: interquartile mean and 95 % interval, {count} seeds", fontsize=9, loc="left")
    return figure


def objective_line(axis: "Axes", data: "xarray.Dataset", label: str, color: str) -> None:
    """One configuration at one judged tau: interquartile mean and band; diverged runs counted in the label."""
    values = data["hyper_objective"].transpose("step", "seed").values
    interval = statistics.bootstrap(values, num_resamples=500)
    samples = data["samples"].mean("seed").values
    ticks = samples if samples.max() > 0 else data["step"].values
    failed = int((data["status"].isel(step=-1) != Status.OK).sum())
    label += f" ({failed} of {data.sizes['seed']} diverged)" if failed else ""
    shown = (ticks > 0) & np.isfinite(interval.estimate)
    axis.plot(ticks[shown], interval.estimate[shown], color=color, label=label)
    high = np.where(np.isfinite(interval.high), interval.high, interval.estimate)
    axis.fill_between(ticks[shown], interval.low[shown], high[shown], color=color, alpha=0.2, linewidth=0)


def grid(data: "xarray.Dataset", problem: Problem, references: References) -> "Figure | None":
    """The leader's field, the induced policy and its visitation at the first, a middle and the last record point.

    Of the configuration that ends best, the seed whose end is the median one. None for problems without a grid.
    """
    del references
    import matplotlib.pyplot as plt

    layout = problem.layout
    if layout is None:
        return None
    tau = float(data["judged_tau"].min())
    judged = data["hyper_objective"].sel(judged_tau=tau)
    picks = configurations(data)
    means = [float(statistics.interquartile_mean(judged.isel(pick).isel(step=-1).values)) for pick in picks]
    best = picks[int(np.argmin(means))]
    order = np.argsort(judged.isel(best).isel(step=-1).values)
    run = data.isel(best).isel(seed=int(order[(len(order) - 1) // 2]))
    values = run["hyper_objective"].sel(judged_tau=tau).values
    is_healthy = bool(np.isfinite(values).all())
    middle = int(np.argmin(np.abs(values - (values[0] + values[-1]) / 2))) if is_healthy else len(values) // 2
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH * 1.5, 3.5))
    fields = [np.asarray(layout.field(run["x"].isel(step=t).values)) for t in (0, middle, -1)]
    limits = (min(float(field[field > 0].min()) for field in fields), max(float(field.max()) for field in fields))
    respond = jax.jit(lambda x: exact.best_response(problem, x, tau))
    image = None
    for axis, t, field in zip(axes, (0, middle, -1), fields, strict=True):
        pi = np.asarray(respond(run["x"].isel(step=t).values))
        image = _grid_panel(axis, layout, field, pi, np.asarray(exact.visitation(problem, pi)), limits)
        axis.set_title(f"step {int(run['step'][t]):,}: $\\Phi_{{{tau:g}}}$ = {values[t]:.3f}", fontsize=9)
    assert image is not None
    figure.colorbar(image, ax=axes, label=layout.field_label, shrink=0.85, pad=0.01)
    caption = f"{describe(data, best)}, seed {int(run['seed'])}\n"
    caption += (
        f"arrows: best response at $\\tau={tau:g}$; circles: its visitation (area); hatched: hazards; framed: landmark"
    )
    figure.supxlabel(caption, fontsize=8)
    return figure


def _grid_panel(axis: "Axes", layout: GridLayout, field: Any, pi: Any, visits: Any, limits: tuple[float, float]) -> Any:
    from matplotlib.colors import LogNorm

    rows, columns = layout.shape
    norm = LogNorm(limits[0], max(limits[1], 1.01 * limits[0]))
    shown = np.where(field > 0, field, np.nan).reshape(rows, columns)
    image = axis.imshow(shown, cmap="Blues", norm=norm, interpolation="nearest", alpha=0.85)
    row, column = np.divmod(np.arange(rows * columns), columns)
    colors = {"landmark": "#009E73", "hazard": "#444444"}
    for label, states in layout.marks.items():
        for state in states:
            is_hazard = label == "hazard"
            axis.add_patch(_cell(column[state], row[state], colors.get(label, "#CC79A7"), is_hazard))
    axis.scatter(column, row, s=900 * visits, facecolors="none", edgecolors="#D55E00", linewidths=0.9, zorder=3)
    moves = np.asarray(layout.moves, float)
    drift = pi @ moves  # mean displacement (row, column)
    axis.quiver(
        column, row, drift[:, 1], drift[:, 0], angles="xy", scale_units="xy", scale=2.0, width=0.005,
        color="0.15", pivot="mid", zorder=4,
    )  # fmt: skip
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    return image


def _cell(column: int, row: int, color: str, is_hazard: bool) -> Any:
    from matplotlib.patches import Rectangle

    hatch = "////" if is_hazard else None
    width = 0.0 if is_hazard else 2.2
    return Rectangle(
        (column - 0.5, row - 0.5),
        1,
        1,
        fill=False,
        hatch=hatch,
        edgecolor=color,
        linewidth=width,
        alpha=0.6 if is_hazard else 1,
    )


def configurations(data: "xarray.Dataset") -> list[dict[str, int]]:
    """Every configuration of a sweep as an index into its dimensions."""
    dims = [str(dim) for dim in data["status"].dims if dim not in ("seed", "step")]
    sizes = [data.sizes[dim] for dim in dims]
    return [dict(zip(dims, where, strict=True)) for where in np.ndindex(*sizes)]


def describe(data: "xarray.Dataset", pick: Mapping[str, int]) -> str:
    """A configuration in words, such as "entropy 0.01, entropy power 0"."""
    parts = []
    for dim, i in pick.items():
        for name, coordinate in data.coords.items():
            if coordinate.dims == (dim,):
                words = str(name).replace(".scale", "").replace(".", " ")
                parts.append(f"{words} {float(coordinate[i]):.4g}")
    return ", ".join(parts) or str(data.attrs.get("settings", "one schedule"))


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
    plt = _pyplot()
    has_samples = all(entry.counts_samples for entry in entries)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(WIDTH * 1.3, 3.6), sharey=True)
        styles = ("-", "--", "-.")
        for k, entry in enumerate(entries):
            data = entry.data.isel(judged_tau=0)
            steps = data["step"].values
            samples = data["samples"].mean("seed").values
            last = int(entry.ends().max()) + 1
            values = data["hyper_objective"].transpose("step", "seed").values
            interval = statistics.bootstrap(values, num_resamples=500)
            shown = (np.arange(len(steps)) < last) & (steps > 0) & np.isfinite(interval.estimate)
            failed = entry.diverged()
            label = entry.name + (f" ({failed} of {values.shape[1]} diverged)" if failed else "")
            look = {"color": COLORS[k % len(COLORS)], "linestyle": styles[k // len(COLORS) % len(styles)]}
            high = np.where(np.isfinite(interval.high), interval.high, interval.estimate)
            for axis, clock in zip(
                axes, (samples if has_samples else steps, entry.seconds * steps / steps[-1]), strict=True
            ):
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


def search(log: Sequence[Sequence[Trial]], title: str, tau: float) -> "Figure":
    """A search by successive halving: every candidate's worth as it goes on, and against each axis of the schedules.

    Args:
      log: trials of every rung, from `hfac.tuning.tune` or `hfac.tuning.search`.
      title: of the figure.
      tau: entropy weight at which x was judged.
    """
    plt = _pyplot()
    best = log[-1][0]
    axes_names = [n for n in best.setting.rates if len({trial.setting.rates[n] for trial in log[0]}) > 1]
    shown = [n for n in axes_names if not n.endswith("offset") or n == "upper.offset"]
    columns = 4
    rows = -(-(len(shown) + 2) // columns)
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(WIDTH * 1.35, 1.9 * rows))
        layout = figure.add_gridspec(rows, columns)
        halving = figure.add_subplot(layout[0, :2])
        colors = ("#B8C4CE", "#6FA8DC", "#0072B2", "#003A5D")
        ceiling = float(np.quantile([t.worth for t in log[0] if np.isfinite(t.worth)] or [0.0], 0.9))
        tracks: dict[int, list[Trial]] = {}
        for trial in (trial for rung in log for trial in rung):
            tracks.setdefault(trial.candidate, []).append(trial)
        for track in tracks.values():
            seen = [(max(t.samples, t.steps), min(t.worth, ceiling)) for t in track]
            color = colors[min(len(track) - 1, len(colors) - 1)]
            halving.plot(
                *zip(*seen, strict=True), marker=".", markersize=4, linewidth=0.9, color=color, zorder=len(track)
            )
        halving.plot(max(best.samples, best.steps), best.worth, "*", color=COLORS[1], markersize=11, zorder=9)
        halving.set(xscale="log", ylabel=rf"$\Phi_{{{tau:g}}}$", xlabel="samples of a run")
        halving.set_title(f"{title}: {len(tracks)} candidates, best {best.worth:.4f}", fontsize=9, loc="left")
        for k, name in enumerate(shown):
            axis = figure.add_subplot(layout[(k + 2) // columns, (k + 2) % columns], sharey=halving)
            for rung in log:
                r = rung[0].rung
                values = [t.setting.rates[name] for t in rung]
                heights = [min(t.worth, ceiling) for t in rung]
                axis.scatter(values, heights, s=7, color=colors[min(r, len(colors) - 1)], zorder=r)
            axis.plot(best.setting.rates[name], best.worth, "*", color=COLORS[1], markersize=9, zorder=9)
            if not name.endswith("power"):
                axis.set_xscale("log")
            axis.set_xlabel("offset" if name == "upper.offset" else name.replace(".scale", "").replace(".", " "))
            axis.tick_params(labelleft=(k + 2) % columns == 0)
    return figure


FIGURES: dict[str, Callable[["xarray.Dataset", Problem, References], Any]] = {"objective": objective, "grid": grid}

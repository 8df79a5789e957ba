"""Figures of a sweep: the objective as it falls, the leader's field on a grid."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from hfac import exact, statistics
from hfac.judging import OBJECTIVE
from hfac.plots._style import COLORS, WIDTH, subplots
from hfac.statistics import Interval
from hfac.tabular.problem import GridLayout, Problem
from hfac.types import Status

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EPISODES = "return"  # recorded where policies are judged by what fresh episodes earn
COMPLETIONS = "score_0"  # recorded where they are judged by fresh completions
References = Mapping[float, float]  # tau -> value of the exact descent


def objective(data: "xarray.Dataset", problem: Any, references: References) -> "Figure | None":
    """Phi_tau(x_k) against environment samples, one panel per judged tau and one line per schedule.

    None where fresh episodes or completions are the judge: what they earn is drawn instead.

    Interquartile mean and 95 % bootstrap band over seeds; dashed, the end of an exact descent at that tau.
    """
    if EPISODES in data or COMPLETIONS in data:
        return None
    taus = np.asarray(data["judged_tau"])
    figure, axes = subplots(len(taus), 1, (WIDTH, 3.4 * len(taus) + 0.4), sharex=True, squeeze=False)
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


class Curve(NamedTuple):
    """The objective of one configuration at one judged tau, over its seeds."""

    clock: np.ndarray  # [T], samples; steps where none are counted
    interval: Interval  # [T], interquartile mean
    diverged: str  # how many runs did, as the end of a label; empty where none did


def diverged_words(num_failed: int, num_seeds: int) -> str:
    """How many runs diverged, as the end of a label; empty where none did."""
    return f" ({num_failed} of {num_seeds} diverged)" if num_failed else ""


def curve(data: "xarray.Dataset", name: str = OBJECTIVE) -> Curve:
    """What is drawn of one configuration.

    Args:
      data: dimensions seed and step.
      name: of the variable.
    """
    values = data[name].transpose("step", "seed").values
    samples = data["samples"].mean("seed").values
    failed = int((data["status"].isel(step=-1) != Status.OK).sum())
    clock = samples if samples.max() > 0 else data["step"].values
    return Curve(clock, statistics.bootstrap(values, num_resamples=500), diverged_words(failed, data.sizes["seed"]))


def objective_line(axis: "Axes", data: "xarray.Dataset", label: str, color: str) -> None:
    """One configuration at one judged tau: interquartile mean and band; diverged runs counted in the label."""
    found = curve(data)
    ticks, interval = found.clock, found.interval
    shown = (ticks > 0) & np.isfinite(interval.estimate)
    axis.plot(ticks[shown], interval.estimate[shown], color=color, label=label + found.diverged)
    high = np.where(np.isfinite(interval.high), interval.high, interval.estimate)
    axis.fill_between(ticks[shown], interval.low[shown], high[shown], color=color, alpha=0.2, linewidth=0)


class Moment(NamedTuple):
    """What the leader sets on a grid at one record point, and what the follower answers."""

    step: int
    value: float  # of the objective
    field: np.ndarray  # [rows, columns]
    drift: np.ndarray  # [rows, columns, 2], mean displacement (row, column) of the best response
    visits: np.ndarray  # [rows, columns], its visitation


class Answer(NamedTuple):
    """A run on a grid at its first, a middle and its last record point."""

    words: str  # configuration and seed
    tau: float  # of the best response
    moments: tuple[Moment, ...]
    limits: tuple[float, float]  # of the positive field


def answer(data: "xarray.Dataset", problem: Problem, layout: GridLayout) -> Answer:
    """Of the configuration that ends best, the seed whose end is the median one.

    The middle record point is where half of the way has been gone.
    """
    tau = float(data["judged_tau"].min())
    words, run = typical(data)
    values = run[OBJECTIVE].sel(judged_tau=tau).values
    respond = jax.jit(lambda x: exact.best_response(problem, x, tau))
    moments = []
    for t in milestones(values):
        x = run["x"].isel(step=t).values
        pi = np.asarray(respond(x))
        visits = layout.on_cells(exact.visitation(problem, pi))
        drift = layout.on_cells(pi @ np.asarray(layout.moves, float))
        field = layout.on_cells(layout.field(x))
        moments.append(Moment(int(run["step"][t]), float(values[t]), field, drift, visits))
    return Answer(words, tau, tuple(moments), field_limits([moment.field for moment in moments]))


def field_limits(fields: Sequence[np.ndarray]) -> tuple[float, float]:
    """Least positive and largest number of several fields."""
    every = np.stack(fields)
    return float(every[every > 0].min()), float(np.nanmax(every))


def typical(data: "xarray.Dataset") -> tuple[str, "xarray.Dataset"]:
    """Of the configuration that ends best, the run whose end is the median one; first, both in words."""
    judged = data[OBJECTIVE].sel(judged_tau=float(data["judged_tau"].min())).isel(step=-1)
    picks = configurations(data)
    best = picks[int(np.argmin([float(statistics.interquartile_mean(judged.isel(pick).values)) for pick in picks]))]
    order = np.argsort(judged.isel(best).values)
    run = data.isel(best).isel(seed=int(order[(len(order) - 1) // 2]))
    return f"{describe(data, best)}, seed {int(run['seed'])}", run


def milestones(values: np.ndarray) -> tuple[int, int, int]:
    """The first of several record points, the one between where half of the way has been gone, and the last."""
    last = len(values) - 1
    if last < 2:
        return 0, last, last
    if not np.isfinite(values).all():
        return 0, last // 2, last
    gaps = np.abs(values - (values[0] + values[-1]) / 2)
    return 0, 1 + int(np.argmin(gaps[1:-1])), last


def of_grid(problem: Any) -> tuple[Problem, GridLayout] | None:
    """The table that a problem is, or that its environment walks through, and its grid; None where there is none."""
    table = getattr(problem, "table", None) or problem
    layout = getattr(table, "layout", None)
    return None if layout is None else (table, layout)


def grid(data: "xarray.Dataset", problem: Any, references: References) -> "Figure | None":
    """The leader's field, the induced policy and its visitation at the first, a middle and the last record point.

    Of the configuration that ends best, the seed whose end is the median one. None for problems without a grid.
    """
    del references
    on_grid = of_grid(problem)
    if on_grid is None:
        return None
    table, layout = on_grid
    found = answer(data, table, layout)
    tau = found.tau
    figure, axes = subplots(1, 3, (WIDTH * 1.5, 3.5))
    image = None
    for axis, moment in zip(axes, found.moments, strict=True):
        image = _grid_panel(axis, layout, moment, found.limits)
        axis.set_title(f"step {moment.step:,}: $\\Phi_{{{tau:g}}}$ = {moment.value:.3f}", fontsize=9)
    assert image is not None
    figure.colorbar(image, ax=axes, label=layout.field_label, shrink=0.85, pad=0.01)
    caption = f"{found.words}\n"
    caption += f"arrows: best response at $\\tau={tau:g}$; circles: its visitation (area); {marked(layout.marks)}"
    figure.supxlabel(caption, fontsize=8)
    return figure


def marked(labels: Mapping[str, Any], hazards: str = "hatched") -> str:
    """How cells with these labels are marked, in words."""
    framed = [label for label in labels if label != "hazard"]
    words = [f"{hazards}: hazards"] if "hazard" in labels else []
    return "; ".join([*words, f"framed: {', '.join(framed)}"] if framed else words)


def _grid_panel(axis: "Axes", layout: GridLayout, moment: Moment, limits: tuple[float, float]) -> Any:
    rows, columns = layout.shape
    image = draw_field(axis, layout, moment.field, limits)
    row, column = np.divmod(np.arange(rows * columns), columns)
    areas = 900 * moment.visits.ravel()
    axis.scatter(column, row, s=areas, facecolors="none", edgecolors="#D55E00", linewidths=0.9, zorder=3)
    drift = moment.drift.reshape(-1, 2)
    axis.quiver(
        column, row, drift[:, 1], drift[:, 0], angles="xy", scale_units="xy", scale=2.0, width=0.005,
        color="0.15", pivot="mid", zorder=4,
    )  # fmt: skip
    return image


def draw_field(axis: "Axes", layout: GridLayout, field: np.ndarray, limits: tuple[float, float]) -> Any:
    """What the leader sets in each cell [rows, columns], and what is marked; an image, for a colour bar."""
    from matplotlib.colors import LogNorm

    norm = LogNorm(limits[0], max(limits[1], 1.01 * limits[0]))
    shown = np.where(field > 0, field, np.nan)
    image = axis.imshow(shown, cmap="Blues", norm=norm, interpolation="nearest", alpha=0.85)
    colors = {"landmark": "#009E73", "target": "#009E73", "hazard": "#444444"}
    for label, states in layout.marks.items():
        for row, column in zip(*layout.places(states), strict=True):
            axis.add_patch(_cell(column, row, colors.get(label, "#CC79A7"), is_hazard=label == "hazard"))
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
                words = str(name).removeprefix("algorithm.").replace(".scale", "").replace(".", " ")
                parts.append(f"{words} {float(coordinate[i]):.4g}")
    return ", ".join(parts) or str(data.attrs.get("settings", "one schedule"))


class Failure(NamedTuple):
    """A run that failed."""

    configuration: str
    seed: int
    step: int  # first bad one
    meaning: str


def failures(data: "xarray.Dataset", at_most: int) -> tuple[list[Failure], int]:
    """The first runs that failed, with configuration, first bad step and what to try next; and how many did."""
    status = data["status"].isel(step=-1)
    failed = np.argwhere(status.values != Status.OK)
    found = []
    for where in failed[:at_most]:
        pick = dict(zip(map(str, status.dims), map(int, where), strict=True))
        run = data.isel(pick)
        words = describe(data, {dim: i for dim, i in pick.items() if dim != "seed"})
        meaning = Status(int(status.isel(pick))).meaning
        found.append(Failure(words, int(run["seed"]), int(run["failed_at"].isel(step=-1)), meaning))
    return found, len(failed)

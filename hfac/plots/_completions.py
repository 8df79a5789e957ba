"""Figure of a run of fine-tuning: what its policies write, step by step, and how far they go for it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from hfac import statistics
from hfac.plots._runs import References, configurations, describe
from hfac.plots._style import COLORS, WIDTH, subplots

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

WRITTEN = {  # measures of completions along a run: what they are called
    "score_0": "mean score",
    "divergence_0": "KL to the reference, nats",
    "accuracy": "reward's accuracy within a prompt",
    "distinct": "distinct-2",
    "tau_factor": "tau is multiplied by",
}


def written(data: "xarray.Dataset", problem: Any, references: References) -> "Figure | None":
    """What is written against completions drawn, and score against divergence; None where nothing is written.

    Interquartile mean and 95 % bootstrap band over seeds; dotted, the penalised policy.

    Args:
      data: a sweep of fine-tuning.
      problem: that it was.
      references: of the objective; none are drawn.
    """
    del problem, references
    shown = {name: title for name, title in WRITTEN.items() if name in data}
    if "score_0" not in shown:
        return None
    figure, axes = subplots(2, 3, (1.35 * WIDTH, 0.8 * WIDTH))
    picks = configurations(data)
    for axis, (name, title) in zip(axes.flat, shown.items(), strict=False):
        for index, pick in enumerate(picks):
            color = COLORS[index % len(COLORS)]
            one = data.isel(pick).isel(step=slice(1, None))
            _line(axis, one, name, color, label=describe(data, pick) or None)
            other = name.replace("_0", "_1")
            if other != name and other in data:
                _line(axis, one, other, color, linestyle=":")
        axis.set_title(title, fontsize=8.5, loc="left")
        axis.set_xlabel("completions")
    last = axes.flat[len(shown)]
    for index, pick in enumerate(picks):
        one = data.isel(pick)
        for seed in range(one.sizes["seed"]):
            own = one.isel(seed=seed)
            last.plot(own["divergence_0"], own["score_0"], color=COLORS[index % len(COLORS)], alpha=0.6, linewidth=0.9)
    last.set_title("score against KL", fontsize=8.5, loc="left")
    last.set_xlabel("KL, nats")
    if len(picks) > 1:
        axes.flat[0].legend(fontsize=7)
    seeds = f"{data.sizes['seed']} seed{'s' if data.sizes['seed'] > 1 else ''}"
    dotted = "; dotted: penalised policy" if "score_1" in data else ""
    figure.suptitle(f"fine-tuning, {seeds}{dotted}", fontsize=9, x=0.01, ha="left")
    return figure


def _line(axis: Any, data: "xarray.Dataset", name: str, color: str, **style: Any) -> None:
    interval = statistics.bootstrap(data[name].transpose("step", "seed").values, num_resamples=500)
    clock = data["samples"].mean("seed").values
    axis.plot(clock, interval.estimate, color=color, **style)
    if data.sizes["seed"] > 1:
        low, high = (np.where(np.isfinite(edge), edge, interval.estimate) for edge in (interval.low, interval.high))
        axis.fill_between(clock, low, high, color=color, alpha=0.2, linewidth=0)

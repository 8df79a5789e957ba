"""Figure of the tweets experiment: what the policy writes, step by step, and the frontier it moves along."""

from typing import TYPE_CHECKING, Any

import numpy as np

from hfac import statistics
from hfac.plots._runs import configurations, describe
from hfac.plots._style import COLORS, WIDTH
from hfac.types import Status

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

PANELS = {
    "score": "mean score",
    "happy": "share of happy tweets",
    "divergence": "KL to the pretrained model, nats",
    "entropy": "entropy, nats per tweet",
    "accuracy": "reward's accuracy on fresh pairs",
    "perplexity": "perplexity, pretrained model",
    "distinct": "distinct-2",
    "repetition": "repeated words",
}


def writing(data: "xarray.Dataset", frontier: Any, tau: float, start: str = "pretrained model") -> "Figure":
    """What is written against steps, and score against divergence beside the best that is possible.

    Interquartile mean and 95 % bootstrap band over seeds; dashed, where the pretrained model stands.

    Args:
      data: a judged sweep of tweets.
      frontier: `hfac.tweets.frontier`'s.
      tau: at which rewards were judged.
      start: name of the dashed line.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 3, figsize=(1.35 * WIDTH, 1.1 * WIDTH))
    picks = list(configurations(data))
    for axis, (name, title) in zip(axes.flat[:8], PANELS.items(), strict=True):
        for index, pick in enumerate(picks):
            one = data.isel(pick)
            interval = statistics.bootstrap(one[name].transpose("step", "seed").values, num_resamples=500)
            color = COLORS[index % len(COLORS)]
            axis.plot(one["step"], interval.estimate, color=color, label=describe(data, pick) or None)
            axis.fill_between(one["step"], interval.low, interval.high, color=color, alpha=0.2, linewidth=0)
        axis.axhline(float(data[name].isel(step=0).mean()), color="0.35", linestyle="--", linewidth=1.0)
        axis.set_title(title, fontsize=8.5, loc="left")
        axis.set_xlabel("step")
    last = axes.flat[8]
    last.plot(frontier.divergence, frontier.score, color="0.35", linewidth=1.2, label="best for its KL")
    for index, pick in enumerate(picks):
        one = data.isel(pick)
        color = COLORS[index % len(COLORS)]
        for i in range(one.sizes["seed"]):
            seed = one.isel(seed=i)
            last.plot(seed["divergence"], seed["score"], color=color, alpha=0.5, linewidth=0.9)
        end = one.isel(step=-1)
        last.plot(end["divergence"], end["score"], "o", color=color, markersize=3.5)
        last.plot(
            end["response_divergence"], end["response_score"], "x", color=color, label=rf"$\pi^*(x)$, $\tau={tau:.2g}$"
        )
    last.set_title("score against KL", fontsize=8.5, loc="left")
    last.set_xlabel("KL, nats")
    last.set_xlim(
        0, 1.1 * max(float(np.nanmax(data["divergence"])), float(np.nanmax(data["response_divergence"])), 0.5)
    )
    last.legend(fontsize=7)
    hacked = int((data["status"].isel(step=-1) == Status.REWARD_HACKED).sum())
    words = f"; {hacked} stopped as reward hacked" if hacked else ""
    seeds = f"{data.sizes['seed']} seed{'s' if data.sizes['seed'] > 1 else ''}"
    figure.suptitle(f"happy tweets, {seeds}; dashed: {start}{words}", fontsize=9, x=0.01, ha="left")
    return figure

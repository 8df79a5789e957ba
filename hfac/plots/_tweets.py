"""Figure of the tweets experiment: what the policy writes, step by step, and the frontier it moves along."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hfac import statistics
from hfac.plots._runs import configurations, describe
from hfac.plots._style import COLORS, WIDTH, styled, subplots
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


def tweets(data: "xarray.Dataset", frontier: Any, tau: float, start: str = "pretrained model") -> "Figure":
    """What is written against steps, and score against divergence beside the best that is possible.

    Interquartile mean and 95 % bootstrap band over seeds; dashed, where the pretrained model stands.

    Args:
      data: a judged sweep of tweets.
      frontier: `hfac.tweets.frontier`'s.
      tau: at which rewards were judged.
      start: name of the dashed line.
    """
    figure, axes = subplots(3, 3, (1.35 * WIDTH, 1.1 * WIDTH))
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
    _frontier(last, frontier)
    for index, pick in enumerate(picks):
        _trails(last, data.isel(pick), COLORS[index % len(COLORS)])
    end = COLORS[0] if len(picks) == 1 else "0.35"
    last.plot([], [], "x", color=end, label=rf"$\pi^*(x)$, $\tau={tau:.2g}$")
    last.set_title("score against KL", fontsize=8.5, loc="left")
    last.set_xlim(0, _widest([data]))
    last.legend(fontsize=7)
    hacked = int((data["status"].isel(step=-1) == Status.REWARD_HACKED).sum())
    words = f"; {hacked} stopped as reward hacked" if hacked else ""
    seeds = f"{data.sizes['seed']} seed{'s' if data.sizes['seed'] > 1 else ''}"
    figure.suptitle(f"happy tweets, {seeds}; dashed: {start}{words}", fontsize=9, x=0.01, ha="left")
    return figure


def divergences(arms: "Mapping[str, xarray.Dataset]", frontier: Any, tau: float) -> "Figure":
    """Score against divergence of several arms, beside the best that is possible.

    A line is a seed from its start to its end (dot); a cross is the best response to its last reward.

    Args:
      arms: judged sweeps of tweets by name, one configuration each.
      frontier: `hfac.tweets.frontier`'s.
      tau: at which rewards were judged.
    """
    with styled():
        figure, axis = subplots(1, 1, (WIDTH, 0.7 * WIDTH))
        _frontier(axis, frontier)
        for index, (name, data) in enumerate(arms.items()):
            color = COLORS[index % len(COLORS)]
            _trails(axis, data, color)
            axis.plot([], [], "o-", color=color, markersize=3.5, label=name)
        axis.plot([], [], "x", color="0.35", label=rf"best response to the last reward, $\tau={tau:.2g}$")
        axis.set_xlim(0, _widest(list(arms.values())))
        axis.set_ylabel("mean score of 256 tweets")
        axis.legend(fontsize=8)
        seeds = next(iter(arms.values())).sizes["seed"]
        figure.suptitle(
            f"happy tweets, {seeds} seed{'s' if seeds > 1 else ''} of every arm", fontsize=9, x=0.01, ha="left"
        )
    return figure


def _frontier(axis: Any, frontier: Any) -> None:
    axis.plot(frontier.divergence, frontier.score, color="0.35", linewidth=1.2, label="best for its KL")
    axis.set_xlabel("KL to the pretrained model, nats")


def _trails(axis: Any, data: "xarray.Dataset", color: str) -> None:
    """Every seed of a configuration, from start to end, and the best response to its last reward."""
    for i in range(data.sizes["seed"]):
        seed = data.isel(seed=i)
        axis.plot(seed["divergence"], seed["score"], color=color, alpha=0.5, linewidth=0.9)
    end = data.isel(step=-1)
    axis.plot(end["divergence"], end["score"], "o", color=color, markersize=3.5)
    axis.plot(end["response_divergence"], end["response_score"], "x", color=color)


def _widest(all_data: "Sequence[xarray.Dataset]") -> float:
    """Right end of a divergence axis that shows every run."""
    names = ("divergence", "response_divergence")
    return 1.1 * max(0.5, *(float(np.nanmax(data[name])) for data in all_data for name in names))

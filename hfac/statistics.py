"""Statistics over seeds: interquartile mean, bootstrap intervals, paired differences, slopes of power laws.

A diverged run enters every statistic as +inf. Seeds are the last axis everywhere.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

NUM_RESAMPLES = 2_000


class Interval(NamedTuple):
    """An estimate with its bootstrap percentile interval."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __str__(self) -> str:
        """As ``estimate [low, high]``, or "diverged" where the estimate is not finite."""
        return self.format()

    def format(self, digits: int = 4) -> str:
        """The same with a number of digits."""
        return format_interval(float(self.estimate), float(self.low), float(self.high), digits)


def format_interval(estimate: float, low: float, high: float, digits: int = 4) -> str:
    """``estimate [low, high]``; "diverged" for an estimate, "inf" for an end that diverged runs reach."""
    if not np.isfinite(estimate):
        return "diverged"
    if np.isnan(low) and np.isnan(high):
        return f"{estimate:.{digits}f} [one run]"
    return f"{estimate:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the middle half of the last axis, the two runs at its edges weighted by the part that is inside."""
    ordered = np.sort(np.where(np.isnan(values), np.inf, values), axis=-1)
    count = ordered.shape[-1]
    edges = np.arange(count + 1) / count
    weights = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0, None) * 2
    kept = weights > 0
    with np.errstate(invalid="ignore"):  # -inf and inf in the middle half of differences: undefined, nan
        return np.sum(ordered[..., kept] * weights[kept], axis=-1)


def bootstrap(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray] = interquartile_mean,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic over seeds; the same seeds are redrawn for every other axis.

    One seed says nothing about others: its interval is nan to nan, "[one run]" in words.

    Args:
      values: [..., N].
      statistic: reduces the last axis.
      level: coverage, in (0, 1).
      num_resamples: bootstrap draws.
      seed: of the resampling, so that a table can be reproduced.
    """
    values = np.where(np.isnan(values), np.inf, np.asarray(values, float))
    count, estimate = values.shape[-1], statistic(values)
    if count == 1:
        return Interval(estimate, np.full_like(estimate, np.nan), np.full_like(estimate, np.nan))
    picks = np.random.default_rng(seed).integers(count, size=(num_resamples, count))
    draws = np.stack([statistic(values[..., pick]) for pick in picks])
    # A resample whose statistic is undefined may lie anywhere: it widens the interval on both sides.
    low, high = (
        np.quantile(np.where(np.isnan(draws), anywhere, draws), q, axis=0, method="nearest")
        for q, anywhere in (((1 - level) / 2, -np.inf), ((1 + level) / 2, np.inf))
    )
    return Interval(estimate, low, high)


def paired_difference(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Interval:
    """Interquartile mean of ``first - second`` over shared seeds, with its interval.

    A pair in which both diverged is a tie; one diverged run makes the difference infinite.
    """
    first, second = (np.where(np.isnan(v), np.inf, np.asarray(v, float)) for v in (first, second))
    with np.errstate(invalid="ignore"):
        difference = np.where(np.isinf(first) & np.isinf(second), 0.0, first - second)
    return bootstrap(difference, level=level)


def log_log_slopes(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least-squares slope of log(values) against log(x) for every seed; nan where a value is not positive and finite.

    Args:
      x: positive, distinct, [T], T >= 2.
      values: [T, N].

    Returns:
      [N].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.asarray(values, float))
    log_x = np.log(np.asarray(x, float))
    centered = log_x - log_x.mean()
    with np.errstate(invalid="ignore"):
        slopes = centered @ logs / np.sum(centered**2)
    return np.where(np.isfinite(slopes), slopes, np.nan)


def power_law(x: np.ndarray, values: np.ndarray, level: float = 0.95) -> Interval:
    """Exponent p of values ~ x^p: the interquartile mean over seeds of their slopes, with its interval.

    The interval is the bootstrap's at a level widened for few seeds as Student's t is (Hesterberg, 2015).

    Args:
      x: positive, distinct, [T], T >= 2; evenly spread in the logarithm, every decade weighs the same.
      values: [T, N]; a seed whose values are not all positive and finite counts as diverged.
      level: coverage, in (0, 1).
    """
    slopes = log_log_slopes(x, values)
    return bootstrap(slopes, level=expanded_level(level, slopes.size))


def expanded_level(level: float, count: int) -> float:
    """The nominal level at which a bootstrap percentile interval of `count` draws covers `level`.

    Raises:
      ValueError: if there are fewer than two.
    """
    if count < 2:
        raise ValueError(f"an interval needs at least two seeds, got {count}")
    wide = np.sqrt(count / (count - 1)) * special.stdtrit(count - 1, (1 + level) / 2)
    return float(2 * special.ndtr(wide) - 1)

"""Measured convergence rates beside the exponents of the theory."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hfac import metrics
from hfac.metrics import Metric
from hfac.schedules import Balance
from hfac.statistics import Interval, power_law
from hfac.tabular.problem import Problem

if TYPE_CHECKING:
    import xarray

MIN_DECADES = 0.5  # of a window


class Fit(NamedTuple):
    """A power law of k fitted to one quantity."""

    quantity: str
    meaning: str
    slope: Interval  # exponent of k, interquartile mean over seeds
    predicted: float | None  # the theory's upper bound on the exponent, where it states one
    verdict: str  # consistent, faster or slower than the theory; or why there is none


MEANINGS = {
    "smallest": "smallest |grad Phi_tau_k(x_k)|^2 so far",
    "average": "running average of |grad Phi_tau_k(x_k)|^2",
    "judged": "|grad Phi_tau(x_k)|^2 at the judged tau",
    "judged_average": "its running average",
    "best_response_gap": "J_tau(pi*) - J_tau(pi)",
    "penalty_gap": "L(x, pi_pen) - min L",
    "value_error": "|V - V^pi|^2",
    "value_pen_error": "|V_pen - V^pi_pen|^2",
    "leader_value_error": "|U - U^pi_pen|^2",
}
BOUNDED = ("smallest", "average")  # what the theorems are about


def metric(problem: Problem, judge: float) -> Metric:
    """What `series` reads: gradient at one tau and all residuals; needs records of `hfac.metrics.state`."""
    return metrics.exact(problem, judge, gradient=True, residuals=True)


def series(judged: "xarray.Dataset") -> dict[str, np.ndarray]:
    """The quantities of `MEANINGS` of one configuration, [T, N], from step 1 on.

    Running averages weigh the records by the steps that they stand for.

    Args:
      judged: dimensions seed and step; `metric` judged it.
    """
    step = np.asarray(judged["step"].values, float)

    def values(name: str) -> np.ndarray:
        data = judged[name].isel(judged_tau=0) if "judged_tau" in judged[name].dims else judged[name]
        return np.asarray(data.transpose("step", "seed").values, float)

    def average(v: np.ndarray) -> np.ndarray:
        middles = (v[1:] + v[:-1]) / 2 * np.diff(step)[:, None]
        return np.cumsum(middles, axis=0) / (step[1:] - step[0])[:, None]

    own, at_judge = values("hypergradient_square"), values("hypergradient_norm") ** 2
    found = {
        "smallest": np.minimum.accumulate(own, axis=0)[1:],
        "average": average(own),
        "judged": at_judge[1:],
        "judged_average": average(at_judge),
    }
    return found | {name: values(name)[1:] for name in MEANINGS if name not in found}


def fit_rates(
    judged: "xarray.Dataset", balance: Balance, window: tuple[float, float], level: float = 0.95
) -> list[Fit]:
    """Fit every quantity over a window of steps, except those that are zero throughout, such as U without a cost.

    Args:
      judged: as for `series`; at least two seeds.
      balance: what the theory predicts for the schedules.
      window: first and last step.
      level: coverage of the intervals.

    Raises:
      ValueError: if the window holds fewer than three records or less than half a decade, or there is one seed.
    """
    step = np.asarray(judged["step"].values, float)[1:]
    is_inside = inside(step, window)
    fits = []
    for name, values in series(judged).items():
        if not values.any():
            continue
        slope = power_law(step[is_inside], values[is_inside], level)
        predicted = balance.rate if name in BOUNDED else None
        fits.append(Fit(name, MEANINGS[name], slope, predicted, _verdict(slope, predicted)))
    return fits


def inside(step: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Which recorded steps lie in a window, bool [T].

    Raises:
      ValueError: if it holds fewer than three of them or less than half a decade.
    """
    low, high = window
    is_inside = (step >= low) & (step <= high)
    if is_inside.sum() < 3 or np.log10(step[is_inside][-1] / step[is_inside][0]) < MIN_DECADES:
        raise ValueError(
            f"the window {low:,.0f} to {high:,.0f} must hold three records and half a decade; widen it or run longer"
        )
    return is_inside


def _verdict(slope: Interval, predicted: float | None) -> str:
    if not np.isfinite(slope.estimate):
        return "no slope: a run failed, or a value is zero"
    if predicted is None:
        return ""
    if slope.high < predicted:
        return "faster"
    return "slower" if slope.low > predicted else "consistent"

"""What a record is worth: functions of one record, and what every kind of problem is judged by."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

OBJECTIVE = "hyper_objective"  # the value by which x is judged, whatever the kind of problem: lower is better

Progress = Callable[[int, int], None]  # called with (pieces done, pieces in all)


class Metric(NamedTuple):
    """A function of one record, with the labels of what it returns.

    A run's records are judged in order, and `function` hands a carry from one to the next: solves start from the last
    record's solution, which is close.
    """

    function: Callable[[Any, Mapping[str, Any]], tuple[Any, dict[str, jax.Array]]]  # (carry, record) -> (carry, values)
    carry: Any  # for the first record
    dim: str  # dimension of vector values
    labels: np.ndarray  # [n]
    vectors: tuple[str, ...]  # names of the values that have the dimension
    like: Mapping[str, Any] | None = None  # trees of a record, by name; every leaf is a record of its own unless given


class Judge(NamedTuple):
    """How a problem's records are judged."""

    metric: Metric  # gives `OBJECTIVE` for every entropy weight, a vector along "judged_tau"
    reference: Callable[[Progress], np.ndarray] | None  # lowest objective known for each [n], or None


@functools.lru_cache(maxsize=32)
def program(function: Callable[[Any, Mapping[str, Any]], Any]) -> Any:
    """A metric compiled for the records of runs [R, T, ...], ``(carry, records) -> values``, judged one after another.

    Several batched factorisations side by side can deadlock on CPUs; a sequence of single ones cannot.
    """

    @jax.jit
    def evaluate(carry: Any, records: Any) -> Any:
        return jax.lax.map(lambda run: jax.lax.scan(function, carry, run)[1], records)

    return evaluate


def judge_of(problem: Any, taus: float | Sequence[float]) -> Judge:
    """How a problem is judged at one or more entropy weights.

    Raises:
      ValueError: if it does not say, or refuses a weight.
    """
    if not hasattr(problem, "judge"):
        raise ValueError(f"{type(problem).__name__} does not say how it is judged; give it a method judge(taus)")
    return problem.judge(taus)


def check_taus(taus: float | Sequence[float]) -> np.ndarray:
    """Entropy weights as an array [n].

    Raises:
      ValueError: if one is not positive.
    """
    found = np.atleast_1d(np.asarray(taus, float))
    if not np.all(np.isfinite(found) & (found > 0)):
        raise ValueError(f"tau must be positive, got {taus}")
    return found

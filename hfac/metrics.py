"""What a recorded state is worth: functions built on `hfac.exact`, evaluated in a program of their own."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hfac import _random, schedules
from hfac import exact as oracle
from hfac.tabular.problem import Problem, check_limit
from hfac.types import Algorithm

TABLES = ("theta", "theta_pen", "value", "value_pen", "leader_value")  # what hfac's relatives track


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


@functools.lru_cache(maxsize=32)
def program(function: Callable[[Any, Mapping[str, Any]], Any]) -> Any:
    """A metric compiled for the records of one run, ``(carry, records) -> values``, judged one after another.

    Several batched factorisations side by side can deadlock on CPUs; a sequence of single ones cannot.
    """
    return jax.jit(lambda carry, records: jax.lax.scan(function, carry, records)[1])


def state(state: Any, info: Any, schedules: Any) -> dict[str, Any]:
    """Record function that keeps what the residuals need: x as it is tracked, every tracked table, w and tau."""
    del info
    inner = getattr(state, "inner", state)
    rates = schedules.at(inner.step)
    kept = {name: getattr(inner, name) for name in ("x", *TABLES, "status", "failed_at")}
    return kept | {"penalty": rates.penalty, "entropy": rates.entropy}


def check_tables(algorithm: Algorithm) -> None:
    """Raise `ValueError` unless the algorithm tracks every table that `state` keeps: hfac and its relatives do."""
    first = jax.eval_shape(algorithm.init, _random.key(0), schedules.attenuating())
    inner = getattr(first, "inner", first)
    missing = [name for name in TABLES if not hasattr(inner, name)]
    if missing:
        raise ValueError(f"the method tracks no {', '.join(missing)}, which the residuals compare; use hfac or nested")


def exact(
    problem: Problem,
    tau: float | Sequence[float] = 0.003,
    limit: bool = False,
    gradient: bool = False,
    residuals: bool = False,
) -> Metric:
    """Exact worth of a record: Phi_tau(x) at one or more tau, and on request what else the oracle knows.

    Args:
      problem: any tabular problem.
      tau: entropy weights at which x is judged, > 0.
      limit: also the unregularised Phi(x).
      gradient: also the Euclidean norm of grad Phi_tau(x).
      residuals: also the residuals of the convergence analysis, at the schedule's own w and tau; they need a sweep
        that was recorded with `hfac.metrics.state`.

    Raises:
      ValueError: if a tau is not positive, or the limit is asked for where there is none.
    """
    if limit:
        check_limit(problem)
    taus = np.atleast_1d(np.asarray(tau, float))
    if not np.all(np.isfinite(taus) & (taus > 0)):
        raise ValueError(f"tau must be positive, got {tau}; ask for limit=True to judge at tau -> 0")

    def function(carry: jax.Array, record: Mapping[str, Any]) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = record["x"]

        def judge(at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
            tau, start = at
            response = oracle.respond(problem, x, tau, start)
            values = {"hyper_objective": oracle.upper_objective(problem, x, response.pi)}
            if gradient:
                values["hypergradient_norm"] = optax.tree.norm(oracle.hypergradient(problem, x, tau))
            return jnp.where(jnp.isfinite(response.value), response.value, 0), values

        carry, found = jax.lax.map(judge, (jnp.asarray(taus), carry))
        if limit:
            found["limit_hyper_objective"] = oracle.limit_hyper_objective(problem, x)
        return carry, found | (_residuals(problem, record) if residuals else {})

    first = np.zeros((len(taus), problem.mdp.num_states))
    vectors = ("hyper_objective", "hypergradient_norm")
    return Metric(function, first, "judged_tau", taus, vectors, {"x": problem.first_x(_random.key(0))})


def _residuals(problem: Problem, record: Mapping[str, Any]) -> dict[str, jax.Array]:
    if "theta_pen" not in record:
        raise ValueError("residuals need every tracked table; sweep with record=hfac.metrics.state")
    x, w, tau = record["x"], jnp.asarray(record["penalty"], float), jnp.asarray(record["entropy"], float)
    pi, pi_pen = (jax.nn.softmax(jnp.asarray(record[name], float)) for name in ("theta", "theta_pen"))
    best, best_pen = oracle.penalty_response(problem, x, w, tau)

    def distance(name: str, truth: jax.Array) -> jax.Array:
        return jnp.sum((jnp.asarray(record[name], float) - truth) ** 2)

    return {
        "hypergradient_square": optax.tree.norm(oracle.hypergradient(problem, x, tau), squared=True),
        "best_response_gap": oracle.regularized_return(problem, x, best, tau)
        - oracle.regularized_return(problem, x, pi, tau),
        "penalty_gap": oracle.penalty_objective(problem, x, pi_pen, w, tau)
        - oracle.penalty_objective(problem, x, best_pen, w, tau),
        "value_error": distance("value", oracle.value(problem, x, pi, tau)),
        "value_pen_error": distance("value_pen", oracle.value(problem, x, pi_pen, tau)),
        "leader_value_error": distance("leader_value", oracle.leader_value(problem, x, pi_pen)),
    }

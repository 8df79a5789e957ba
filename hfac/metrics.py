"""What a recorded state is worth: functions built on `hfac.exact`, evaluated in a program of their own."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hfac import exact as oracle
from hfac import schedules
from hfac._compiler import random
from hfac.judging import OBJECTIVE, Judge, Progress, check_taus
from hfac.judging import Metric as Metric
from hfac.tabular.problem import Problem, check_limit
from hfac.types import Algorithm, core

TABLES = ("theta", "theta_pen", "value", "value_pen", "leader_value")  # what hfac's relatives track


def state(state: Any, info: Any, schedules: Any) -> dict[str, Any]:
    """Record function that keeps what the residuals need: x as it is tracked, every tracked table, w and tau."""
    del info
    inner = core(state)
    rates = schedules.at(inner.step)
    kept = {name: getattr(inner, name) for name in ("x", *TABLES, "status", "failed_at")}
    return kept | {"penalty": rates.penalty, "entropy": rates.entropy}


def check_tables(algorithm: Algorithm) -> None:
    """Raise `ValueError` unless the algorithm tracks every table that `state` keeps: hfac and its relatives do."""
    first = jax.eval_shape(algorithm.init, random.key(0), schedules.attenuating())
    inner = core(first)
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
    taus = check_taus(tau)

    def function(carry: jax.Array, record: Mapping[str, Any]) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = record["x"]

        def judge(at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
            tau, start = at
            response = oracle.respond(problem, x, tau, start)
            values = {OBJECTIVE: oracle.upper_objective(problem, x, response.pi)}
            if gradient:
                values["hypergradient_norm"] = optax.tree.norm(oracle.hypergradient(problem, x, tau))
            return jnp.where(jnp.isfinite(response.value), response.value, 0), values

        carry, found = jax.lax.map(judge, (jnp.asarray(taus), carry))
        if limit:
            found["limit_hyper_objective"] = oracle.limit_hyper_objective(problem, x)
        return carry, found | (_residuals(problem, record) if residuals else {})

    first = np.zeros((len(taus), problem.mdp.num_states))
    vectors = (OBJECTIVE, "hypergradient_norm")
    return Metric(function, first, "judged_tau", taus, vectors, {"x": problem.first_x(random.key(0))})


def judge(problem: Problem, taus: float | Sequence[float]) -> Judge:
    """How a tabular problem is judged: by the oracle, beside the end of an exact descent.

    Raises:
      ValueError: if a tau is not positive.
    """

    def reference(progress: Progress) -> np.ndarray:
        return np.asarray(oracle.minimize(problem, check_taus(taus).tolist(), progress=progress).value)

    return Judge(exact(problem, taus), reference)


def _residuals(problem: Problem, record: Mapping[str, Any]) -> dict[str, jax.Array]:
    if not {*TABLES, "penalty", "entropy"} <= set(record):
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

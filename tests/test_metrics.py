"""Judging: residuals against brute force, blocks of records, and the program that must never hang."""

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import exact, metrics, schedules
from hfac.problems import goal_placement
from support import cases
from support.commands import environment

TAUS = (0.1, 0.03)


def swept(problem):
    rates = schedules.attenuating(offset=500.0)
    return hfac.sweep(hfac.algorithms.hfac(problem), rates, 2, 300, record=metrics.state, record_at=[0, 300])


@pytest.fixture(scope="module")
def judged():
    problem = cases.goal(discount=0.95)
    return problem, hfac.judge(swept(problem), metrics.exact(problem, TAUS, limit=True, gradient=True, residuals=True))


def test_many_runs_are_worth_what_few_are():
    """They are judged in blocks, the last of which is not full; progress counts runs."""
    problem, done = cases.goal(discount=0.9), []
    data = hfac.sweep(hfac.algorithms.hfac(problem), cases.gentle(), 67, 20, record_at=[0, 20])
    metric = metrics.exact(problem, TAUS)
    every = hfac.results.judge(data, metric, lambda own, total: done.append((own, total)))
    few = hfac.results.judge(data.isel(seed=[0, 63, 66]), metric)
    assert done[-1] == (67, 67) and [own for own, _ in done] == sorted(own for own, _ in done)
    np.testing.assert_allclose(
        every.hyper_objective.isel(seed=[0, 63, 66]), few.hyper_objective, rtol=1e-12, atol=1e-14
    )


def test_residuals_agree_with_brute_force(judged):
    problem, data = judged
    run = data.isel(seed=1, step=-1)
    w, tau = float(run["penalty"]), float(run["entropy"])
    x = jnp.asarray(run["x"].values, jnp.float64)
    pi, pi_pen = (np.exp(t) / np.exp(t).sum(-1, keepdims=True) for t in (run["theta"].values, run["theta_pen"].values))

    @jax.jit
    def truth(x, pi, pi_pen):
        best, grad = exact.best_response(problem, x, tau), exact.hypergradient(problem, x, tau)
        best_return, own = (exact.regularized_return(problem, x, policy, tau) for policy in (best, pi))
        smallest = exact.penalty_hyper_objective(problem, x, w, tau)
        return {
            "best_response_gap": best_return - own,
            "penalty_gap": exact.penalty_objective(problem, x, pi_pen, w, tau) - smallest,
            "hypergradient_square": grad @ grad,
            "value": exact.value(problem, x, pi, tau),
            "value_pen": exact.value(problem, x, pi_pen, tau),
            "leader_value": exact.leader_value(problem, x, pi_pen),
        }

    found = truth(x, *map(jnp.asarray, (pi, pi_pen)))
    assert float(run["best_response_gap"]) > 0 and float(run["penalty_gap"]) > 0
    for name in ("best_response_gap", "penalty_gap", "hypergradient_square"):
        assert float(run[name]) == pytest.approx(float(found[name]), rel=1e-5)  # tables are float32
    for name in ("value", "value_pen", "leader_value"):
        square = np.sum((run[name].values - np.asarray(found[name])) ** 2)
        assert float(run[f"{name}_error"]) == pytest.approx(float(square), rel=1e-4)


def test_judged_values_are_the_oracles(judged):
    problem, data = judged
    x = jnp.asarray(data["x"].isel(seed=0, step=-1).values, jnp.float64)

    @jax.jit
    def truth(tau):
        norm = jnp.linalg.norm(exact.hypergradient(problem, x, tau))
        return exact.hyper_objective(problem, x, tau), norm, exact.limit_hyper_objective(problem, x)

    for i, tau in enumerate(TAUS):
        here = data.isel(seed=0, step=-1, judged_tau=i)
        value, norm, limit = map(float, truth(tau))
        assert float(here["hyper_objective"]) == pytest.approx(value, rel=1e-12)
        assert float(here["hypergradient_norm"]) == pytest.approx(norm, rel=1e-10)
        assert float(here["limit_hyper_objective"]) == pytest.approx(limit, rel=1e-12)


def test_residuals_need_the_state(judged):
    problem, data = judged
    data = data[["x", "status", "failed_at", "samples"]]  # what is recorded unless more is asked for
    with pytest.raises(ValueError, match=r"record=hfac\.metrics\.state"):
        hfac.judge(data, metrics.exact(problem, residuals=True))


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan"), [0.1, 0.0]])
def test_tau_must_be_positive(tau):
    with pytest.raises(ValueError, match="tau must be positive"):
        metrics.exact(goal_placement(), tau)


PROGRAM = """
import jax
import jax.numpy as jnp
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)
from hfac import judging, metrics, problems
problem = problems.goal_placement(size=6, landmark=(5, 5), hazard_rows=(2, 3), hazard_columns=(2, 3))
tables = ("x", "value", "value_pen", "leader_value")
draws = {name: jax.random.normal(jax.random.key(i), (16, 36)) for i, name in enumerate(tables)}
draws |= {name: jax.random.normal(jax.random.key(9), (16, 36, 4)) for name in ("theta", "theta_pen")}
draws |= {"penalty": jnp.full(16, 1.0), "entropy": jnp.full(16, 0.1)}
metric = metrics.exact(problem, [0.01, 0.003], limit=True, gradient=True, residuals=True)
for _ in range(5):
    judged = judging.program(metric.function)(jnp.asarray(metric.carry), jax.tree.map(lambda leaf: leaf[None], draws))
    print({name: float(leaf.sum()) for name, leaf in judged.items()})
"""


NUM_PROCESSES = [pytest.param(2, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.stress)]


@pytest.mark.parametrize("num_runs", NUM_PROCESSES)
def test_program_finishes_every_time_in_fresh_processes(num_runs, tmp_path):
    own = environment(JAX_COMPILATION_CACHE_DIR=str(tmp_path), XLA_FLAGS="")  # compile once, then only run

    def once(_: int) -> str:
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, capture_output=True, text=True, timeout=270, env=own, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    said = [once(0)]
    with ThreadPoolExecutor(2) as pool:
        said += pool.map(once, range(num_runs - 1))
    lines = [line for text in said for line in text.splitlines()]
    assert len(lines) == 5 * num_runs and len(set(lines)) == 1


@pytest.mark.slow
def test_an_upper_variable_may_be_a_dictionary(judged):
    """The same problem with x in two named halves runs, is judged and is worth the same."""
    whole, data = judged

    def joined(x):
        return jnp.concatenate([x["first"], x["second"]])

    halves = dataclasses.replace(
        whole,
        reward=lambda x, *where: whole.reward(joined(x), *where),
        cost=lambda x, *where: whole.cost(joined(x), *where),
        h=lambda x: whole.h(joined(x)),
        init_x=lambda key: {"first": jnp.zeros(8), "second": jnp.zeros(8)},
        reward_grad=None,
        cost_grad=None,
        layout=None,
    )
    found = hfac.judge(swept(halves), metrics.exact(halves, TAUS, gradient=True, residuals=True))
    assert {"x.first", "x.second"} <= set(found.data_vars)
    for name in ("hyper_objective", "hypergradient_norm", "penalty_gap"):
        np.testing.assert_allclose(found[name], data[name], rtol=2e-4)

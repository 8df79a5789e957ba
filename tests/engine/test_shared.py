"""Large frozen arrays are one argument of the compiled programs: no constants, no copies, not checkpointed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import hfac
from hfac import algorithms, engine, runs, schedules
from hfac._trees import named_leaves
from hfac.runs import Execution
from hfac.sequences import judging
from support.slow import few
from support.toys import EVERY, START, toy

RATES = schedules.attenuating(entropy=0.5, penalty=0.5, upper=0.05, actor=0.5, critic=0.3)
LARGE = 50_000
METHODS = ("partial", "nested", "decoupled", "f2sa", "value_penalty", "penalty_gaur", "single_loop_penalty")


def with_large_arrays(seed: int = 0):
    """The toy language, whose rater holds a table that it reads and that changes nothing."""
    problem = toy("pairs")

    def rate(table, y):
        return problem.rating(y) + 0 * table[y[0]]

    return problem._replace(rating=Partial(rate, jnp.arange(LARGE, dtype=jnp.float64) + seed))


@pytest.fixture
def problem():
    return with_large_arrays()


def exact_hfac(problem):
    return algorithms.hfac(problem, every=EVERY, dtype=jnp.float64)


def assert_same_ends(opened, closed):
    np.testing.assert_allclose(opened, closed, rtol=1e-5, atol=1e-7)


def test_the_numbers_of_a_sweep_are_those_of_a_program_that_closes_over_them(problem):
    algorithm = exact_hfac(problem)
    closed = algorithm._replace(shared=None, rebuild=None)
    assert_same_ends(*(hfac.sweep(each, RATES, 2, 30, record_at=[30])["x"].values for each in (algorithm, closed)))


@pytest.mark.parametrize("name", few(METHODS, "nested", "decoupled"))
def test_a_method_that_reads_them_steps_as_one_that_closes_over_them(name, problem):
    options = {"fit_steps": 5} if name == "decoupled" else {}
    algorithm = getattr(algorithms, name)(problem, every=EVERY, dtype=jnp.float64, **options)
    key = hfac.run_key(0)

    def end(each):
        states = jax.lax.fori_loop(0, 30, lambda k, state: each.step(key, state, RATES)[0], each.init(key, RATES))
        return each.solution(states).x

    assert_same_ends(*jax.jit(lambda shared: (end(algorithm.reading(shared)), end(algorithm)))(algorithm.shared_arrays))


def test_they_are_no_constants_of_a_compiled_program_and_no_part_of_a_state(problem):
    algorithm = exact_hfac(problem)
    layout = engine.lay_out(algorithm, RATES, 3)
    program = layout.program
    states = program.start(layout.runs)
    assert all(leaf.size < LARGE for leaf in jax.tree.leaves(states))
    lengths, shared = jnp.array([1], jnp.int32), algorithm.shared_arrays
    traced = program._programs["advance"].trace(layout.runs, states, lengths, shared)
    assert all(np.size(constant) < LARGE for constant in traced.jaxpr.consts)
    assert sum(aval.shape == (LARGE,) for aval in traced.jaxpr.in_avals) == 1


def test_runs_share_one_copy(problem):
    """An argument that is mapped over runs would have their number in its shape."""
    algorithm = exact_hfac(problem)
    layout = engine.lay_out(algorithm, RATES, 5)
    text = (
        layout.program._programs["whole"]
        .trace(layout.runs, jnp.array([1], jnp.int32), algorithm.shared_arrays)
        .lower()
        .as_text()
    )
    assert f"{LARGE}xf64" in text and f"x{LARGE}xf64" not in text


def test_what_they_hold_belongs_to_the_run(problem, tmp_path):
    quiet = Execution(figures=False, quiet=True)
    job = runs.job(problem, exact_hfac, settings={"entropy": 0.5}, steps=20, seeds=2)
    data = runs.start(job, tmp_path / "a", quiet)
    assert np.all(np.isfinite(data["hyper_objective"])) and np.all(data["response_effective"] > 1)
    stored = sum(path.stat().st_size for path in (tmp_path / "a" / "checkpoints").rglob("*") if path.is_file())
    assert stored < LARGE  # bytes of all checkpoints; the arrays alone take eight times as many
    again = runs.extend(tmp_path / "a", quiet, with_large_arrays(), exact_hfac, steps=30)
    np.testing.assert_array_equal(again["x"].sel(step=data["step"]), data["x"])
    with pytest.raises(ValueError, match="it belongs to another run: shared was"):
        runs.extend(tmp_path / "a", quiet, with_large_arrays(seed=1), exact_hfac, steps=40)
    with pytest.raises(ValueError, match="every cannot be written down"):
        runs.job(problem, algorithm_options={"every": EVERY})


def test_any_problem_over_sequences_is_judged_by_importance_weights():
    """Against the closed form, over all sequences: 50,000 of the reference policy come within 0.01."""
    for leader in ("score", "pairs", "anchored"):
        problem = toy(leader)
        found = judging.judge(problem, 0.7, 50_000).metric
        values = jax.jit(found.function)(found.carry, {"x": START})[1]
        expected = jax.jit(functools.partial(hfac.exact.sequences.hyper_objective, problem))(EVERY, START, 0.7)
        np.testing.assert_allclose(values["hyper_objective"][0], expected, atol=0.01)


def test_the_digest_is_of_what_arrays_hold():
    tree = {"a": np.arange(3.0), "b": [np.zeros((2, 2), np.int32)]}
    same = jax.tree.map(jnp.asarray, tree) if jax.config.jax_enable_x64 else tree
    assert hfac.types.Shared(tree).digest == hfac.types.Shared(same).digest
    for other in ({"a": np.arange(3.0) + 1, "b": tree["b"]}, {"a": tree["a"], "b": [np.zeros(4, np.int32)]}):
        assert hfac.types.Shared(tree).digest != hfac.types.Shared(other).digest


def test_a_record_may_read_them_too(problem):
    algorithm = exact_hfac(problem)

    def make(shared):
        own = problem.with_shared(shared)
        return lambda state, info, schedules: {
            "rating": jnp.stack([own.rating(y) for y in EVERY[:2]]), "status": state.status,
            "failed_at": state.failed_at,
        }  # fmt: skip

    data = hfac.sweep(algorithm, RATES, 2, 5, engine.SharedRecord(make))
    expected = [float(problem.rating(y)) for y in EVERY[:2]]
    np.testing.assert_allclose(data["rating"][0, 0], expected)
    assert {"reference", "rating.0.0"} <= set(named_leaves(algorithm.shared_arrays))

"""Calls of `hfac.runs` with values that are not what they must be, and configurations that hold such: one line each."""

import json

import jax
import jax.numpy as jnp
import pytest

from hfac import exact, runs
from support import cases

SMALL = {"size": 4, "landmark": (3, 3), "hazard_rows": (1, 2), "hazard_columns": (1, 2)}
QUIET = runs.Execution(quiet=True)


def job(**changed):
    return runs.job(
        **{"problem": "goal_placement", "steps": 10, "seeds": 2, "judge": 0.1, "problem_options": SMALL, **changed}
    )


CALLS = {
    "a builder of nothing": (lambda: job(algorithm=lambda problem: 3), "must return an Algorithm, got 3"),
    "a builder without a problem": (lambda: job(algorithm=lambda: 3), "builder"),
    "an option of no text": (lambda: job(problem_options={1: 2}), "by name"),
    "an option that is None": (lambda: job(problem_options={"slip": None}), "slip must be one number"),
    "a cell of one number": (lambda: job(problem_options={"landmark": 3}), "landmark must be 2 values"),
    "an unknown option": (lambda: job(problem_options={"slipp": 0.1}), "did you mean 'slip'"),
    "the problem as an option": (lambda: job(algorithm_options={"problem": 1}), "has no option 'problem'"),
    "optimizers of no table": (lambda: job(algorithm_options={"optimizers": 1}), "table by name"),
    "a weight that rounding decides": (lambda: job(judge=1e-9), "at least 1e-08"),
    "a share of one number": (lambda: runs.Execution(share=1), "share must be a list"),
    "a width that is a text": (lambda: runs.Execution(block_width="a"), "block_width must be a whole number"),
    "a width below none": (lambda: runs.Execution(block_width=-1), "block_width must be >= 0"),
    "no time between checkpoints": (lambda: runs.Execution(checkpoint_minutes=0), "must be positive"),
    "processes that are a number": (lambda: runs.Execution(processes=3), "processes must be Processes"),
    "devices below none": (lambda: runs.configure(devices=-1), "devices must be a whole number"),
    "a cache that is a number": (lambda: runs.configure(cache=3), "cache must be True or False"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_value_is_one_line(name):
    call, words = CALLS[name]
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored") / "run"
    runs.start(job(settings={"entropy": [0.1, 0.2]}), folder, QUIET)
    return folder


@pytest.mark.parametrize("which", [3, "a", {"entropy": "x"}, {3: 1}, {"entropy": None}, [("entropy", 0.1)]])
def test_a_run_that_is_not_named_is_not_repeated(stored, which):
    with pytest.raises(ValueError, match="must be"):
        runs.replay(stored, 0, which=which)


WRONG = {
    "steps": None,
    "seeds": 1.5,
    "first_seed": "x",
    "problem": 3,
    "algorithm": None,
    "entropy": 3,
    "offset": "a",
    "problem_options": 3,
    "algorithm_options": [1],
    "judge": "x",
    "record": "q",
    "preset": "q",
    "zip": 3,
    "block_width": "a",
    "shard": 3,
    "own_problem": 3,
}


@pytest.mark.parametrize("key", [*WRONG, "command"])
def test_a_configuration_of_wrong_values_is_damaged_and_says_where(stored, key):
    path = stored / "config.json"
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {key: WRONG.get(key)}))
    try:
        with pytest.raises(ValueError, match=key):
            runs.resume(stored, QUIET)
    finally:
        path.write_text(whole)


@pytest.mark.parametrize("key", ["problem", "algorithm", "steps", "seeds", "first_seed"])
def test_a_configuration_that_lacks_something_is_damaged(stored, key):
    path = stored / "config.json"
    whole = path.read_text()
    path.write_text(json.dumps({name: value for name, value in json.loads(whole).items() if name != key}))
    try:
        with pytest.raises(ValueError, match=f"{key} must be .*missing"):
            runs.extend(stored, QUIET, seeds=3)
    finally:
        path.write_text(whole)


def test_the_least_weight_that_is_judged_agrees_with_the_limit():
    problem = cases.goal()
    x = jnp.linspace(-1, 1, 16)
    tau = 1e-8
    found = jax.jit(lambda: exact.hyper_objective(problem, x, tau))()
    limit = jax.jit(lambda: exact.upper_objective(problem, x, exact.limit_policy(problem, x)))()
    assert float(found) == pytest.approx(float(limit), abs=1e-5)

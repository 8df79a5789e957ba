"""Policies that record points keep, and the trees that come back of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, control, problems, results, runs
from hfac.control import environments
from hfac.engine import SharedRecord
from hfac.runs import Execution, _memory, _policies
from support import cases
from support.folders import SMALL, kept
from support.toys import toy

QUIET = Execution(figures=False, quiet=True)


def job(**changed):
    given = {"problem": "goal_placement", "problem_options": SMALL, "steps": 40, "seeds": 2, "record": "policies"}
    return runs.job(**given | {"settings": {"upper": 0.01, "entropy": [0.01, 0.03]}} | changed)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return kept(tmp_path_factory)


def test_a_repeated_run_has_the_policies_that_were_kept(stored):
    which = {"entropy": 0.03}
    found = runs.recorded(stored, seed=1, which=which)
    again = runs.replay(stored, seed=1, which=which, debug=False)
    assert set(found) == {"x", "theta", "theta_pen"} and again.gap < 1e-5  # other widths round differently
    for name, tree in found.items():
        np.testing.assert_allclose(tree, getattr(again.replay.state, name), rtol=1e-4, atol=1e-6)
    assert np.any(found["theta"] != found["theta_pen"])


def test_any_record_point_comes_back(stored):
    data = results.load(stored)
    found = runs.recorded(stored, seed=0, which={"entropy": 0.01}, step=10)
    one = data.sel({"entropy.scale": 0.01, "seed": 0, "step": 10})
    np.testing.assert_array_equal(found["theta"], one["theta"])
    np.testing.assert_array_equal(found["x"], one["x"])
    assert np.all(runs.recorded(stored, seed=0, which={"entropy": 0.01}, step=0)["theta"] == 0)
    with pytest.raises(ValueError, match=r"step 11 was not recorded; the sweep has 0, 1, 2"):
        runs.recorded(stored, seed=0, which={"entropy": 0.01}, step=11)
    with pytest.raises(ValueError, match=r"2 runs have seed 0; say which, by entropy\.scale"):
        runs.recorded(stored, seed=0)


def test_a_run_keeps_what_it_records(stored):
    with pytest.raises(ValueError, match="a run keeps its record"):
        runs.extend(stored, QUIET, record="x")
    old, new = (job(record=record).configuration for record in ("x", "policies"))
    with pytest.raises(ValueError, match="a run keeps its record"):
        runs.check_growth(old, new)


def test_what_is_kept_counts_as_memory(monkeypatch):
    def check(record):
        many = job(steps=100_000, seeds=200, settings={"upper": 0.01}, record=record)
        _memory.check_memory(many, Execution())

    names = ("x", "theta", "theta_pen", "status", "failed_at")
    first = _policies.shapes(algorithms.hfac(cases.goal()), cases.gentle())
    policies = sum(4 * leaf.size for name in names[1:3] for leaf in jax.tree.leaves(first[name]))
    monkeypatch.setattr(_memory, "host", lambda: 0.9 * _memory.LOADED * policies * 200 * len(job(steps=100_000).points))
    check("x")
    with pytest.raises(ValueError, match=r"200 runs need .* for their results"):
        check("policies")


def test_policies_over_sequences_are_kept_too():
    problem = toy("score")
    made = runs.job(problem, "hfac", steps=3, seeds=1, record="policies", judge=0.5)
    own = jax.tree.map(lambda leaf: leaf.shape, _policies.shapes(made.algorithm, made.grid.one(0)))
    assert own["theta"] == own["theta_pen"] == problem.reference.shape


def test_a_record_that_reads_shared_arrays_stays_one():
    algorithm = algorithms.partial(cases.goal())
    state = jax.eval_shape(algorithm.init, hfac.run_key(0), cases.gentle())
    keep = _policies.keeping(algorithm, SharedRecord(lambda tree: lambda *_: {"weights": tree}))
    found = keep.make(3.0)(state, None, None)
    assert found["weights"] == 3.0 and found["theta"] is state.theta
    clash = _policies.keeping(algorithm, lambda *_: {"theta": 1})
    with pytest.raises(ValueError, match="keeps something else as 'theta'"):
        clash(state, None, None)


def windy(wind: float = 0.1):
    """CartPole whose leader dislikes positions; the number is the problem's."""

    def cost(x, obs, action, next_obs, hidden):
        return wind * next_obs[0] ** 2

    return control.ControlProblem(
        environment=environments.cartpole(),
        reward=lambda x, obs, action, next_obs: jnp.tanh(x * next_obs[0].astype(x.dtype)),
        cost=cost,
        init_x=lambda key: jnp.zeros(()),
        hidden=(4,),
        name="windy",
    )


windy.kind = "control"


def test_every_problem_of_a_list_keeps_its_own_records(monkeypatch):
    monkeypatch.setitem(problems.REGISTRY, "windy", windy)
    made = runs.job("windy", "partial", steps=3, seeds=1, problem_options={"wind": [0.1, 0.2]})
    assert [each.record for each in made.variants] == [each.problem.record for each in made.variants]
    assert made.variants[0].record is not made.variants[1].record


@pytest.mark.parametrize(
    "wrong, words",
    [
        (
            {"problem": "reward_design", "problem_options": {}, "record": "tables"},
            "reward_design are no tables",
        ),
        ({"problem": "beacon", "problem_options": {"size": [24, 36]}, "record": "policies"}, "policies of one shape"),
    ],
)
def test_what_cannot_be_kept_is_one_line(wrong, words):
    with pytest.raises(ValueError, match=words) as caught:
        job(**wrong)
    assert "\n" not in str(caught.value)

"""Methods on environments: swept, recorded, stopped, resumed, extended like everything else."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, control, plots, problems, runs
from hfac._errors import InputError
from hfac.cli import main
from hfac.cli._sweep import request
from hfac.runs import _own
from hfac.types import Status
from support import cases
from support.slow import few

QUIET = runs.Execution(quiet=True)
TINY = {"num_envs": 4, "num_steps": 8}
RATES = {"upper": 1e-3, "actor": 3e-3, "critic": 3e-3, "penalty": 3.0, "entropy": 0.01, "offset": 100}
METHODS = ("hfac", "nested", "partial", "decoupled", "single_loop_penalty", "penalty_gaur", "value_penalty", "f2sa",
           "true_reward")  # fmt: skip


def job(problem="preferences", algorithm="partial", **changed):
    options = {"num_pairs": 8, "segment": 4, "hidden": (8,), "reward_hidden": (8,)} if problem == "preferences" else {}
    given = {"steps": 12, "seeds": 2, "settings": RATES, "problem_options": options, "algorithm_options": TINY}
    return runs.job(problem, algorithm, **given | changed)


@pytest.mark.parametrize("epochs", [1, 2])
def test_every_sampled_method_steps_on_an_environment(epochs):
    import jax

    problem = control.tabular(cases.ending(), "one_hot", hidden=(4,))
    for name in METHODS:
        algorithm = getattr(algorithms, name)(problem, epochs=epochs, **TINY)
        rates, key = cases.gentle(), hfac.run_key(0)
        first = jax.eval_shape(algorithm.init, key, rates)
        after, info = jax.eval_shape(algorithm.step, key, first, rates)
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), first) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), after
        )
        assert info.num_samples.dtype == np.int32


@pytest.mark.parametrize("name, squashed", [("cartpole", True), ("pendulum", True), ("pendulum", False)])
def test_a_step_keeps_single_precision_where_double_is_on(name, squashed):
    import jax

    problem = dataclasses.replace(problems.reward_design(environment=name), squashed=squashed)
    algorithm = algorithms.true_reward(problem, **TINY)
    with jax.numpy_dtype_promotion("standard"):  # as users have it
        first = jax.eval_shape(algorithm.init, hfac.run_key(0), cases.gentle())
        after = jax.eval_shape(algorithm.step, hfac.run_key(0), first, cases.gentle())[0]
    assert [leaf.dtype for leaf in jax.tree.leaves(first)] == [leaf.dtype for leaf in jax.tree.leaves(after)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("control") / "whole"
    return folder, runs.start(job(), folder, QUIET)


def test_a_sweep_records_what_fresh_episodes_earn(whole):
    data = whole[1]
    assert np.all(data["status"] == 0)
    assert np.all((data["return"] >= 5) & (data["return"] <= 500))
    assert np.array_equal(data["return"], data["episode_length"])  # CartPole pays 1 a step
    np.testing.assert_allclose(data["hyper_objective"].isel(judged_tau=0), -data["return"])
    samples = data["samples"].isel(step=-1)
    assert np.all((samples > 0) & (samples <= 12 * 4 * 8))


def test_the_objective_is_played_where_the_leader_has_a_cost():
    def step(key, state, action):
        del key, action
        after = state + 1
        return control.Step(after[None], after, 0.5 * after, after >= 3, np.bool_(False))

    def reset(key):
        del key
        return np.zeros(1, np.float32), jnp.zeros((), jnp.float32)

    short = control.Environment(reset, step, control.Box([0.0], [3.0]), control.Discrete(2), limit=9, name="short")
    problem = control.ControlProblem(
        environment=short, reward=lambda x, *_: x, init_x=lambda key: jnp.full((), 2.0), discount=0.9,
        h=lambda x: x**2, cost=lambda x, obs, action, next_obs, hidden: x * next_obs[0] + hidden,
    )  # fmt: skip
    algorithm = algorithms.partial(problem, num_envs=2, num_steps=4)
    data = hfac.sweep(algorithm, cases.gentle(), [0], 1, record=problem.record, record_at=[0])
    expected = 4 + 0.1 * sum(0.9**t * (2 * (t + 1) + 0.5 * (t + 1)) for t in range(3))
    assert float(data["played_objective"].item()) == pytest.approx(expected, rel=1e-6)
    judged = hfac.judge(data, problem.judge(0.1).metric)["hyper_objective"].item()
    assert judged == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match=r"the sweep's x is \(\), the metric's \(16,\); judge by its own problem"):
        hfac.judge(data, hfac.metrics.exact(cases.goal(), tau=0.1))


@pytest.mark.slow
def test_an_environment_that_stops_giving_numbers_is_a_status():
    cliff = control.environments.mountain_car()

    def step(key, state, action):
        found = cliff.step(key, state, action)
        return found._replace(reward=jnp.where(found.state.position > -0.5, jnp.nan, found.reward))

    problem = dataclasses.replace(
        problems.preferences("mountain_car", segment=4), environment=cliff._replace(step=step)
    )
    data = hfac.sweep(algorithms.partial(problem, num_envs=8, num_steps=8), cases.gentle(), 2, 20)
    assert np.all(data["status"].isel(step=-1) == Status.ENVIRONMENT_NON_FINITE)
    assert np.all((data["failed_at"].isel(step=-1) >= 0) & (data["failed_at"].isel(step=-1) < 20))


@pytest.mark.slow
def test_a_run_that_grew_is_the_run_that_was_not_cut(whole, tmp_path):
    runs.start(job(steps=5), tmp_path / "part", QUIET)
    grown = runs.extend(tmp_path / "part", QUIET, steps=12)
    same = np.intersect1d(whole[1]["step"], grown["step"])
    weights = [name for name in grown if "weights" in name]
    assert weights
    for name in ("return", "samples", *weights):
        assert np.array_equal(grown[name].sel(step=same), whole[1][name].sel(step=same)), name
    assert np.array_equal(grown["return"].isel(step=-1), whole[1]["return"].isel(step=-1))


def test_a_table_with_neural_followers_is_judged_by_the_oracle():
    made = problems.goal_placement_control(size=4, landmark=(3, 3), hazard_rows=(1, 2), hazard_columns=(1, 2))
    table = cases.goal(discount=0.95)
    worth = [float(each.judge(0.1).metric.function(each.judge(0.1).metric.carry, {"x": each.init_x(None)})[1][
        "hyper_objective"][0]) for each in (made, table)]  # fmt: skip
    assert worth[0] == pytest.approx(worth[1], abs=1e-12)


def test_an_environment_has_recommended_settings_of_its_own():
    for name, starts, actor in (("cartpole", "restarts", 1e-2), ("acrobot", "paired", 3e-3)):
        made = runs.job("reward_design", "hfac", steps=1, seeds=1, problem_options={"environment": name})
        asked = request(["reward_design", "--problem.environment", name])
        for options in (made.configuration["algorithm_options"], dataclasses.asdict(asked.algorithm_options)):
            assert options["starts"] == starts
        assert float(made.grid.one(0).actor.scale) == pytest.approx(actor)


DRAWN = [("preferences", {"returns", "payments"}), ("incentives_control", {"objective", "grid"})]


@pytest.mark.parametrize("name, drawn", few(DRAWN, DRAWN[0]))
def test_figures_are_drawn_of_what_there_is(name, drawn, whole, tmp_path):
    if name == "preferences":
        data, problem = whole[1], job().problem
    else:
        problem = problems.incentives_control(size=3)
        small = job(name, problem_options={"size": 3}, steps=3)
        data = runs.start(small, tmp_path / "run", QUIET)
    assert {path.stem for path in plots.save_all(data, problem, {}, tmp_path / "figures")} >= drawn


@pytest.mark.parametrize("name, is_exact", [("incentives_control", True), ("incentives", True), ("preferences", False)])
def test_commands_turn_float64_on_where_an_oracle_judges(name, is_exact, here, monkeypatch):
    asked = []

    def begin(request, x64):
        asked.append(x64)
        raise InputError("begun")

    monkeypatch.setattr("hfac.cli._sweep_run.begin", begin)
    with pytest.raises(SystemExit):
        main(["sweep", name, "--steps", "3"])
    assert asked == [is_exact]


PARTS = {
    "reward": {"reward": lambda x, obs, action, next_obs: x[0] * obs[0] + 1.0},
    "cost": {"cost": lambda x, obs, action, next_obs, hidden: 2.0 * hidden},
    "discount": {"discount": 0.5},
    "h": {"h": lambda x: 9.0 * jnp.sum(x**2)},
    "environment": {"environment": control.environments.mountain_car(limit=7)},
}


def test_a_problem_of_ones_own_is_told_from_others():
    whole = {
        "environment": control.environments.mountain_car(),
        "reward": lambda x, obs, action, next_obs: x[0] * obs[0],
        "cost": lambda x, obs, action, next_obs, hidden: hidden,
        "h": lambda x: jnp.sum(x**2),
        "init_x": lambda key: jnp.zeros(2, jnp.float32),
    }
    stored = _own.of_problem(control.ControlProblem(**whole))
    _own.check("problem", stored, _own.of_problem(control.ControlProblem(**whole)))
    _own.check("problem", {"x": stored["x"]}, stored)  # a run that was begun when x was all that was kept
    for name, part in PARTS.items():
        with pytest.raises(ValueError, match=f"the run began with another problem: {name} differs"):
            _own.check("problem", stored, _own.of_problem(control.ControlProblem(**whole | part)))


def test_what_cannot_be_sampled_is_refused():
    with pytest.raises(ValueError, match="policy term"):
        control.tabular(problems.linear_reward())
    with pytest.raises(ValueError, match="one_hot"):
        control.tabular(cases.ending())
    with pytest.raises(ValueError, match="needs a tabular"):
        algorithms.hpgd(control.tabular(cases.ending(), "one_hot"))
    with pytest.raises(ValueError, match="multiple of the segments"):
        algorithms.partial(problems.preferences(), num_steps=24)


def test_a_sweep_is_traced_once():
    problem = control.tabular(cases.ending(), "one_hot", actor=control.linear(3), critic=control.linear(1))
    calls = []

    def reset(key):
        calls.append(key)
        return problem.environment.reset(key)

    counted = dataclasses.replace(problem, environment=problem.environment._replace(reset=reset))
    algorithm = algorithms.hfac(counted, epochs=2, **TINY)
    for seeds in ([0, 1, 2], [5, 6, 7]):
        calls.append("sweep")
        hfac.sweep(algorithm, cases.gentle(), seeds, 4)
    last = len(calls) - 1 - calls[::-1].index("sweep")
    assert len(calls) > 2 and calls[last:] == ["sweep"]

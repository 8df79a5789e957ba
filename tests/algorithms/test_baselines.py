"""What distinguishes the baselines from the method they are compared with."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, exact, problems
from hfac.types import Status
from support import cases, helpers
from support.slow import few

SMALL = {
    "goal_placement": {"size": 6, "landmark": (5, 5), "hazard_rows": (2, 3), "hazard_columns": (2, 3)},
    "reward_shaping": {"size": 6},
}  # the others are small by default
ALL = [(name, problem) for name in algorithms.REGISTRY for problem in cases.TABULAR]
NEEDS_POLICY_ANSWER = {"advantage", "hpgd", "sobirl", "true_reward"}
BILEVEL = [name for name in algorithms.REGISTRY if name != "true_reward"]  # whose x rests
PAIRS = few(  # a third covers all of both, and all that is refused
    ALL, *(pair for i, pair in enumerate(ALL) if i % 3 == 0 or pair[0] in NEEDS_POLICY_ANSWER)
)
RUN = [(name, cases.TABULAR[i % len(cases.TABULAR)]) for i, name in enumerate(algorithms.REGISTRY)]  # all of both
FEW_FITS = {"decoupled": {"fit_steps": 5}}


@functools.cache
def small(problem):
    return getattr(problems, problem)(**SMALL.get(problem, {}))


goal = functools.cache(cases.goal)


@pytest.mark.parametrize(("name", "problem"), PAIRS)
def test_every_method_steps_on_every_problem_or_says_why_not(name, problem):
    """A step's types and shapes are those of the state it is given, as a scan needs."""
    try:
        algorithm = getattr(algorithms, name)(small(problem), **FEW_FITS.get(name, {}))
    except ValueError as refusal:
        assert small(problem).g is not None  # the one part of f that sampled returns cannot replace
        assert problem in str(refusal)
        assert "use hfac" in str(refusal)
        return
    rates, key = cases.gentle(), hfac.run_key(0)
    first = jax.eval_shape(lambda: algorithm.init(key, rates))
    after = jax.eval_shape(lambda state: advance(algorithm, key, 0, state, rates), first)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), first) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), after
    )
    assert jax.tree.map(jnp.shape, jax.eval_shape(algorithm.solution, first).x) == jax.tree.map(
        jnp.shape, small(problem).first_x(key)
    )


@pytest.mark.parametrize(("name", "problem"), few(RUN, *RUN[::2]))
def test_a_method_runs(name, problem):
    if is_refused(name, small(problem)):
        problem = "goal_placement"
    algorithm = getattr(algorithms, name)(small(problem), **FEW_FITS.get(name, {}))
    rates = cases.gentle(upper=1e-4, entropy=1.0)

    @jax.jit
    def run(key):
        first = algorithm.init(key, rates)
        last = jax.lax.fori_loop(0, 10, lambda k, state: advance(algorithm, key, k, state, rates), first)
        return algorithm.solution(first), algorithm.solution(last), last.status, last.step

    start, end, status, step = jax.device_get(run(hfac.run_key(0)))
    assert (status, step) == (Status.OK, 10)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(end))
    # partial SGD leaves x alone where f does not depend on it; its policy moves all the same
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), start.theta, end.theta)))


def advance(algorithm, key, k, state, rates):
    return algorithm.step(jax.random.fold_in(key, k), state, rates)[0]


@pytest.mark.parametrize("name", algorithms.REGISTRY)
def test_a_policy_term_is_used_or_refused(name):
    assert (name in NEEDS_POLICY_ANSWER) == is_refused(name, small("linear_reward"))


def is_refused(name, problem):
    try:
        getattr(algorithms, name)(problem)
    except ValueError:
        return True
    return False


STEPS = {"a_parl": (0.1, 20), "hpgd": (0.05, 40), "m_sobirl": (0.02, 300)}  # upper rate, steps
SHORT = {"a_parl": {"horizon": 20}, "hpgd": {"horizon": 20}}  # what is cut off weighs 0.5^20


@functools.cache
def random_problem():
    """A problem on which everybody is judged, and the judge of many x."""
    problem = helpers.small_random(0, discount=0.5)
    return problem, jax.jit(jax.vmap(lambda x: exact.hyper_objective(problem, x.astype(float), 0.3)))


@pytest.mark.parametrize("name", BILEVEL)
def test_every_method_improves_on_its_start(name):
    problem, judge = random_problem()
    needs, algorithm = algorithms.needs(name), getattr(algorithms, name)(problem, **SHORT.get(name, {}))
    usual = (0.02, 100) if needs.model else (0.01, 3_000) if needs.nested else (0.003, 3_000)
    upper, num_steps = STEPS.get(name, usual)
    rates = cases.constant(upper=upper, actor=0.5, critic=0.3, penalty=2.0, entropy=0.3)

    def run(key):
        return hfac.run(algorithm, key, rates, num_steps, record_at=[0, num_steps])[1].record["x"]

    xs = jax.jit(jax.vmap(run))(jax.vmap(hfac.run_key)(jnp.arange(6)))
    gains = np.asarray(judge(xs[:, 0]) - judge(xs[:, 1]))
    assert np.mean(gains) > 2 * np.std(gains, ddof=1) / np.sqrt(len(gains))


def test_the_true_reward_leads_the_follower_where_the_leader_wants_it():
    problem, rates = goal(), cases.constant(actor=0.5, critic=0.3, entropy=0.01)
    algorithm = algorithms.true_reward(problem, sampler="exact")
    state, _ = cases.run(algorithm, hfac.run_key(0), rates, 8_000)
    f = jax.jit(lambda theta: exact.upper_objective(problem, state.x, jax.nn.softmax(theta)))
    first = f(jnp.zeros_like(state.theta))
    costs = dataclasses.replace(problem, reward=lambda x, *step: -problem.cost(x, *step), reward_grad=None)
    best = jax.jit(lambda x: exact.upper_objective(problem, x, exact.best_response(costs, x, 0.01)))(state.x)
    assert np.array_equal(state.x, problem.init_x(None))
    assert float(f(state.theta) - best) < 0.05 * float(first - best)


def test_nested_with_one_inner_step_is_hfac():
    problem, rates = goal(), cases.gentle()
    ours, theirs = (
        cases.run(build(problem), hfac.run_key(0), rates, 30)[0]
        for build in (lambda p: algorithms.nested(p, inner_steps=1), algorithms.hfac)
    )
    np.testing.assert_allclose(ours.x, theirs.x, rtol=0, atol=1e-6)  # another fusion


def test_nested_moves_x_at_every_nth_step_only():
    algorithm = algorithms.nested(goal(), inner_steps=5)
    _, history = cases.run(algorithm, hfac.run_key(0), cases.gentle(), 12, record_at=range(13))
    moved = np.any(np.diff(history.record["x"], axis=0) != 0, axis=1)
    np.testing.assert_array_equal(np.flatnonzero(moved) + 1, [5, 10])
    assert int(np.sum(history.num_samples)) == 24


@pytest.mark.parametrize("steps", [0, 1.5, -2])
def test_inner_steps_must_be_a_count(steps):
    with pytest.raises(ValueError, match="inner_steps must be a whole number >= 1"):
        algorithms.nested(goal(), inner_steps=steps)


def test_partial_uses_one_chain_and_drops_the_policys_answer():
    problem = goal()
    algorithm = algorithms.partial(problem)
    state, history = cases.run(algorithm, hfac.run_key(0), cases.gentle(upper=1.0), 50)
    assert int(np.sum(history.num_samples)) == 50
    np.testing.assert_array_equal(state.x, 0)  # d_x f is lambda x, and x starts at zero: it never learns to move
    assert np.any(np.asarray(state.theta) != 0)


def test_exact_gradient_descends_and_counts_no_samples():
    problem = goal()
    record = lambda state, info, schedules: info.hyper_objective  # noqa: E731
    algorithm = algorithms.exact_gradient(problem)
    _, history = cases.run(algorithm, hfac.run_key(0), cases.constant(upper=0.5, entropy=0.1), 60, record=record)
    assert int(np.sum(history.num_samples)) == 0
    assert float(history.record[-1]) < float(history.record[1]) - 0.01
    assert jnp.all(jnp.diff(history.record[1:]) < 1e-6)  # gradient descent with a small step


def test_pen_rate_slows_the_penalised_actor_alone():
    problem, rates = goal(), cases.constant(upper=0.1, actor=0.5, critic=0.3)
    key = jax.random.key(0)
    moved = {}
    for pen_rate in (1.0, 0.25):
        algorithm = algorithms.hfac(problem, sampler="exact", pen_rate=pen_rate, dtype=jnp.float64)
        state = cases.frozen_state(algorithm, problem, rates)
        moved[pen_rate] = cases.differences(jax.jit(algorithm.step)(key, state, rates)[0], state)
    for name, full in moved[1.0].items():
        np.testing.assert_allclose(moved[0.25][name], full * (0.25 if name == "theta_pen" else 1), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"pen_rate must lie in \(0, 1\], got 0"):
        algorithms.hfac(problem, pen_rate=0.0)

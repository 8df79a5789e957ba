"""What distinguishes the baselines from the method they are compared with."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, problems
from hfac.types import Status

METHODS = {name: getattr(algorithms, name) for name in algorithms.REGISTRY}


@pytest.mark.parametrize("problem", problems.REGISTRY)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_on_every_problem(name, problem):
    built = getattr(problems, problem)()
    rates = cases.gentle(upper=1e-4, entropy=1.0)
    algorithm = METHODS[name](built)
    key = hfac.run_key(0)
    state = first = algorithm.init(key, rates)
    step = jax.jit(algorithm.step)
    for k in range(10):
        state, _ = step(jax.random.fold_in(key, k), state, rates)
    start, end = algorithm.solution(first), algorithm.solution(state)
    assert int(state.status) == Status.OK
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(end))
    # partial SGD leaves x alone where f does not depend on it; its policy moves all the same
    moved = jax.tree.map(lambda a, b: np.any(a != b), start.theta, end.theta)
    assert all(jax.tree.leaves(moved))


def test_nested_with_one_inner_step_is_hfac():
    problem, rates = cases.goal(), cases.gentle()
    ours, theirs = (
        hfac.run(build(problem), hfac.run_key(0), rates, 30)[0]
        for build in (lambda p: algorithms.nested(p, inner_steps=1), algorithms.hfac)
    )
    np.testing.assert_allclose(ours.x, theirs.x, rtol=0, atol=1e-6)  # another fusion


def test_nested_moves_x_at_every_nth_step_only():
    algorithm = algorithms.nested(cases.goal(), inner_steps=5)
    _, history = hfac.run(algorithm, hfac.run_key(0), cases.gentle(), 12, record_at=range(13))
    moved = np.any(np.diff(history.record["x"], axis=0) != 0, axis=1)
    np.testing.assert_array_equal(np.flatnonzero(moved) + 1, [5, 10])
    assert int(np.sum(history.num_samples)) == 24


@pytest.mark.parametrize("steps", [0, 1.5, -2])
def test_inner_steps_must_be_a_count(steps):
    with pytest.raises(ValueError, match="inner_steps must be a whole number >= 1"):
        algorithms.nested(cases.goal(), inner_steps=steps)


def test_partial_uses_one_chain_and_drops_the_policys_answer():
    problem = cases.goal()
    algorithm = algorithms.partial(problem)
    state, history = hfac.run(algorithm, hfac.run_key(0), cases.gentle(upper=1.0), 50)
    assert int(np.sum(history.num_samples)) == 50
    np.testing.assert_array_equal(state.x, 0)  # d_x f is lambda x, and x starts at zero: it never learns to move
    assert np.any(np.asarray(state.theta) != 0)


def test_exact_gradient_descends_and_counts_no_samples():
    problem = cases.goal()
    record = lambda state, info, schedules: info.hyper_objective  # noqa: E731
    algorithm = algorithms.exact_gradient(problem)
    _, history = hfac.run(algorithm, hfac.run_key(0), cases.constant(upper=0.5, entropy=0.1), 60, record=record)
    assert int(np.sum(history.num_samples)) == 0
    assert float(history.record[-1]) < float(history.record[1]) - 0.01
    assert jnp.all(jnp.diff(history.record[1:]) < 1e-6)  # gradient descent with a small step

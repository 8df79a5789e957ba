"""Reward shaping: sparse updates, ends, and the matrix-free oracle against the dense one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import exact
from hfac.problems import reward_shaping
from hfac.tabular import linear
from hfac.types import is_rows


def test_every_direction_is_rows_without_regularization():
    problem = reward_shaping(size=5, regularization=0.0)
    x = problem.init_x(jax.random.key(0))
    assert is_rows(problem.reward_grad(x, jnp.int32(3), jnp.int32(0), jnp.int32(4)))
    algorithm = hfac.algorithms.hfac(problem, batch_size=2)
    schedules = hfac.schedules.attenuating(upper=1.0)
    state = algorithm.init(hfac.run_key(0), schedules)
    moved, _ = jax.jit(algorithm.step)(jax.random.key(1), state, schedules)
    assert 1 <= int(jnp.sum(moved.x != state.x)) <= 4  # two chains of two


def test_given_gradients_are_the_true_ones():
    problem = reward_shaping(size=4, regularization=0.0)
    checks = {c.method: c.relative_error for c in hfac.check_hypergradient(problem, tau=0.2, show=None)}
    assert checks["implicit"] < 1e-7  # step 1e-5 of the central differences
    assert checks["estimator"] == pytest.approx(checks["penalty"], rel=1e-4)


def test_the_episode_ends_at_the_goal():
    problem = reward_shaping(size=4, slip=0.0, start_mass=1.0)
    value = exact.upper_objective(problem, jnp.zeros(16), exact.limit_policy(problem, jnp.zeros(16)))
    assert float(value) == pytest.approx(-(0.95**6), rel=1e-12)  # six moves to the far corner, paid once


def test_matrix_free_agrees_with_dense(monkeypatch):
    problem = reward_shaping(size=20, regularization=0.0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=400) * 0.1)
    ways = {
        "objective": lambda: exact.hyper_objective(problem, x, 0.03),
        "limit": lambda: exact.limit_hyper_objective(problem, x),
        "gradient": lambda: exact.hypergradient(problem, x, 0.03),
        "visitation": lambda: exact.visitation(problem, exact.best_response(problem, x, 0.03)),
    }
    monkeypatch.setattr(linear, "DENSE_LIMIT", 1_000)
    dense = {name: np.asarray(jax.jit(lambda way=way: way())()) for name, way in ways.items()}
    monkeypatch.setattr(linear, "DENSE_LIMIT", 10)
    for name, way in ways.items():
        matrix_free = np.asarray(jax.jit(lambda way=way: way())())
        scale = np.abs(dense[name]).max()
        np.testing.assert_allclose(matrix_free, dense[name], rtol=0, atol=1e-8 * scale, err_msg=name)


def test_numbers_out_of_range_are_refused():
    for options, message in (
        ({"size": 1}, "size must be at least 2, got 1"),
        ({"slip": 1.5}, "slip must lie in [0, 1], got 1.5"),
        ({"regularization": -1.0}, "regularization must be finite and >= 0, got -1.0"),
        ({"discount": 1.0}, "discount must lie strictly between 0 and 1, got 1.0"),
    ):
        with pytest.raises(ValueError) as error:
            reward_shaping(**options)
        assert message in str(error.value)

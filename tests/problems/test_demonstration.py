"""Inverse reinforcement learning: the expert comes back, the gradient matches features, the limit is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import exact, metrics
from hfac.problems import demonstration


def expert_weights(problem):
    """d_E(s) pi_E(a|s), read off the cross-entropy: -dg/dlog pi. [S, A]."""
    uniform = jnp.full((problem.mdp.num_states, problem.mdp.num_actions), 1 / problem.mdp.num_actions)
    return -jax.grad(problem.g, argnums=1)(problem.init_x(jax.random.key(0)), uniform) * uniform


def test_exact_descent_recovers_the_expert():
    problem = demonstration(size=4)
    weights = expert_weights(problem)
    expert = weights / weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(weights.sum(-1), exact.visitation(problem, expert), atol=1e-12)
    entropy = float(-jnp.sum(weights * jnp.log(expert)))
    found = exact.minimize(problem, 1.0, num_steps=300, learning_rates=(0.3,))
    pi = exact.best_response(problem, found.x, 1.0)
    divergence = jnp.sum(expert * jnp.log(expert / pi), -1)
    assert float(jnp.sum(weights.sum(-1) * divergence)) < 1e-6
    assert float(found.value) == pytest.approx(entropy, abs=1e-6)
    assert float(exact.hyper_objective(problem, problem.init_x(jax.random.key(0)), 1.0)) > entropy + 0.05


def test_gradient_is_the_difference_of_feature_expectations():
    problem = demonstration(size=4)
    mdp, x = problem.mdp, jnp.asarray(np.random.default_rng(0).normal(size=16))

    def arrivals(weights):
        return jnp.zeros(16).at[mdp.next_states].add(mdp.probs * weights[..., None])

    pi = exact.best_response(problem, x, 1.0)
    ours = exact.visitation(problem, pi)[:, None] * pi
    wanted = arrivals(ours) - arrivals(expert_weights(problem))
    np.testing.assert_allclose(exact.hypergradient(problem, x, 1.0), wanted, rtol=0, atol=1e-12)


def test_hypergradient_against_finite_differences():
    problem = demonstration(size=3, regularization=0.1)
    x, d = jnp.asarray(np.random.default_rng(1).normal(size=(2, 9)))
    objective = jax.jit(lambda step: exact.evaluate(problem, x + step * d, 1.0)[:2])
    slope = (objective(1e-5)[0] - objective(-1e-5)[0]) / 2e-5
    assert float(jnp.vdot(objective(0.0)[1], d)) == pytest.approx(float(slope), rel=1e-7)


def test_the_limit_is_refused_and_other_entropy_weights_are_not():
    problem = demonstration(size=3)
    x = jnp.zeros(9)
    message = "demonstration is not meant for tau -> 0 but for tau = 1; judge it at a tau > 0"
    for ask in (lambda: exact.limit_hyper_objective(problem, x), lambda: metrics.exact(problem, limit=True)):
        with pytest.raises(ValueError) as error:
            ask()
        assert str(error.value) == message
    assert np.isfinite(float(exact.hyper_objective(problem, x, 0.1)))
    assert metrics.exact(problem, [1.0, 0.1]).labels.tolist() == [1.0, 0.1]


def test_numbers_out_of_range_are_refused():
    for build, message in (
        (lambda: demonstration(size=1), "size must be at least 2, got 1"),
        (lambda: demonstration(discount=0.999), "discount must be at most 0.99"),
        (lambda: demonstration(strength=0.0), "strength must be positive and finite, got 0.0"),
        (lambda: demonstration(regularization=-1.0), "regularization must be finite and >= 0, got -1.0"),
        (lambda: dataclasses.replace(demonstration(size=3), fixed_tau=0.0), "fixed_tau must be positive and finite"),
    ):
        with pytest.raises(ValueError) as error:
            build()
        assert message in str(error.value)

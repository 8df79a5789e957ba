"""Problems that strain the assumptions: how far, in numbers, and the oracle on them all the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import exact
from hfac.problems import beacon, goal_placement, slippery_grid
from hfac.tabular.problem import transition_table
from support import cases

TAU = 0.03


@pytest.mark.parametrize(("build", "size"), [(beacon, 12), (slippery_grid, 4)])
def test_hypergradient_against_finite_differences(build, size):
    problem, rng = build(size=size), np.random.default_rng(0)
    x = problem.init_x(jax.random.key(0)).astype(float)
    x, d = (x + jnp.asarray(rng.normal(size=x.shape)) for _ in range(2))
    objective = jax.jit(lambda step: exact.evaluate(problem, x + step * d, 0.2)[:2])
    slope = (objective(1e-5)[0] - objective(-1e-5)[0]) / 2e-5
    assert float(jnp.vdot(objective(0.0)[1], d)) == pytest.approx(float(slope), rel=1e-7)


def test_beacon_has_a_local_minimum_at_every_hill():
    problem = beacon()
    descent = hfac.algorithms.exact_gradient(problem, dtype=jnp.float64)
    rates = cases.constant(upper=0.3, entropy=TAU)
    data = hfac.sweep(descent, rates, 3, 200, record_at=[0, 200], initial=jnp.array([4.0, 9.0, 16.0]))
    judged = hfac.judge(data, hfac.metrics.exact(problem, TAU, limit=True, gradient=True)).isel(step=-1)
    assert float(judged["hypergradient_norm"].max()) < 1e-5
    np.testing.assert_allclose(judged["x"], [3, 10, 17], atol=0.05)  # the tops
    np.testing.assert_allclose(judged["hyper_objective"].values[:, 0], [-0.446, -0.638, -0.781], atol=1e-3)
    limits = judged["limit_hyper_objective"].values
    np.testing.assert_allclose(np.diff(limits), [-0.195, -0.144], atol=1e-3)  # the gaps as tau -> 0
    barrier = float(jax.jit(lambda x: exact.limit_hyper_objective(problem, x))(jnp.asarray(6.0)))
    assert barrier > limits[0] + 0.25 and barrier > limits[1] + 0.4  # no way down from one to the next


def test_beacon_is_a_staircase_at_small_entropy():
    problem = beacon()
    objective = jax.jit(lambda x: exact.evaluate(problem, x, 0.001))
    places = [9.7, 10.0, 10.3]
    found = [objective(jnp.asarray(x)) for x in places]
    assert np.ptp([float(f.value) for f in found]) < 1e-3 and max(abs(float(f.grad)) for f in found) < 1e-3
    assert abs(float(objective(jnp.asarray(10.5)).grad)) > 5


def lojasiewicz(problem, x, pi, tau):
    """|grad_theta J_tau|^2 / (tau (J_tau(pi*) - J_tau(pi))), [] ."""
    best = exact.best_response(problem, x, tau)
    gap = exact.regularized_return(problem, x, best, tau) - exact.regularized_return(problem, x, pi, tau)
    norm, _ = direction(problem, x, pi, tau)
    return float(norm**2 / (1 - problem.mdp.discount) ** 2 / (tau * gap))


def direction(problem, x, pi, tau):
    """Norm of the mean, and standard deviation, of one sampled direction delta grad log pi(a|s), exact critic."""
    mdp = problem.mdp
    value = exact.value(problem, x, pi, tau)
    delta = transition_table(problem.reward, mdp, x) - tau * jnp.log(pi)[..., None] - value[:, None, None]
    delta += mdp.discount * value[mdp.next_states]
    weights = exact.visitation(problem, pi)[:, None, None] * pi[..., None] * mdp.probs
    score = jnp.eye(mdp.num_actions)[None] - pi[:, None]  # [S, A, A]
    mean = jnp.einsum("sak,sab->sb", weights * delta, score)
    square = jnp.sum(jnp.sum(weights * delta**2, -1) * jnp.sum(score**2, -1))
    norm = jnp.linalg.norm(mean)
    return norm, jnp.sqrt(square - norm**2)


def uniform(problem):
    return jnp.full((problem.mdp.num_states, problem.mdp.num_actions), 1 / problem.mdp.num_actions)


def test_beacon_starves_the_lower_level_of_gradient():
    problem = beacon()
    far, here = jnp.asarray(17.0), jnp.asarray(3.0)
    at_start = lojasiewicz(problem, here, uniform(problem), TAU)
    elsewhere = lojasiewicz(problem, here, exact.best_response(problem, far, TAU), TAU)
    assert at_start == pytest.approx(11.3, abs=0.1) and elsewhere == pytest.approx(0.009, abs=0.001)


def test_slippery_grid_buries_the_signal_in_noise():
    x = jnp.asarray(np.random.default_rng(0).normal(size=100))
    ratio, constant = {}, {}
    for build in (goal_placement, slippery_grid):
        problem = build()
        norm, deviation = direction(problem, x, uniform(problem), TAU)
        ratio[build] = float(norm / deviation)
        constant[build] = lojasiewicz(problem, x, uniform(problem), TAU)
    assert ratio[goal_placement] == pytest.approx(0.0502, abs=1e-4)
    assert ratio[slippery_grid] == pytest.approx(0.0056, abs=1e-4)  # a ninth: 80 times the samples
    assert constant[slippery_grid] > constant[goal_placement] > 0.05  # the condition itself holds


def test_advantages_carry_the_factor_of_the_choice():
    x = jnp.zeros(16).at[5].set(2.0)
    problem = slippery_grid(size=4)
    pi = uniform(problem)
    value, mdp = exact.value(problem, x, pi, TAU), problem.mdp
    rewards = jax.nn.softmax(x)
    after = (rewards + mdp.discount * value)[mdp.next_states[:, 0]]  # [S, A]: all moves in order
    backup = jnp.sum(mdp.probs * (rewards + mdp.discount * value)[mdp.next_states], -1)
    advantage = backup - jnp.sum(pi * backup, -1, keepdims=True)
    np.testing.assert_allclose(advantage, 0.1 * (after - after.mean(-1, keepdims=True)), rtol=0, atol=1e-12)


def test_beacon_starts_anywhere_on_the_corridor():
    problem = beacon(size=12)
    starts = np.array([float(problem.init_x(jax.random.key(i))) for i in range(20)])
    assert starts.min() >= 0 and starts.max() <= 11 and np.ptp(starts) > 5
    rates = cases.gentle(upper=1e-3)
    state, _ = cases.run(hfac.algorithms.hfac(problem), hfac.run_key(0), rates, 20)
    assert state.x.shape == () and state.x.dtype == jnp.float32


def test_numbers_out_of_range_are_refused():
    for build, options, message in (
        (beacon, {"hills": ()}, "hills must be one or more positive numbers, got ()"),
        (beacon, {"size": 8}, "size must be at least 4 cells per hill, 12 here, got 8"),
        (beacon, {"width": 0.0}, "width must be positive and finite, got 0.0"),
        (beacon, {"slip": 2.0}, "slip must lie in [0, 1], got 2.0"),
        (slippery_grid, {"size": 3}, "size must be at least 4 for the hazards to fit, got 3"),
        (slippery_grid, {"slip": -0.1}, "slip must lie in [0, 1], got -0.1"),
    ):
        with pytest.raises(ValueError) as error:
            build(**options)
        assert message in str(error.value)

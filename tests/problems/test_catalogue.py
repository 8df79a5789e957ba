"""The catalogue's problems against published and independently computed numbers, and the yardsticks on them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import exact, problems, schedules
from hfac.problems import _four_rooms
from support import cases
from support.slow import few

RATES = schedules.fixed(upper=1.0, entropy=1.0, upper_power=0.0)  # tau = 1, constant step

# lambda, beta, F(0), norm of grad F, its first entry, of the unused logit, of the target's: two independent
# implementations of the published four rooms, agreeing to 1e-10.
FOUR_ROOMS = [
    (0.001, 1, 0.28815821, 1.09916286e-1, -1.01220553e-4, 1.17086482e-3, -7.09908173e-2),
    (0.001, 3, 0.01326780, 1.09838005e-1, -1.27583645e-4, 3.79105113e-3, -7.09558891e-2),
    (0.003, 1, 0.20000632, 5.31922909e-2, 1.78008222e-4, 1.17506873e-3, -2.84502056e-2),
    (0.003, 3, -0.06786847, 5.31607181e-2, 1.00027169e-4, 3.75830048e-3, -2.83942093e-2),
    (0.005, 1, 0.18172581, 6.07140813e-2, 2.12608241e-3, 1.17614295e-3, -2.67021243e-2),
    (0.005, 3, -0.05743045, 6.00171253e-2, 1.54220723e-3, 3.64274079e-3, -2.65113290e-2),
]


@functools.cache
def four_rooms(beta):
    problem = problems.four_rooms(beta=beta)
    return jax.jit(lambda x, tau: exact.evaluate(problem, x, tau))


@pytest.mark.parametrize("row", FOUR_ROOMS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_four_rooms_check_values(row):
    tau, beta, value, norm, first, unused, target = row
    found = four_rooms(beta)(jnp.zeros(105), tau)
    assert -float(found.value) == pytest.approx(value, abs=1e-7)
    grad = -np.asarray(found.grad)
    np.testing.assert_allclose(
        [np.linalg.norm(grad), grad[0], grad[104], grad[66]], [norm, first, unused, target], rtol=1e-6
    )
    assert abs(grad.sum()) < 1e-9  # softmax


def test_four_rooms_dynamics():
    cells = _four_rooms.free_cells()
    assert len(cells) == 104
    assert [cells.index(c) for c in ((4, 1), (1, 9), (11, 11), (8, 4))] == [31, 7, 103, 66]
    mdp = problems.four_rooms().mdp
    kernel = np.zeros((104, 4, 104))
    np.add.at(kernel, (np.arange(104)[:, None, None], np.arange(4)[:, None], mdp.next_states[:104]), mdp.probs[:104])
    assert np.sum(kernel**2) == pytest.approx(165.5950222222, abs=1e-9)
    assert np.einsum("sas->", kernel) == pytest.approx(80)
    np.testing.assert_array_equal(np.flatnonzero(mdp.ends), [7, 104 + 103])


def test_four_rooms_are_drawn_once_for_each_goal():
    layout = problems.four_rooms().layout
    rows, columns = layout.places(np.arange(208))
    width = len(_four_rooms.HOUSE[0])
    assert [_four_rooms.HOUSE[r][c % width] for r, c in zip(rows, columns, strict=True)].count("#") == 0
    field = np.asarray(layout.field(jnp.zeros(105)))
    drawn = layout.on_cells(field)
    assert drawn.shape == layout.shape == (13, 26)
    np.testing.assert_array_equal(drawn[rows, columns], field)
    assert np.isnan(drawn).sum() == 13 * 26 - 208
    np.testing.assert_array_equal(drawn[:, :width], drawn[:, width:])


def test_states_that_lie_nowhere_are_refused():
    problem = problems.four_rooms()
    for cells, got in ((np.zeros(208, int), "0"), (np.arange(3), "0 1 2"), (np.arange(208.0), "  0.")):
        layout = problem.layout._replace(cells=cells)
        with pytest.raises(ValueError, match=rf"layout.cells must be 208 different .* in \[0, 338\), got \[{got}"):
            dataclasses.replace(problem, layout=layout)


@functools.partial(jax.jit, static_argnums=(2, 3))
def both(x, batch, function, given):
    """The weighted sum of a function's gradients, given and derived."""
    return tuple(
        hfac.types.densify(x, hfac.problem.weighted_grad(function, grad, x, batch, jnp.ones(20)))
        for grad in (given, None)
    )


@pytest.mark.parametrize("name", cases.TABULAR)
def test_given_gradients_are_those_of_the_functions(name):
    problem = getattr(problems, name)()
    x = jax.tree.map(lambda leaf: jnp.asarray(leaf, float) + 0.1, problem.init_x(jax.random.key(1)))
    rng = np.random.default_rng(0)
    state, action = rng.integers(problem.mdp.num_states, size=20), rng.integers(problem.mdp.num_actions, size=20)
    if problem.mdp.ends is not None:
        state[:2] = np.flatnonzero(problem.mdp.ends)[:2].repeat(2)[:2]
    batch = hfac.types.Transition(
        *(jnp.asarray(part, jnp.int32) for part in (state, action, problem.mdp.next_states[state, action, 0])),
        jnp.ones(20),
        jnp.ones(20),
    )
    for function, given in ((problem.reward, problem.reward_grad), (problem.cost, problem.cost_grad)):
        if given is not None:
            ours, autodiff = both(x, batch, function, given)
            np.testing.assert_allclose(ours, autodiff, rtol=0, atol=1e-12 * (1 + np.abs(autodiff).max()))


def evaluated(problem, x):
    """Phi_1 and its gradient."""
    return jax.jit(lambda x: exact.evaluate(problem, x, 1.0))(x)


@pytest.mark.parametrize(("sizes", "best"), [((10, 5), 1.0), ((12, 4), 1.5)])
def test_random_mdp_has_its_minimum_at_zero(sizes, best):
    problem = problems.random_mdp(*sizes, dimension=20)
    found = evaluated(problem, jnp.zeros(20))
    assert float(found.value) == pytest.approx(best, rel=1e-12)  # S / (2 A)
    np.testing.assert_allclose(found.grad, 0, atol=1e-12)


@pytest.mark.parametrize(("seed", "start", "end"), few([(0, 2.2936, 0.3254), (1, 2.9044, 0.5350)], (0, 2.2936, 0.3254)))
def test_linear_reward_and_its_exact_descent(seed, start, end):
    problem = problems.linear_reward(seed=seed)
    algorithm = hfac.algorithms.exact_gradient(problem, dtype=jnp.float64)
    state, history = cases.run(
        algorithm, hfac.run_key(0), RATES, 4_000, record=lambda state, info, schedules: info.hyper_objective
    )
    assert float(history.record[1]) == pytest.approx(start, abs=1e-4)
    found = evaluated(problem, state.x)
    assert float(found.value) == pytest.approx(end, abs=1e-3)
    assert float(jnp.linalg.norm(found.grad)) < 1e-6


@pytest.mark.parametrize(("seed", "end"), few([(0, 2.590), (1, 3.249)], (0, 2.590)))
def test_partial_ends_worse_than_it_starts_on_linear_reward(seed, end):
    problem = problems.linear_reward(seed=seed)
    algorithm = hfac.algorithms.partial(problem, sampler="exact", dtype=jnp.float64)
    rates = schedules.fixed(upper=20.0, entropy=1.0, actor=1.0, critic=0.1, upper_power=0.0)
    state, _ = cases.run(algorithm, hfac.run_key(0), rates, 200)
    assert float(evaluated(problem, state.x).value) == pytest.approx(end, abs=1e-3)


# Relative error of grad Phi_{w,tau} for w = 1e-1 .. 1e-4, independently computed.
PENALTY_BIAS = {
    (0.5, 1.0): ([6.6e-2, 7.3e-3, 7.4e-4, 7.4e-5], [8.7e-3, 8.6e-5, 8.6e-7, 8.6e-9]),
    (0.95, 0.1): ([3.9e-2, 6.2e-3, 6.5e-4, 6.5e-5], [1.7e-2, 3.1e-4, 3.1e-6, 3.1e-8]),
}


@pytest.mark.parametrize(("discount", "tau"), few(PENALTY_BIAS, (0.95, 0.1)))
def test_bias_of_the_penalty(discount, tau):
    forward, central = PENALTY_BIAS[discount, tau]
    problem, x = cases.published(discount)
    truth = exact.hypergradient(problem, x, tau)
    for difference, expected in (("forward", forward), ("central", central)):
        bias = jax.jit(
            lambda w, difference=difference: exact.penalty_hypergradient(problem, x, w, tau, difference) - truth
        )
        found = [float(jnp.linalg.norm(bias(w)) / jnp.linalg.norm(truth)) for w in (1e-1, 1e-2, 1e-3, 1e-4)]
        np.testing.assert_allclose(found, expected, rtol=0.07, err_msg=difference)  # printed to two digits


@pytest.mark.parametrize(("setting", "error", "cosine"), [((0.5, 1.0), 0.67, 0.74), ((0.95, 1.0), 0.70, 0.72)])
def test_error_of_partial(setting, error, cosine):
    problem, x = cases.published(setting[0])

    @jax.jit
    def gradients(x):
        part = exact.upper_objective_grad(problem, x, exact.best_response(problem, x, setting[1]))
        return part, exact.hypergradient(problem, x, setting[1])

    part, truth = gradients(x)
    assert float(jnp.linalg.norm(part - truth) / jnp.linalg.norm(truth)) == pytest.approx(error, abs=0.006)
    assert float(part @ truth / jnp.linalg.norm(part) / jnp.linalg.norm(truth)) == pytest.approx(cosine, abs=0.006)


def test_numbers_out_of_range_are_refused():
    for build, options, message in (
        (problems.four_rooms, {"beta": -1.0}, "beta must be finite and >= 0, got -1.0"),
        (problems.four_rooms, {"fail_prob": 0.8}, "fail_prob must lie in [0, 0.75], got 0.8"),
        (problems.random_mdp, {"num_states": 1}, "num_states must be at least 2, got 1"),
        (problems.linear_reward, {"dimension": 0}, "dimension must be at least 1, got 0"),
        (problems.linear_reward, {"discount": 0.999}, "discount must be at most 0.99"),
    ):
        with pytest.raises(ValueError) as error:
            build(**options)
        assert message in str(error.value)

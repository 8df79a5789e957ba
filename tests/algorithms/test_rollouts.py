"""Methods that compare objectives or average over episodes: their estimates against the exact hyper-gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import exact
from hfac.algorithms._a_parl import a_parl
from hfac.algorithms._common import conjugate_gradients
from hfac.algorithms._hpgd import hpgd
from hfac.algorithms._rollouts import discounted_sums, roll_out
from hfac.algorithms._zeroth_order import zeroth_order
from hfac.tabular import policies
from hfac.types import Status
from support import cases
from support.slow import few

TAU = 0.3
UNIT = cases.constant(upper=1.0, entropy=TAU)  # x moves by minus the estimate, nothing else moves
PROBLEMS = {
    "endless": lambda: cases.random_problem(cases.dynamics()),
    "ends": cases.ending,
    "policy_term": cases.PROBLEMS["policy_term"],
}
X64 = pytest.mark.skipif(jnp.result_type(float) != jnp.float64, reason=cases.NEEDS_X64)
SMALL = {
    "zeroth_order": lambda problem: zeroth_order(problem, inner_steps=1),
    "hpgd": lambda problem: hpgd(problem, num_episodes=8, horizon=6),
    "a_parl": lambda problem: a_parl(problem, num_episodes=8, horizon=6, inner_steps=3, batch_size=2, cg_steps=3),
}


@functools.cache
def small(name):
    """A method on the endless problem with little to do in a step, which is compiled once."""
    algorithm = SMALL[name](PROBLEMS["endless"]())
    return algorithm, jax.jit(algorithm.step)


def estimates(algorithm, state, num_keys: int):
    """What one step at unit rate takes off x, for many keys, and its samples."""

    def one(key):
        new, info = algorithm.step(key, state, UNIT)
        return state.x - new.x, info.num_samples

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(7), num_keys))


def assert_mean_is(sample, truth, bias: float):
    """Within five standard errors and a stated bias, relative to the norm of the truth."""
    error = np.std(sample, axis=0) / np.sqrt(len(sample))
    slack = 5 * error + bias * np.linalg.norm(truth)
    assert np.all(np.abs(np.mean(sample, axis=0) - truth) <= slack), (np.mean(sample, axis=0), truth, error)
    assert np.linalg.norm(error) < 0.05 * np.linalg.norm(truth)  # else the test says nothing


def at_best_response(state, problem):
    """Actor and critics of `a_parl` as converged lower steps leave them."""
    response = exact.respond(problem, state.x, TAU)
    leader_value = exact.leader_value(problem, state.x, response.pi)
    return state._replace(theta=jnp.log(response.pi), value=response.value, leader_value=leader_value)


def test_episodes_are_draws_from_the_discounted_visitation(key):
    problem = cases.ending()
    mdp = problem.mdp.astype(float)
    policy = policies.tabular_softmax(mdp.num_states, mdp.num_actions, float)
    theta = jax.random.normal(key, (5, 3), float)
    batch, is_live = jax.jit(lambda key: roll_out(key, mdp, policy, theta, 20_000, 40, float))(key)
    pi = jax.nn.softmax(theta)
    found = np.zeros((5, 3))
    np.add.at(found, (batch.state, batch.action), batch.weight)
    expected = exact.visitation(problem, pi)[:, None] * pi
    # a row's mass is a mean over 2e4 episodes of a sum that is at most 1; the cut loses gamma^40 < 2e-4
    np.testing.assert_allclose(found, expected, rtol=0, atol=5 * 0.5 / np.sqrt(20_000))
    assert np.all(is_live[1:] <= is_live[:-1])
    has_ended = np.asarray(mdp.ends)[np.asarray(batch.state).reshape(is_live.shape)[:-1]]
    np.testing.assert_array_equal(is_live[1:], is_live[:-1] & ~has_ended)


def test_discounted_sums():
    values = jnp.asarray([[1.0], [2.0], [4.0]])
    half = jnp.asarray(0.5, values.dtype)
    np.testing.assert_allclose(discounted_sums(values, half)[:, 0], [1, 2.5, 5.25])
    np.testing.assert_allclose(discounted_sums(values, half, to_go=True)[:, 0], [3, 4, 4])


@X64
@pytest.mark.parametrize("name", few(["endless", "ends"], "ends"))
def test_hpgd_estimates_the_hypergradient(name):
    problem = PROBLEMS[name]()
    algorithm = hpgd(problem, num_episodes=256, horizon=40, dtype=jnp.float64)
    state = algorithm.init(jax.random.key(0), UNIT)
    sample, num_samples = estimates(algorithm, state, 48)
    assert_mean_is(sample, exact.hypergradient(problem, state.x, TAU), bias=0.02)  # 1 / visits, and gamma^20 ~ 0.01
    if name == "endless":
        assert np.all(num_samples == 256 * 40)
    else:
        assert np.all((num_samples < 256 * 40) & (num_samples >= 256))


@X64
@pytest.mark.parametrize("name", few(PROBLEMS, "ends"))
def test_a_parl_estimates_the_hypergradient(name):
    problem = PROBLEMS[name]()
    algorithm = a_parl(
        problem, num_episodes=512, horizon=20, damping=0.02, inner_steps=1, sampler="exact", dtype=jnp.float64
    )
    state = at_best_response(algorithm.init(jax.random.key(0), UNIT), problem)
    sample, num_samples = estimates(algorithm, state, 32)
    assert_mean_is(sample, exact.hypergradient(problem, state.x, TAU), bias=0.05)  # damping, 1 / episodes, gamma^20
    assert np.all(num_samples == 512 * 20) == (name != "ends")


def test_conjugate_gradients_solve_and_rest_where_the_matrix_is_not_positive(key):
    root = jax.random.normal(key, (6, 6), float)
    matrix, target = root @ root.T, jnp.arange(1.0, 7.0)
    zero, one = jnp.zeros(()), jnp.ones(())
    v, residual = conjugate_gradients(lambda v: matrix @ v, one, target, 12)
    np.testing.assert_allclose(v, jnp.linalg.solve(matrix + jnp.eye(6), target), rtol=1e-3)
    assert float(residual) < 1e-4
    v, residual = conjugate_gradients(lambda v: -v, one, target, 12)
    np.testing.assert_array_equal(v, 0)
    assert float(residual) == 1
    v, residual = conjugate_gradients(lambda v: matrix @ v, zero, 0 * target, 3)
    np.testing.assert_array_equal(v, 0)


@X64
@pytest.mark.parametrize("name", few(PROBLEMS, "policy_term"))
def test_finite_differences_are_unbiased_once_the_policies_have_settled(name):
    problem = PROBLEMS[name]()
    mu = 0.01
    algorithm = zeroth_order(problem, inner_steps=1, smoothing=mu, sampler="exact", dtype=jnp.float64)
    first = algorithm.init(jax.random.key(0), UNIT)

    def one(key, direction):
        state = first._replace(direction=direction)
        plus, minus = (
            jnp.log(exact.best_response(problem, state.x + sign * mu * direction, TAU)) for sign in (1.0, -1.0)
        )
        new, _ = algorithm.step(key, state._replace(theta_plus=plus, theta_minus=minus), UNIT)
        return state.x - new.x, new.direction

    keys = jax.random.split(jax.random.key(8), 4000)
    run = jax.jit(lambda keys, u: jax.lax.map(lambda pair: one(*pair), (keys, u), batch_size=500))
    _, directions = run(keys[:4000], jnp.ones((4000, 4)))
    np.testing.assert_allclose(np.mean(directions, axis=0), 0, atol=5 / np.sqrt(4000))
    np.testing.assert_allclose(np.cov(directions.T), np.eye(4), atol=5 * np.sqrt(2 / 4000))
    sample, _ = run(keys, directions)
    assert_mean_is(sample, exact.hypergradient(problem, first.x, TAU), bias=1e-3)  # mu^2


@X64
def test_a_round_of_lower_steps_measures_the_slope():
    problem = PROBLEMS["endless"]()
    mu = 0.1
    algorithm = zeroth_order(problem, inner_steps=2000, smoothing=mu, sampler="exact", dtype=jnp.float64)
    rates = cases.constant(upper=1.0, actor=2.0, critic=2.0, entropy=TAU)
    record = lambda state, info, schedules: (state.x, state.direction)  # noqa: E731
    _, history = cases.run(algorithm, hfac.run_key(0), rates, 2000, record_at=[0, 2000], record=record)
    (x, after), (u, _) = history.record
    phi = [exact.hyper_objective(problem, x + sign * mu * u, TAU) for sign in (1.0, -1.0)]
    np.testing.assert_allclose(
        x - after, (phi[0] - phi[1]) / (2 * mu) * u, rtol=2e-3
    )  # the policies have nearly settled


def test_finite_differences_move_x_and_direction_when_a_round_is_over():
    algorithm = zeroth_order(cases.goal(), inner_steps=5)
    record = lambda state, info, schedules: (state.x, state.direction, state.running_cost)  # noqa: E731
    rates = cases.gentle()
    _, history = cases.run(algorithm, hfac.run_key(0), rates, 12, record_at=range(13), record=record)
    for values in history.record[:2]:
        moved = np.any(np.diff(values, axis=0) != 0, axis=1)
        np.testing.assert_array_equal(np.flatnonzero(moved) + 1, [5, 10])
    np.testing.assert_array_equal(
        history.record[2][jnp.array([0, 1, 2, 5, 6, 10])], 0
    )  # a round's first two steps do not count
    assert int(np.sum(history.num_samples)) == 24


@pytest.mark.parametrize("name", few(SMALL, "zeroth_order"))
def test_the_step_that_diverges_freezes_the_run(name):
    algorithm, step = small(name)
    rates = cases.constant(upper=1e12, actor=0.1, critic=0.1, entropy=TAU)
    states = [algorithm.init(jax.random.key(0), rates)]
    for k in range(3):
        states.append(step(jax.random.key(k), states[-1], rates)[0])
    assert [int(s.status) for s in states] == [Status.OK, *[Status.OUT_OF_BOUNDS] * 3]
    assert [int(s.failed_at) for s in states] == [-1, 0, 0, 0]
    assert [int(s.step) for s in states] == [0, 1, 2, 3]
    kept = [s._asdict() for s in states[1:]]
    for field in kept[0].keys() - {"step", "chains"}:
        jax.tree.map(np.testing.assert_array_equal, kept[0][field], kept[-1][field])
    np.testing.assert_array_equal(states[0].x, states[-1].x)


@pytest.mark.parametrize(("name", "expected"), [("zeroth_order", 2), ("hpgd", 8 * 6), ("a_parl", 3 * 2 + 8 * 6)])
def test_every_transition_is_counted(name, expected):
    algorithm, step = small(name)
    rates = cases.constant()
    _, info = step(jax.random.key(0), algorithm.init(jax.random.key(0), rates), rates)
    assert int(info.num_samples) == expected


@pytest.mark.parametrize("name", ["hpgd", "a_parl"])
def test_the_entropy_weight_stays_at_its_scale(name):
    algorithm, step = small(name)
    rates = cases.constant(upper=0.1)
    decaying = hfac.schedules.replace(rates, {"entropy.power": 0.5})
    state = algorithm.init(jax.random.key(0), rates)._replace(step=jnp.int32(50))
    one, other = (step(jax.random.key(0), state, each)[0].x for each in (rates, decaying))
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "num_steps", "scales"),
    [
        (functools.partial(hpgd, num_episodes=32, horizon=40), 25, {"upper": 1.0}),
        (functools.partial(a_parl, num_episodes=32, horizon=20, batch_size=16), 25, {"upper": 1.0}),
        (
            functools.partial(zeroth_order, inner_steps=50, smoothing=0.5, batch_size=32, coupled=True),
            10_000,
            {"upper": 0.3},
        ),
    ],
    ids=["hpgd", "a_parl", "zeroth_order"],
)
def test_they_descend(build, num_steps, scales):
    problem = cases.goal()
    rates = cases.constant(**{"actor": 1.0, "critic": 0.3, "entropy": 0.05} | scales)
    _, history = cases.run(build(problem), hfac.run_key(0), rates, num_steps, record_at=[0, num_steps])
    first, last = (float(exact.hyper_objective(problem, x, 0.05)) for x in history.record["x"])
    assert np.all(history.record["status"] == Status.OK)
    assert last < first - 0.02


def test_what_does_not_fit_is_refused():
    problem = cases.goal()
    for build, options, message in (
        (hpgd, {"num_episodes": 0}, "num_episodes must be a whole number >= 1, got 0"),
        (hpgd, {"horizon": 1}, "horizon must be at least 2, got 1"),
        (a_parl, {"cg_steps": 1.5}, "cg_steps must be a whole number >= 1, got 1.5"),
        (a_parl, {"damping": -1.0}, "damping must be finite and >= 0, got -1.0"),
        (zeroth_order, {"inner_steps": 0}, "inner_steps must be a whole number >= 1, got 0"),
        (zeroth_order, {"smoothing": 0.0}, "smoothing must be positive and finite, got 0.0"),
    ):
        with pytest.raises(ValueError, match="must be") as error:
            build(problem, **options)
        assert message in str(error.value)
    with pytest.raises(ValueError, match="hpgd estimates the gradient of a running cost"):
        hpgd(PROBLEMS["policy_term"]())

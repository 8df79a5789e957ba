"""Methods that plan with the model, against published figures, the exact hyper-gradient and closed forms."""

import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import exact, problems, types
from hfac.tabular import dynamics
from hfac.types import Status
from support import cases, helpers
from support.slow import few

pytestmark = helpers.needs_x64

NAMES = ("aid", "amd", "bellman_penalty", "bome", "itd", "m_sobirl")
METHODS = {name: getattr(importlib.import_module(f"hfac.algorithms._{name}"), name) for name in NAMES}
STILL = 1e-30  # an upper step that moves nothing


def build(name, problem, **options):
    return METHODS[name](problem, dtype=jnp.float64, **options)


def settled(algorithm, x, num_steps, **rates):
    """The state after some steps that leave x where it is."""
    return moved(algorithm, x, num_steps, rates)[0]


def gradient(algorithm, x, num_steps=0, **rates):
    """What a method takes for the hyper-gradient at x, after some steps that leave x where it is."""
    return x - moved(algorithm, x, num_steps, rates)[1]


@functools.partial(jax.jit, static_argnums=0)
def moved(algorithm, x, num_steps, rates):
    """The state after some steps that leave x where it is, and the x of one more step at rate 1."""

    def step(k, states):
        at = cases.constant(upper=jnp.where(k < num_steps, STILL, 1.0), **rates)
        return states[1], algorithm.step(None, states[1], at)[0]

    first = types.start_from(algorithm.init(jax.random.key(0), cases.constant(upper=STILL, **rates)), x)
    before, after = jax.lax.fori_loop(0, num_steps + 1, step, (first, first))
    return before, after.x


@functools.cache
def oracle(discount):
    """The instance, its exact hyper-gradient as a function of tau, and the penalty's as one of w and tau."""
    problem, x = cases.published(discount)
    truth = jax.jit(lambda tau: exact.hypergradient(problem, x, tau))
    return problem, x, truth, jax.jit(lambda w, tau: exact.penalty_hypergradient(problem, x, w, tau))


def error(found, truth):
    return float(jnp.linalg.norm(found - truth) / jnp.linalg.norm(truth))


# ------------------------------------------------------------------------------------------------ published figures


@pytest.fixture(scope="module", params=[pytest.param((0.5, 1.0), marks=pytest.mark.slow), (0.95, 0.1)], ids=str)
def published(request):
    """The instance with random state 3: problem, point, tau and exact hyper-gradient."""
    discount, tau = request.param
    problem, x, truth, _ = oracle(discount)
    return request.param, problem, x, truth(tau)


def check_digit(found, printed):
    """Agreement with a figure printed to one digit: within a factor of two."""
    np.testing.assert_allclose(np.log2(found), np.log2(printed), rtol=0, atol=1)


def test_error_of_conjugate_gradients(published):
    setting, problem, x, truth = published
    printed = {(0.5, 1.0): (2e-2, 2e-6, 9e-11), (0.95, 0.1): (0.30, 6e-2, 6e-3)}[setting]
    found = [
        error(gradient(build("aid", problem, num_iterations=count), x, entropy=setting[1]), truth)
        for count in (1, 5, 10)
    ]
    check_digit(found, printed)


def test_error_of_unrolling(published):
    setting, problem, x, truth = published
    printed = {(0.5, 1.0): (2e-4, 1e-6, 3e-12), (0.95, 0.1): (1e-2, 1e-3, 5e-6)}[setting]
    found = [
        error(gradient(build("itd", problem, num_sweeps=count), x, entropy=setting[1]), truth) for count in (2, 5, 10)
    ]
    check_digit(found, printed)


@pytest.mark.parametrize(("discount", "printed"), [(0.5, (0.12, 1e-2, 1e-3, 1e-4)), (0.95, (0.13, 2e-2, 2e-3, 2e-4))])
def test_bias_of_the_bellman_penalty(discount, printed):
    problem, x, truth, _ = oracle(discount)
    algorithm = build("bellman_penalty", problem)
    found = [gradient(algorithm, x, 200, penalty=w, entropy=1.0, actor=10.0) for w in (1e-1, 1e-2, 1e-3, 1e-4)]
    check_digit([error(each, truth(1.0)) for each in found], printed)


# Relative error of the value penalty for lambda = 1 / w, entries below 0.1 of the published table.
VALUE_PENALTY = {
    (0.5, 1.0): {1e1: 7e-2, 1e2: 7e-3, 1e3: 7e-4, 1e4: 7e-5, 1e5: 7e-6},
    (0.95, 1.0): {1e1: 8e-3, 1e2: 8e-4, 1e3: 8e-5, 1e4: 8e-6, 1e5: 8e-7},
    (0.95, 0.1): {1e1: 4e-2, 1e2: 6e-3, 1e3: 6e-4, 1e4: 7e-5, 1e5: 7e-6},
    (0.95, 0.01): {1e2: 4e-2, 1e3: 4e-3, 1e4: 4e-4, 1e5: 4e-5},
    (0.5, 0.01): {1e4: 5e-3, 1e5: 5e-4},
}


@pytest.mark.parametrize(("discount", "tau"), few(VALUE_PENALTY, (0.95, 0.1)))
def test_bias_of_the_value_penalty(discount, tau):
    printed = VALUE_PENALTY[discount, tau]
    _, _, truth, estimate = oracle(discount)
    found = [error(estimate(1 / weight, tau), truth(tau)) for weight in printed]
    half_a_digit = [0.5 * 10.0 ** np.floor(np.log10(value)) for value in printed.values()]
    np.testing.assert_array_less(np.abs(np.array(found) - list(printed.values())), 1.2 * np.array(half_a_digit))


def test_m_sobirl_converges_at_the_published_rate():
    problem = problems.random_mdp()
    _, history = cases.run(
        build("m_sobirl", problem),
        hfac.run_key(0),
        cases.constant(upper=8e-3, entropy=1.0),
        2_001,
        record=lambda state, info, schedules: (state.x, info.hyper_objective),
        record_at=[800, 1000, 2000, 2001],
    )
    xs, values = history.record
    norms = jax.jit(lambda xs: jax.lax.map(lambda x: jnp.linalg.norm(exact.hypergradient(problem, x, 1.0)), xs))(xs)
    slope = float(jnp.log10(norms[2] / norms[0])) / 1_200
    assert slope == pytest.approx(-3.49e-3, rel=0.01)  # log10(1 - 8e-3), whatever the instance
    assert 1e-3 < float(norms[1]) < 1e-2  # 3.0e-3 to 3.6e-3 on four published instances
    assert float(values[-1]) == pytest.approx(1.0, abs=1e-9)  # S / (2 A)


# ------------------------------------------------------------------------------------------- what a step converges to

EXACT_IN_THE_LIMIT = {
    "aid": ({"num_iterations": 100}, 0),
    "amd": ({"num_sweeps": 200}, 0),
    "itd": ({"num_sweeps": 200}, 0),
    "m_sobirl": ({"adjoint_rate": 0.3, "num_sweeps": 20}, 4_000),
}
KINDS = {
    "policy term": lambda: cases.random_problem(cases.dynamics(4), 4, has_g=True),
    "ends": cases.ending,
    "no cost": lambda: cases.random_problem(cases.dynamics(5), 5, has_cost=False, has_g=True),
}


@functools.cache
def kind_of(kind):
    """A problem, its start, and its exact hyper-gradient there at tau = 0.3."""
    problem = KINDS[kind]()
    x = jnp.asarray(problem.init_x(None), float)
    return problem, x, jax.jit(lambda x: exact.hypergradient(problem, x, 0.3))(x)


COVERING = [("aid", "policy term"), ("amd", "ends"), ("itd", "no cost"), ("m_sobirl", "ends")]


@pytest.mark.parametrize(("name", "kind"), few(itertools.product(EXACT_IN_THE_LIMIT, KINDS), *COVERING))
def test_the_step_is_the_exact_hypergradient(name, kind):
    problem, x, truth = kind_of(kind)
    options, num_steps = EXACT_IN_THE_LIMIT[name]
    found = gradient(build(name, problem, **options), x, num_steps, entropy=0.3)
    # contraction by 0.8 for 200 sweeps, and by 1 - 0.3 (1 - 0.8)^2 for 4000 adjoint steps
    assert error(found, truth) < 1e-6


@pytest.mark.parametrize("name", few(["aid", "amd", "itd"], "itd"))
def test_the_step_is_exact_where_loops_replace_the_factorisation(name):
    problem, x, truth = on_four_rooms()
    options = {"aid": {"num_iterations": 400}}.get(name, {"num_sweeps": 400})
    found = gradient(build(name, problem, **options), x, entropy=0.1)
    assert error(found, truth) < 1e-4


@functools.cache
def on_four_rooms():
    problem, x = problems.four_rooms(discount=0.9), 0.1 * jax.random.normal(jax.random.key(1), (105,))
    return problem, x, jax.jit(lambda x: exact.hypergradient(problem, x, 0.1))(x)


def bellman_gap(problem, x, pi, tau):
    """p_B with uniform weights, from its definition."""
    response = exact.respond(problem, x, tau)
    at, _ = dynamics.model(problem, x)
    q = dynamics.backup(at.mdp, at.reward, response.value)
    return jnp.mean(jnp.sum(pi * (tau * jnp.log(pi) - q), -1) + response.value)


@pytest.mark.parametrize("kind", few(KINDS, "policy term"))
def test_the_bellman_penalty_step_descends_its_own_objective(kind):
    (problem, x, _), tau, w = kind_of(kind), 0.3, 0.05
    algorithm = build("bellman_penalty", problem)
    rates = {"penalty": w, "entropy": tau, "actor": 5.0}
    pi = jax.nn.softmax(settled(algorithm, x, 400, **rates).theta)

    @jax.jit
    def objective(x, pi):
        return exact.upper_objective(problem, x, pi) + bellman_gap(problem, x, pi, tau) / w

    step = 1e-5
    differences = [(objective(x + step * e, pi) - objective(x - step * e, pi)) / (2 * step) for e in jnp.eye(4)]
    np.testing.assert_allclose(gradient(algorithm, x, 400, **rates), jnp.stack(differences), rtol=1e-6, atol=1e-7)
    rng = np.random.default_rng(0)
    for _ in range(3):  # pi minimises it: every move along the simplex is stationary
        move = rng.normal(size=pi.shape)
        move = 0.01 * pi * (move - jnp.sum(pi * move, -1, keepdims=True))
        slope = float(objective(x, pi + 1e-3 * move) - objective(x, pi - 1e-3 * move)) / 2e-3
        assert abs(slope) < 1e-8


def test_bome_without_a_policy_in_f_finds_the_best_response():
    problem, tau = cases.bandit(h=lambda x: 0.5 * (x - 2.0) ** 2), 0.5
    state, _ = cases.run(
        build("bome", problem), hfac.run_key(0), cases.constant(upper=0.1, actor=1.0, entropy=tau), 300
    )
    # the pull of q on x fades with the policy's distance from softmax((0, x) / tau); x ends at h's minimum
    assert float(state.x) == pytest.approx(2.0, abs=1e-6)
    np.testing.assert_allclose(jax.nn.softmax(state.theta)[0, 1], jax.nn.sigmoid(2.0 / tau), rtol=1e-6)


def test_bome_comes_close_to_a_stationary_point():
    problem, tau = problems.linear_reward(), 1.0
    norm = jax.jit(lambda x: jnp.linalg.norm(exact.hypergradient(problem, x, tau)))
    rates = cases.constant(upper=0.4, actor=0.1, entropy=tau)
    end = cases.run(build("bome", problem), hfac.run_key(0), rates, 4_000)[0].x
    assert float(norm(end)) < 0.2 * float(norm(jnp.zeros(100)))


# ------------------------------------------------------------------------------------------------------------ descent

# upper, actor and penalty scale, steps, options
DESCENTS = {
    "goal": {
        "aid": (0.5, 1.0, 1.0, 100, {}),
        "amd": (0.5, 1.0, 1.0, 100, {}),
        "bellman_penalty": (0.05, 10.0, 0.03, 800, {}),
        "bome": (0.2, 2.0, 1.0, 300, {}),
        "itd": (0.5, 1.0, 1.0, 100, {}),
        "m_sobirl": (0.003, 1.0, 1.0, 10_000, {"adjoint_rate": 0.5, "num_sweeps": 30}),
    },
    "linear_reward": {
        "aid": (10.0, 1.0, 1.0, 300, {}),
        "amd": (10.0, 1.0, 1.0, 300, {}),
        "bellman_penalty": (1.0, 10.0, 0.1, 800, {}),
        "bome": (10.0, 0.3, 1.0, 300, {}),
        "itd": (10.0, 1.0, 1.0, 300, {}),
        "m_sobirl": (10.0, 1.0, 1.0, 300, {}),
    },
}
WITHIN = {"goal": (0.1, 0.0), "linear_reward": (1.0, 0.5)}  # tau, the value to get below


@pytest.fixture(scope="module", params=few(DESCENTS, "goal"))
def scene(request):
    problem = cases.goal() if request.param == "goal" else problems.linear_reward()
    tau, bound = WITHIN[request.param]
    return request.param, problem, tau, bound, jax.jit(lambda x: exact.hyper_objective(problem, x, tau))


@pytest.mark.parametrize("name", METHODS)
def test_every_planner_descends(name, scene):
    where, problem, tau, bound, phi = scene
    upper, actor, penalty, num_steps, options = DESCENTS[where][name]
    rates = cases.constant(upper=upper, actor=actor, penalty=penalty, entropy=tau)
    algorithm = METHODS[name](problem, **options)
    state, history = cases.run(algorithm, hfac.run_key(0), rates, num_steps)
    assert int(state.status) == Status.OK
    assert int(np.sum(history.num_samples)) == 0
    start = float(phi(jnp.asarray(problem.init_x(None), float)))
    assert float(phi(jnp.asarray(state.x, float))) < bound < start - 0.15


@pytest.mark.parametrize("name", METHODS)
def test_every_planner_steps_on_four_rooms(name):
    problem = problems.four_rooms()
    algorithm = METHODS[name](problem)
    rates = cases.gentle(upper=1e-4, entropy=0.1)
    state = algorithm.init(jax.random.key(0), rates)
    step = jax.jit(algorithm.step)
    for _ in range(3):
        state, info = step(None, state, rates)
    assert int(state.status) == Status.OK
    for leaf in jax.tree.leaves((state, info)):
        assert np.all(np.isfinite(leaf))
        assert leaf.dtype in (jnp.float32, jnp.int32)


@pytest.mark.parametrize("name", METHODS)
def test_a_diverged_run_is_frozen(name):
    problem = cases.random_problem(cases.dynamics(4), 4, has_g=True)
    algorithm = METHODS[name](problem)
    state = algorithm.init(jax.random.key(0), cases.constant())
    step = jax.jit(algorithm.step)
    failed, _ = step(None, state._replace(x=jnp.full(4, jnp.nan, jnp.float32)), cases.constant(upper=1.0))
    assert int(failed.status) == Status.NON_FINITE
    assert int(failed.failed_at) == 0
    # an x that is no number has no answer, so a finite one is put back: nothing may move any more
    later, _ = step(None, types.start_from(failed, state.x), cases.constant(upper=1.0))
    for name in ("x", "theta", "memory"):
        jax.tree.map(np.testing.assert_array_equal, getattr(later, name), getattr(state, name))


# ------------------------------------------------------------------------------------- derivatives of the lower level


@pytest.mark.parametrize("num_states", [5, 160])  # by factorisation, and by loops
def test_hessian_products_are_derivatives_of_the_policy_gradient(num_states):
    problem = cases.random_problem(cases.dynamics(6, num_states, ends=np.arange(num_states) % 3 == 1), 6)
    x, rng, tau = jnp.asarray(problem.init_x(None), float), np.random.default_rng(0), jnp.asarray(0.3)
    theta, direction = (jnp.asarray(rng.normal(size=(num_states, 3))) for _ in range(2))

    @jax.jit
    def derivatives(theta):
        at, _ = dynamics.model(problem, x)
        point = dynamics.policy_point(at, theta, tau)
        _, occupancy = dynamics.occupancy_tangent(at.mdp, point, direction)
        through_reward = dynamics.table_grad(problem.reward, at.mdp, x, occupancy)
        return (
            dynamics.logits_grad(point),
            dynamics.logits_hessian_product(at, point, tau, direction),
            through_reward,
        )

    @jax.jit
    def returned(theta):
        pi = jax.nn.softmax(theta)
        return exact.regularized_return(problem, x, pi, tau), exact.regularized_return_grad(problem, x, pi)

    step = 1e-5
    ahead, behind = theta + step * direction, theta - step * direction
    grad, product, mixed = derivatives(theta)
    slope, of_reward = ((a - b) / (2 * step) for a, b in zip(returned(ahead), returned(behind), strict=True))
    np.testing.assert_allclose(jnp.vdot(grad, direction), slope, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        product, (derivatives(ahead)[0] - derivatives(behind)[0]) / (2 * step), rtol=1e-5, atol=1e-8
    )
    np.testing.assert_allclose(mixed, of_reward, rtol=1e-5, atol=1e-8)


def test_damping_shortens_the_answer_to_nothing():
    problem, x, _ = kind_of("ends")
    direct = jax.jit(lambda x: exact.upper_objective_grad(problem, x, exact.best_response(problem, x, 0.3)))(x)
    found = gradient(build("aid", problem, damping=1e9), x, entropy=0.3)
    np.testing.assert_allclose(found, direct, rtol=0, atol=1e-7)  # v is of order 1 / damping


def test_a_warm_start_helps_unrolling_few_sweeps():
    problem, x, _ = kind_of("ends")
    pi = jax.jit(lambda x: exact.best_response(problem, x, 0.3))(x)
    cold, warm = (
        settled(build("itd", problem, num_sweeps=1, warm_start=is_warm), x, 50, entropy=0.3)
        for is_warm in (False, True)
    )
    distance = [float(jnp.max(jnp.abs(jax.nn.softmax(state.theta) - pi))) for state in (cold, warm)]
    assert distance[1] < 1e-4 < distance[0]


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("m_sobirl", {"num_sweeps": 0}, "num_sweeps must be a whole number >= 1, got 0"),
        ("m_sobirl", {"adjoint_rate": 0.0}, "adjoint_rate must be finite and > 0, got 0.0"),
        ("amd", {"num_sweeps": 1.5}, "num_sweeps must be a whole number >= 1, got 1.5"),
        ("itd", {"num_sweeps": -1}, "num_sweeps must be a whole number >= 1, got -1"),
        ("aid", {"num_iterations": 0}, "num_iterations must be a whole number >= 1, got 0"),
        ("aid", {"damping": -1.0}, "damping must be finite and >= 0, got -1.0"),
        ("bome", {"inner_steps": 0}, "inner_steps must be a whole number >= 1, got 0"),
        ("bome", {"eta": float("nan")}, "eta must be finite and > 0, got nan"),
        ("bellman_penalty", {"weighting": "visits"}, "weighting must be 'uniform' or 'initial', got 'visits'"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(ValueError) as raised:
        METHODS[name](cases.goal(), **options)
    assert message in str(raised.value)


def test_initial_weights_must_leave_no_state_out():
    with pytest.raises(ValueError, match="needs every state to start episodes, but state 0 of four_rooms never does"):
        METHODS["bellman_penalty"](problems.four_rooms(), weighting="initial")

import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import Problem, exact
from hfac.exact import _best_response
from hfac.problems import goal_placement
from hfac.tabular import dynamics, linear
from hfac.tabular.mdp import from_dense
from support import helpers, oracles

pytestmark = helpers.needs_x64

CHECKS = json.loads((Path(__file__).parents[1] / "support" / "goal_placement.json").read_text())
# Check values were solved independently in float64; both solvers stop near 1e-10.
AS_GIVEN = 1e-8
# Two float64 solvers with condition numbers near 1 / (1 - gamma).
AS_TWIN = 1e-10

# ---------------------------------------------------------------------------------------------------- goal placement


@pytest.fixture(scope="module")
def goals() -> SimpleNamespace:
    """Compiled exact functions of goal placement."""
    problem = goal_placement()
    functions = {
        "phi": lambda x, tau: exact.hyper_objective(problem, x, tau),
        "grad": lambda x, tau: exact.hypergradient(problem, x, tau),
        "best_return": lambda x, tau: exact.regularized_return(problem, x, exact.best_response(problem, x, tau), tau),
        "penalty_phi": lambda x, w, tau: exact.penalty_hyper_objective(problem, x, w, tau),
        "penalty_grad": lambda x, w, tau: exact.penalty_hypergradient(problem, x, w, tau),
    }
    return SimpleNamespace(problem=problem, **{name: jax.jit(f) for name, f in functions.items()})


POINTS = {"x_zero": np.zeros(100), "x_sin": np.sin(np.arange(100.0))}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", POINTS)
def test_goal_placement_check_values(goals, name, which):
    expected, x = CHECKS[name][which], POINTS[name]
    tau = expected["tau"]
    grad = goals.grad(x, tau)
    np.testing.assert_allclose(goals.phi(x, tau), expected["phi"], rtol=AS_GIVEN)
    np.testing.assert_allclose(goals.best_return(x, tau), expected["best_return"], rtol=AS_GIVEN)
    np.testing.assert_allclose(jnp.linalg.norm(grad), expected["grad_norm"], rtol=AS_GIVEN)
    np.testing.assert_allclose(grad[:5], expected["grad_head"], rtol=AS_GIVEN)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", POINTS)
def test_goal_placement_penalty_check_values(goals, name, which):
    x, block = POINTS[name], CHECKS[name][which]
    tau = block["tau"]
    for expected in block["penalty"]:
        w = expected["w"]
        grad = goals.penalty_grad(x, w, tau)
        np.testing.assert_allclose(goals.penalty_phi(x, w, tau), expected["phi"], rtol=AS_GIVEN)
        np.testing.assert_allclose(jnp.linalg.norm(grad), expected["grad_norm"], rtol=AS_GIVEN)
        np.testing.assert_allclose(jnp.linalg.norm(grad - goals.grad(x, tau)), expected["bias"], rtol=AS_GIVEN)


def test_goal_placement_occupancy_of_the_uniform_policy(goals):
    expected, uniform = CHECKS["occupancy_uniform_policy"], np.full((100, 4), 0.25)
    d, u = jax.jit(
        lambda pi: (exact.visitation(goals.problem, pi), exact.leader_value(goals.problem, np.zeros(100), pi))
    )(uniform)
    np.testing.assert_allclose(d[:5], expected["head"], rtol=AS_GIVEN)
    np.testing.assert_allclose(-goals.problem.mdp.initial @ u, expected["leader_value"], rtol=AS_GIVEN)
    np.testing.assert_allclose(d.sum(), 1, rtol=1e-12)  # a 100 x 100 solve


# -------------------------------------------------------------------------------------------------- the NumPy twin

PROBLEMS = {
    "random": helpers.small_random(0),
    "union with an end": helpers.union(2),
    "ends, policy term": helpers.with_ends(4, num_states=4, num_actions=2, g=True),
}


@pytest.fixture(scope="module", params=PROBLEMS)
def small(request) -> SimpleNamespace:
    """A small problem at one point, its dense twin, and the exact functions compiled."""
    problem = PROBLEMS[request.param]
    x = helpers.point(problem)

    def of_policy(x, pi, tau):
        return {
            "value": exact.value(problem, x, pi, tau),
            "leader_value": exact.leader_value(problem, x, pi),
            "visitation": exact.visitation(problem, pi),
            "regularized_return": exact.regularized_return(problem, x, pi, tau),
            "upper_objective": exact.upper_objective(problem, x, pi),
        }

    def respond(x, tau):
        return exact.best_response(problem, x, tau), exact.hyper_objective(problem, x, tau)

    def limit(x):
        return exact.limit_policy(problem, x), exact.limit_hyper_objective(problem, x)

    return SimpleNamespace(
        problem=problem,
        x=x,
        twin=oracles.tabulate(problem, x),
        of_policy=jax.jit(of_policy),
        respond=jax.jit(respond),
        limit=jax.jit(limit),
        penalty_objective=jax.jit(lambda x, pi, w, tau: exact.penalty_objective(problem, x, pi, w, tau)),
        penalty_response=jax.jit(lambda x, w, tau: exact.penalty_response(problem, x, w, tau)),
    )


@pytest.mark.parametrize("tau", [0.0, 0.03, 1.0])
@pytest.mark.parametrize("is_random", [True, False])
def test_quantities_of_a_policy_agree_with_the_twin(small, tau, is_random):
    shape = small.twin.reward.shape
    pi = helpers.random_policy(small.problem) if is_random else np.eye(shape[1])[np.arange(shape[0]) % shape[1]]
    ours = small.of_policy(small.x, pi, tau)
    theirs = {
        "value": oracles.evaluate(small.twin, small.twin.reward, pi, tau),
        "leader_value": oracles.leader_value(small.twin, pi),
        "visitation": oracles.visitation(small.twin, pi),
        "regularized_return": oracles.soft_return(small.twin, pi, tau),
        "upper_objective": oracles.upper_objective(small.problem, small.twin, small.x, pi),
    }
    for name, expected in theirs.items():
        np.testing.assert_allclose(ours[name], expected, rtol=AS_TWIN, atol=AS_TWIN, err_msg=name)


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0, 10.0])
def test_best_response_agrees_with_the_twin(small, tau):
    pi = oracles.best_response(small.twin, tau)
    ours, phi = small.respond(small.x, tau)
    # A value error e moves a probability by e / tau.
    np.testing.assert_allclose(ours, pi, atol=AS_TWIN / tau)
    expected = oracles.upper_objective(small.problem, small.twin, small.x, pi)
    np.testing.assert_allclose(phi, expected, rtol=AS_TWIN / min(tau, 1))


@pytest.mark.parametrize("tau", [0.003, 0.03, 0.3])
def test_soft_bellman_residual(small, tau):
    pi, _ = small.respond(small.x, tau)
    v = np.asarray(small.of_policy(small.x, pi, tau)["value"])
    q = oracles.backup(small.twin, small.twin.reward, v) / tau
    residual = v - tau * (q.max(-1) + np.log(np.exp(q - q.max(-1, keepdims=True)).sum(-1)))
    assert np.abs(residual).max() < 1e-10


def test_limit_policy_agrees_with_the_twin(small):
    pi, (ours, phi) = oracles.limit_policy(small.twin), small.limit(small.x)
    np.testing.assert_allclose(ours, pi, atol=AS_TWIN)
    expected = oracles.upper_objective(small.problem, small.twin, small.x, pi)
    np.testing.assert_allclose(phi, expected, rtol=AS_TWIN)


def test_limit_hyper_objective_is_the_limit(small):
    _, limit = small.limit(small.x)
    errors = np.array([abs(small.respond(small.x, tau)[1] - limit) for tau in (0.1, 0.01, 0.001)])
    assert np.all(errors[1:] <= errors[:-1])
    assert errors[-1] < 1e-6  # exp(-gap / tau): the gaps between actions exceed 0.02 here


def test_a_point_that_is_not_finite_gives_nan(small):
    x = small.x.at[1].set(np.nan)
    outs = *small.respond(x, 0.1), *small.limit(x), *small.penalty_response(x, 0.1, 0.1)
    assert all(np.isnan(out).all() for out in outs)


@pytest.mark.parametrize(("w", "tau"), [(0.01, 0.1), (1.0, 0.1), (3.0, 0.03), (-0.5, 0.1)])
@pytest.mark.parametrize("small", ["random", "union with an end"], indirect=True)  # the twin knows no policy term
def test_penalised_response_agrees_with_the_twin(small, w, tau):
    pi, pi_pen = small.penalty_response(small.x, w, tau)
    expected = oracles.penalized_response(small.twin, w, tau)
    np.testing.assert_allclose(pi, oracles.best_response(small.twin, tau), atol=AS_TWIN / tau)
    np.testing.assert_allclose(pi_pen, expected, atol=AS_TWIN / tau)
    phi = oracles.penalty_objective(small.problem, small.twin, small.x, expected, w, tau)
    # A gap of the returns is divided by w.
    np.testing.assert_allclose(small.penalty_objective(small.x, pi_pen, w, tau), phi, atol=AS_TWIN / min(abs(w), 1))


@pytest.mark.parametrize(("w", "tau"), [(0.1, 0.3), (2.0, 0.1)])
def test_penalty_objective_agrees_with_the_twin_and_is_smallest_at_the_response(small, w, tau):
    pi = helpers.random_policy(small.problem)
    ours = small.penalty_objective(small.x, pi, w, tau)
    expected = oracles.penalty_objective(small.problem, small.twin, small.x, pi, w, tau)
    np.testing.assert_allclose(ours, expected, rtol=AS_TWIN / min(w, 1))
    best, pi_pen = small.penalty_response(small.x, w, tau)
    phi = small.penalty_objective(small.x, pi_pen, w, tau)
    assert phi <= ours
    for share in (0.01, 0.1):
        assert phi <= small.penalty_objective(small.x, (1 - share) * pi_pen + share * pi, w, tau)
    assert phi <= small.penalty_objective(small.x, best, w, tau)
    # L at pi*_tau is Phi_tau.
    np.testing.assert_allclose(
        small.penalty_objective(small.x, best, w, tau), small.respond(small.x, tau)[1], rtol=AS_TWIN
    )


def test_a_union_is_the_mixture_of_its_parts():
    problem, pi = PROBLEMS["union with an end"], helpers.random_policy(PROBLEMS["union with an end"])
    first, second = (SimpleNamespace(mdp=part) for part in helpers.union_parts(2))
    whole, top, bottom = jax.jit(
        lambda pi: [exact.visitation(p, q) for p, q in ((problem, pi), (first, pi[:3]), (second, pi[3:]))]
    )(pi)
    np.testing.assert_allclose(whole, np.r_[0.3 * top, 0.7 * bottom], rtol=1e-12)  # 7 x 7 solves


# ------------------------------------------------------------------------------------------------------ closed forms


def tables(kernel, reward, cost=None, discount=0.9, ends=None, g=None, initial=None) -> Problem:
    """A problem with r(s, a) and c(s, a) given as lists, times x, a number that starts at 1."""
    reward = np.asarray(reward, float)
    cost = np.zeros_like(reward) if cost is None else np.asarray(cost, float)
    initial = np.eye(len(reward))[0] if initial is None else initial
    return Problem(
        mdp=from_dense(kernel, initial, discount, ends),
        reward=lambda x, s, a, s_next: x * jnp.asarray(reward, x.dtype)[s, a],
        cost=lambda x, s, a, s_next: x * jnp.asarray(cost, x.dtype)[s, a],
        init_x=lambda key: jnp.ones(()),
        g=g,
    )


def bandit(reward, **options) -> Problem:
    """One state that never changes."""
    return tables(np.ones((1, len(reward), 1)), [reward], **options)


ONE = jnp.ones(())


def solve(problem: Problem, w: float = 2.0):
    """Everything the closed forms are about, compiled: tau -> dict."""

    def solved(x: jax.Array, tau: jax.Array) -> dict[str, jax.Array]:
        pi, pi_pen = exact.penalty_response(problem, x, w, tau)
        return {
            "pi": pi,
            "pi_pen": pi_pen,
            "value": exact.value(problem, x, pi, tau),
            "phi": exact.hyper_objective(problem, x, tau),
            "visitation": exact.visitation(problem, pi),
        }

    return jax.jit(solved)


def test_bandit():
    reward, cost = np.array([1.0, 0.7, -0.2]), np.array([0.3, -1.0, 2.0])
    solved = solve(bandit(reward, cost=[cost]))
    for tau in (0.05, 0.5, 5.0):
        out, weights = solved(ONE, tau), np.exp(reward / tau)
        np.testing.assert_allclose(out["pi"][0], weights / weights.sum(), rtol=1e-12)  # softmax(r / tau), rounding
        np.testing.assert_allclose(out["value"], [tau * np.log(weights.sum()) / 0.1], rtol=1e-12)  # 1 - gamma = 0.1
        np.testing.assert_allclose(out["phi"], weights @ cost / weights.sum(), rtol=1e-12)
        # w (1 - gamma) c is taken off the reward, w = 2
        weights = np.exp((reward - 0.2 * cost) / tau)
        np.testing.assert_allclose(out["pi_pen"][0], weights / weights.sum(), rtol=1e-12)


def test_an_ending_state_earns_its_reward_and_entropy_and_nothing_after():
    # state 0 -> 1, which ends; it would go on to a paradise
    kernel = np.zeros((3, 2, 3))
    kernel[0, :, 1] = kernel[1, :, 2] = kernel[2, :, 2] = 1
    problem = tables(kernel, [[0.0, 0.0], [0.4, 0.4], [9.0, 9.0]], ends=np.array([False, True, False]))
    tau, log2 = 0.3, np.log(2)
    out = solve(problem)(ONE, tau)
    v1 = 0.4 + tau * log2  # r + tau log A
    np.testing.assert_allclose(
        out["value"], [tau * log2 + 0.9 * v1, v1, (9 + tau * log2) / 0.1], rtol=1e-12
    )  # 3 x 3 solve
    # two steps, then nothing: (1 - gamma) (1, gamma, 0)
    np.testing.assert_allclose(out["visitation"], [0.1, 0.09, 0.0], atol=1e-15)


def fork() -> Problem:
    """Two optimal ways from state 0: through 1, where both actions are equally good, or through 2, where one is."""
    kernel = np.zeros((3, 2, 3))
    kernel[0, 0, 1] = kernel[0, 1, 2] = 1
    kernel[1:, :, 0] = 1
    return tables(kernel, [[0, 0], [1, 1], [1, 0]], ends=np.array([False, True, True]))


def test_ties_go_to_the_larger_discounted_entropy():
    # The ways through 1 and 2 promise gamma log 2 and 0 of entropy: probabilities in the ratio 2^gamma : 1.
    p = 2**0.9 / (2**0.9 + 1)
    expected = [[p, 1 - p], [0.5, 0.5], [1.0, 0.0]]
    problem = fork()
    limit = jax.jit(lambda x: exact.limit_policy(problem, x))
    np.testing.assert_allclose(limit(ONE), expected, atol=1e-12)  # one softmax
    # Without rewards every policy is optimal: the uniform one from state 1 and 2, and equal promises at 0.
    np.testing.assert_allclose(limit(0 * ONE), np.full((3, 2), 0.5), atol=1e-12)


def test_limit_of_best_responses():
    problem, x = fork(), ONE
    limit = np.array([[2**0.9 / (2**0.9 + 1), 1 / (2**0.9 + 1)], [0.5, 0.5], [1.0, 0.0]])
    respond = jax.jit(lambda tau: exact.best_response(problem, x, tau))
    errors = np.array([np.abs(respond(tau) - limit).max() for tau in (0.3, 0.1, 0.05, 0.03)])
    # State 2 errs by exp(-1 / tau).
    np.testing.assert_allclose(errors, 1 / (1 + np.exp([1 / 0.3, 10, 20, 1 / 0.03])), rtol=0.2, atol=1e-14)
    assert np.all(errors[1:] < errors[:-1] / 100)


def test_sweeps_agree_with_factorisations(monkeypatch):
    problem = PROBLEMS["union with an end"]
    x, pi = helpers.point(problem), helpers.random_policy(problem)

    def solved(x: jax.Array) -> tuple[jax.Array, ...]:
        d, v = exact.visitation(problem, pi), exact.value(problem, x, pi, 0.1)
        return d, v, exact.limit_policy(problem, x), exact.hypergradient(problem, x, 0.1)

    dense = jax.jit(solved)(x)
    monkeypatch.setattr(linear, "DENSE_LIMIT", 0)
    # Sweeps stop at 20 roundings, which a gradient divides by (1 - gamma)^2 tau.
    for ours, expected in zip(jax.jit(lambda x: solved(x))(x), dense, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-11)


# ----------------------------------------------------------------------------------------------------- no silent lies


def test_a_solver_that_runs_out_of_iterations_returns_nan(monkeypatch):
    monkeypatch.setattr(_best_response, "MAX_ITERATIONS", 1)
    monkeypatch.setattr(dynamics, "MAX_ITERATIONS", 1)
    problem = PROBLEMS["random"]

    def solved(x: jax.Array) -> tuple[jax.Array, ...]:
        return *exact.penalty_response(problem, x, 0.1, 0.1), exact.limit_policy(problem, x)

    assert all(np.isnan(out).all() for out in jax.jit(solved)(helpers.point(problem)))


# ------------------------------------------------------------------------------------------------------- policy terms


def brute_force(objective, num_rounds: int = 16, num_points: int = 11) -> float:
    """Smallest value of objective(p, q) over the unit square by grids that shrink around the best point."""
    low, high = np.zeros(2), np.ones(2)
    for _ in range(num_rounds):
        axes = np.linspace(low, high, num_points)
        values = np.array([[objective(p, q) for q in axes[:, 1]] for p in axes[:, 0]])
        i, j = np.unravel_index(np.argmin(values), values.shape)
        best, width = np.array([axes[i, 0], axes[j, 1]]), (high - low) / 4
        low, high = np.clip(best - width, 0, 1), np.clip(best + width, 0, 1)
    return values.min()


def test_penalised_response_with_a_policy_term_against_brute_force():
    rng = np.random.default_rng(5)
    kernel = helpers.random_kernel(rng, 2, 2, 2)
    reward, cost, target = rng.uniform(-1, 1, (3, 2, 2))

    def g(x: jax.Array, pi: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum((pi - jnp.asarray(target, pi.dtype)) ** 2)

    problem = tables(kernel, reward, cost, initial=[0.4, 0.6], g=g)
    twin = oracles.tabulate(problem, ONE)
    evaluate = jax.jit(lambda w, tau: exact.penalty_hyper_objective(problem, ONE, w, tau))
    for w, tau in ((0.2, 0.3), (5.0, 0.1)):
        best = oracles.soft_return(twin, oracles.best_response(twin, tau), tau)

        def objective(p: float, q: float, w=w, tau=tau, best=best) -> float:
            pi = np.array([[p, 1 - p], [q, 1 - q]])
            upper = (oracles.visitation(twin, pi)[:, None] * pi * twin.cost).sum() + 0.5 * ((pi - target) ** 2).sum()
            return upper + (best - oracles.soft_return(twin, pi, tau)) / w

        # The last grid is 3e-6 wide, and a minimum is flat.
        np.testing.assert_allclose(evaluate(w, tau), brute_force(objective), rtol=1e-10)


def test_a_stationary_point_that_is_no_minimum_is_not_returned():
    # L(p) = -5 (2p - 1)^2 - (tau / (1 - gamma) / w) H(p): at the uniform start the slope is zero, but it is a maximum.
    problem = bandit([0.0, 0.0], g=lambda x, pi: -5.0 * (pi[0, 0] - pi[0, 1]) ** 2)
    pi = np.asarray(jax.jit(lambda: exact.penalty_response(problem, ONE, 1.0, 0.1)[1])())
    assert np.isnan(pi).all() or abs(pi[0, 0] - 0.5) > 0.4


# -------------------------------------------------------------------------------------------------------------- descent


def test_minimize_descends_to_a_stationary_point():
    problem, tau = PROBLEMS["random"], 0.5
    start = helpers.point(problem)
    found = exact.minimize(problem, tau, num_steps=500, learning_rates=(0.1,), x=start)
    both = jax.jit(lambda x: (exact.hyper_objective(problem, x, tau), exact.hypergradient(problem, x, tau)))
    (first, first_grad), (phi, grad) = both(start), both(found.x)
    assert phi < first - 0.1
    assert jnp.linalg.norm(grad) < 1e-4 * jnp.linalg.norm(first_grad)  # Adam with a cosine rate, 500 steps
    # Two compilations of one formula.
    np.testing.assert_allclose(found.value, phi, rtol=1e-12)
    np.testing.assert_allclose(found.grad_norm, jnp.linalg.norm(grad), rtol=0, atol=1e-12)


def test_minimize_starts_from_the_key():
    problem, key = PROBLEMS["random"], jax.random.key(3)
    found = exact.minimize(problem, 0.5, num_steps=1, learning_rates=(1e-9,), key=key)
    np.testing.assert_allclose(found.x, problem.init_x(key), rtol=0, atol=1.1e-9)  # Adam's first step is its rate

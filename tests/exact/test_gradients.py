from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import exact
from hfac.problems import goal_placement
from support import helpers, oracles

pytestmark = helpers.needs_x64

PROBLEMS = {
    "goal_placement": goal_placement,
    "ends, policy term": lambda: helpers.with_ends(4, num_states=4, num_actions=2, g=True),
}
STEP = 1e-3  # of the central differences


@pytest.fixture(scope="module", params=PROBLEMS)
def compiled(request) -> SimpleNamespace:
    """A problem, a point, directions, and the exact functions compiled."""
    problem = PROBLEMS[request.param]()
    x = helpers.point(problem)
    directions = np.linalg.qr(np.random.default_rng(6).normal(size=(x.size, 3)))[0].T
    return SimpleNamespace(
        problem=problem,
        x=x,
        directions=directions,
        phi=jax.jit(lambda x, tau: exact.hyper_objective(problem, x, tau)),
        grad=jax.jit(lambda x, tau: exact.hypergradient(problem, x, tau)),
        penalty_phi=jax.jit(lambda x, w, tau: exact.penalty_hyper_objective(problem, x, w, tau)),
        penalty_grad=jax.jit(lambda x, w, tau: exact.penalty_hypergradient(problem, x, w, tau)),
        central_grad=jax.jit(lambda x, w, tau: exact.penalty_hypergradient(problem, x, w, tau, "central")),
    )


def assert_is_gradient(c: SimpleNamespace, grad: jax.Array, function) -> None:
    """Directional derivatives within 1e-6 of the gradient's norm: step^4 and rounding / step stay below it."""
    slopes = [oracles.central_difference(function, c.x, d, STEP) for d in c.directions]
    np.testing.assert_allclose(c.directions @ grad, slopes, rtol=0, atol=1e-6 * float(jnp.linalg.norm(grad)))


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_hypergradient_is_the_gradient_of_phi(compiled, tau):
    assert_is_gradient(compiled, compiled.grad(compiled.x, tau), lambda x: compiled.phi(x, tau))


@pytest.mark.parametrize(("w", "tau"), [(0.1, 0.2), (1.0, 0.5)])
def test_penalty_hypergradient_is_the_gradient_of_its_phi(compiled, w, tau):
    grad = compiled.penalty_grad(compiled.x, w, tau)
    assert_is_gradient(compiled, grad, lambda x: compiled.penalty_phi(x, w, tau))


def test_hypergradient_of_a_bandit_by_hand():
    # Phi = E_softmax(x / tau)[c], so its gradient is the covariance pi (c - E[c]) / tau.
    cost, tau = np.array([1.0, -0.5, 0.25]), 0.3
    problem = hfac.Problem(
        mdp=hfac.mdp.from_dense(np.ones((1, 3, 1)), [1.0], 0.8),
        reward=lambda x, s, a, s_next: x[a],
        cost=lambda x, s, a, s_next: jnp.asarray(cost, x.dtype)[a],
        init_x=lambda key: jnp.zeros(3),
    )
    x = np.array([0.1, 0.3, -0.2])
    pi = np.exp(x / tau) / np.exp(x / tau).sum()
    expected = pi * (cost - pi @ cost) / tau
    grad = jax.jit(lambda x: exact.hypergradient(problem, x, tau))(x)
    np.testing.assert_allclose(grad, expected, rtol=1e-12)  # one state: rounding
    # The penalised policy is softmax((x - w (1 - gamma) c) / tau); the difference of the two over w (1 - gamma).
    w = 0.7
    shifted = np.exp((x - 0.2 * w * cost) / tau)
    expected = (pi - shifted / shifted.sum()) / (0.2 * w)
    penalty = jax.jit(lambda x: exact.penalty_hypergradient(problem, x, w, tau))(x)
    np.testing.assert_allclose(penalty, expected, rtol=1e-12)


# At tau = 0.1 the expansion in w / tau holds up to w of a few hundredths; below, rounding / w grows.
@pytest.mark.parametrize(
    ("difference", "weights", "slope", "band"),
    [("penalty_grad", np.logspace(-5, -2.5, 6), 1.0, 0.03), ("central_grad", np.logspace(-3.5, -1.5, 6), 2.0, 0.1)],
)
def test_bias_of_the_penalty(compiled, difference, weights, slope, band):
    truth = compiled.grad(compiled.x, 0.1)
    bias = [float(jnp.linalg.norm(getattr(compiled, difference)(compiled.x, w, 0.1) - truth)) for w in weights]
    fitted = np.polyfit(np.log(weights), np.log(bias), 1)[0]
    assert abs(fitted - slope) < band


def test_difference_must_be_known(compiled):
    with pytest.raises(ValueError, match="'forward' or 'central', got 'backward'"):
        exact.penalty_hypergradient(compiled.problem, compiled.x, 0.1, 0.1, "backward")


def test_check_hypergradient():
    problem, lines = helpers.union(2), []  # its second half has an end
    tau, w = 0.5, 1e-3
    checks = {check.method: check for check in hfac.check_hypergradient(problem, tau=tau, w=w, show=lines.append)}
    assert checks["implicit"].relative_error < 1e-7  # STEP^2 / tau^2 and rounding / STEP
    assert checks["penalty"].relative_error < 10 * w / tau
    assert checks["penalty, central"].relative_error < 10 * (w / tau) ** 2
    # The step's formula in expectation is the penalty's: one path through samples, one through solves.
    assert checks["estimator"].norm == pytest.approx(checks["penalty"].norm, rel=1e-9)
    assert checks["estimator"].relative_error == pytest.approx(checks["penalty"].relative_error, rel=1e-3)
    assert len(lines) == 2 + len(checks)
    assert lines[0] == f"hyper-gradient of {problem.name} at tau = 0.5, w = 0.001 (float64)"
    assert [line.split("  ")[0] for line in lines[2:]] == list(checks)


@pytest.mark.parametrize(("tau", "w"), [(0.0, 0.1), (0.1, -1.0), (float("nan"), 0.1)])
def test_check_hypergradient_refuses(compiled, tau, w):
    with pytest.raises(ValueError, match=f"got tau = {tau}, w = {w}"):
        hfac.check_hypergradient(compiled.problem, tau=tau, w=w)

"""The lower level's condition, curvature and slope, the error split and fitted rates, against brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import diagnostics, schedules, statistics
from support import cases
from support.slow import few

TAU = 0.05


@pytest.fixture(scope="module")
def point():
    """A small problem, an upper variable and logits."""
    problem, rng = cases.goal(), np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=problem.mdp.num_states))
    return problem, x, jnp.asarray(rng.normal(size=(problem.mdp.num_states, problem.mdp.num_actions)))


def soft_return(problem, x, logits):
    return hfac.exact.regularized_return(problem, x, jax.nn.softmax(logits), TAU)


def test_the_ratio_is_gradient_square_over_tau_times_gap(point):
    problem, x, logits = point
    found = jax.jit(lambda x, logits: diagnostics.polyak_lojasiewicz(problem, x, logits, TAU))(x, logits)
    value, grad = jax.jit(jax.value_and_grad(lambda logits: soft_return(problem, x, logits)))(logits)
    best = jax.jit(lambda x: hfac.exact.regularized_return(problem, x, hfac.exact.best_response(problem, x, TAU), TAU))(
        x
    )
    square = float(jnp.sum(grad**2))
    assert float(found.gap) == pytest.approx(float(best - value), rel=1e-9)
    assert float(found.gradient_square) == pytest.approx(square, rel=1e-9)
    assert float(found.ratio) == pytest.approx(square / (TAU * float(best - value)), rel=1e-9)


def test_nearly_deterministic_policies_have_a_small_ratio(point):
    problem, x, _ = point
    scales = jnp.repeat(jnp.array([1.0, 30.0]), 20)
    tables = diagnostics.random_policies(jax.random.key(0), (problem.mdp.num_states, problem.mdp.num_actions), scales)
    ratio = jax.jit(jax.vmap(lambda t: diagnostics.polyak_lojasiewicz(problem, x, t, TAU).ratio))(tables)
    assert np.median(ratio[20:]) < 0.1 * np.median(ratio[:20])


def test_lanczos_agrees_with_a_dense_solve(point):
    problem, x, logits = point
    num_states, num_actions = logits.shape
    found, short = jax.jit(
        lambda x, logits: [diagnostics.curvature(problem, x, logits, TAU, *rest) for rest in ((), (20,))]
    )(x, logits)
    hessian = -np.asarray(
        jax.jit(jax.hessian(lambda v: soft_return(problem, x, v.reshape(logits.shape))))(logits.ravel())
    )
    free = np.kron(np.eye(num_states), np.linalg.svd(np.ones((1, num_actions)))[2][1:].T)
    dense = np.linalg.eigvalsh(free.T @ hessian @ free)
    np.testing.assert_allclose(found, dense, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.asarray(short)[[0, -1]], dense[[0, -1]], rtol=1e-6)


def test_the_slope_of_the_best_response_is_its_largest_singular_value(point):
    problem, x, _ = point
    slope = jax.jit(lambda x: diagnostics.response_slope(problem, x, TAU))(x)
    respond = jax.jit(lambda x: hfac.exact.best_response(problem, x, TAU).ravel())
    step = 1e-6
    columns = [(respond(x + step * e) - respond(x - step * e)) / (2 * step) for e in jnp.eye(x.size)]
    assert float(slope) == pytest.approx(np.linalg.svd(np.stack(columns, 1))[1][0], rel=1e-6)


SAMPLED = {
    "markov": {},
    "coupled": {"coupled": True, "batch_size": 4},
    "central": {"sampler": "iid", "difference": "central"},
    "exact": {"sampler": "exact"},
}


@pytest.mark.parametrize("name", few(SAMPLED, "central", "exact"))
def test_parts_and_noise_add_up_to_the_error(point, name):
    problem, x, theta = point
    lag = 0.1 * np.random.default_rng(2).normal(size=theta.shape)
    state = {"x": x, "theta": theta, "theta_pen": theta + lag, "penalty": 0.1, "entropy": TAU}
    states = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf), 0.5 * jnp.asarray(leaf)]), state)
    split = diagnostics.split_error(problem, states, 0.01, jax.random.key(0), num_draws=2_048, **SAMPLED[name])
    bias = split.regularization + split.penalty + split.tracking
    np.testing.assert_allclose(split.exact + bias, split.mean, atol=1e-12)
    parts = np.sum(bias**2, -1) + split.noise
    assert np.all(np.abs(parts - split.square_error) <= 5 * split.square_error_se + 1e-12)
    shares = diagnostics.explain(split)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-9)


def test_a_diagnosis_names_what_limits_and_sees_where_the_condition_fails():
    """A large w/tau is named, and the place where C is below what the run needs."""
    problem, rates = cases.goal(), schedules.fixed(penalty=30.0, entropy=0.3, offset=300.0)
    data = hfac.sweep(hfac.algorithms.hfac(problem), rates, 3, 20_000, hfac.metrics.state, [0, 10_000, 20_000])
    found = diagnostics.diagnose(problem, data, rates, 0.3, {})
    assert found.limit == "penalty" and "w/tau" in found.limit_words()
    assert sum(found.shares.values()) == pytest.approx(1, abs=1e-9)
    assert found.verdict().startswith("PL holds")
    weak = np.where(np.isnan(found.along.ratio), np.nan, found.needed)
    weak[-1, 1] /= 10
    broken = found._replace(along=found.along._replace(ratio=weak))
    assert broken.verdict().startswith("PL violated at seed 1, step 20,000")
    still = found._replace(split=found.split._replace(exact=0 * found.split.exact))
    assert still.limit == "nothing"
    unsolved = found._replace(shares=dict.fromkeys(found.shares, np.nan))
    assert unsolved.limit == "unknown" and "no minimiser" in unsolved.limit_words()


def test_slopes_of_noisy_power_laws_are_right_and_covered():
    rng = np.random.default_rng(1)
    steps = np.unique(np.round(10 ** (np.arange(16, 49) / 8)))
    num_trials, covered, errors = 160, 0, []
    for _ in range(num_trials):
        true = -rng.uniform(0.05, 0.5)
        noise = rng.normal(size=(len(steps), 16))
        for t in range(1, len(steps)):  # neighbours on a run's path are alike
            noise[t] = 0.7 * noise[t - 1] + 0.3 * noise[t]
        values = np.exp(0.5 * noise + rng.normal(size=16)) * (steps**true)[:, None]
        found = statistics.power_law(steps, values)
        covered += found.low <= true <= found.high
        errors.append(float(found.estimate) - true)
    assert np.sqrt(np.mean(np.square(errors))) < 0.02
    standard_error = np.sqrt(0.95 * 0.05 / num_trials)
    assert abs(covered / num_trials - 0.95) < 3 * standard_error
    with pytest.raises(ValueError, match="at least two seeds, got 1"):
        statistics.power_law(steps, values[:, :1])


def test_a_diverged_seed_has_no_slope():
    steps = np.array([1.0, 10.0, 100.0])
    values = np.stack([steps**-0.5, np.array([1.0, np.inf, np.inf])], 1)
    np.testing.assert_allclose(statistics.log_log_slopes(steps, values), [-0.5, np.nan])
    assert not np.isfinite(statistics.power_law(steps, values).estimate)


def test_the_presets_balance_their_error_terms():
    attenuating, fixed = (schedules.balance(build()) for build in (schedules.attenuating, schedules.fixed))
    np.testing.assert_allclose(attenuating, -0.1, atol=1e-12)
    np.testing.assert_allclose([fixed.travel, fixed.tracking, fixed.penalty, fixed.rate], -1 / 3, atol=1e-12)
    assert fixed.regularization is None
    floored = schedules.balance(schedules.attenuating(entropy_floor=1e-3))
    assert (floored.regularization, floored.penalty) == (None, pytest.approx(-0.3))
    slow = schedules.balance(schedules.attenuating(upper_power=0.99))
    assert slow.rate == pytest.approx(-0.01)
    assert "1/(k zeta) -0.01" in str(slow)


def test_rates_are_fitted_from_a_judged_sweep(point):
    problem, *_ = point
    rates = schedules.attenuating(upper=0.05, actor=5.0, critic=0.5, penalty=0.3, entropy=0.1, offset=100.0)
    data = hfac.sweep(hfac.algorithms.hfac(problem), rates, 4, 2_000, record=hfac.metrics.state)
    judged = hfac.judge(data, diagnostics.metric(problem, 0.05))
    found = diagnostics.series(judged)
    steps = judged["step"].values.astype(float)
    own = judged["hypergradient_square"].transpose("step", "seed").values
    assert np.all(np.diff(found["smallest"], axis=0) <= 0)
    np.testing.assert_allclose(found["average"][-1], np.trapezoid(own, steps, axis=0) / steps[-1], rtol=1e-12)
    fits = {fit.quantity: fit for fit in diagnostics.fit_rates(judged, schedules.balance(rates), (20, 2_000))}
    assert fits["average"].predicted == pytest.approx(-0.1)
    assert fits["average"].slope.estimate < 0
    low, high = fits["average"].slope.low, fits["average"].slope.high
    assert fits["average"].verdict == ("faster" if high < -0.1 else "slower" if low > -0.1 else "consistent")
    assert fits["value_error"].predicted is None
    with pytest.raises(ValueError, match="at least two seeds, got 1"):
        diagnostics.fit_rates(judged.isel(seed=[0]), schedules.balance(rates), (20, 2_000))
    with pytest.raises(ValueError, match="must hold three records and half a decade"):
        diagnostics.fit_rates(judged, schedules.balance(rates), (1_500, 2_000))

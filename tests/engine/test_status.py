"""A diverged run latches what happened, freezes, and leaves its neighbours alone; it counts as +inf."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import metrics, results, statistics
from hfac.algorithms import hfac as build
from hfac.schedules import grid
from hfac.types import Status
from support import cases

POINTS = [0, 2, 5, 9]


def cliff():
    """x walks up by the upper rate; beyond 1 the reward is NaN. With rate 0.3 step 4 is the first to see it."""
    return cases.bandit(
        reward=lambda x, s, a, s_next: jnp.where(x > 1, jnp.nan, 0.0).astype(x.dtype),
        h=lambda x: -x,
        init_x=lambda key: jnp.zeros(()),
    )


def slope():
    """x multiplies by 1 + rate; with rate 2000 the second update passes 1e6."""
    return cases.bandit(reward=lambda x, s, a, s_next: 0 * x, h=lambda x: -0.5 * x**2)


def overflow():
    """The update itself overflows float32."""
    return cases.bandit(reward=lambda x, s, a, s_next: 0 * x, h=lambda x: -0.5e30 * x**2)


FAULTS = {  # problem, rate, status, failed at, x where it froze
    "nan": (cliff, 0.3, Status.NON_FINITE, 4, 1.2),
    "bound": (slope, 2000.0, Status.OUT_OF_BOUNDS, 1, 2001.0),
    "overflow": (overflow, 1e20, Status.NON_FINITE, 0, 1.0),
}


@functools.cache
def algorithm_of(fault):
    return build(FAULTS[fault][0]())


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_fault_is_latched(fault):
    check(algorithm_of(fault), *FAULTS[fault][1:])


@pytest.mark.parametrize(
    "options", [{"batch_size": 3, "projection": "ball"}, {"difference": "central"}, {"sampler": "exact"}]
)
def test_options_latch_it_too(options):
    check(build(cliff(), **options), *FAULTS["nan"][1:])


def check(algorithm, rate, status, failed_at, x):
    state, history = hfac.run(algorithm, hfac.run_key(0), cases.constant(rate, 0.1, 0.1), 9, record_at=POINTS)
    assert Status(int(state.status)) == status
    assert int(state.failed_at) == failed_at
    assert int(state.step) == 9
    np.testing.assert_allclose(state.x, x, rtol=1e-6)
    has_failed = np.array(POINTS) > failed_at
    np.testing.assert_array_equal(history.record["status"], np.where(has_failed, status, Status.OK))
    np.testing.assert_array_equal(history.record["failed_at"], np.where(has_failed, failed_at, -1))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_run_is_frozen_and_finite(fault):
    _, rate, _, failed_at, _ = FAULTS[fault]
    rates = cases.constant(rate, 0.1, 0.1)
    record = lambda state, info, schedules: cases.variables(state)  # noqa: E731
    points = [failed_at, failed_at + 1, failed_at + 20]
    _, history = hfac.run(algorithm_of(fault), hfac.run_key(0), rates, points[-1], record, points)
    for leaf in history.record.values():
        assert np.all(np.isfinite(leaf))
        np.testing.assert_array_equal(leaf[1:], np.stack([leaf[0], leaf[0]]))


@functools.cache
def neighbours(*scales):
    schedules = grid(cases.constant(1.0, 0.1, 0.1), {"upper.scale": scales})
    return hfac.sweep(algorithm_of("nan"), schedules, 2, 9, record_at=POINTS, return_state=True, width=6)


def test_neighbours_go_on():
    data, states = neighbours(0.01, 0.3, 0.02)
    healthy, healthy_states = neighbours(0.01, 0.05, 0.02)
    np.testing.assert_array_equal(data.status[..., -1], [[0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(data.failed_at[..., -1], [[-1, -1], [4, 4], [-1, -1]])
    rows = np.array([0, 1, 4, 5])
    pick = lambda tree: jax.tree.map(lambda leaf: leaf[rows], tree)  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, pick(states), pick(healthy_states))
    np.testing.assert_array_equal(data.x[[0, 2]], healthy.x[[0, 2]])


def test_a_failed_run_is_worth_infinity():
    data, _ = neighbours(0.01, 0.3)
    problem = cases.bandit(h=lambda x: -x)
    judged = hfac.judge(data, metrics.exact(problem, tau=[0.1, 0.5], limit=True, gradient=True))
    expected = np.array(POINTS) > 4
    for name in ("hyper_objective", "hypergradient_norm", "limit_hyper_objective"):
        values = judged[name].transpose("upper.scale", "seed", "step", ...).values
        values = values.reshape(2, 2, len(POINTS), -1)
        assert np.all(np.isfinite(values[0])), name
        assert np.all(np.isposinf(values[1][:, expected])), name
        assert np.all(np.isfinite(values[1][:, ~expected])), name
    np.testing.assert_allclose(judged.hyper_objective[0, 0, :, 0], -0.01 * np.array(POINTS), rtol=1e-5)


def test_statistics_say_diverged():
    data, _ = neighbours(0.01, 0.3)
    judged = hfac.judge(data, metrics.exact(cases.bandit(h=lambda x: -x), tau=0.1))
    good, bad = results.summary(judged)
    assert (good["diverged"], bad["diverged"], bad["seeds"]) == (0, 2, 2)
    assert np.isposinf([bad["interquartile_mean"], bad["worst"], bad["low"], bad["high"]]).all()
    np.testing.assert_allclose(good["interquartile_mean"], -0.09, rtol=1e-5)
    assert statistics.format_interval(bad["interquartile_mean"], bad["low"], bad["high"]) == "diverged"
    assert str(statistics.bootstrap(np.array([np.inf, np.nan, 1.0]))) == "diverged"


def test_a_healthy_run_stays_healthy():
    state, _ = hfac.run(build(cases.goal()), hfac.run_key(0), cases.gentle(), 2_000)
    assert (int(state.status), int(state.failed_at), int(state.step)) == (Status.OK, -1, 2_000)


EXTREMES = [float("nan"), float("inf"), float("-inf"), 3e38, 1e30, -1e30, 1e-30, 1e-45]


@pytest.fixture(scope="module")
def sane():
    """A bandit, its start and its rates in float32, as a user's run has them."""
    algorithm = build(cases.bandit(h=lambda x: 0.5 * x**2))
    rates = cases.constant(0.1, 0.1, 0.1)
    return algorithm, rates, algorithm.init(hfac.run_key(0), rates)


def is_finite(state) -> bool:
    return all(bool(np.all(np.isfinite(leaf))) for leaf in jax.tree.leaves(cases.variables(state)))


@pytest.mark.parametrize("value", EXTREMES)
@pytest.mark.parametrize("leaf", ["theta", "theta_pen", "x", "value", "leader_value"])
def test_a_start_with_extreme_numbers_is_said_or_stays_finite(sane, leaf, value):
    algorithm, rates, start = sane
    broken = getattr(start, leaf).at[..., -1:].set(value) if leaf != "x" else jnp.full_like(start.x, value)
    state, history = hfac.run(
        algorithm, hfac.run_key(0), rates, 9, record_at=POINTS, initial=start._replace(**{leaf: broken})
    )
    has_failed = int(state.status) != Status.OK
    if leaf.startswith("theta") and value == float("-inf"):  # an action that is never taken is a policy all the same
        assert not has_failed and np.all(np.isfinite(history.record["x"]))
    elif not np.isfinite(value):
        assert has_failed
    else:
        assert has_failed or is_finite(state)
    if 0 < abs(value) < 1:
        assert not has_failed


@functools.cache
def rewarded(where):
    """The end of a run as a function of a number that multiplies x in the reward or in the cost."""

    def end(value):
        problem = cases.bandit(
            h=lambda x: 0.5 * x**2,
            **{where: lambda x, s, a, s_next: jnp.where(a == 1, value.astype(x.dtype) * x, 0 * x)},
        )
        return hfac.run(build(problem), hfac.run_key(0), cases.constant(0.1, 0.1, 0.1), 50)[0]

    return jax.jit(end)


@pytest.mark.parametrize("value", [3e38, -3e38, 1e30, 1e-30, 1e-45])
@pytest.mark.parametrize("where", ["reward", "cost"])
def test_extreme_rewards_are_said_or_stay_finite(where, value):
    state = rewarded(where)(jnp.float32(value))
    assert is_finite(state)
    assert (int(state.status) == Status.OK) == (int(state.failed_at) == -1)
    assert abs(value) > 1 or int(state.status) == Status.OK


@pytest.mark.parametrize("prob", [np.nan, np.inf, -1e-3, 1e30])
def test_extreme_transitions_are_refused(prob):
    with pytest.raises(ValueError, match="probs must"):
        hfac.mdp.from_successors(np.zeros((1, 2, 2), int), [[[1.0, 0.0], [1.0 - prob, prob]]], [1.0], 0.5)


def test_a_tiny_transition_is_kept():
    tiny = hfac.mdp.from_successors(np.array([[[0, 1]], [[0, 1]]]), np.array([[[1.0, 1e-30]]] * 2), [1.0, 0.0], 0.5)
    assert float(np.asarray(tiny.probs)[0, 0, 1]) > 0

"""Each part learns alone, on problems small enough to solve by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac.algorithms import hfac as build
from hfac.schedules import PowerDecay
from hfac.tabular import mdp
from hfac.tabular.problem import Problem
from support import cases

W, TAU, GAMMA = 0.5, 0.4, 0.5
SPAN = 1 - GAMMA


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def run(problem, rates, steps, **options):
    state, _ = cases.run(build(problem, **options), hfac.run_key(0), rates, steps, record_at=[steps])
    assert int(state.status) == 0
    return state


def corridor(ends=None):
    """0 -> 1 -> 2 -> 2: reward 1 on leaving 0, 2 on leaving 1, cost 1 on leaving 1; one action."""
    dynamics = mdp.from_successors(np.array([1, 2, 2])[:, None, None], np.ones((3, 1, 1)), [1.0, 0, 0], GAMMA, ends)
    return Problem(
        mdp=dynamics,
        reward=lambda x, s, a, s_next: jnp.asarray([1, 2, 0], x.dtype)[s],
        cost=lambda x, s, a, s_next: jnp.asarray([0, 1, 0], x.dtype)[s],
        init_x=lambda key: jnp.zeros(()),
    )


@pytest.mark.parametrize("sampler", ["markov", "iid", "exact"])
def test_critics(sampler):
    """V = (1 + gamma 2, 2, 0); U = (1 - gamma) (gamma, 1, 0). Deterministic, so a constant rate converges."""
    state = run(corridor(), cases.constant(critic=0.2), 2_000, sampler=sampler)
    for name in ("value", "value_pen"):
        np.testing.assert_allclose(getattr(state, name), [2, 2, 0], rtol=0, atol=1e-4)  # float32 fixed point
    np.testing.assert_allclose(state.leader_value, [SPAN * GAMMA, SPAN, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("sampler", ["markov", "iid", "exact"])
def test_critics_where_the_episode_ends(sampler):
    """The action in state 1 is the last: V = (2, 2), and state 2 is never seen."""
    state = run(corridor(np.array([False, True, False])), cases.constant(critic=0.2), 2_000, sampler=sampler)
    np.testing.assert_allclose(state.value, [2, 2, 0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(state.leader_value, [SPAN * GAMMA, SPAN, 0], rtol=0, atol=1e-5)


def test_a_critic_counts_the_entropy():
    """No reward, uniform policy: V = tau log 2 / (1 - gamma)."""
    problem = cases.bandit(h=lambda x: x, init_x=lambda key: jnp.zeros(()))
    state = run(problem, cases.constant(critic=0.2, entropy=TAU), 2_000)
    np.testing.assert_allclose(state.value, [TAU * np.log(2) / SPAN], rtol=1e-5)


def averse(**parts):
    """Reward x for action 1, cost 1 for action 1."""
    cost = lambda x, s, a, s_next: jnp.where(a == 1, 1.0, 0.0).astype(x.dtype)  # noqa: E731
    return cases.bandit(cost=cost, **parts)


@pytest.mark.parametrize("difference", ["forward", "central"])
def test_actors(difference):
    """pi* = softmax(r / tau), pi_w = softmax((r - w (1 - gamma) c) / tau): logits differ by (1, 1 - w/2) / tau."""
    state = run(
        averse(),
        cases.constant(actor=0.5, critic=0.5, penalty=W, entropy=TAU),
        3_000,
        sampler="exact",
        difference=difference,
    )
    opposite = W * SPAN if difference == "central" else 0.0
    pi, pi_pen = (np.asarray(p)[0, 1] for p in cases.policies(state))
    np.testing.assert_allclose(pi, sigmoid((1 + opposite) / TAU), rtol=1e-5)
    np.testing.assert_allclose(pi_pen, sigmoid((1 - W * SPAN) / TAU), rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"coupled": True, "batch_size": 4}, {"sampler": "iid"}])
def test_sampled_actors(options):
    rates = cases.constant(penalty=W, entropy=TAU)
    decay = PowerDecay(0.5, 0.7, 100.0)
    rates = hfac.Schedules(upper=rates.upper, actor=decay, critic=decay, penalty=rates.penalty, entropy=rates.entropy)
    state = run(averse(), rates, 30_000, **options)
    pi, pi_pen = (np.asarray(p)[0, 1] for p in cases.policies(state))
    assert abs(pi - sigmoid(1 / TAU)) < 0.02  # 0.924 against 0.868: rates of 0.01 leave about 0.005
    assert abs(pi_pen - sigmoid((1 - W * SPAN) / TAU)) < 0.02


def test_an_actor_follows_a_policy_term():
    """g = P(action 1) is the running cost by another name: the same penalised policy."""
    problem = cases.bandit(g=lambda x, pi: pi[0, 1])
    state = run(problem, cases.constant(actor=0.5, critic=0.5, penalty=W, entropy=TAU), 3_000, sampler="exact")
    np.testing.assert_allclose(np.asarray(cases.policies(state)[1])[0, 1], sigmoid((1 - W * SPAN) / TAU), rtol=1e-5)


@pytest.mark.parametrize("sampler", ["markov", "iid", "exact"])
def test_the_upper_step_alone(sampler):
    """f = h = (x - 3)^2 / 2 and a reward without x: x_k = 3 - 2 (1 - zeta)^k exactly."""
    problem = cases.bandit(
        reward=lambda x, s, a, s_next: jnp.where(a == 1, 1.0, 0.0).astype(x.dtype), h=lambda x: 0.5 * (x - 3) ** 2
    )
    state = run(problem, cases.constant(upper=0.1, actor=0.1, critic=0.1), 10, sampler=sampler)
    np.testing.assert_allclose(state.x, 3 - 2 * 0.9**10, rtol=1e-6)


@pytest.mark.parametrize("difference", ["forward", "central"])
def test_one_upper_step_at_the_responses(difference):
    """The penalty difference is that of two sigmoids: lambda x + (pi(x) - pi(x - w (1 - gamma))) / (w (1 - gamma))."""
    x, shift = 1.3, W * SPAN
    algorithm = build(averse(h=lambda x: 0.05 * x**2), sampler="exact", difference=difference)
    rates = cases.constant(upper=1.0, penalty=W, entropy=TAU)
    state = algorithm.init(jax.random.key(0), rates)
    top = x + shift if difference == "central" else x
    logits = [jnp.asarray([[0, z / TAU]], jnp.float32) for z in (top, x - shift)]
    state = state._replace(x=jnp.float32(x), theta=logits[0], theta_pen=logits[1])
    moved, _ = jax.jit(algorithm.step)(jax.random.key(0), state, rates)
    slope = (sigmoid(top / TAU) - sigmoid((x - shift) / TAU)) / (top - x + shift)
    np.testing.assert_allclose(moved.x, x - (0.1 * x + slope), rtol=1e-5)


@pytest.mark.parametrize(("difference", "tolerance"), [("forward", 1e-3), ("central", 1e-3)])
def test_all_parts_together(difference, tolerance):
    """The fixed point solves 0.1 x = - (pi(top) - pi(x - w (1 - gamma))) / (top - x + w (1 - gamma)), by bisection."""
    shift = W * SPAN
    opposite = shift if difference == "central" else 0.0

    def gradient(x):
        return 0.1 * x + (sigmoid((x + opposite) / TAU) - sigmoid((x - shift) / TAU)) / (opposite + shift)

    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if gradient(middle) < 0 else (low, middle)
    problem = averse(h=lambda x: 0.05 * x**2)
    rates = cases.constant(upper=0.02, actor=1.0, critic=0.5, penalty=W, entropy=TAU)
    state = run(problem, rates, 20_000, sampler="exact", difference=difference)
    np.testing.assert_allclose(state.x, low, rtol=0, atol=tolerance)  # float32 and the last of the tracking


def test_the_upper_step_descends_the_running_cost():
    """c = (x - 2)^2 in every state and no reward: x goes to 2."""
    cost = lambda x, s, a, s_next: (x - 2) ** 2  # noqa: E731
    problem = cases.bandit(reward=lambda x, s, a, s_next: 0 * x, cost=cost)
    np.testing.assert_allclose(run(problem, cases.constant(upper=0.1), 200).x, 2, rtol=1e-5)

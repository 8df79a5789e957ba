"""Sampled steps are unbiased: their mean is the step's own expectation, and that is what the mathematics says."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import exact
from hfac import policies as policies_module
from hfac.algorithms import hfac as build
from hfac.tabular import sampling
from support import cases
from support.slow import few

pytestmark = pytest.mark.skipif(not jax.config.jax_enable_x64, reason=cases.NEEDS_X64)

W, TAU = 0.5, 0.3
RATES = cases.constant(1.0, 1.0, 1.0, W, TAU)  # unit rates: what a step adds is its direction
NUM_CHUNKS, CHUNK = 200, 200
BOUND = 5.0  # standard errors; about 1e4 comparisons of a fixed stream, so a true mean passes with 0.99


def moments(sample):
    """Mean and its standard error over independent draws of `sample(key)`, leaf by leaf."""

    def chunk(_, i):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(7), i), CHUNK)
        return None, jax.tree.map(lambda v: jnp.mean(v, 0), jax.vmap(sample)(keys))

    _, means = jax.jit(lambda chunks: jax.lax.scan(chunk, None, chunks))(jnp.arange(NUM_CHUNKS))
    error = jax.tree.map(lambda v: np.std(v, axis=0, ddof=1) / np.sqrt(NUM_CHUNKS), jax.device_get(means))
    return jax.tree.map(lambda v: np.mean(v, axis=0), jax.device_get(means)), error


def assert_within(mean, error, truth):
    for name in truth:
        slack = BOUND * error[name] + 1e-9  # rounding, where nothing varies
        np.testing.assert_array_less(np.abs(mean[name] - truth[name]), slack, err_msg=name)
        assert np.linalg.norm(error[name]) < 0.1 * np.linalg.norm(truth[name]), name  # else the test says nothing


def sampled_step(problem, state, visitation, options):
    """One step from chains at d^pi, as floats: what it adds to every variable, and its samples."""
    algorithm = build(problem, dtype=jnp.float64, **options)
    batch_size = options.get("batch_size", 1)

    def sample(key):
        at = state
        if options["sampler"] == "markov":
            chains = cases.stationary_chains(
                jax.random.fold_in(key, 1), visitation, batch_size, problem.mdp.ends is not None
            )
            at = state._replace(chains=chains)
        new, info = algorithm.step(jax.random.fold_in(key, 0), at, RATES)
        return cases.differences(new, at) | {"num_samples": info.num_samples.astype(jnp.float64)}

    return sample


def expected_samples(problem, visitation, options):
    """Transitions per step, both chains: chains alive under markov, the whole rollout under iid."""
    alive = sum(float(np.sum(d)) for d in visitation) * options.get("batch_size", 1)
    return alive if options["sampler"] == "markov" else alive / (1 - float(problem.mdp.discount))


@functools.cache
def frozen(name: str, difference: str):
    """A problem, a state with arbitrary variables, and the directions of the `exact` sampler as a function of it."""
    problem = policy_term_alone() if name == "alone" else cases.PROBLEMS[name]()
    algorithm = build(problem, sampler="exact", difference=difference, dtype=jnp.float64)
    step = jax.jit(algorithm.step)

    def directions(state):
        return cases.differences(step(jax.random.key(0), state, RATES)[0], state)

    return problem, cases.frozen_state(algorithm, problem, RATES), directions


@functools.cache
def visited(name: str):
    """Exact visitation of both policies of the state."""
    return cases.visits(*frozen(name, "forward")[:2])


def policy_term_alone():
    return cases.random_problem(cases.dynamics(5, 3), 5, has_cost=False, has_g=True)


OPTIONS = {  # every sampler, coupled or not, forward and central
    "markov-forward": {"sampler": "markov"},
    "markov-central": {"sampler": "markov", "difference": "central"},
    "markov-coupled": {"sampler": "markov", "coupled": True, "batch_size": 9},  # a batch that is reduced
    "markov-coupled-central": {"sampler": "markov", "coupled": True, "difference": "central", "batch_size": 2},
    "iid-forward": {"sampler": "iid"},
    "iid-central": {"sampler": "iid", "difference": "central", "batch_size": 2},
    "iid-coupled": {"sampler": "iid", "coupled": True},
    "iid-coupled-central": {"sampler": "iid", "coupled": True, "difference": "central"},
}
COMBINATIONS = [
    ("ends", "markov-forward"),
    ("ends", "iid-central"),
    ("goal", "markov-coupled"),
    ("goal", "iid-coupled-central"),
    ("union", "markov-coupled-central"),
    ("union", "iid-forward"),
    ("policy_term", "markov-central"),
    ("policy_term", "iid-coupled"),
]


@pytest.mark.parametrize(("name", "which"), few(itertools.product(cases.PROBLEMS, OPTIONS), *COMBINATIONS))
def test_sampled_directions_have_the_exact_mean(name, which):
    options = OPTIONS[which]
    problem, state, directions = frozen(name, options.get("difference", "forward"))
    visitation = visited(name)
    mean, error = moments(sampled_step(problem, state, visitation, options))
    assert_within(mean, error, directions(state) | {"num_samples": expected_samples(problem, visitation, options)})


def tables(problem, x, s, a, t):
    cost = problem.cost or (lambda x, s, a, t: 0.0 * jnp.sum(x))
    functions = (problem.reward, jax.grad(problem.reward), cost, jax.grad(cost))
    return *(jax.vmap(function, (None, 0, 0, 0))(x, s, a, t) for function in functions), jax.grad(problem.h)(x)


def at_policy(problem, x, theta):
    pi = jax.nn.softmax(theta)
    g = problem.g or (lambda x, pi: 0.0 * jnp.sum(pi))
    g_theta = jax.grad(lambda theta: g(x, jax.nn.softmax(theta)))(theta)
    return pi, exact.visitation(problem, pi), g_theta, jax.grad(g)(x, pi)


def twin(problem, state, difference: str) -> dict:
    """Expected directions in plain NumPy loops, straight from the equations of the algorithm."""
    dynamics, gamma = problem.mdp, float(problem.mdp.discount)
    is_central = difference == "central"
    v, v_pen, u = (np.asarray(getattr(state, n)) for n in ("value", "value_pen", "leader_value"))
    u_neg = np.asarray(state.leader_value_neg) if is_central else np.zeros_like(u)
    ends = np.zeros(dynamics.num_states, bool) if dynamics.ends is None else dynamics.ends
    s, a, k = (i.ravel() for i in np.indices(dynamics.next_states.shape))
    t = dynamics.next_states[s, a, k]
    bootstrap = np.where(ends[s], 0.0, gamma)
    rewards, reward_grads, costs, cost_grads, h_grad = jax.device_get(
        jax.jit(functools.partial(tables, problem))(state.x, s, a, t)
    )

    look_up = jax.jit(functools.partial(at_policy, problem))

    def side(theta, v, u, pull):
        """One chain: critic, leader critic and actor directions; E[grad r]; d_x c + d_x g."""
        pi, d, g_theta, g_x = jax.device_get(look_up(state.x, theta))
        p = d[s] * pi[s, a] * dynamics.probs[s, a, k]
        delta = rewards - TAU * np.log(pi[s, a]) + bootstrap * v[t] - v[s]
        delta_u = (1 - gamma) * costs + bootstrap * u[t] - u[s]
        actor, critic, leader = -pull * (1 - gamma) * g_theta, np.zeros_like(v), np.zeros_like(v)
        for i in range(s.size):
            score = np.eye(pi.shape[1])[a[i]] - pi[s[i]]
            actor[s[i]] += p[i] * (delta[i] - pull * delta_u[i]) * score
            critic[s[i]] += p[i] * delta[i]
            leader[s[i]] += p[i] * delta_u[i]
        return critic, leader, actor, p @ reward_grads, p @ cost_grads + g_x

    critic, leader_neg, actor, r, direct = side(state.theta, v, u_neg, -W if is_central else 0.0)
    critic_pen, leader, actor_pen, r_pen, direct_pen = side(state.theta_pen, v_pen, u, W)
    span = (2 if is_central else 1) * W * (1 - gamma)
    upper = h_grad + ((direct + direct_pen) / 2 if is_central else direct_pen)
    found = {"x": -(upper + (r - r_pen) / span), "theta": actor, "theta_pen": actor_pen, "value": critic}
    found |= {"value_pen": critic_pen, "leader_value": leader}
    return found | ({"leader_value_neg": leader_neg} if is_central else {})


@pytest.mark.parametrize(
    ("name", "difference"), [(n, d) for n in cases.PROBLEMS for d in ("forward", "central")] + [("alone", "forward")]
)
def test_exact_sampler_is_the_weighted_sum(name, difference):
    problem, state, directions = frozen(name, difference)
    truth, found = twin(problem, state, difference), directions(state)
    assert set(found) == set(truth)
    for key in truth:
        np.testing.assert_allclose(found[key], truth[key], rtol=0, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", ["goal", "policy_term"])
def test_exact_sampler_in_float32(name):
    problem, state, _ = frozen(name, "forward")
    low = jax.tree.map(lambda v: v.astype(jnp.float32) if v.dtype == jnp.float64 else v, state)
    new, _ = jax.jit(build(problem, sampler="exact").step)(jax.random.key(0), low, RATES)
    found, truth = cases.differences(new, low), twin(problem, state, "forward")
    for key in truth:
        assert found[key].dtype == jnp.float32
        error = np.linalg.norm(np.asarray(found[key]) - truth[key]) / np.linalg.norm(truth[key])
        assert error < 2e-5, key  # 1e-7, times what sums, a solve and new - old lose


def central_difference(function, theta, step: float = 1e-5):
    """Gradient of a scalar of theta by central differences, entry by entry."""
    basis = jnp.eye(theta.size).reshape(theta.size, *theta.shape)
    each = jax.lax.map(lambda e: function(theta + step * e) - function(theta - step * e), basis)
    return (each / (2 * step)).reshape(theta.shape)


@pytest.mark.parametrize("difference", ["forward", "central"])
@pytest.mark.parametrize("name", cases.PROBLEMS)
def test_with_true_critics_actors_ascend_the_true_gradients(name, difference):
    problem, state, directions = frozen(name, difference)

    @jax.jit
    def true(theta):
        """Both values of a policy, and the gradients of J_tau and f."""
        pi = jax.nn.softmax(theta)
        values = exact.value(problem, state.x, pi, TAU), exact.leader_value(problem, state.x, pi)
        soft_return = central_difference(
            lambda theta: exact.regularized_return(problem, state.x, jax.nn.softmax(theta), TAU), theta
        )
        return (
            *values,
            soft_return,
            central_difference(lambda theta: exact.upper_objective(problem, state.x, jax.nn.softmax(theta)), theta),
        )

    value, leader_value_neg, truth, upper_neg = true(state.theta)
    value_pen, leader_value, truth_pen, upper = true(state.theta_pen)
    state = state._replace(value=value, value_pen=value_pen, leader_value=leader_value)
    truth_pen = truth_pen - W * upper
    if difference == "central":
        state = state._replace(leader_value_neg=leader_value_neg)
        truth = truth + W * upper_neg

    found, span = directions(state), 1 - float(problem.mdp.discount)
    np.testing.assert_allclose(found.pop("theta"), span * truth, rtol=0, atol=1e-8)  # step^2 and rounding / step
    np.testing.assert_allclose(found.pop("theta_pen"), span * truth_pen, rtol=0, atol=1e-8)
    found.pop("x")
    for name, direction in found.items():  # a true critic stands still
        np.testing.assert_allclose(direction, 0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("name", "difference"),
    few(
        [*itertools.product(("goal", "ends", "union"), ("forward", "central")), ("policy_term", "central")],
        *[("goal", "central"), ("ends", "forward"), ("union", "forward")],
    ),
)
def test_upper_direction_at_the_exact_policies(name, difference):
    problem, state, directions = frozen(name, difference)
    respond = jax.jit(lambda w: exact.penalty_response(problem, state.x, w, TAU))
    best, best_pen = respond(W)
    if difference == "central":
        best = respond(-W)[1]
    found = directions(state._replace(theta=jnp.log(best), theta_pen=jnp.log(best_pen)))
    truth = jax.jit(lambda x: exact.penalty_hypergradient(problem, x, W, TAU, difference))(state.x)
    np.testing.assert_allclose(-found["x"], truth, rtol=0, atol=1e-8)  # the penalised policy is solved to 1e-8


@pytest.mark.parametrize("name", few(["goal", "ends", "union"], "ends"))
def test_a_long_chain_visits_as_the_policy_does(name):
    problem, state, _ = frozen(name, "forward")
    dynamics = problem.mdp.astype(jnp.float64)
    policy = policies_module.tabular_softmax(dynamics.num_states, dynamics.num_actions, jnp.float64)
    sampler = sampling.markov(dynamics, policy, 1, False)
    num_blocks, length = 200, 2_000  # restarts every 5 steps: blocks are independent

    def step(chains, key):
        drawn = sampler.draw(key, chains, state.theta, state.theta_pen)
        visits = [jnp.zeros(dynamics.num_states).at[b.state].add(b.weight) for b in drawn.batches]
        return drawn.chains, jnp.stack(visits)

    def block(chains, key):
        chains, visits = jax.lax.scan(step, chains, jax.random.split(key, length))
        return chains, jnp.mean(visits, 0)

    keys = jax.random.split(jax.random.key(3), num_blocks)
    _, blocks = jax.jit(lambda keys: jax.lax.scan(block, sampler.init(jax.random.key(4)), keys))(keys)
    error = np.std(blocks, axis=0, ddof=1) / np.sqrt(num_blocks)
    truth = np.stack(visited(name))
    np.testing.assert_array_less(np.abs(np.mean(blocks, 0) - truth), BOUND * error + 1e-5)  # the start's bias


@pytest.mark.parametrize("sampler", ["markov", "iid"])
def test_coupled_chains_agree_while_their_policies_do(sampler):
    problem, state, _ = frozen("goal", "forward")
    state = state._replace(theta_pen=state.theta)
    dynamics = problem.mdp.astype(jnp.float64)
    policy = policies_module.tabular_softmax(dynamics.num_states, dynamics.num_actions, jnp.float64)
    agreement = {}
    for is_coupled in (True, False):
        source = getattr(sampling, sampler)(dynamics, policy, 1, is_coupled)

        def draw(key, source=source):
            drawn = source.draw(
                jax.random.fold_in(key, 1), source.init(jax.random.fold_in(key, 0)), state.theta, state.theta
            )
            first, second = drawn.batches
            return jnp.stack([first.state, second.state, first.action, second.action])

        drawn = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 20_000)))[..., 0]
        agreement[is_coupled] = np.mean((drawn[:, 0] == drawn[:, 1]) & (drawn[:, 2] == drawn[:, 3]))
        if not is_coupled:  # independent: correlation of the states within 5 standard errors of 0
            assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < BOUND / np.sqrt(drawn.shape[0])
    assert agreement[True] == 1
    assert agreement[False] < 0.5


@pytest.mark.parametrize(("sampler", "batch_size"), [("markov", 1), ("markov", 5), ("exact", 1)])
def test_num_samples_without_ends(sampler, batch_size, key):
    problem, _, _ = frozen("goal", "forward")
    algorithm = build(problem, sampler=sampler, batch_size=batch_size)
    _, info = jax.jit(algorithm.step)(key, algorithm.init(key, RATES), RATES)
    assert info.num_samples == {"markov": 2 * batch_size, "exact": 0}[sampler]
    assert info.num_samples.dtype == jnp.int32

"""Methods over whole sequences, against the oracle that lists them all."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hfac
from hfac import algorithms, schedules
from hfac.exact import sequences
from hfac.sequences import episodes
from hfac.sequences.lower import Limits
from hfac.types import Status
from support import cases, toys
from support.slow import few
from support.toys import EVERY, LEADERS, REFERENCE, START

TAU, PENALTY = 0.5, 0.3
METHODS = ["decoupled", "f2sa", "hfac", "nested", "partial", "penalty_gaur", "single_loop_penalty", "true_reward"]
METHODS += ["value_penalty"]


def constant(upper=1e-9, actor=3.0, penalty=PENALTY):
    """Rates that stay; x hardly moves unless asked to."""
    scales = {"upper": upper, "actor": actor, "critic": 0.3, "penalty": penalty, "entropy": TAU}
    return schedules.attenuating(**scales, **{f"{name}_power": 0.0 for name in scales})


toy = functools.cache(toys.toy)


@functools.cache
def masses(leader):
    """The two policies that HFAC tracks, as distributions over all sequences."""
    problem = toy(leader)

    def both():
        best = sequences.best_response(problem, EVERY, START, TAU)
        return best, sequences.penalty_response(problem, EVERY, START, PENALTY, TAU)

    return jax.jit(both)()


@functools.cache
def penalty_hypergradient(leader):
    return jax.jit(lambda: sequences.penalty_hypergradient(toy(leader), EVERY, START, PENALTY, TAU))()


@functools.cache
def value(leader):
    """Phi_tau as a function of x."""
    return jax.jit(lambda x: sequences.hyper_objective(toy(leader), EVERY, x, TAU))


@functools.cache
def expected_hfac(leader):
    """HFAC with expectations instead of samples."""
    return algorithms.hfac(toy(leader), every=EVERY, dtype=jnp.float64)


def last_state(algorithm, seed, rates, num_steps):
    return cases.run(algorithm, hfac.run_key(seed), rates, num_steps, record_at=[num_steps])[0]


def theta_of(mass):
    """The table of logits whose sequences have these probabilities."""
    table = np.full(REFERENCE.shape, -60.0)
    totals = {}
    for y, p in zip(EVERY.tolist(), np.asarray(mass), strict=True):
        prefix = 0
        for t, token in enumerate(y):
            totals[prefix, token] = totals.get((prefix, token), 0.0) + p
            if token == 0 or t == len(y) - 1:
                break
            prefix = prefix * REFERENCE.shape[1] + 1 + token
    for (prefix, token), total in totals.items():
        table[prefix, token] = np.log(total)
    return jnp.array(table)


@pytest.mark.parametrize("leader", few(LEADERS, "anchored"))
def test_with_expectations_the_direction_of_x_is_the_penalty_hypergradient(leader):
    problem = toy(leader)

    def direction(*thetas):
        drawn = episodes.enumerated(problem, EVERY)(jax.random.key(0), *thetas)
        return episodes.hypergradient(problem, START, *drawn.batches, drawn.pairs, PENALTY)

    found = jax.jit(direction)(*[theta_of(mass) for mass in masses(leader)])
    np.testing.assert_allclose(found, penalty_hypergradient(leader), atol=1e-8)


@pytest.mark.parametrize("leader", LEADERS)
def test_the_sampled_direction_of_x_is_unbiased(leader, key):
    problem, count = toy(leader), 20_000
    thetas = [theta_of(mass) for mass in masses(leader)]
    draw = episodes.sampled(problem, 8, 3, coupled=True, dtype=jnp.float64)

    def direction(key):
        batches, pairs, _ = draw(key, *thetas)
        return episodes.hypergradient(problem, START, *batches, pairs, PENALTY)

    found = jax.jit(jax.vmap(direction))(jax.random.split(key, count))
    expected = penalty_hypergradient(leader)
    error = found.std(0) / np.sqrt(count)
    assert np.all(np.abs(found.mean(0) - expected) <= 5 * error + 1e-12)
    assert np.all(error < 0.02)


@pytest.mark.parametrize("leader", few(LEADERS, "pairs"))
def test_policy_directions_are_gradients(leader, key):
    """theta ascends J_tau and theta_pen J_tau - w f, in expectation and, with any critic, on average over samples."""
    problem, theta, count = toy(leader), 0.5 * REFERENCE[::-1], 20_000

    def gain(theta):
        mass = jnp.exp(sequences.log_probs(problem, EVERY, theta))
        value = sequences.regularized_return(problem, EVERY, START, mass, TAU)
        return value - PENALTY * sequences.upper_objective(problem, EVERY, START, mass)

    def direction(drawn, head):
        (batch,), pairs, _ = drawn
        path, pull = episodes.path(problem, theta, batch)
        cost = episodes.leader_costs(problem, START, batch, pairs)
        reward = episodes.rewards(problem, START, batch)
        advantage = episodes.advantages(path, head, batch, 0, reward, TAU, 1.0)
        advantage -= PENALTY * episodes.advantages(path, 0 * head, batch, 0, cost, 0, 1.0)
        return episodes.policy_gradient(path, pull, batch, advantage, TAU)

    head = jax.random.normal(key, (len(REFERENCE),), jnp.float64)
    expected, exact = jax.jit(
        lambda theta: (jax.grad(gain)(theta), direction(episodes.enumerated(problem, EVERY)(key, theta), head))
    )(theta)
    np.testing.assert_allclose(exact, expected, atol=1e-12)
    draw = episodes.sampled(problem, 8, 3, dtype=jnp.float64)
    drawn = jax.jit(jax.vmap(lambda key: direction(draw(key, theta), head)))(jax.random.split(key, count))
    error = drawn.std(0) / np.sqrt(count)
    assert np.all(np.abs(drawn.mean(0) - expected) <= 5 * error + 1e-12)


@pytest.mark.parametrize("leader", few(LEADERS, "score"))
def test_both_policies_settle_at_their_closed_forms(leader):
    state = last_state(expected_hfac(leader), 0, constant(), 3_000)
    draw = jax.jit(lambda *thetas: episodes.enumerated(toy(leader), EVERY)(jax.random.key(0), *thetas).batches)
    for batch, expected in zip(draw(state.theta, state.theta_pen), masses(leader), strict=True):
        np.testing.assert_allclose(batch.weight, expected, atol=1e-3)


def test_critics_learn_the_values_of_prefixes():
    """With expectations the head of theta is its soft value at every prefix, brute force over what may follow."""
    problem = toy("score")
    algorithm = algorithms.hfac(problem, every=EVERY, gae_lambda=0.5, dtype=jnp.float64)
    state, _ = cases.run(algorithm, hfac.run_key(0), constant(actor=1e-9), 2_000)
    mass = jnp.exp(sequences.log_probs(problem, EVERY, REFERENCE))
    rewards = jax.vmap(problem.reward, (None, 0))(START, EVERY)
    assert float(state.value[0]) == pytest.approx(float(mass @ rewards), abs=1e-6)
    begins = EVERY[:, 0] == 2
    inside = jnp.sum(jnp.where(begins, mass * rewards, 0)) / jnp.sum(jnp.where(begins, mass, 0))
    assert float(state.value[3]) == pytest.approx(float(inside), abs=1e-4)


@pytest.mark.parametrize(("leader", "kind"), few(itertools.product(LEADERS, ["exact", "sampled"]), ("score", "exact")))
def test_training_ends_within_two_percent_of_the_best(leader, kind):
    best, phi = minimum(leader), value(leader)
    sampled = {"batch_size": 32, "coupled": True, "dtype": jnp.float64}
    algorithm = expected_hfac(leader) if kind == "exact" else algorithms.hfac(toy(leader), **sampled)
    scales = {"upper": 0.2, "actor": 1.0, "critic": 0.3, "penalty": 1.0, "entropy": TAU}
    powers = {"actor_power": 0.0, "critic_power": 0.0, "entropy_power": 0.0, "upper_power": 0.5, "penalty_power": 0.3}
    state = last_state(algorithm, 3, schedules.attenuating(**scales, offset=500, **powers), 6_000)
    regret = float(phi(state.x) - best) / float(phi(START) - best)
    assert -1e-6 <= regret <= 0.02


@functools.cache
def minimum(leader):
    """Smallest Phi_tau that exact descent meets."""
    slope = jax.value_and_grad(value(leader))
    optimizer = optax.adam(0.05)

    def step(carry, _):
        x, moments, best = carry
        value, grad = slope(x)
        with jax.numpy_dtype_promotion("standard"):
            update, moments = optimizer.update(grad, moments)
        return (x + update, moments, jnp.minimum(best, value)), None

    carry = (START, optimizer.init(START), jnp.array(jnp.inf))
    return float(jax.jit(lambda carry: jax.lax.scan(step, carry, length=800)[0][2])(carry))


def test_a_leader_that_ignores_the_answer_ends_elsewhere():
    """Partial SGD has nothing to follow where f depends on x through the policy alone."""
    problem = toy("score")
    algorithm = algorithms.partial(problem, every=EVERY, dtype=jnp.float64)
    state, _ = cases.run(algorithm, hfac.run_key(0), constant(upper=0.3), 2_000)
    np.testing.assert_allclose(state.x, 0, atol=1e-6)  # only the ridge moves it
    assert value("score")(state.x) > minimum("score") + 0.1


def test_decoupled_fits_first_and_trains_after():
    problem = toy("pairs")
    algorithm = algorithms.decoupled(problem, fit_steps=50, every=EVERY, dtype=jnp.float64)
    rates = constant(upper=0.3)
    record = lambda state, info, schedules: (state.theta, state.x)  # noqa: E731
    _, history = cases.run(algorithm, hfac.run_key(0), rates, 3_000, record=record, record_at=[50, 3_000])
    thetas, xs = history.record
    np.testing.assert_array_equal(thetas[0], REFERENCE)
    assert not np.allclose(xs[0], START)
    np.testing.assert_array_equal(*xs)
    found, expected = jax.jit(
        lambda theta, x: (
            jnp.exp(sequences.log_probs(problem, EVERY, theta)),
            sequences.best_response(problem, EVERY, x, TAU),
        )
    )(thetas[1], xs[1])
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.slow
def test_nested_with_one_inner_step_is_the_single_loop():
    problem = toy("anchored")
    runs = [
        cases.run(builder(problem, dtype=jnp.float64, **options), hfac.run_key(1), constant(upper=0.1), 20)[0]
        for builder, options in (
            (algorithms.hfac, {}),
            (algorithms.nested, {"inner_steps": 1}),
            (algorithms.nested, {"inner_steps": 10}),
        )
    ]
    np.testing.assert_array_equal(runs[0].x, runs[1].x)
    assert not np.allclose(runs[0].x, runs[2].x)


PAIRED = [(name, LEADERS[i % len(LEADERS)]) for i, name in enumerate(METHODS)]  # all of both


@pytest.mark.parametrize(("name", "leader"), few(itertools.product(METHODS, LEADERS), *PAIRED))
def test_every_method_steps_with_every_leader(name, leader):
    """A step's types and shapes are those of the state it is given, as a scan needs; the start is the reference."""
    algorithm = getattr(algorithms, name)(toy(leader), batch_size=8, num_opponents=3, dtype=jnp.float64)
    state = algorithm.init(hfac.run_key(0), constant())
    after, _ = jax.eval_shape(algorithm.step, hfac.run_key(0), state, constant())
    assert jax.tree.map(lambda a: (a.shape, a.dtype), state) == jax.tree.map(lambda a: (a.shape, a.dtype), after)
    np.testing.assert_array_equal(algorithm.solution(state).theta, REFERENCE)


@pytest.mark.parametrize(("name", "leader"), few(PAIRED, *PAIRED[::3]))
def test_a_method_runs(name, leader):
    """Under vmap and scan: finite, and samples are counted."""
    algorithm = getattr(algorithms, name)(toy(leader), batch_size=8, num_opponents=3, dtype=jnp.float64)
    rates = constant(upper=0.03, actor=0.3)
    runs = jax.jit(jax.vmap(lambda key: hfac.run(algorithm, key, rates, 30)[1]))
    history = runs(jax.vmap(hfac.run_key)(jnp.arange(3)))
    assert np.all(history.record["status"] == Status.OK) and np.all(np.isfinite(history.record["x"]))
    per_step = 8 * (1 if name in ("partial", "decoupled", "true_reward") else 2)
    assert np.all(np.sum(history.num_samples, axis=1) == 30 * per_step)
    assert algorithms.needs(name).nested == (
        name not in ("decoupled", "hfac", "partial", "single_loop_penalty", "true_reward")
    )


def test_a_hacked_reward_is_latched_and_the_run_stands_still():
    """A leader that pays for one token alone: soon the policy writes nothing else."""
    problem = toy("score")._replace(reward=lambda x, y: 30 * jnp.mean((y == 2).astype(x.dtype)) + 0 * x[0])
    algorithm = algorithms.hfac(problem, limits=Limits(max_divergence=1.0), dtype=jnp.float64)

    def sweep(actor, num_steps):
        return hfac.sweep(algorithm, constant(actor=actor), 2, num_steps, record_at=[num_steps], return_state=True)

    data, states = sweep(0.3, 600)
    assert np.all(data["status"].isel(step=-1) == Status.REWARD_HACKED)
    failed = data["failed_at"].isel(step=-1).values
    assert np.all((failed > 0) & (failed < 600)) and "reward hacked" in Status.REWARD_HACKED.meaning
    for seed, at in enumerate(failed):
        _, stopped = sweep(0.3, int(at) + 1)
        np.testing.assert_array_equal(stopped.theta[seed], states.theta[seed])
    assert np.all(states.vitals.divergence >= 1.0)
    healthy, _ = sweep(0.001, 20)
    assert np.all(healthy["status"] == Status.OK)


def test_distinct_bigrams_are_counted_inside_sequences_only():
    tokens = jnp.array([[1, 2, 1, 2, 0], [3, 0, 0, 0, 0], [1, 2, 3, 0, 1]])
    assert float(jax.jit(episodes.distinct_bigrams, static_argnums=1)(tokens, 0)) == pytest.approx(
        3 / 5
    )  # 12 21 12 | | 12 23


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"num_opponents": 32}, r"num_opponents must lie in \[1, batch_size = 32\), got 32"),
        ({"gae_lambda": 1.5}, r"gae_lambda must lie in \[0, 1\], got 1.5"),
        ({"pen_rate": 0.0}, r"pen_rate must lie in \(0, 1\], got 0.0"),
        ({"every": EVERY, "coupled": True}, "coupled draws need samples"),
        ({"optimizers": {"y": optax.sgd(1.0)}}, "optimizers has no variable 'y'"),
    ],
)
def test_wrong_options_are_one_line(options, rule):
    with pytest.raises(ValueError, match=rule):
        algorithms.hfac(toy("pairs"), **options).init(hfac.run_key(0), constant())


def test_what_a_kind_cannot_do_is_refused():
    with pytest.raises(ValueError, match="EpisodicProblem has no central difference"):
        algorithms.hfac(toy("score"), difference="central")
    with pytest.raises(ValueError, match=r"hfac has no option 'sampler' on EpisodicProblem; there are batch_size"):
        algorithms.hfac(toy("score"), sampler="iid")
    with pytest.raises(ValueError, match=r"partial has no option 'num_opponents' on Problem; there are sampler"):
        algorithms.partial(cases.goal(), num_opponents=3)
    with pytest.raises(ValueError, match=r"needs a problem with a lower level, such as hfac\.Problem, got int"):
        algorithms.hfac(3)


def test_coupled_policies_write_the_same_where_they_agree(key):
    problem = toy("score")
    together, alone = (episodes.sampled(problem, 64, 1, coupled=c, dtype=jnp.float64) for c in (True, False))
    both = jax.jit(lambda key: [draw(key, REFERENCE, REFERENCE).batches for draw in (together, alone)])
    (first, second), apart = both(key)
    np.testing.assert_array_equal(first.tokens, second.tokens)
    assert not np.array_equal(apart[0].tokens, apart[1].tokens)

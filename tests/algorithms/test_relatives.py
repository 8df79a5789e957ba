"""The model-free relatives: where they are the same method, where they part, and what their directions estimate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, exact, types
from hfac.tabular.dynamics import backup, model
from support import cases
from support.slow import few

needs_x64 = pytest.mark.skipif(not jax.config.jax_enable_x64, reason=cases.NEEDS_X64)

W, TAU = 0.5, 0.3
UNIT = cases.constant(1.0, 1.0, 1.0, W, TAU)  # what a step adds is its direction
TWO_POLICIES = ("single_loop_penalty", "value_penalty", "penalty_gaur", "f2sa")
ONE_POLICY = ("advantage", "sobirl")
NESTED = ("value_penalty", "penalty_gaur", "f2sa", "sobirl")
HELD = {name: ("penalty", "entropy") for name in TWO_POLICIES} | {"sobirl": ("penalty", "entropy")}


def build(name, problem, **options):
    return getattr(algorithms, name)(problem, **options)


@functools.cache
def goal():
    return cases.goal()


def trajectory(algorithm, rates, num_steps, x=None):
    """Every state of a run, the first one included, and the samples of every step."""
    first = algorithm.init(jax.random.key(0), rates)
    first = first if x is None else types.start_from(first, x)

    def step(state, k):
        state, info = algorithm.step(jax.random.fold_in(jax.random.key(1), k), state, rates)
        return state, (state, info.num_samples)

    _, (states, samples) = jax.jit(lambda first: jax.lax.scan(step, first, jnp.arange(num_steps)))(first)
    return jax.tree.map(lambda a, b: np.concatenate([a[None], b]), first, states), np.asarray(samples)


def moved_at(values):
    """Steps, counted from one, that changed an array [T, ...]."""
    return list(np.flatnonzero(np.any(np.diff(values, axis=0).reshape(len(values) - 1, -1) != 0, axis=1)) + 1)


@pytest.mark.parametrize(
    ("name", "options", "twin", "twin_options"),
    [
        ("single_loop_penalty", {}, "hfac", {}),
        ("value_penalty", {"inner_steps": 1}, "hfac", {}),
        ("penalty_gaur", {"inner_steps": 1}, "hfac", {}),
        ("penalty_gaur", {"inner_steps": 4}, "nested", {"inner_steps": 4}),
    ],
)
def test_without_attenuation_and_nesting_they_are_one_method(name, options, twin, twin_options):
    problem = goal()
    ours, samples = trajectory(build(name, problem, **options), cases.gentle(), 60)
    held = cases.gentle(penalty_power=0.0, entropy_power=0.0)
    theirs, twin_samples = trajectory(build(twin, problem, **twin_options), held, 60)
    for variable in ("x", "theta", "theta_pen", "value", "value_pen", "leader_value"):
        a, b = getattr(ours, variable), getattr(theirs, variable)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6, err_msg=variable)  # another fusion
    assert np.any(ours.x != 0)
    np.testing.assert_array_equal(samples, twin_samples)


@pytest.mark.parametrize("name", HELD)
def test_the_decay_of_w_and_tau_is_not_used(name):
    algorithm = build(name, goal())
    run = jax.jit(lambda rates: trajectory_end(algorithm, rates))
    decaying, held = run(cases.gentle()), run(cases.gentle(**{f"{rate}_power": 0.0 for rate in HELD[name]}))
    jax.tree.map(np.testing.assert_array_equal, decaying, held)
    other = run(cases.gentle(entropy=0.2))  # the scale is
    assert np.any(np.asarray(other.theta) != np.asarray(held.theta))


def trajectory_end(algorithm, rates):
    def step(state, k):
        return algorithm.step(jax.random.fold_in(jax.random.key(1), k), state, rates)[0], None

    return jax.lax.scan(step, algorithm.init(jax.random.key(0), rates), jnp.arange(50))[0]


@pytest.mark.parametrize("name", NESTED)
def test_the_upper_level_moves_at_every_nth_step_only(name):
    every = list(range(1, 13))
    states, samples = trajectory(build(name, goal(), inner_steps=5), cases.gentle(), 12, x=jnp.ones(16, jnp.float32))
    assert moved_at(states.x) == [5, 10]
    assert moved_at(states.theta) == every
    assert moved_at(states.value) == every
    if name == "value_penalty":  # a joint step of x and the penalised policy, whose critics go on
        assert moved_at(states.theta_pen) == [5, 10]
    elif name != "sobirl":
        assert moved_at(states.theta_pen) == every
    if name != "sobirl":
        assert moved_at(states.value_pen) == every
    np.testing.assert_array_equal(samples, 1 if name == "sobirl" else 2)


@pytest.mark.parametrize(("name", "num_chains"), [("value_penalty", 2), ("f2sa", 2), ("advantage", 1)])
def test_samples(name, num_chains):
    for options, expected in (({"batch_size": 3}, 3 * num_chains), ({"sampler": "exact"}, 0)):
        algorithm = build(name, goal(), **options)
        _, info = jax.jit(algorithm.step)(jax.random.key(1), algorithm.init(jax.random.key(0), UNIT), UNIT)
        assert int(info.num_samples) == expected


def test_the_multiplier_grows_with_the_upper_step():
    """lambda_k = lambda_0 (1 + delta sum_{j<k} (1 + j)^-p), lambda_0 = 1 / w_0; constant within a loop."""
    problem, rates = goal(), cases.gentle(penalty=2.0)
    algorithm = build("f2sa", problem, inner_steps=3, delta=0.2, delta_power=0.5)
    states, _ = trajectory(algorithm, rates, 30)
    powers = 0.2 * np.arange(1, 11) ** -0.5
    by_loop = 0.5 * (1 + np.concatenate([[0.0], np.cumsum(powers)]))
    np.testing.assert_allclose(states.multiplier, by_loop[np.arange(31) // 3], rtol=1e-5)
    constant, _ = trajectory(build("f2sa", problem, delta=0), rates, 12)
    np.testing.assert_array_equal(constant.multiplier, 0.5)


def test_f2sa_takes_the_direction_of_the_penalty_at_its_own_weight():
    """Rates gamma for z, gamma / 2 = alpha_k lambda_k for y; all of them those of the loop's first lower step."""
    problem = cases.PROBLEMS["policy_term"]()
    weight, k, inner = 0.125, 4, 3
    plain = build("hfac", problem, sampler="exact")
    twin = cases.frozen_state(plain, problem, UNIT, dtype=jnp.float32)
    held = cases.constant(1.0, 1.0, 1.0, weight, TAU)
    truth = cases.differences(jax.jit(plain.step)(jax.random.key(0), twin, held)[0], twin)
    rates = cases.constant(1.0, 1.0, 1.0, 100.0, TAU)
    rates = hfac.schedules.replace(
        rates, {f"{rate}.{field}": 1.0 for rate in ("upper", "actor", "critic") for field in ("power", "offset")}
    )
    algorithm = build("f2sa", problem, sampler="exact", inner_steps=inner)
    state = algorithm.init(jax.random.key(0), rates)._replace(
        **cases.variables(twin),
        multiplier=jnp.float32(1 / weight),
        step=jnp.int32(inner * k + inner - 1),
    )
    new, _ = jax.jit(algorithm.step)(jax.random.key(0), state, rates)
    found = {name: getattr(new, name) - getattr(state, name) for name in truth}
    for name in truth:
        rate = (0.5 if name == "theta_pen" else 1.0) / (1 + inner * k)
        np.testing.assert_allclose(found[name], rate * truth[name], rtol=1e-4, atol=1e-5, err_msg=name)


def every_action_is_the_last():
    return cases.random_problem(cases.dynamics(6, ends=np.ones(5, bool)), 6)


def true_state(problem, algorithm, later):
    """A state at the best response to some x, with true critics, and E[grad r | s, a] [S, A, d].

    `later`: whether the features count what comes after the first step.
    """
    mdp, gamma = problem.mdp, float(problem.mdp.discount)
    x = jnp.asarray(np.random.default_rng(11).normal(size=problem.init_x(jax.random.key(0)).shape))
    s, a, k = np.indices(mdp.next_states.shape)
    where = [jnp.asarray(i.ravel(), jnp.int32) for i in (s, a, mdp.next_states[s, a, k])]

    @jax.jit
    def tabulate(x):
        response = exact.respond(problem, x, TAU)
        at, _ = model(problem, x)
        leader = backup(at.mdp, (1 - gamma) * at.cost, exact.leader_value(problem, x, response.pi))
        return response, leader, jax.vmap(jax.grad(problem.reward), (None, 0, 0, 0))(x, *where)

    response, leader, each = tabulate(x)
    pi = np.asarray(response.pi)
    grads = np.einsum("sak,sakd->sad", mdp.probs, np.asarray(each).reshape(*s.shape, -1))
    kernel = np.zeros((mdp.num_states, mdp.num_states))
    np.add.at(kernel, (s, mdp.next_states), pi[..., None] * mdp.probs)
    on = np.full(mdp.num_states, gamma) if mdp.ends is None else np.where(mdp.ends, 0.0, gamma)
    chain = np.eye(mdp.num_states) - later * on[:, None] * kernel
    state = algorithm.init(jax.random.key(0), UNIT)._replace(
        x=x,
        theta=jnp.log(response.pi),
        value=response.value,
        leader_action_value=leader,
        features=jnp.asarray(np.linalg.solve(chain, np.einsum("sa,sad->sd", pi, grads))),
    )
    return state, grads


def moves(new, old):
    names = ("x", "theta", "value", "leader_action_value", "features")
    return {name: getattr(new, name) - getattr(old, name) for name in names}


@needs_x64
@pytest.mark.parametrize("case", few(["goal", "ends", "union"], "ends"))
def test_advantage_with_true_critics_follows_the_exact_hypergradient(case):
    problem = cases.PROBLEMS[case]()
    algorithm = build("advantage", problem, sampler="exact", dtype=jnp.float64)
    state, _ = true_state(problem, algorithm, later=True)
    found = moves(jax.jit(algorithm.step)(jax.random.key(0), state, UNIT)[0], state)
    truth = jax.jit(lambda x: exact.hypergradient(problem, x, TAU))(state.x)
    np.testing.assert_allclose(-found.pop("x"), truth, rtol=0, atol=1e-8)
    for name, direction in found.items():  # true critics and the best response stand still
        np.testing.assert_allclose(direction, 0, atol=1e-9, err_msg=name)


@needs_x64
@pytest.mark.parametrize("case", few(["goal", "last", "ends"], "goal", "last"))
def test_sobirl_follows_the_one_step_part(case):
    problem = every_action_is_the_last() if case == "last" else cases.PROBLEMS[case]()
    plain, with_baseline = (
        build("sobirl", problem, sampler="exact", inner_steps=1, baseline=baseline, dtype=jnp.float64)
        for baseline in (False, True)
    )
    state, grads = true_state(problem, plain, later=False)

    @jax.jit
    def oracle(x):
        pi = exact.best_response(problem, x, TAU)
        upper = exact.upper_objective_grad(problem, x, pi)
        return pi, exact.visitation(problem, pi), upper, exact.hypergradient(problem, x, TAU)

    pi, visits, upper, truth = (np.asarray(found) for found in oracle(state.x))
    surrogate = grads - np.einsum("sa,sad->sd", pi, grads)[:, None]
    weights = visits[:, None] * pi * np.asarray(state.leader_action_value) / (1 - float(problem.mdp.discount)) / TAU
    one_step = upper + np.einsum("sa,sad->d", weights, surrogate)
    for algorithm in (plain, with_baseline):
        found = moves(jax.jit(algorithm.step)(jax.random.key(0), state, UNIT)[0], state)
        np.testing.assert_allclose(-found.pop("x"), one_step, rtol=0, atol=1e-10)
        for name, direction in found.items():
            np.testing.assert_allclose(direction, 0, atol=1e-9, err_msg=name)
    error = np.linalg.norm(one_step - truth) / np.linalg.norm(truth)
    assert error < 1e-9 if case == "last" else error > 1e-3  # what comes later matters, unless nothing does


NUM_CHUNKS, CHUNK = 60, 500


@needs_x64
@pytest.mark.parametrize(
    ("name", "case", "options"),
    [
        ("advantage", "ends", {"sampler": "markov"}),
        ("sobirl", "ends", {"sampler": "markov", "batch_size": 9}),
        pytest.param("advantage", "goal", {"sampler": "iid", "batch_size": 2}, marks=pytest.mark.slow),
        pytest.param("sobirl", "goal", {"sampler": "iid", "baseline": True}, marks=pytest.mark.slow),
    ],
)
def test_sampled_directions_have_the_exact_mean(name, case, options):
    problem = cases.PROBLEMS[case]()
    options = options | {"dtype": jnp.float64} | ({"inner_steps": 1} if name == "sobirl" else {})
    expected = build(name, problem, **{k: v for k, v in options.items() if k != "batch_size"} | {"sampler": "exact"})
    sampled = build(name, problem, **options)
    first = expected.init(jax.random.key(0), UNIT)
    rng = np.random.default_rng(3)
    arbitrary = {field: jnp.asarray(rng.normal(size=leaf.shape)) for field, leaf in moves(first, first).items()}
    first = first._replace(**arbitrary)
    truth = moves(jax.jit(expected.step)(jax.random.key(0), first, UNIT)[0], first)
    state = sampled.init(jax.random.key(0), UNIT)._replace(**arbitrary)
    visitation = (jax.jit(lambda theta: exact.visitation(problem, jax.nn.softmax(theta)))(state.theta),) * 2

    def sample(key):
        at = state
        if options["sampler"] == "markov":
            chains = cases.stationary_chains(
                jax.random.fold_in(key, 1), visitation, options.get("batch_size", 1), problem.mdp.ends is not None
            )
            at = state._replace(chains=chains[:1])
        return moves(sampled.step(jax.random.fold_in(key, 0), at, UNIT)[0], at)

    def chunk(_, i):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(7), i), CHUNK)
        return None, jax.tree.map(lambda v: jnp.mean(v, 0), jax.vmap(sample)(keys))

    _, means = jax.device_get(jax.jit(lambda i: jax.lax.scan(chunk, None, i))(jnp.arange(NUM_CHUNKS)))
    for field, value in truth.items():
        error = np.std(means[field], axis=0, ddof=1) / np.sqrt(NUM_CHUNKS)
        difference = np.abs(np.mean(means[field], axis=0) - value)
        np.testing.assert_array_less(difference, 5 * error + 1e-9, err_msg=field)  # 1e-9: where nothing varies


@pytest.mark.slow
@needs_x64
@pytest.mark.parametrize("name", TWO_POLICIES + ONE_POLICY)
def test_noiseless_runs_descend(name):
    rates = cases.constant(upper=0.2, actor=5.0, critic=1.0, penalty=0.3, entropy=0.1)
    options = {"inner_steps": 2} if name in NESTED else {}
    algorithm = build(name, goal(), sampler="exact", dtype=jnp.float64, **options)
    step = lambda _, state: algorithm.step(jax.random.key(0), state, rates)[0]  # noqa: E731
    first = algorithm.init(jax.random.key(0), rates)
    state = jax.jit(lambda state: jax.lax.fori_loop(0, 1_000, step, state))(first)
    assert int(state.status) == 0
    start, end = (float(worth()(x)) for x in (first.x, state.x))
    assert end < start - 0.1


@functools.cache
def worth():
    return jax.jit(lambda x: exact.hyper_objective(goal(), x, 0.1))


@pytest.mark.parametrize("name", ONE_POLICY)
def test_a_policy_term_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} .* has a policy term g .* use hfac, nested or exact_gradient"):
        build(name, cases.PROBLEMS["policy_term"]())


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("steps", [0, 1.5])
def test_inner_steps_must_be_a_count(name, steps):
    with pytest.raises(ValueError, match=f"inner_steps must be a whole number >= 1, got {steps}"):
        build(name, goal(), inner_steps=steps)


@pytest.mark.parametrize("option", ["delta", "delta_power"])
def test_the_growth_must_not_be_negative(option):
    with pytest.raises(ValueError, match=f"{option} must be finite and >= 0, got -1"):
        build("f2sa", goal(), **{option: -1.0})


def test_x_may_be_any_tree():
    """advantage on a tree x, leaf by leaf the same as on one vector."""
    flat = cases.ending()
    tree = hfac.Problem(
        mdp=flat.mdp,
        reward=lambda x, *where: flat.reward(join(x), *where),
        cost=lambda x, *where: flat.cost(join(x), *where),
        h=lambda x: flat.h(join(x)),
        init_x=lambda key: {"a": flat.init_x(key)[:1], "b": flat.init_x(key)[1:].reshape(3, 1)},
    )
    ours, theirs = (
        trajectory(build("advantage", problem, sampler="exact"), cases.gentle(), 20)[0] for problem in (tree, flat)
    )
    np.testing.assert_allclose(jax.vmap(join)(ours.x), theirs.x, rtol=1e-4, atol=1e-5)
    assert np.any(theirs.x[-1] != theirs.x[0])


def join(x):
    return jnp.concatenate([x["a"].ravel(), x["b"].ravel()])

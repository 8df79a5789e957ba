"""Completions of prompts: directions against closed forms and autodiff, sampled ones against expectations."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms
from hfac.exact import sequences as exact
from hfac.language import adapters, decoder, generation, policies, rewards
from hfac.language.estimators import Seen, hypergradient
from hfac.language.sampling import Control
from hfac.types import Status
from support import cases, completions
from support import models as tiny
from support.completions import EVERY, LEADERS, PROMPTS, TAU, W
from support.slow import few

pytestmark = pytest.mark.skipif(not jax.config.jax_enable_x64, reason=cases.NEEDS_X64)
METHODS = ("hfac", "partial", "nested", "decoupled")


def lower(leader: str, every=None, **options):
    return completions.problem(leader).lower(every=every, dtype=float, **options)


def x_of(seed: int = 0):
    return completions.init_x(jax.random.key(seed))


def thetas(seed: int = 3) -> tuple[jax.Array, jax.Array]:
    """Two policies that are near each other and far from the reference."""
    first = completions.problem().policy.reference + jax.random.normal(
        jax.random.key(seed), (PROMPTS, completions.PREFIXES, 3), float
    )
    return first, first + 0.3 * jax.random.normal(jax.random.key(seed + 1), first.shape, float)


def directions(low, batches, theta, theta_pen, x) -> dict:
    """Every direction of hfac's step."""
    seen, seen_pen = low.see(theta, batches[0], {}), low.see(theta_pen, batches[1], {})
    advantage = low.advantage(x, seen, 0.0, TAU)
    pulled = low.advantage(x, seen_pen, 0.0, TAU) - W * low.leader_advantage(x, seen_pen, 0.0)
    return {
        "x": low.hypergradient(x, seen, seen_pen, W),
        "theta": low.actor(x, seen, advantage, TAU),
        "theta_pen": low.actor(x, seen_pen, pulled, TAU, W),
        "true": low.actor(x, seen_pen, low.true_advantage(x, seen_pen, 0.0, TAU), TAU),
        "upper": low.upper_gradient(x, seen_pen),
    }


def expected(leader: str, theta, theta_pen, x) -> dict:
    """Directions by the list of all completions."""
    low = lower(leader, EVERY)

    @jax.jit
    def found(theta, theta_pen, x):
        batches = low.draw(jax.random.key(0), low.init(jax.random.key(0)).chains, theta, theta_pen).batches
        return directions(low, batches, theta, theta_pen, x)

    return found(theta, theta_pen, x)


@pytest.mark.parametrize("leader", LEADERS)
def test_expectations_give_the_exact_hypergradient(leader):
    """At the best and the penalised response, of every prompt by its closed form; the penalty's gradient, to 1e-6."""
    problem, x = completions.problem(leader), x_of()
    theta, theta_pen = completions.responses(problem, x)
    found = expected(leader, theta, theta_pen, x)
    wanted = completions.mean_of(exact.penalty_hypergradient, problem, x, W, TAU)
    for name in wanted:
        assert np.abs(found["x"][name] - wanted[name]).max() < 1e-9
        assert np.abs(wanted[name]).max() > 1e-3
    for name in ("theta", "theta_pen"):  # which rest there
        assert np.abs(found[name]).max() < 1e-9


@pytest.mark.parametrize("leader", few(LEADERS, "policy"))
def test_the_penaltys_gradient_comes_near_the_implicit_one(leader):
    """As w falls: at w = 1e-4 to 1e-3 of it."""
    problem, x = completions.problem(leader), x_of()
    theta, theta_pen = completions.responses(problem, x, w=1e-4)
    control = Control(jnp.ones(()), *3 * (jnp.zeros(()),))
    batches = lower(leader, EVERY).draw(jax.random.key(0), control, theta, theta_pen).batches

    @jax.jit
    def estimate(batches, x):
        seen = [Seen(batch, None, None) for batch in batches]
        return hypergradient(problem, x, *seen, 1e-4)

    found = estimate(batches, x)
    wanted = completions.mean_of(exact.hypergradient, problem, x, TAU)
    for name in wanted:
        assert np.abs(found[name] - wanted[name]).max() < 1e-3 * np.abs(wanted[name]).max()


@pytest.mark.parametrize("leader", LEADERS)
def test_policies_ascend_what_they_say(leader):
    """J, J - w f, and minus f less the divergence, differentiated through the list of all completions."""
    problem, x = completions.problem(leader), x_of(1)

    def of_prompt(one, every, theta_each, gain, weight):
        pi = jnp.exp(exact.log_probs(one, every, theta_each))
        reward = pi @ jax.vmap(one.reward, (None, 0))(x, every)
        own = exact.regularized_return(one, every, x, pi, TAU) + (gain - 1) * reward
        return own - weight * exact.upper_objective(one, every, x, pi)

    @jax.jit
    @jax.grad
    def wanted(theta, gain, weight):
        places = jnp.arange(PROMPTS, dtype=jnp.int32)
        found = jax.vmap(
            lambda prompt, table: of_prompt(
                completions.of_prompt(problem, prompt), jnp.asarray(EVERY), table, gain, weight
            )
        )
        return found(places, theta).mean()

    theta, theta_pen = thetas()
    found = expected(leader, theta, theta_pen, x)
    assert np.abs(found["theta"] - wanted(theta, 1.0, 0.0)).max() < 1e-9
    assert np.abs(found["theta_pen"] - wanted(theta_pen, 1.0, W)).max() < 1e-9
    assert np.abs(found["true"] - wanted(theta_pen, 0.0, 1.0)).max() < 1e-9


@pytest.mark.parametrize("leader, coupled", few(itertools.product(LEADERS, (True, False)), ("policy", True)))
def test_samples_are_unbiased(leader, coupled):
    """Every direction within 5 standard errors of the expectation; two of three prompts, three completions of each."""
    count, x = 8_000, x_of()
    theta, theta_pen = thetas()
    low = lower(leader, num_prompts=2, completions=3, coupled=coupled)
    chains = low.init(jax.random.key(0)).chains

    @jax.jit
    @jax.vmap
    def one(key):
        return directions(low, low.draw(key, chains, theta, theta_pen).batches, theta, theta_pen, x)

    found = one(jax.random.split(jax.random.key(5), count))
    wanted = expected(leader, theta, theta_pen, x)
    for name, tree in wanted.items():
        for own, exactly in zip(jax.tree.leaves(found[name]), jax.tree.leaves(tree), strict=True):
            error = own.std(0) / np.sqrt(count)
            rare = 1e-4 * np.abs(exactly).max()  # of prefixes that hardly ever come, whose errors are not known
            off = np.max(np.abs(own.mean(0) - exactly) / (error + rare))
            assert off <= 5, (name, off)
            assert np.max(error) < (0.1 if coupled else 0.2) * np.abs(exactly).max(), name


@pytest.mark.slow
def test_coupled_draws_are_quieter():
    """The same random numbers for two policies that nearly agree."""
    x, (theta, theta_pen) = x_of(), thetas()
    near = theta + 0.1 * (theta_pen - theta)

    def deviation(coupled: bool) -> float:
        low = lower("score", num_prompts=2, completions=3, coupled=coupled)
        chains = low.init(jax.random.key(0)).chains
        keys = jax.random.split(jax.random.key(5), 2_000)
        found = jax.jit(
            jax.vmap(lambda key: directions(low, low.draw(key, chains, theta, near).batches, theta, near, x))
        )(keys)
        return float(found["x"]["linear"].std(0).mean())

    assert deviation(True) < 0.5 * deviation(False)


@pytest.mark.parametrize("method", few(METHODS))
def test_every_method_learns(method):
    """Unchanged; what the leader pays at the best response falls."""
    problem = completions.problem("score", jnp.float32)
    algorithm = getattr(algorithms, method)(
        problem, num_prompts=3, completions=4, **({"fit_steps": 50} if method == "decoupled" else {})
    )
    schedules = hfac.schedules.attenuating(upper=0.05, actor=0.5, penalty=1.0, entropy=TAU, offset=100)
    data = hfac.sweep(algorithm, schedules, seeds=2, num_steps=300)
    assert (data["status"].isel(step=-1) == Status.OK).all()
    assert int(data["samples"].isel(step=-1)[0]) == 300 * 12 * (2 if method in ("hfac", "nested") else 1)
    for seed in range(2 if method in ("hfac", "nested") else 0):  # the others know nothing of the follower's answer
        first, last = (
            float(
                completions.mean_of(
                    exact.hyper_objective,
                    completions.problem("score"),
                    {name: data[f"x.{name}"].values[seed, step].astype(float) for name in ("linear", "wave")},
                    TAU,
                )
            )
            for step in (0, -1)
        )
        assert last < first - 0.03


@pytest.mark.slow
def test_the_divergence_stays_below_its_bound():
    """Tau rises while it is above, and not without a bound."""
    problem = completions.problem("score", jnp.float32)
    schedules = hfac.schedules.fixed(upper=0.05, actor=0.5, penalty=1.0, entropy=0.05)

    def last(**options):
        algorithm = algorithms.hfac(problem, num_prompts=3, completions=16, **options)
        _, history = hfac.run(
            algorithm,
            hfac.run_key(0),
            schedules,
            300,
            lambda state, info, schedules: (info.look["divergence_0"], info.look["tau_factor"]),
            list(range(200, 300)),
        )
        return float(history.record[0].mean()), float(history.record[1].mean())

    free, factor = last()
    assert factor == 1 and free > 0.6
    bounded, factor = last(max_kl=0.3)
    assert factor > 1.5 and bounded < 0.36


def test_more_passes_over_a_draw_move_the_policies_alone():
    """x and the number of completions are those of one pass; a small clip holds the policies near where they wrote."""
    problem = completions.problem("score", jnp.float64)
    schedules = hfac.schedules.fixed(upper=0.1, actor=0.2, penalty=1.0, entropy=0.01)
    found = {}
    for epochs, clip in ((1, 0.1), (20, 0.02), (20, 0.9)):
        algorithm = algorithms.hfac(problem, num_prompts=3, completions=32, epochs=epochs, clip=clip, dtype=jnp.float64)
        state = algorithm.init(hfac.run_key(0), schedules)
        state = state._replace(x=jax.tree.map(jnp.ones_like, state.x))
        after, info = jax.jit(algorithm.step)(hfac.run_key(1), state, schedules)
        assert int(info.num_samples) == 2 * 3 * 32 and int(after.step) == 1
        found[epochs, clip] = (
            jnp.concatenate(jax.tree.leaves(after.x)),
            float(jnp.abs(after.theta - state.theta).sum()),
        )
    (x, once), (x_tight, tight), (x_wide, wide) = found.values()
    assert np.array_equal(x, x_tight) and np.array_equal(x, x_wide)

    assert 5 * once < tight < 0.7 * wide


def test_a_policy_that_left_its_reference_is_latched():
    """By the divergence per token."""
    problem = completions.problem("score", jnp.float32)
    schedules = hfac.schedules.fixed(upper=0.05, actor=0.5, penalty=1.0, entropy=0.01)
    algorithm = algorithms.hfac(problem, num_prompts=3, completions=8, most_kl_per_token=0.05)
    state, _ = hfac.run(algorithm, hfac.run_key(0), schedules, 300)
    assert int(state.status) == Status.REWARD_HACKED and int(state.failed_at) > 0


@pytest.mark.parametrize(
    "options, words",
    [
        ({"completions": 1}, "completions must be at least 2, to be compared with each other, got 1"),
        ({"num_prompts": 4}, "num_prompts: 4 in a step were asked for, and there are 3"),
        ({"max_kl": 0.0}, "max_kl must be positive"),
        ({"epochs": 0}, "epochs must be a whole number >= 1"),
        ({"clip": 1.0}, "clip must lie strictly between 0 and 1"),
        ({"most_kl_per_token": 0.0}, "most_kl_per_token must be positive"),
        ({"least_distinct": 1.5}, "least_distinct must lie strictly between 0 and 1, got 1.5"),
        ({"tau_per": "word"}, "tau_per must be 'sequence' or 'token', got 'word'"),
    ],
)
def test_wrong_options_are_one_line(options, words):
    """Before anything is traced."""
    with pytest.raises(ValueError, match=words):
        algorithms.hfac(completions.problem(), **{"num_prompts": 2} | options)


def adapted(family: str, layers=(1,)):
    made = tiny.model(family)
    tokens, is_token = tiny.texts()
    lora = adapters.Lora(2, 4.0, ("q", "v", "down"), layers)
    first = adapters.init(made.architecture, lora, jax.random.key(0))
    prompts = generation.Prompts(jnp.asarray(tokens), jnp.asarray(is_token))
    policy = policies.Adapted(made.architecture, made.params, prompts, (7, 11), 5, lora, first, 0.8, block=40)
    return policy, jax.tree.map(lambda leaf: 0.7 * leaf, tiny.trained(first))


@pytest.mark.parametrize(
    "family, layers", few(itertools.product(("llama", "qwen3"), ((1,), (0, 1))), ("llama", (1,)), ("qwen3", (0, 1)))
)
def test_a_decoder_says_along_completions_what_it_says_of_whole_texts(family, layers):
    """Log-probabilities and divergences of the whole vocabulary; layers below the adapters are not read again."""
    policy, theta = adapted(family, layers)
    prompt = jnp.array([2, 0], jnp.int32)
    written = jax.jit(lambda key: policy.write(key, theta, prompt, 3))(jax.random.key(1))
    said = jax.jit(policy.say)(theta, written)
    tokens, is_token = tiny.texts()
    read = jax.jit(decoder.read, static_argnums=0)
    for group in range(2):
        beginning = tokens[prompt[group]][is_token[prompt[group]]]
        texts = jnp.asarray([np.concatenate([beginning, row]) for row in np.asarray(written.tokens[group])])
        own, reference = (
            jax.nn.log_softmax(
                read(
                    policy.architecture,
                    policy.params,
                    adapters.by_layer(policy.architecture, tree, policy.lora.scale),
                    texts,
                    jnp.ones(texts.shape, bool),
                )[:, len(beginning) - 1 : -1]
                / 0.8
            )
            for tree in (theta, policy.reference)
        )
        is_written = written.is_written[group]
        chosen = jnp.take_along_axis(own, written.tokens[group][..., None], -1)[..., 0]
        assert np.allclose(said.log_prob[group], jnp.where(is_written, chosen, 0), atol=2e-5)
        divergence = jnp.sum(jnp.exp(own) * (own - reference), -1)
        assert np.allclose(said.divergence[group], jnp.where(is_written, divergence, 0), atol=2e-5)
    assert float(said.divergence.max()) > 0.01


def test_a_reward_with_adapters_reads_completions_as_the_whole_decoder_does():
    """Pooled hidden states of the last layer; prompts' keys are the adapted ones."""
    policy, theta = adapted("llama", (0, 1))
    prompt = jnp.array([2, 0], jnp.int32)
    written = jax.jit(lambda key: policy.write(key, theta, prompt, 3))(jax.random.key(1))
    reward = rewards.make(policy, True)
    x = {"head": jax.random.normal(jax.random.key(2), (policy.architecture.width,), jnp.float32), "lora": theta}
    found = jax.jit(lambda x: reward(x, reward.features(written)))(x)
    tokens, is_token = tiny.texts()
    each = adapters.by_layer(policy.architecture, theta, policy.lora.scale)
    for group in range(2):
        beginning = tokens[prompt[group]][is_token[prompt[group]]]
        texts = jnp.asarray([np.concatenate([beginning, row]) for row in np.asarray(written.tokens[group])])
        embedded = decoder.embed(policy.params, texts)[:, None]
        places = decoder.prompt_places(jnp.ones(texts.shape, bool))
        hidden = decoder.blocks(policy.architecture, policy.params["layers"], each, embedded, places)[0][:, 0]
        unit = np.asarray(hidden / jnp.sqrt(jnp.mean(hidden**2, -1, keepdims=True)))
        own, is_written = unit[:, len(beginning) :], np.asarray(written.is_written[group])
        mean = np.sum(own * is_written[..., None], 1) / np.sum(is_written, 1)[:, None]
        assert np.allclose(found[group], mean @ np.asarray(x["head"]), atol=2e-4)


def test_a_decoders_gradient_is_that_of_the_plain_forward_pass(monkeypatch):
    """Through the blocks of the vocabulary, groups that are read again, and prompts' keys and values."""
    monkeypatch.setattr(policies, "PART", 4)
    policy, theta = adapted("llama")
    written = jax.jit(policy.write, static_argnums=3)(jax.random.key(1), theta, jnp.array([1, 0], jnp.int32), 2)
    weights = jax.random.normal(jax.random.key(2), (2, *written.tokens.shape), jnp.float32)

    @jax.jit
    def value(tree):
        said = policy.say(tree, written)
        return jnp.sum(weights[0] * said.log_prob + weights[1] * said.divergence)

    found = jax.grad(value)(theta)
    direction = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(3), leaf.shape, leaf.dtype), theta)
    step = 1e-2
    moved = [value(jax.tree.map(lambda a, b, sign=sign: a + sign * step * b, theta, direction)) for sign in (1, -1)]
    slope = sum(jnp.sum(a * b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(direction), strict=True))
    assert float(slope) == pytest.approx(float(moved[0] - moved[1]) / (2 * step), rel=2e-2)


@pytest.mark.slow
def test_a_decoder_learns_from_a_score():
    """Adapters, two seeds side by side over one base: the rater likes one token."""
    policy, _ = adapted("llama")
    liked = 40

    def score(written):
        return jnp.mean((written.tokens == liked).astype(jnp.float32), -1)

    problem = completions.problem("score", jnp.float32)._replace(
        policy=policy,
        features=lambda written: policies.pooled(written.memory, written.is_written),
        reward=lambda x, found: jnp.tanh(found @ x),
        init_x=lambda key: jnp.zeros(policy.architecture.width, jnp.float32),
        rate=score,
        h=None,
    )
    algorithm = algorithms.true_reward(problem, num_prompts=2, completions=8)
    schedules = hfac.schedules.fixed(actor=2.0, entropy=0.001)
    record = lambda state, info, schedules: {"score": info.look["score_0"], "x": state.x}  # noqa: E731
    data = hfac.sweep(algorithm, schedules, seeds=2, num_steps=60, record=record)
    assert (data["score"].isel(step=-1) > data["score"].isel(step=1) + 0.1).all()

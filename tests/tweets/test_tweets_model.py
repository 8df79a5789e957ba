"""The decoder and what is learned around it: cache, files, people, and the worth of a reward."""

import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, schedules, tweets
from hfac.exact import sequences
from hfac.sequences.policies import sequence_log_prob
from hfac.tweets._model import Decoder, empty_cache, init
from hfac.tweets._tokenizer import EOS, PAD, UNK
from support import cases
from support.commands import command
from support.rated import SOURCES
from support.reported import folder, said
from support.toys import EVERY, REFERENCE, START, toy

SIZE = tweets.Size(vocabulary=30, length=7, layers=2, width=8, heads=2)


@pytest.fixture(scope="module")
def params():
    """Far from uniform, so that a wrong cache shows."""
    start = init(SIZE, jax.random.key(3))
    return jax.tree.map(lambda leaf: 3 * leaf, start)


def test_the_cache_changes_nothing(params, key):
    """The same random numbers write the same tweets through the cache and by reading everything again."""

    def whole(params, tokens):
        return Decoder(SIZE).apply({"params": params}, tokens, empty_cache(SIZE), jnp.int32(0))[0]

    cached = tweets.decoder_policy(SIZE)
    again = tweets.from_apply(whole, cached.init, SIZE.vocabulary, SIZE.length)
    first, second = (np.asarray(jax.jit(p.sample, static_argnums=2)(key, params, 64)) for p in (cached, again))
    np.testing.assert_array_equal(first, second)
    assert not np.isin(first, (UNK, 1)).any()
    assert np.all((np.cumsum(first == EOS, 1) - (first == EOS) == 0) | (first == PAD))


def test_sampled_first_tokens_have_their_probabilities(params, key):
    policy, count = tweets.decoder_policy(SIZE), 20_000
    drawn = np.asarray(jax.jit(policy.sample, static_argnums=2)(key, params, count))[:, 0]
    pi = np.exp(policy.walk(params, jnp.zeros(SIZE.length, jnp.int32)).log_probs[0])
    frequency = np.bincount(drawn, minlength=SIZE.vocabulary) / count
    assert pi.sum() == pytest.approx(1, abs=1e-5) and pi.max() < 0.9
    assert np.all(np.abs(frequency - pi) <= 5 * np.sqrt(pi * (1 - pi) / count) + 1e-4)


def test_a_model_reads_only_what_stands_before(params):
    policy, one = tweets.decoder_policy(SIZE), jnp.arange(5, 5 + SIZE.length, dtype=jnp.int32)
    other = one.at[4].set(20)
    first, second = (policy.walk(params, y).log_probs for y in (one, other))
    np.testing.assert_array_equal(first[:5], second[:5])
    assert not np.allclose(first[5:], second[5:])


class Average(nn.Module):
    """Another model: the mean of the embeddings so far."""

    @nn.compact
    def __call__(self, tokens):
        h = nn.Embed(SIZE.vocabulary, 8)(tokens)
        mean = jnp.cumsum(h, 0) / jnp.arange(1, len(tokens) + 1, dtype=h.dtype)[:, None]
        return nn.Dense(SIZE.vocabulary)(mean)


@pytest.mark.slow
def test_any_flax_model_can_take_the_decoders_place():
    model, blank = Average(), jnp.zeros(SIZE.length, jnp.int32)
    policy = tweets.from_apply(
        lambda params, tokens: model.apply(params, tokens), lambda key: model.init(key, blank), SIZE.vocabulary, 7
    )
    reference = policy.init(jax.random.key(0))

    def rater(y):
        return jnp.sum(y == 9).astype(jnp.float32)

    problem = tweets.problem(policy, reference, rater, SIZE.vocabulary, leader="score")
    rates = schedules.attenuating(upper=0.01, actor=0.01, critic=0.01, penalty=0.5, entropy=0.5)
    state, _ = cases.run(algorithms.hfac(problem, batch_size=8), hfac.run_key(0), rates, 3)
    assert int(state.status) == 0 and not np.array_equal(jax.tree.leaves(state.theta)[0], jax.tree.leaves(reference)[0])


def test_pretraining_learns_and_keeps_the_best(tmp_path):
    texts = tweets.grammar(600)
    tokenizer = tweets.build_tokenizer(texts, 200)
    size = tweets.Size(tokenizer.size, length=12, layers=1, width=16, heads=2)
    fitted = tweets.pretrain(size, tokenizer.encode_all(texts, 12), jax.random.key(0), tweets.Recipe(10, 16, 1e-2))
    assert fitted.perplexity == min(fitted.history) < 0.8 * fitted.unigram
    tweets.save_model(tmp_path / "model", size, fitted.params)
    stored, again = tweets.load_model(tmp_path / "model")
    assert stored == size
    jax.tree.map(np.testing.assert_array_equal, again, fitted.params)
    with pytest.raises(FileExistsError):
        tweets.save_model(tmp_path / "model", size, fitted.params)
    (tmp_path / "broken").write_bytes((tmp_path / "model").read_bytes()[:-50])
    for name in ("nowhere", "broken"):
        with pytest.raises(ValueError, match=f"{name} is no language model"):
            tweets.load_model(tmp_path / name)


def test_the_shipped_corpus_is_varied_and_near_neutral():
    texts = tweets.grammar()
    tokenizer = tweets.build_tokenizer(texts, 2_000)
    scores = tweets.compound(tweets.lexicon(tokenizer), jnp.asarray(tokenizer.encode_all(texts, 24)))
    assert len(set(texts)) == len(texts) >= 2_000 and 300 <= tokenizer.size < 2_000
    assert 0 <= float(scores.mean()) <= 0.3 and float(scores.std()) > 0.4
    assert texts == tweets.grammar() != tweets.grammar(seed=1)


@pytest.mark.parametrize("source", SOURCES)
def test_a_reward_fitted_to_people_ranks_tweets_it_has_not_seen(source):
    rated = source()
    fitted = [tweet for tweet in rated if not tweets.is_held_out(tweet)]
    tokenizer = tweets.build_tokenizer([tweet.text for tweet in fitted], 20_000)
    x = tweets.fit_people(fitted, tokenizer, jax.random.key(0))
    held = [tweet for tweet in rated if tweets.is_held_out(tweet)]
    found = tweets.agreement(lambda y: tweets.reward(x, y), tokenizer, held, 40)
    assert found.num_tweets == len(held) and found.spearman >= 0.84  # on people's, VADER 0.84, a ridge on words 0.80
    assert found.floor < found.log_loss < np.log(2)


def test_the_measures_of_four_tweets_counted_by_hand():
    """Tweets `4 5`, `4 4`, `5`, `6 5`; the first is paired with the third, the second with the fourth."""
    tokens = np.array([[4, 5, EOS, PAD], [4, 4, EOS, PAD], [5, EOS, PAD, PAD], [6, 5, EOS, PAD]], np.int32)
    data = {
        "x": np.array([[0.0], [1.0], [-1.0]], np.float32),
        "tokens": np.stack([tokens] * 3),
        "log_prob": np.full((3, 4), -2.0, np.float32),
        "reference_log_prob": np.full((3, 4), -2.75, np.float32),
        "divergences": np.full((3, 4), 0.75, np.float32),
    }

    def reward(x, tokens):
        return x[0] * jnp.sum(((tokens == 4) | (tokens == 6)).astype(x.dtype))

    found = tweets.writing(data, lambda tokens: jnp.where(tokens[0] == 4, jnp.float32(0.8), -0.4), reward)
    for name, expected in {
        "score": 0.2, "happy": 0.5, "divergence": 0.75, "entropy": 2.0, "perplexity": np.e,
        "distinct": 1.0, "repetition": 1 / 7, "length": 7 / 4,
    }.items():  # fmt: skip
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(found.accuracy, [0.5, 1.0, 0.0])  # a reward that says nothing is right by halves


def test_the_frontier_is_exact_for_two_kinds_of_tweets():
    scores = np.array([1.0] * 300 + [0.0] * 700)
    found = tweets.frontier(scores, np.array([0.0, 1.0, 2.0]))
    share = 0.3 * np.exp(found.tilt) / (0.3 * np.exp(found.tilt) + 0.7)
    divergence = share * np.log(share / 0.3) + (1 - share) * np.log((1 - share) / 0.7)
    np.testing.assert_allclose(found.score, share, rtol=1e-12)
    np.testing.assert_allclose(found.divergence, divergence, atol=1e-12)


@pytest.mark.parametrize("leader", ["score", "pairs", "anchored"])
def test_the_worth_of_a_reward_tends_to_the_exact_one(leader, key):
    problem, tau = toy(leader), 0.5
    tokens = jax.jit(problem.policy.sample, static_argnums=2)(key, REFERENCE, 5_000)
    found = tweets.response(problem, START[None], tau, np.asarray(tokens), num_opponents=1_000)

    @jax.jit
    def exact():
        pi = sequences.best_response(problem, EVERY, START, tau)
        ratio = jnp.log(pi) - jax.vmap(lambda y: sequence_log_prob(problem.policy, REFERENCE, y))(EVERY)
        return sequences.hyper_objective(problem, EVERY, START, tau), pi @ ratio

    objective, divergence = map(float, exact())
    assert float(found.objective[0]) == pytest.approx(objective, abs=0.03)  # ten standard errors
    assert float(found.divergence[0]) == pytest.approx(divergence, abs=0.03)
    assert 500 <= found.effective[0] <= 5_000


def test_the_command_runs_and_writes_what_it_says(tmp_path, tmp_path_factory):
    stored = folder("tweets", tmp_path_factory)
    run = shutil.copytree(stored, tmp_path / "run")
    names = {path.name for path in run.iterdir()}
    kept = {"config.json", "tokenizer.json", "model.safetensors", "results.zarr", "samples.csv", "summary.csv"}
    assert names == kept | {"checkpoints", ".lock", "report.html"}
    assert "score" in said(stored) and "->" in said(stored)
    again = command("report", "run", "--judge", "2", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "judged at tau 2" in again.stdout and {path.name for path in run.iterdir()} == names | {"figures"}


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        (["--leader", "happy"], "--leader"),
        (["--heads", "3"], "--width must be a multiple of --heads = 3, got 64"),
        (["--rater", "people"], "--rater people needs --ratings"),
        (["--corpus", "nowhere.txt"], "--corpus nowhere.txt: there is no such file"),
        (["--judge", "0.1", "0.2"], "--judge takes one weight here, got 2"),
        (["--entropy", "-1"], "--entropy must be > 0, got -1"),
        (["--corpus", "empty.txt"], "empty.txt is empty; preferences need at least 2"),
        (["--pretrained", "."], "tokenizer.json is no tokenizer"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(flags, rule, tmp_path):
    (tmp_path / "empty.txt").touch()
    done = command("tweets", *flags, "--out", "run", cwd=tmp_path)
    assert done.returncode == 2 and rule in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()

"""Ground truth over whole sequences: closed forms against brute force, and the penalty against its limit."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac.exact import sequences
from hfac.sequences import policies
from support.slow import few
from support.toys import DIRECTIONS, EVERY, LEADERS, LENGTH, POLICY, REFERENCE, START, disagreement, rating, reward, toy


@functools.cache
def probabilities():
    """Of all sequences under the reference."""
    return jax.jit(lambda: jnp.exp(sequences.log_probs(toy("score"), EVERY, REFERENCE)))()


@functools.cache
def hypergradient(leader):
    """The exact one at the start."""
    return jax.jit(lambda: sequences.hypergradient(toy(leader), EVERY, START, 0.5))()


def perturbed(pi, direction, size):
    return jax.nn.softmax(jnp.log(pi) + size * direction)


def test_all_sequences_are_listed_once_and_their_probabilities_sum_to_one():
    assert len({tuple(row) for row in EVERY.tolist()}) == len(EVERY) == 1 + 3 + 9 + 27
    assert float(jnp.sum(probabilities())) == pytest.approx(1, abs=1e-12)
    with pytest.raises(ValueError, match=r"at most 4,096 sequences can be listed, got 97,656"):
        sequences.enumerate_sequences(6, 7)


def test_the_probability_of_a_sequence_is_the_product_of_its_tokens():
    table = np.asarray(jax.nn.softmax(REFERENCE))
    log_probs = jax.jit(jax.vmap(lambda y: policies.sequence_log_prob(POLICY, REFERENCE, y)))(EVERY)
    row = {
        prefix: i for i, prefix in enumerate(p for n in range(LENGTH) for p in itertools.product(range(4), repeat=n))
    }
    for y, found in zip(EVERY.tolist(), np.exp(log_probs), strict=True):
        expected = 1.0
        for t, token in enumerate(y):
            expected *= table[row[tuple(y[:t])], token]
            if token == 0:
                break
        assert float(found) == pytest.approx(float(expected), rel=1e-10)


def test_sampled_sequences_have_their_probabilities(key):
    count = 20_000
    drawn = jax.jit(POLICY.sample, static_argnums=2)(key, REFERENCE, count)
    assert drawn.shape == (count, LENGTH) and drawn.dtype == jnp.int32
    pi = np.asarray(probabilities())
    places = {tuple(row): i for i, row in enumerate(EVERY.tolist())}
    frequency = np.bincount([places[tuple(row)] for row in drawn.tolist()], minlength=len(pi)) / count
    assert np.all(np.abs(frequency - pi) <= 5 * np.sqrt(pi * (1 - pi) / count))


@pytest.mark.parametrize("tau", [0.2, 1.0])
def test_the_best_response_beats_every_policy_around_it(tau):
    problem = toy("score")

    def found():
        pi = sequences.best_response(problem, EVERY, START, tau)
        policies = jnp.concatenate([pi[None], jax.vmap(lambda d: perturbed(pi, d, 1e-3))(DIRECTIONS)])
        returns = jax.vmap(lambda pi: sequences.regularized_return(problem, EVERY, START, pi, tau))(policies)
        return returns, probabilities() @ jnp.exp(jax.vmap(reward, (None, 0))(START, EVERY) / tau)

    (best, *around), total = jax.tree.map(np.asarray, jax.jit(found)())
    assert float(best) == pytest.approx(float(tau * np.log(total)), rel=1e-10)  # J* = tau log E_ref exp(R / tau)
    assert np.all(around < best)


@pytest.mark.parametrize("leader", LEADERS)
def test_the_hypergradient_is_the_slope_of_the_hyper_objective(leader):
    problem, tau, step = toy(leader), 0.5, 1e-5
    found = hypergradient(leader)
    value = jax.jit(jax.vmap(lambda x: sequences.hyper_objective(problem, EVERY, x, tau)))
    moves = step * jnp.eye(len(START))
    slopes = (value(START[None] + moves) - value(START[None] - moves)) / (2 * step)
    np.testing.assert_allclose(found, slopes, atol=1e-8)


def test_the_hypergradient_of_pairs_is_the_published_closed_form():
    """E[grad_x l] + 1/tau E[ (l - E l) (grad R(y) + grad R(y') - 2 E grad R) ] over pairs from pi*."""
    problem, tau = toy("pairs"), 0.5
    pi = jax.jit(lambda: sequences.best_response(problem, EVERY, START, tau))()
    pairs = pi[:, None] * pi[None, :]
    worth = jax.vmap(rating)(EVERY)
    beside = jax.vmap(disagreement, (None, None, None, 0, 0))

    def grid(x):
        return jax.vmap(beside, (None, 0, 0, None, None))(x, EVERY, worth, EVERY, worth)

    losses, slopes, grads = jax.jit(
        lambda x: (grid(x), jax.jacobian(grid)(x), jax.vmap(jax.grad(reward), (None, 0))(x, EVERY))
    )(START)
    scores = grads - (pi @ grads)[None]
    through_policy = jnp.einsum("ij,ij,ijd->d", pairs, losses, scores[:, None] + scores[None]) / tau
    expected = jax.grad(problem.h)(START) + jnp.einsum("ij,ijd->d", pairs, slopes) + through_policy
    np.testing.assert_allclose(hypergradient("pairs"), expected, rtol=1e-9)


@pytest.mark.parametrize("leader", few(LEADERS, "anchored"))
def test_the_penalised_policy_minimises_the_penalty_objective(leader):
    problem, w, tau = toy(leader), 0.3, 0.5

    def objective(pi):
        gain = sequences.regularized_return(problem, EVERY, START, pi, tau)
        return sequences.upper_objective(problem, EVERY, START, pi) - gain / w

    def found():
        pi = sequences.penalty_response(problem, EVERY, START, w, tau)
        return pi, objective(pi), jax.vmap(lambda d: objective(perturbed(pi, d, 1e-3)))(DIRECTIONS)

    pi, smallest, around = jax.jit(found)()
    assert jnp.all(around > smallest)
    if leader == "score":
        log_reference = jnp.log(probabilities())
        pulled = jax.vmap(lambda y: reward(START, y) + w * rating(y))(EVERY)
        np.testing.assert_allclose(pi, jax.nn.softmax(log_reference + pulled / tau), atol=1e-12)


@pytest.mark.parametrize("leader", few(LEADERS, "pairs"))
def test_the_penalty_hypergradient_is_a_gradient_and_tends_to_the_exact_one_like_w(leader):
    problem, tau, step = toy(leader), 0.5, 1e-5
    unit = DIRECTIONS[0, : len(START)]
    value = jax.jit(lambda x: sequences.penalty_hyper_objective(problem, EVERY, x, 0.1, tau))
    gradient = jax.jit(lambda w: sequences.penalty_hypergradient(problem, EVERY, START, w, tau))
    slope = (value(START + step * unit) - value(START - step * unit)) / (2 * step)
    assert float(gradient(0.1) @ unit) == pytest.approx(float(slope), abs=1e-7)
    exact = hypergradient(leader)
    sizes = np.array([1e-1, 1e-2, 1e-3])
    bias = [float(jnp.linalg.norm(gradient(w) - exact)) for w in sizes]
    order = np.polyfit(np.log(sizes), np.log(bias), 1)[0]
    assert order == pytest.approx(1, abs=0.05)


def test_a_penalised_policy_that_is_not_found_is_no_number():
    problem = toy("pairs")
    assert jnp.all(jnp.isnan(jax.jit(lambda: sequences.penalty_response(problem, EVERY, START, 1e6, 1e-3))()))

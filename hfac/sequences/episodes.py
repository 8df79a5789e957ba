"""Whole sequences: drawing them, pairing them, and one published equation per function.

A batch's weights make its sums sample means or, where every sequence of a language is listed, expectations. There is
no discount; tau weighs the divergence from the reference policy, w is the penalty parameter (small = strong).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac.sequences.policies import sequence_log_prob, written
from hfac.sequences.problem import EpisodicProblem
from hfac.types import Key, PyTree


class Episodes(NamedTuple):
    """A weighted batch of sequences."""

    tokens: jax.Array  # int32 [B, L]
    weight: jax.Array  # [B], 1/B, or the probability of each
    rating: PyTree  # leaves [B, ...], the problem's of each
    pairs: "Pairs | None" = None  # of these sequences; None where nothing is compared


class Pairs(NamedTuple):
    """Pairs of sequences that are compared; the first is the policy's, the second is too unless there are anchors."""

    first: jax.Array  # int32 [P], place in the batch
    second: jax.Array | None  # int32 [P], place in the batch; None with anchors
    tokens: jax.Array  # int32 [P, L], of the second
    rating: PyTree  # leaves [P, ...], of the second
    given_first: jax.Array  # [P], weight of the second among the partners of the first
    given_second: jax.Array | None  # [P], the same the other way round; None with anchors


class Written(NamedTuple):
    """What one step sees."""

    batches: tuple[Episodes, ...]  # of every policy
    pairs: Pairs | None  # of the last policy's batch; None where nothing is compared
    num_samples: jax.Array  # int32 [], sequences written


Source = Callable[..., Written]  # (key, theta, ...) -> Written


def sampled(
    problem: EpisodicProblem, batch_size: int, num_opponents: int, coupled: bool = False, dtype: Any = jnp.float32
) -> Source:
    """Sequences that the policies write; each is compared with some of its neighbours, or with random anchors.

    Args:
      problem: the bi-level problem.
      batch_size: B, sequences of each policy, >= 1.
      num_opponents: pairs that each sequence opens, in [1, B) unless there are anchors or nothing is compared.
      coupled: all policies use the same random numbers: the same law for each, a quieter difference.
      dtype: of the weights.

    Raises:
      ValueError: if a number is out of range.
    """
    is_among_themselves = problem.pair_loss is not None and problem.anchors is None
    least = 2 if is_among_themselves else 1
    if batch_size < least:
        raise ValueError(f"batch_size must be at least {least}, got {batch_size}")
    if num_opponents < 1 or (is_among_themselves and num_opponents >= batch_size):
        raise ValueError(f"num_opponents must lie in [1, batch_size = {batch_size}), got {num_opponents}")
    rate = jax.vmap(problem.rating)
    weight = jnp.full(batch_size, 1 / batch_size, dtype)
    first = jnp.repeat(jnp.arange(batch_size, dtype=jnp.int32), num_opponents)
    share = jnp.full(first.shape, 1 / num_opponents, dtype)
    anchors = _anchors(problem)

    def pair(key: Key, batch: Episodes) -> Pairs | None:
        if problem.pair_loss is None:
            return None
        if anchors is not None:
            drawn = jax.random.randint(key, first.shape, 0, len(anchors[0]))
            return Pairs(first, None, _at(anchors[0], drawn), _at(anchors[1], drawn), share, None)
        shift = jnp.tile(jnp.arange(1, num_opponents + 1, dtype=jnp.int32), batch_size)
        second = (first + shift) % jnp.int32(batch_size)
        return Pairs(first, second, batch.tokens[second], _at(batch.rating, second), share, share)

    def draw(key: Key, *thetas: PyTree) -> Written:
        keys = [jax.random.fold_in(key, 1 if coupled else 1 + i) for i in range(len(thetas))]
        tokens = [problem.policy.sample(k, theta, batch_size) for k, theta in zip(keys, thetas, strict=True)]
        batches = tuple(Episodes(each, weight, rate(each)) for each in tokens)
        pairs = pair(jax.random.fold_in(key, 0), batches[-1])
        return Written(batches, pairs, jnp.int32(len(thetas) * batch_size))

    return draw


def enumerated(problem: EpisodicProblem, every: jax.Array) -> Source:
    """Every sequence of a small language with its probability: expectations in place of samples.

    Args:
      problem: the bi-level problem.
      every: all sequences, int32 [Y, L], as `hfac.exact.sequences.enumerate_sequences` lists them.
    """
    every = jnp.asarray(every)
    listed = (every, jax.vmap(problem.rating)(every))
    anchors = _anchors(problem)
    others = listed if anchors is None else anchors
    first, second = (grid.ravel() for grid in jnp.indices((len(every), len(others[0])), jnp.int32))
    tokens, rating = _at(others, second)

    def pair(mass: jax.Array) -> Pairs | None:
        if problem.pair_loss is None:
            return None
        if anchors is not None:
            return Pairs(first, None, tokens, rating, jnp.full(first.shape, 1 / len(others[0]), mass.dtype), None)
        return Pairs(first, second, tokens, rating, mass[second], mass[first])

    def draw(key: Key, *thetas: PyTree) -> Written:
        del key
        masses = [
            jnp.exp(jax.vmap(lambda y, theta=theta: sequence_log_prob(problem.policy, theta, y))(every))
            for theta in thetas
        ]
        return Written(tuple(Episodes(every, mass, listed[1]) for mass in masses), pair(masses[-1]), jnp.int32(0))

    return draw


def _anchors(problem: EpisodicProblem) -> tuple[jax.Array, PyTree] | None:
    """Anchors and their ratings, rated once and for all."""
    if problem.anchors is None:
        return None
    if problem.anchor_ratings is not None:
        return problem.anchors, problem.anchor_ratings
    return problem.anchors, jax.jit(jax.vmap(problem.rating))(problem.anchors)


def _at(tree: Any, index: jax.Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def rewards(problem: EpisodicProblem, x: PyTree, batch: Episodes) -> jax.Array:
    """R_x(y) of every sequence, [B]."""
    return jax.vmap(problem.reward, (None, 0))(x, batch.tokens)


def costs(problem: EpisodicProblem, x: PyTree, batch: Episodes) -> jax.Array:
    """c(x, y) of every sequence, [B]; 0 without a cost."""
    if problem.cost is None:
        return jnp.zeros_like(batch.weight)
    return jax.vmap(problem.cost, (None, 0, 0))(x, batch.tokens, batch.rating)


def pair_losses(problem: EpisodicProblem, x: PyTree, batch: Episodes, pairs: Pairs) -> jax.Array:
    """l(x, y, y') of every pair, [P]."""
    every = jax.vmap(problem.pair_loss, (None, 0, 0, 0, 0))  # type: ignore[type-var]
    return every(x, *_at((batch.tokens, batch.rating), pairs.first), pairs.tokens, pairs.rating)  # type: ignore[misc]


def upper_objective(problem: EpisodicProblem, x: PyTree, batch: Episodes, pairs: Pairs | None) -> jax.Array:
    """Sample of f(x, pi) = h(x) + E[c(x, y)] + E[l(x, y, y')]; its gradient in x is one of d_x f. []."""
    value = batch.weight @ costs(problem, x, batch)
    if problem.h is not None:
        value += problem.h(x)
    if pairs is not None:
        value += (batch.weight[pairs.first] * pairs.given_first) @ pair_losses(problem, x, batch, pairs)
    return value


def leader_costs(problem: EpisodicProblem, x: PyTree, batch: Episodes, pairs: Pairs | None) -> jax.Array:
    """What each sequence costs the leader, L_i, such that d_theta f = E[ L_i grad log pi(y_i) ]. [B].

    A sequence counts in both places of a pair: E[ l(y, y') ( grad log pi(y) + grad log pi(y') ) ].
    """
    each = costs(problem, x, batch)
    if pairs is None:
        return each
    losses = pair_losses(problem, x, batch, pairs)
    each = each.at[pairs.first].add(pairs.given_first * losses)
    if pairs.second is None or pairs.given_second is None:
        return each
    return each.at[pairs.second].add(pairs.given_second * losses)


def hypergradient(
    problem: EpisodicProblem, x: PyTree, batch: Episodes, batch_pen: Episodes, pairs: Pairs | None, w: jax.Array
) -> PyTree:
    """Hyper-gradient of the penalty reformulation, first order only (Zeng et al. [2601.16399]). Same tree as x.

        d_x f(x, pi_pen) + 1/w ( E_pi[ grad R_x(y) ] - E_pi_pen[ grad R_x(y) ] )

    Args:
      problem: the bi-level problem.
      x: upper variable.
      batch: from the policy that tracks the best response.
      batch_pen: from the one that tracks the penalised policy.
      pairs: of the latter.
      w: penalty parameter, > 0.
    """

    def envelope(x: PyTree) -> jax.Array:
        gain = batch.weight @ rewards(problem, x, batch)
        gain_pen = batch_pen.weight @ rewards(problem, x, batch_pen)
        return upper_objective(problem, x, batch_pen, pairs) + (gain - gain_pen) / w

    return jax.grad(envelope)(x)


class Path(NamedTuple):
    """A policy along a batch of sequences; zero after their ends."""

    log_prob: jax.Array  # [B, L], log pi of the chosen token
    divergence: jax.Array  # [B, L], KL(pi | pi_ref) of the next token, summed over the vocabulary
    features: jax.Array  # [B, L, d], of the prefix, for a linear critic


def path(problem: EpisodicProblem, theta: PyTree, batch: Episodes) -> tuple[Path, Callable[[Path], tuple[PyTree]]]:
    """The policy along the batch, and the map that pulls weights of its parts back to directions in theta."""
    policy = problem.policy

    def along(theta: PyTree, tokens: jax.Array) -> Path:
        own, reference = policy.walk(theta, tokens), policy.walk(problem.reference, tokens)
        is_written = written(tokens, policy.end)
        chosen = jnp.take_along_axis(own.log_probs, tokens[:, None], axis=-1)[:, 0]
        divergence = jnp.sum(jnp.exp(own.log_probs) * (own.log_probs - reference.log_probs), -1)
        return Path(
            jnp.where(is_written, chosen, 0),
            jnp.where(is_written, divergence, 0),
            jnp.where(is_written[:, None], own.features, 0),
        )

    return jax.vjp(lambda theta: jax.vmap(along, (None, 0))(theta, batch.tokens), theta)


def advantages(
    path: Path, head: jax.Array, batch: Episodes, end: int, gain: jax.Array, tau: jax.Array | float, gae_lambda: float
) -> jax.Array:
    """Generalised advantages [B, L] of a linear critic, of a sequence's gain at its end less tau times the divergence.

    delta_t = r_t + V(y_<t+1) - V(y_<t),   A_t = delta_t + lambda A_t+1

    Args:
      path: along the batch.
      head: [d], the critic.
      batch: B sequences.
      end: token that ends a sequence.
      gain: [B].
      tau: weight of the divergence.
      gae_lambda: lambda in [0, 1]; 1 needs no critic to be unbiased.
    """
    is_written = jax.vmap(written, (0, None))(batch.tokens, end)
    goes_on = jnp.concatenate([is_written[:, 1:], jnp.zeros_like(is_written[:, :1])], axis=1)
    value = path.features @ head
    following = jnp.concatenate([value[:, 1:], jnp.zeros_like(value[:, :1])], axis=1)
    income = jnp.where(is_written & ~goes_on, gain[:, None], 0) - tau * path.divergence
    delta = jnp.where(is_written, income + following - value, 0)

    def back(after: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = now + jnp.asarray(gae_lambda, now.dtype) * after
        return total, total

    return jax.lax.scan(back, jnp.zeros_like(delta[:, 0]), delta.T, reverse=True)[1].T


def policy_gradient(
    path: Path, pull: Callable[[Path], tuple[PyTree]], batch: Episodes, advantage: jax.Array, tau: jax.Array
) -> PyTree:
    """d_theta J_tau = E[ sum_t A_t grad log pi(y_t|y_<t) - tau grad KL(pi(.|y_<t) | pi_ref) ]. Same tree as theta."""
    weight = batch.weight[:, None]
    own = jnp.broadcast_to(-tau * weight, path.divergence.shape)
    return pull(Path(weight * advantage, own, jnp.zeros_like(path.features)))[0]


def semi_gradient(path: Path, batch: Episodes, advantage: jax.Array) -> jax.Array:
    """E[ sum_t A_t grad V(y_<t) ]: the TD(lambda) direction of a linear critic. [d]."""
    return jnp.einsum("b,bl,bld->d", batch.weight, advantage, path.features)


def preference_loss(gap: jax.Array, preferred: jax.Array) -> jax.Array:
    """Expected log-loss of sigmoid(gap) on preferences that hold with a probability, the same shape."""
    return -preferred * jax.nn.log_sigmoid(gap) - (1 - preferred) * jax.nn.log_sigmoid(-gap)


def distinct_bigrams(tokens: jax.Array, end: int) -> jax.Array:
    """Distinct pairs of neighbouring tokens among all of a batch [B, L], in (0, 1]; it falls with the batch's size."""
    return distinct_pairs(tokens, jax.vmap(written, (0, None))(tokens, end) & (tokens != end))


def distinct_pairs(tokens: jax.Array, is_inside: jax.Array) -> jax.Array:
    """The same of tokens [..., L], those that count given, bool [..., L]. []."""
    is_pair = (is_inside[..., :-1] & is_inside[..., 1:]).ravel()
    first, second = (jnp.where(is_pair, part.ravel(), -1) for part in (tokens[..., :-1], tokens[..., 1:]))
    order = jnp.lexsort((second, first))
    first, second = first[order], second[order]
    is_new = jnp.concatenate([jnp.array([True]), (first[1:] != first[:-1]) | (second[1:] != second[:-1])])
    count = jnp.sum(is_new & (first >= 0))
    return count.astype(jnp.float32) / jnp.maximum(jnp.sum(is_pair), 1).astype(jnp.float32)

"""Estimates from weighted completions: the leader's objective and its directions, advantages, policy gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac.language import problem as _problem
from hfac.language.problem import CompletionProblem, Said, Written
from hfac.sequences.episodes import distinct_pairs
from hfac.types import PyTree


class Batch(NamedTuple):
    """Weighted completions of some prompts."""

    written: Written
    weight: jax.Array  # [G, N], sums to one: 1 / (G N), or the probability of each
    peers: jax.Array  # [G, N, N], weights of the prompt's completions beside each, rows sum to one
    features: PyTree  # leaves [G, N, ...]
    score: jax.Array  # [G, N], of the rater
    tau_factor: jax.Array  # [], that the divergence's weight is multiplied by
    log_prob: Any = None  # [G, N, T], under the policy that wrote them, where they are gone over more than once


class Seen(NamedTuple):
    """Completions of a policy, what it says along them, and what pulls weights of that back to its parameters."""

    batch: Batch
    said: Said
    pull: Any  # Said -> (direction,)


def upper_objective(problem: CompletionProblem, x: PyTree, batch: Batch) -> jax.Array:
    """Sample of f(x, pi); its gradient in x is one of d_x f. []."""
    value = jnp.zeros((), batch.weight.dtype) if problem.h is None else problem.h(x)
    if problem.leader == "score":
        return value - jnp.sum(batch.weight * batch.score)
    losses = _problem.pair_losses(problem, x, batch.written.prompt, batch.features, batch.score)
    each = jnp.sum(batch.peers * losses, -1) if problem.anchors is None else jnp.mean(losses, -1)
    return value + jnp.sum(batch.weight * each)


def leader_costs(problem: CompletionProblem, x: PyTree, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """What each completion costs the leader, L_i, such that d_theta f = E[ L_i grad log pi(y_i) ], and a baseline.

    A completion counts in both places of a pair: E[ l(y, y') ( grad log pi(y) + grad log pi(y') ) ]. Its baseline is
    the mean cost of the prompt's others, less what they are compared with it for: that would be no baseline.

    Returns:
      Both [G, N].
    """
    if problem.leader == "score":
        return -batch.score, beside(batch, -batch.score)
    losses = _problem.pair_losses(problem, x, batch.written.prompt, batch.features, batch.score)
    if problem.anchors is not None:
        each = jnp.mean(losses, -1)
        return each, beside(batch, each)
    each = 2 * jnp.sum(batch.peers * losses, -1)
    # sum over j, k of q_ij q_ik l_jk, with pairs of one completion with itself left out where samples leave them out
    apart = batch.peers[..., None] * batch.peers[..., None, :] * (batch.peers[:, None] > 0).astype(losses.dtype)
    share = jnp.sum(apart, (-2, -1))
    others = jnp.einsum("gijk,gjk->gi", apart, losses) / jnp.where(share > 0, share, 1)
    return each, 2 * others


def beside(batch: Batch, values: jax.Array) -> jax.Array:
    """Mean over the other completions of the prompt, [G, N]."""
    return jnp.einsum("gij,gj->gi", batch.peers, values)


def advantages(seen: Seen, gain: jax.Array, baseline: jax.Array, tau: jax.Array | float) -> jax.Array:
    """Gain at the end less tau times the divergence from here on, above what the prompt's others get. [G, N, T].

    Args:
      seen: completions of a policy.
      gain: [G, N].
      baseline: of the gain, the same shape.
      tau: weight of one token's divergence.
    """
    price = tau * seen.said.divergence.astype(gain.dtype)
    to_come = jnp.cumsum(price[..., ::-1], -1)[..., ::-1]
    level = baseline - beside(seen.batch, to_come[..., 0])
    return jnp.where(seen.batch.written.is_written, (gain - level)[..., None] - to_come, 0)


def policy_gradient(seen: Seen, advantage: jax.Array, tau: jax.Array) -> PyTree:
    """d_theta J_tau = E[ sum_t A_t grad log pi(y_t|y_<t) - tau grad KL(pi(.|y_<t) | pi_ref) ]. Same tree as theta.

    Args:
      seen: completions of the policy.
      advantage: [G, N, T].
      tau: weight of one token's divergence.
    """
    weight = seen.batch.weight[..., None]
    pulled = Said(weight * advantage, jnp.broadcast_to(-tau * weight, advantage.shape))
    return seen.pull(jax.tree.map(lambda part, like: part.astype(like.dtype), pulled, seen.said))[0]


def hypergradient(problem: CompletionProblem, x: PyTree, seen: Seen, seen_pen: Seen, w: jax.Array) -> PyTree:
    """Hyper-gradient of the penalty reformulation, first order only (Zeng et al. [2601.16399]). Same tree as x.

    d_x f(x, pi_pen) + 1/w ( E_pi[ grad R_x(y) ] - E_pi_pen[ grad R_x(y) ] )
    """

    def envelope(x: PyTree) -> jax.Array:
        gain, gain_pen = (
            jnp.sum(each.batch.weight * problem.reward(x, each.batch.features)) for each in (seen, seen_pen)
        )
        return upper_objective(problem, x, seen_pen.batch) + (gain - gain_pen) / w

    return jax.grad(envelope)(x)


def divergence(seen: Seen) -> jax.Array:
    """Mean KL(pi | pi_ref) of a completion, nats. []."""
    return jnp.sum(seen.batch.weight[..., None] * seen.said.divergence)


def look(problem: CompletionProblem, x: PyTree, *seen: Seen) -> dict[str, jax.Array]:
    """Scalars worth looking at.

    The leader's loss, of the last policy; of each what it earns and how far it is; of the first R_x's accuracy, the
    share of pairs of neighbouring tokens that are distinct, and tokens of a completion.
    """
    first = seen[0].batch
    reward = problem.reward(x, first.features)
    found = {"loss": upper_objective(problem, x, seen[-1].batch), "reward": jnp.sum(first.weight * reward)}
    for i, each in enumerate(seen):
        found[f"score_{i}"] = jnp.sum(each.batch.weight * each.batch.score)
        found[f"divergence_{i}"] = divergence(each)
    found |= {"accuracy": accuracy(reward, first.score), "tau_factor": first.tau_factor}
    return found | {
        "distinct": distinct_pairs(first.written.tokens, first.written.is_written),
        "length": mean_length(first),
    }


def mean_length(batch: Batch) -> jax.Array:
    """Tokens of a completion. []."""
    return jnp.sum(batch.weight[..., None] * batch.written.is_written.astype(batch.weight.dtype))


def accuracy(reward: jax.Array, score: jax.Array) -> jax.Array:
    """Share of pairs within a prompt that R_x orders as the rater does; a tie of R_x is half right. []."""
    order = jnp.sign(score[:, :, None] - score[:, None])
    agreement = order * jnp.sign(reward[:, :, None] - reward[:, None])
    return 0.5 + 0.5 * jnp.sum(agreement) / jnp.maximum(jnp.sum(jnp.abs(order)), 1)

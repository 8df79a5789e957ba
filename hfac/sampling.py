"""Samplers: how a step obtains its two batches of transitions, one per tracked policy.

    markov   one chain per batch entry, continued from step to step with geometric restarts (Algorithm 1)
    iid      a fresh draw from d^pi at every step: a rollout of geometric length (Algorithm 2)
    exact    every transition with its probability, so that sums are expectations (model-based)

Every sampler has the marginal law d^pi(s) pi(a|s) P(s'|s, a) for each policy; `coupled` only ties the two together.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac import _random
from hfac.exact._policy import visits
from hfac.mdp import TabularMDP, sample_next, sample_start
from hfac.policies import Policy, policy_table, sample_action
from hfac.types import Key, PyTree, Transition


class Chain(NamedTuple):
    """Where a batch of Markov chains stands."""

    state: jax.Array  # int32 [B]
    is_over: jax.Array | None  # bool [B], the episode has ended and waits for its restart; None: episodes never end


class Draw(NamedTuple):
    """What a sampler hands to a step."""

    batch: Transition  # from the first policy
    batch_pen: Transition  # from the second
    chains: Any  # to be carried
    num_samples: jax.Array  # int32 [], environment transitions used


class Sampler(NamedTuple):
    """A way to draw transitions from two policies at once."""

    init: Callable[[Key], Any]  # key -> chains
    draw: Callable[[Key, Any, PyTree, PyTree], Draw]  # (key, chains, theta, theta_pen) -> Draw


def markov(mdp: TabularMDP, policy: Policy, batch_size: int, is_coupled: bool) -> Sampler:
    """Algorithm 1: both chains move one step and restart from rho with probability 1 - gamma.

    A chain whose episode has ended waits for its restart with weight 0, which keeps every average over the batch
    unbiased for d^pi, a distribution that then sums to less than one.
    """
    dtype = mdp.probs.dtype

    def init(key: Key) -> tuple[Chain, Chain]:
        u = _pair_uniforms(key, (batch_size,), dtype, is_coupled)
        return tuple(_start(mdp, u_start) for u_start in u)  # type: ignore[return-value]

    def advance(u: jax.Array, chain: Chain, theta: PyTree) -> tuple[Transition, Chain, jax.Array]:
        u_action, u_next, u_restart, u_start = u
        batch, moved = _move(mdp, policy, theta, chain, u_action, u_next)
        is_restart = u_restart >= mdp.discount
        fresh = _start(mdp, u_start)
        chain = jax.tree.map(lambda new, old: jnp.where(is_restart, new, old), fresh, moved)
        return batch, chain, _count(batch)

    def draw(key: Key, chains: tuple[Chain, Chain], theta: PyTree, theta_pen: PyTree) -> Draw:
        u, u_pen = _pair_uniforms(key, (4, batch_size), dtype, is_coupled)
        batch, chain, count = advance(u, chains[0], theta)
        batch_pen, chain_pen, count_pen = advance(u_pen, chains[1], theta_pen)
        return Draw(batch, batch_pen, (chain, chain_pen), count + count_pen)

    return Sampler(init, draw)


def iid(mdp: TabularMDP, policy: Policy, batch_size: int, is_coupled: bool) -> Sampler:
    """Algorithm 2: follow each policy from rho for a geometric number of steps; the transition after it is the sample.

    An exact draw from d^pi without a model. Every simulated transition counts as a sample.
    """
    dtype = mdp.probs.dtype

    def init(key: Key) -> tuple[()]:
        del key
        return ()

    def rollout(carry: Any, u: jax.Array, is_walking: jax.Array, theta: PyTree) -> Any:
        chain, count = carry
        batch, moved = _move(mdp, policy, theta, chain, *u)
        chain = jax.tree.map(lambda new, old: jnp.where(is_walking, new, old), moved, chain)
        return chain, count + jnp.sum((batch.weight > 0) & is_walking, dtype=jnp.int32)

    def draw(key: Key, chains: tuple[()], theta: PyTree, theta_pen: PyTree) -> Draw:
        pair = _pair_uniforms(_random.fold_in(key, 0), (4, batch_size), dtype, is_coupled)
        times = [jnp.floor(jnp.log1p(-u[0]) / jnp.log(mdp.discount)).astype(jnp.int32) for u in pair]
        carries = [(_start(mdp, u[1]), jnp.int32(0)) for u in pair]
        longest = jnp.maximum(jnp.max(times[0]), jnp.max(times[1]))

        def walk(t: jax.Array, carries: Any) -> Any:
            moves = _pair_uniforms(_random.fold_in(key, t + 1), (2, batch_size), dtype, is_coupled)
            parts = zip(carries, moves, times, (theta, theta_pen), strict=True)
            return [rollout(carry, u, t < time, policy_params) for carry, u, time, policy_params in parts]

        ends = jax.lax.fori_loop(0, longest, walk, carries)
        (batch, count), (batch_pen, count_pen) = (
            (_move(mdp, policy, params, chain, u[2], u[3])[0], count)
            for (chain, count), u, params in zip(ends, pair, (theta, theta_pen), strict=True)
        )
        return Draw(batch, batch_pen, chains, count + count_pen + _count(batch) + _count(batch_pen))

    return Sampler(init, draw)


def exact(mdp: TabularMDP, policy: Policy) -> Sampler:
    """Every transition, weighted by d^pi(s) pi(a|s) P(s'|s, a): noiseless, needs the model, uses no samples."""
    shape = mdp.next_states.shape
    num_states, num_actions = shape[:2]
    state = jnp.broadcast_to(jnp.arange(num_states)[:, None, None], shape).ravel()
    action = jnp.broadcast_to(jnp.arange(num_actions)[:, None], shape).ravel()

    def init(key: Key) -> tuple[()]:
        del key
        return ()

    def draw(key: Key, chains: tuple[()], theta: PyTree, theta_pen: PyTree) -> Draw:
        del key
        pis = jnp.stack([policy_table(policy, params, num_states) for params in (theta, theta_pen)])
        mass = jax.vmap(lambda pi: visits(mdp, pi)[:, None] * pi)(pis)  # one batch: see DESIGN of exact._linear
        batches = [
            Transition(
                state, action, mdp.next_states.ravel(), (m[..., None] * mdp.probs).ravel(), mdp.continuation()[state]
            )
            for m in mass
        ]
        return Draw(batches[0], batches[1], chains, jnp.int32(0))

    return Sampler(init, draw)


def _pair_uniforms(key: Key, shape: tuple[int, ...], dtype: Any, is_coupled: bool) -> tuple[jax.Array, jax.Array]:
    """Uniforms for the two chains from one draw; coupled chains share theirs."""
    num_chains = 1 if is_coupled else 2
    u = _random.uniform(key, num_chains * math.prod(shape), dtype).reshape(num_chains, *shape)
    return u[0], u[-1]


def _start(mdp: TabularMDP, u: jax.Array) -> Chain:
    return Chain(sample_start(mdp, u), None if mdp.ends is None else jnp.zeros(u.shape, bool))


def _move(
    mdp: TabularMDP, policy: Policy, theta: PyTree, chain: Chain, u_action: jax.Array, u_next: jax.Array
) -> tuple[Transition, Chain]:
    """One action in every chain: the transitions, and where the chains stand before any restart."""
    log_probs = jax.vmap(policy.log_probs, (None, 0))(theta, chain.state)
    action = sample_action(log_probs, u_action)
    next_state = sample_next(mdp, u_next, chain.state, action)
    share = jnp.full(u_action.shape, 1 / u_action.size, u_action.dtype)
    if mdp.ends is None or chain.is_over is None:
        discount = jnp.broadcast_to(mdp.discount, u_action.shape)
        return Transition(chain.state, action, next_state, share, discount), Chain(next_state, None)
    weight = jnp.where(chain.is_over, 0, share)
    moved = Chain(next_state, chain.is_over | mdp.ends[chain.state])
    return Transition(chain.state, action, next_state, weight, mdp.continuation()[chain.state]), moved


def _count(batch: Transition) -> jax.Array:
    return jnp.sum(batch.weight > 0, dtype=jnp.int32)

"""Samplers: how a step obtains its batches of transitions, one batch per tracked policy.

    markov   one chain per batch entry, continued from step to step with geometric restarts (Algorithm 1)
    iid      a fresh draw from d^pi at every step: a rollout of geometric length (Algorithm 2)
    exact    every transition with its probability, so that sums are expectations (model-based)

Every sampler has the marginal law d^pi(s) pi(a|s) P(s'|s, a) for each policy; `coupled` only ties them together.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from hfac import _checks
from hfac._compiler import random
from hfac._registry import load
from hfac.lower import Draw
from hfac.tabular.dynamics import occupancy
from hfac.tabular.mdp import TabularMDP, sample_next, sample_start, within_reach
from hfac.tabular.policies import Policy, policy_table, sample_action
from hfac.types import Key, PyTree, Transition

SAMPLERS = {
    "markov": "hfac.tabular.sampling:markov",
    "iid": "hfac.tabular.sampling:iid",
    "exact": "hfac.tabular.sampling:exact",
}
if TYPE_CHECKING:
    SamplerName = str
else:
    SamplerName = Literal[tuple(SAMPLERS)]  # flags offer these


class Chain(NamedTuple):
    """Where the Markov chains of one policy stand."""

    state: jax.Array  # int32 [B]
    is_over: jax.Array | None  # bool [B], the episode has ended and waits for its restart; None: episodes never end


class Sampler(NamedTuple):
    """A way to draw transitions from several policies at once."""

    init: Callable[[Key], Any]  # key -> chains
    draw: Callable[..., Draw]  # (key, chains, *thetas) -> Draw


def build(
    name: str, mdp: TabularMDP, policy: Policy, batch_size: int = 1, is_coupled: bool = False, num_policies: int = 2
) -> Sampler:
    """The sampler called `name`.

    Args:
      name: one of `SAMPLERS`.
      mdp: dynamics, in the dtype of every float that is drawn.
      policy: gives action probabilities; each policy is a parameter tree of it.
      batch_size: transitions per policy and step, B >= 1.
      is_coupled: every policy's chains use the same random numbers.
      num_policies: P.

    Raises:
      ValueError: if the name is none of them, the batch is no positive whole number, or `exact` is asked to draw.
    """
    if name not in SAMPLERS:
        raise ValueError(f"sampler must be {' or '.join(map(repr, SAMPLERS))}, got '{name}'")
    _checks.count("batch_size", batch_size)
    return load(SAMPLERS[name])(mdp, policy, batch_size, is_coupled, num_policies)


def markov(mdp: TabularMDP, policy: Policy, batch_size: int, is_coupled: bool, num_policies: int = 2) -> Sampler:
    """Algorithm 1: every chain moves one step and restarts from rho with probability 1 - gamma.

    A chain whose episode has ended waits for its restart with weight 0, which keeps every average over the batch
    unbiased for d^pi, a distribution that then sums to less than one.
    """
    uniforms = _uniforms(mdp, batch_size, is_coupled, num_policies)

    def init(key: Key) -> tuple[Chain, ...]:
        return tuple(_start(mdp, u_start) for (u_start,) in uniforms(key, 1))

    def advance(chain: Chain, theta: PyTree, u: jax.Array) -> tuple[Transition, Chain]:
        u_action, u_next, u_restart, u_start = u
        batch, moved = _move(mdp, policy, theta, chain, u_action, u_next)
        is_restart = u_restart >= mdp.discount
        fresh = _start(mdp, u_start)
        return batch, jax.tree.map(lambda new, old: jnp.where(is_restart, new, old), fresh, moved)

    def draw(key: Key, chains: tuple[Chain, ...], *thetas: PyTree) -> Draw:
        moves = [advance(*each) for each in zip(chains, thetas, uniforms(key, 4), strict=True)]
        batches, chains = zip(*moves, strict=True)
        return Draw(batches, chains, _count(batches))

    return Sampler(init, draw)


def iid(mdp: TabularMDP, policy: Policy, batch_size: int, is_coupled: bool, num_policies: int = 2) -> Sampler:
    """Algorithm 2: follow each policy from rho for a geometric number of steps; the transition after it is the sample.

    An exact draw from d^pi without a model. Every simulated transition counts as a sample.
    """
    uniforms = _uniforms(mdp, batch_size, is_coupled, num_policies)

    def init(key: Key) -> tuple[()]:
        del key
        return ()

    def draw(key: Key, chains: tuple[()], *thetas: PyTree) -> Draw:
        firsts = uniforms(random.fold_in(key, 0), 4)
        times = [jnp.floor(jnp.log1p(-u[0]) / jnp.log(mdp.discount)).astype(jnp.int32) for u in firsts]
        longest = functools.reduce(jnp.maximum, [jnp.max(time) for time in times])

        def follow(carry: Any, theta: PyTree, u: jax.Array, is_walking: jax.Array) -> Any:
            chain, count = carry
            batch, moved = _move(mdp, policy, theta, chain, *u)
            chain = jax.tree.map(lambda new, old: jnp.where(is_walking, new, old), moved, chain)
            return chain, count + jnp.sum((batch.weight > 0) & is_walking, dtype=jnp.int32)

        def walk(t: jax.Array, carries: Any) -> Any:
            each = zip(carries, thetas, uniforms(random.fold_in(key, t + 1), 2), times, strict=True)
            return [follow(carry, theta, u, t < time) for carry, theta, u, time in each]

        carries = [(_start(mdp, u[1]), jnp.int32(0)) for u in firsts]
        ends = jax.lax.fori_loop(0, longest, walk, carries)
        each = zip(ends, thetas, firsts, strict=True)
        batches = tuple(_move(mdp, policy, theta, chain, u[2], u[3])[0] for (chain, _), theta, u in each)
        return Draw(batches, chains, sum((count for _, count in ends), _count(batches)))

    return Sampler(init, draw)


def exact(
    mdp: TabularMDP, policy: Policy, batch_size: int = 1, is_coupled: bool = False, num_policies: int = 2
) -> Sampler:
    """Every transition, weighted by d^pi(s) pi(a|s) P(s'|s, a): noiseless, needs the model, uses no samples.

    Raises:
      ValueError: if it is asked to draw.
    """
    del num_policies
    if is_coupled or batch_size != 1:
        raise ValueError("the exact sampler draws nothing; drop coupled and batch_size, or use markov or iid")
    shape = mdp.next_states.shape
    num_states, num_actions = shape[:2]
    state = jnp.broadcast_to(jnp.arange(num_states)[:, None, None], shape).ravel()
    action = jnp.broadcast_to(jnp.arange(num_actions)[:, None], shape).ravel()
    successors = within_reach(mdp).next_states.ravel()

    def init(key: Key) -> tuple[()]:
        del key
        return ()

    def draw(key: Key, chains: tuple[()], *thetas: PyTree) -> Draw:
        del key
        pis = jnp.stack([policy_table(policy, theta, num_states) for theta in thetas])
        mass = jax.vmap(lambda pi: occupancy(mdp, pi))(pis)  # one batch: see exact._linear
        every = (state, action, successors)
        discount = mdp.continuation()[state]
        batches = (Transition(*every, (m[..., None] * mdp.probs).ravel(), discount) for m in mass)
        return Draw(tuple(batches), chains, jnp.int32(0))

    return Sampler(init, draw)


def _uniforms(mdp: TabularMDP, batch_size: int, is_coupled: bool, num_policies: int) -> Callable[[Key, int], jax.Array]:
    """The function ``(key, n) -> uniforms [P, n, B]`` of one draw; coupled policies share theirs."""
    num_streams = 1 if is_coupled else num_policies

    def uniforms(key: Key, num: int) -> jax.Array:
        shape = (num_streams, num, batch_size)
        u = random.uniform(key, math.prod(shape), mdp.probs.dtype).reshape(shape)
        return jnp.broadcast_to(u, (num_policies, *shape[1:]))

    return uniforms


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


def _count(batches: Sequence[Transition]) -> jax.Array:
    return functools.reduce(jnp.add, [jnp.sum(batch.weight > 0, dtype=jnp.int32) for batch in batches])

"""Steps of several policies in copies of one environment, with starts and random numbers in common.

Restarts: an episode goes on with probability gamma, as in Algorithm 1, so that a mean over steps is a discounted sum.
An episode that has ended by itself waits, with weight 0, for the restart. Pairs: the episodes of all policies start
together once all have ended, and step t of them weighs gamma^t. With random numbers in common, the policies differ
only where they act differently.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from hfac.control.environment import Environment, reached, strong
from hfac.control.networks import Distribution, Network
from hfac.types import Key, PyTree

Starts = Literal["restarts", "paired"]
LONGEST = 5.0  # in units of 1 / (1 - gamma), of a paired episode without a time limit
AVERAGING = 0.05  # weight of the newest draw in the mean number of starts: a ratio of means, not a mean of ratios


class Places(NamedTuple):
    """Where every policy stands in every copy of the environment; leaves [P, B, ...]."""

    obs: jax.Array
    state: PyTree
    is_over: jax.Array  # bool [P, B], the episode has ended and waits
    age: jax.Array  # int32 [P, B], steps since the start


class Streams(NamedTuple):
    """What sampling carries from draw to draw."""

    places: Places
    num_starts: jax.Array  # [], running mean over draws, of episodes that start in one
    share: jax.Array  # [], of that mean that is no memory of before the first draw


class Batch(NamedTuple):
    """Steps of one policy; sums over them with `weight` are (1 - gamma) times discounted sums of an episode."""

    obs: jax.Array  # [T, B, d]
    kept: jax.Array  # [T, B, ...], of an action, as its distribution keeps it
    action: jax.Array  # [T, B, ...], as the environment takes it
    next_obs: jax.Array  # [T, B, d], where it led, before any restart
    hidden: jax.Array  # [T, B], the environment's own reward
    log_prob: jax.Array  # [T, B], of the action when it was taken
    weight: jax.Array  # [T, B]
    discount: jax.Array  # [T, B], gamma, or 0 where the episode ended by itself
    trace: jax.Array  # [T, B], share of the next step's advantage: 0 where that belongs to another episode
    is_alive: jax.Array  # bool [T, B]
    pairs: Any = None  # of segments that the leader compares


class _Noise(NamedTuple):
    """Random numbers of one step: [B, ...] in common, else [P, B, ...]."""

    action: jax.Array
    step: jax.Array  # keys
    reset: jax.Array  # keys
    coin: jax.Array  # uniforms


class _Moved(NamedTuple):
    """One step, leaves [P, B, ...]."""

    seen: dict[str, jax.Array]  # fields of a `Batch`
    is_alive: jax.Array  # bool, before the step
    has_ended: jax.Array  # bool, by itself
    goes_on: jax.Array  # bool, the next step belongs to the same episode
    age: jax.Array  # int32, before the step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampler:
    """Rollouts of P policies.

    Args:
      environment: checked.
      actor: its outputs say what the distribution needs.
      distribution: of actions.
      features: what the actor sees of an observation.
      discount: gamma.
      num_envs: B, copies of the environment for each policy.
      num_steps: T, steps of each copy in one draw.
      num_policies: P.
      starts: restarts or paired.
      coupled: all policies use the same random numbers.
      dtype: of every float.
    """

    environment: Environment
    actor: Network
    distribution: Distribution
    features: Callable[[jax.Array], jax.Array]
    discount: float
    num_envs: int
    num_steps: int
    num_policies: int
    starts: Starts = "restarts"
    coupled: bool = True
    dtype: Any = jnp.float32

    @property
    def _common(self) -> int | None:
        """Axis of random numbers along the policies."""
        return None if self.coupled else 0

    @property
    def _copies(self) -> tuple[int, ...]:
        """Shape of random numbers of one step."""
        return (self.num_envs,) if self.coupled else (self.num_policies, self.num_envs)

    @property
    def _horizon(self) -> int:
        """Longest paired episode."""
        return self.environment.limit or math.ceil(LONGEST / (1 - self.discount))

    def init(self, key: Key) -> Streams:
        """First streams; the key is consumed."""
        obs, state = self._reset(jax.random.split(key, self._copies))
        shape = (self.num_policies, self.num_envs)
        age = jnp.zeros(shape, jnp.int32)
        if self.starts == "paired":  # episodes that all last as long as they may do not start all at once
            spread = jax.random.randint(jax.random.fold_in(key, 0), shape[1:], 0, self._horizon, jnp.int32)
            age = jnp.broadcast_to(spread, shape)
        zero = jnp.zeros((), self.dtype)
        return Streams(Places(obs, state, jnp.zeros(shape, bool), age), zero, zero)

    def draw(self, key: Key, streams: Streams, *thetas: PyTree) -> tuple[tuple[Batch, ...], Streams]:
        """Steps of every policy, and where it stands then; the key is consumed."""
        theta = jax.tree.map(lambda *leaves: jnp.stack(leaves), *thetas)
        move = functools.partial(self._move, theta)
        places, found = jax.lax.scan(move, streams.places, self._noise(key))
        keep, newest = (jnp.asarray(share, self.dtype) for share in (1 - AVERAGING, AVERAGING))
        num_starts = keep * streams.num_starts + newest * jnp.sum((found.age[:, 0] == 0).astype(self.dtype))
        share = keep * streams.share + newest
        mean_starts = jnp.maximum(num_starts / share, 1)
        each_found = (jax.tree.map(lambda leaf, i=i: leaf[:, i], found) for i in range(len(thetas)))
        return tuple(self._batch(own, mean_starts) for own in each_found), Streams(places, num_starts, share)

    def _reset(self, keys: jax.Array) -> tuple[jax.Array, PyTree]:
        """First observations and states, [P, B, ...]."""
        found = each(lambda key: strong(self.environment.reset(key), self.dtype), self._copies)(keys)
        if self.coupled:
            found = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.num_policies, *leaf.shape)), found)
        return found

    def _noise(self, key: Key) -> _Noise:
        """Random numbers of all steps, [T, ...]."""
        shape = (self.num_steps, *self._copies)
        action, step, start, coin = jax.random.split(key, 4)
        return _Noise(
            each(lambda key: self.distribution.noise(key, self.dtype), shape)(jax.random.split(action, shape)),
            jax.random.split(step, shape),
            jax.random.split(start, shape),
            jax.random.uniform(coin, shape, self.dtype),
        )

    def _act(self, theta: PyTree, obs: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What is kept of an action, and its log-probability."""
        outputs = self.actor.apply(theta, self.features(obs))
        kept = self.distribution.act(outputs, noise)
        return kept, self.distribution.log_prob(outputs, kept)

    def _move(self, theta: PyTree, places: Places, noise: _Noise) -> tuple[Places, _Moved]:
        """One step of every policy in every copy."""
        act = jax.vmap(jax.vmap(self._act, (None, 0, 0)), (0, 0, self._common))
        kept, log_prob = act(theta, places.obs, noise.action)
        action = each(self.distribution.action, (self.num_policies, self.num_envs))(kept)
        step = jax.vmap(jax.vmap(self.environment.step), (self._common, 0, 0))(noise.step, places.state, action)
        age, has_ended = places.age + 1, jnp.asarray(step.terminated)
        is_cut = jnp.asarray(step.truncated)
        if self.environment.limit is not None:
            is_cut |= age >= self.environment.limit
        is_over = places.is_over | has_ended | is_cut
        if self.starts == "paired":
            starts_anew = jnp.all(is_over | (age >= self._horizon), 0)
        else:
            starts_anew = noise.coin >= jnp.asarray(self.discount, self.dtype)
        starts_anew = jnp.broadcast_to(starts_anew, is_over.shape)
        moved = strong((step.obs, step.state), self.dtype)
        waiting = _where(places.is_over, (places.obs, places.state), moved)
        obs, state = _where(starts_anew, self._reset(noise.reset), waiting)
        after = Places(obs, state, is_over & ~starts_anew, jnp.where(starts_anew, 0, age))
        led_to, hidden = reached(step).astype(self.dtype), jnp.asarray(step.reward, self.dtype)
        seen = {"obs": places.obs, "kept": kept, "action": action, "next_obs": led_to}
        seen |= {"hidden": hidden, "log_prob": log_prob}
        return after, _Moved(seen, ~places.is_over, has_ended, ~(is_over | starts_anew), places.age)

    def _batch(self, found: _Moved, num_starts: jax.Array) -> Batch:
        """The steps of one policy, [T, B, ...], with their weights."""
        gamma = jnp.asarray(self.discount, self.dtype)
        alive = found.is_alive.astype(self.dtype)
        if self.starts == "paired":
            weight = alive * gamma ** found.age.astype(self.dtype) * (1 - gamma) / num_starts
            trace = jnp.where(found.goes_on, gamma, 0)
        else:  # the restarts are the discount
            weight, trace = alive / alive.size, found.goes_on.astype(self.dtype)
        discount = jnp.where(found.has_ended, 0, gamma)
        return Batch(**found.seen, weight=weight, discount=discount, trace=trace, is_alive=found.is_alive)


def each(function: Callable[..., Any], shape: tuple[int, ...]) -> Callable[..., Any]:
    """The function over arrays with these leading axes, which are one in between: products of matrices are faster."""

    def over(*args: PyTree) -> PyTree:
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(shape) :]), args)
        return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), jax.vmap(function)(*flat))

    return over


def _where(mask: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """New arrays where the mask [P, B] says so; leaves [P, B, ...]."""

    def leaf(a: jax.Array, b: jax.Array) -> jax.Array:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                leaf(jax.random.key_data(a), jax.random.key_data(b)), impl=jax.random.key_impl(a)
            )
        return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, b)

    return jax.tree.map(leaf, new, old)


def advantages(delta: jax.Array, trace: jax.Array) -> jax.Array:
    """Sum_l (prod of traces) delta_{t+l} of every step (Schulman et al. [arXiv 1506.02438]). [T, B]."""

    def back(later: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta, trace = now
        found = delta + trace * later
        return found, found

    return jax.lax.scan(back, jnp.zeros_like(delta[0]), (delta, trace), reverse=True)[1]

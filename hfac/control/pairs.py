"""Pairs of segments of a policy's steps, with labels: what a leader sees who compares."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler import random
from hfac.control.environment import strong
from hfac.control.problem import ControlProblem, Segment
from hfac.control.rollouts import Batch
from hfac.sequences.episodes import preference_loss
from hfac.types import Key, PyTree

TINY = 1e-8  # weight below which no pair was unequal
CUTS = 4  # segments that every copy is cut into, so that most do not begin with an episode


class SegmentPairs(NamedTuple):
    """Which segments of a batch are compared with which, and what was said of them; segments are numbered [n B]."""

    first: jax.Array  # int32 [M]
    second: jax.Array  # int32 [M], segments of the batch, or of the anchors
    label: jax.Array  # [M], 1 where the first was preferred
    weight: jax.Array  # [M], sums to 1 over pairs neither of which is empty


class Compare(NamedTuple):
    """What the lower level needs to know of pairs."""

    draw: Callable[[Key, Batch], SegmentPairs]
    loss: Callable[[PyTree, Batch], jax.Array]  # mean over the pairs, []
    weigh: Callable[[PyTree, Batch], jax.Array]  # what every action counts for in it, [T, B]
    accuracy: Callable[[PyTree, Batch], jax.Array]  # share of unequal pairs whose better one has the larger r_x, []


def build(problem: ControlProblem, num_envs: int, num_steps: int) -> Compare:
    """How segments of a batch of T steps in B copies are compared.

    Raises:
      ValueError: if segments do not fill the steps, or there are fewer than two.
    """
    preferences = problem.preferences
    assert preferences is not None
    length, anchors = preferences.length, preferences.anchors
    if num_steps % length:
        raise ValueError(f"num_steps must be a multiple of the segments' length {length}, got {num_steps}")
    num_segments = num_steps // length * num_envs
    if anchors is None and num_segments < 2:
        raise ValueError("pairs need two segments; raise num_envs or num_steps")
    num_others = num_segments if anchors is None else len(anchors.weight)

    def segments(batch: Batch) -> Segment:
        return cut(batch, length)

    def at(batch: Batch, pairs: SegmentPairs) -> tuple[Segment, Segment]:
        mine = segments(batch)
        others = mine if anchors is None else strong(anchors, batch.weight.dtype)
        pick = lambda tree, index: jax.tree.map(lambda leaf: leaf[index], tree)  # noqa: E731
        return pick(mine, pairs.first), pick(others, pairs.second)

    def draw(key: Key, batch: Batch) -> SegmentPairs:
        keys = jax.random.split(key, 3)
        dtype, size = batch.weight.dtype, (preferences.num_pairs,)
        first = jax.random.randint(keys[0], size, 0, num_segments, jnp.int32)
        second = jax.random.randint(keys[1], size, 0, num_others - (anchors is None), jnp.int32)
        if anchors is None:  # never with itself
            second += (second >= first).astype(jnp.int32)
        found = SegmentPairs(first, second, jnp.zeros(size, dtype), jnp.ones(size, dtype))
        a, b = at(batch, found)
        slope = jnp.asarray(preferences.rationality, dtype)
        chance = jax.nn.sigmoid(slope * (a.hidden - b.hidden))
        label = (jax.random.uniform(keys[2], size, dtype) < chance).astype(dtype)
        whole = ((a.weight[:, 0] > 0) & (b.weight[:, 0] > 0)).astype(dtype)
        return found._replace(label=label, weight=whole / jnp.maximum(jnp.sum(whole), 1))

    def losses(x: PyTree, batch: Batch) -> jax.Array:
        pairs: Any = batch.pairs
        return pairs.weight * jax.vmap(preferences.loss, (None, 0, 0, 0))(x, *at(batch, pairs), pairs.label)

    def weigh(x: PyTree, batch: Batch) -> jax.Array:
        pairs: Any = batch.pairs
        found, weight = losses(x, batch), segments(batch).weight
        each = jnp.zeros(num_segments, found.dtype).at[pairs.first].add(found)
        if anchors is None:
            each = each.at[pairs.second].add(found)
        spread = (each[:, None] * weight).reshape(num_steps // length, num_envs, length)
        spread = jnp.moveaxis(spread, 2, 1).reshape(num_steps, num_envs)
        return jnp.where(batch.weight > 0, spread / jnp.where(batch.weight > 0, batch.weight, 1), 0)

    def accuracy(x: PyTree, batch: Batch) -> jax.Array:
        pairs: Any = batch.pairs
        a, b = at(batch, pairs)
        gap = jax.vmap(functools.partial(earned, problem.reward, x))
        weight = pairs.weight * (a.hidden != b.hidden).astype(pairs.weight.dtype)
        is_right = (gap(a) > gap(b)) == (a.hidden > b.hidden)
        return jnp.sum(weight * is_right.astype(weight.dtype)) / jnp.maximum(jnp.sum(weight), TINY)

    return Compare(draw, lambda x, batch: jnp.sum(losses(x, batch)), weigh, accuracy)


def cut(batch: Batch, length: int) -> Segment:
    """Segments of a batch, leaves [n B, ...]; what follows an end or a restart has weight 0.

    Args:
      batch: of n L steps.
      length: L.
    """

    def parts(leaf: jax.Array) -> jax.Array:
        found = leaf.reshape(-1, length, *leaf.shape[1:])
        return jnp.moveaxis(found, 2, 1).reshape(-1, length, *leaf.shape[2:])

    goes_on = jnp.cumprod(parts((batch.trace > 0).astype(batch.weight.dtype)), 1)
    is_one = jnp.concatenate([jnp.ones_like(goes_on[:, :1]), goes_on[:, :-1]], 1)
    weight = is_one * parts(batch.is_alive.astype(batch.weight.dtype))
    hidden = jnp.sum(weight * parts(batch.hidden), 1)
    return Segment(parts(batch.obs), parts(batch.action), parts(batch.next_obs), weight, hidden)


def random_segments(problem: ControlProblem, num_segments: int, length: int, seed: int = 0) -> Segment:
    """Segments of first policies, which act nearly at random: anchors that any policy may be compared with.

    Args:
      problem: gives environment and network.
      num_segments: N.
      length: L, steps of a segment.
      seed: of everything random.
    """
    source = problem.sampler(
        num_envs=num_segments,
        num_steps=CUTS * length,
        num_policies=1,
    )
    keys = jax.random.split(random.key(seed), 3)
    theta = problem.policy.init(keys[0], jnp.zeros(np.shape(problem.environment.observations.low), source.dtype))

    def drawn() -> Segment:
        (batch,), _ = source.draw(keys[1], source.init(keys[2]), theta)
        return cut(batch, length)

    found = jax.device_get(jax.jit(drawn)())
    is_whole = np.flatnonzero(found.weight[:, 0])  # the others had ended before they began
    return jax.tree.map(lambda leaf: leaf[np.resize(is_whole, num_segments)], found)


def logistic_loss(reward: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The Bradley-Terry loss of a segment's summed reward (Christiano et al. [arXiv 1706.03741]).

    Args:
      reward: ``(x, obs, action, next_obs) -> []``.
    """

    def loss(x: PyTree, segment: Segment, other: Segment, label: jax.Array) -> jax.Array:
        gap = earned(reward, x, segment) - earned(reward, x, other)
        return preference_loss(gap, label)

    return loss


def lost(x: PyTree, segment: Segment, other: Segment, label: jax.Array) -> jax.Array:
    """1 where the other segment was preferred: the mean is 1 less the win rate, whatever x says of them."""
    del x, segment, other
    return 1 - label


def earned(reward: Callable[..., jax.Array], x: PyTree, segment: Segment) -> jax.Array:
    """The sum of r_x along a segment. []."""
    each = jax.vmap(reward, (None, 0, 0, 0))(x, segment.obs, segment.action, segment.next_obs)
    return jnp.sum(segment.weight * each)

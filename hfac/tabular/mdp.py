"""Tabular Markov decision processes: dynamics only, held as successor lists.

The reward is not here: the upper variable acts through the reward and never through the dynamics.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hfac import _checks

_ROW_SUM_TOLERANCE = 1e-9  # of float64; coarser floats are allowed sixteen roundings


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TabularMDP:
    """Dynamics of a finite MDP; build one with `from_successors`, `from_dense` or `disjoint_union`.

    `threshold` and `draws` are Walker's alias tables: one uniform number and two look-ups draw a
    successor, whatever K is. The joint lists hold every state reachable from s once, for sweeps over all states.
    """

    next_states: Any  # int32 [S, A, K]
    probs: Any  # [S, A, K], rows sum to 1; 0 pads short lists
    threshold: Any  # [S, A, K]
    draws: Any  # int32 [S, A, K, 2], the successor below and beyond the threshold
    initial: Any  # [S], rho
    start_threshold: Any  # [S]
    start_draws: Any  # int32 [S, 2]
    joint_successors: Any  # int32 [S, L], union of the successors over actions
    joint_probs: Any  # [S, A, L], probabilities of those
    discount: Any  # [], gamma in (0, 1)
    ends: Any  # bool [S], or None: the episode is over after an action taken here

    @property
    def num_states(self) -> int:
        """S."""
        return int(self.next_states.shape[0])

    @property
    def num_actions(self) -> int:
        """A."""
        return int(self.next_states.shape[1])

    def astype(self, dtype: Any) -> "TabularMDP":
        """The same dynamics as device arrays, floating-point leaves in `dtype`."""
        return jax.tree.map(
            lambda a: jnp.asarray(a, dtype if jnp.issubdtype(jnp.result_type(a), jnp.floating) else None), self
        )

    def continuation(self) -> jax.Array:
        """Discount after an action in each state: gamma, or 0 where the episode ends. [S]."""
        full = jnp.broadcast_to(jnp.asarray(self.discount), (self.num_states,))
        return full if self.ends is None else jnp.where(jnp.asarray(self.ends), jnp.zeros_like(full), full)


def from_successors(next_states: Any, probs: Any, initial: Any, discount: float, ends: Any = None) -> TabularMDP:
    """Build dynamics from successor lists.

    Args:
      next_states: integers [S, A, K] in [0, S); pad a short list with any state at probability 0.
      probs: [S, A, K], non-negative, rows sum to 1 as exactly as their dtype says; those of less than double precision
        are then made to.
      initial: [S], distribution of the first state, likewise.
      discount: gamma in (0, 1).
      ends: bool [S], states whose action is the episode's last, or None.

    Raises:
      ValueError: if a shape, range or row sum is wrong; the message names the first bad entry.
    """
    _checks.untraced(next_states=next_states, probs=probs, initial=initial, discount=discount, ends=ends)
    next_states, probs, initial = np.asarray(next_states), np.asarray(probs), np.asarray(initial)
    if next_states.ndim != 3 or next_states.shape != probs.shape:
        raise ValueError(f"next_states and probs must both be [S, A, K], got {next_states.shape} and {probs.shape}")
    num_states = next_states.shape[0]
    if not np.issubdtype(next_states.dtype, np.integer):
        raise ValueError(f"next_states must be integers, got {next_states.dtype}; cast with .astype(int)")
    if next_states.size == 0:
        raise ValueError(f"an MDP needs at least one state, action and successor, got shape {next_states.shape}")
    if next_states.min() < 0 or next_states.max() >= num_states:
        bad = next_states[(next_states < 0) | (next_states >= num_states)][0]
        raise ValueError(f"next_states must lie in [0, {num_states}), got {bad}")
    probs = _distribution("probs", probs, "(state, action)")
    if initial.shape != (num_states,):
        raise ValueError(f"initial must have shape ({num_states},), got {initial.shape}")
    initial = _distribution("initial", initial, "distribution")
    _checks.untraced(discount=discount)
    is_number = isinstance(discount, int | float | np.number | np.ndarray | jax.Array) and np.ndim(discount) == 0
    if not is_number or not 0 < discount < 1:
        raise ValueError(f"discount must lie strictly between 0 and 1, got {discount}")
    if np.float32(discount) == 1:
        raise ValueError(f"discount must be below 1 in single precision, in which runs are made, got {discount!r}")
    if ends is not None:
        ends = np.asarray(ends)
        if ends.shape != (num_states,) or ends.dtype != bool:
            raise ValueError(f"ends must be bool of shape ({num_states},), got {ends.dtype} {ends.shape}")
        ends = ends if ends.any() else None
    threshold, alias = _alias_tables(probs)
    start_threshold, start_alias = _alias_tables(initial)
    joint_successors, joint_probs = _joint_lists(next_states, probs)
    return TabularMDP(
        next_states=next_states.astype(np.int32),
        probs=probs,
        threshold=threshold,
        draws=np.stack([next_states, np.take_along_axis(next_states, alias, axis=-1)], -1).astype(np.int32),
        initial=initial,
        start_threshold=start_threshold,
        start_draws=np.stack([np.arange(num_states), start_alias], -1).astype(np.int32),
        joint_successors=joint_successors,
        joint_probs=joint_probs,
        discount=np.float64(discount),
        ends=ends,
    )


def from_dense(kernel: Any, initial: Any, discount: float, ends: Any = None) -> TabularMDP:
    """Build dynamics from a full kernel [S, A, S]; only reachable successors are kept.

    Raises:
      ValueError: as `from_successors`.
    """
    _checks.untraced(kernel=kernel)
    kernel = np.asarray(kernel)
    if kernel.ndim != 3 or kernel.shape[0] != kernel.shape[2]:
        raise ValueError(f"a dense kernel must be [S, A, S], got {kernel.shape}")
    if kernel.size == 0:
        raise ValueError(f"a dense kernel must not be empty, got {kernel.shape}")
    width = max(1, int((kernel != 0).sum(-1).max()))
    next_states = np.argsort(kernel == 0, axis=-1, kind="stable")[..., :width]
    probs = np.take_along_axis(kernel, next_states, axis=-1)
    return from_successors(next_states, probs, initial, discount, ends)


def disjoint_union(mdps: Sequence[TabularMDP], weights: Sequence[float]) -> TabularMDP:
    """Several MDPs side by side as one: contexts that share one upper variable.

    States are numbered block after block; the start mixes the blocks' starts.

    Args:
      mdps: same number of actions and same discount.
      weights: probability of each context, sums to 1.

    Raises:
      ValueError: if there is no MDP, actions or discounts differ, or weights are no distribution.
    """
    if len(mdps) == 0 or len(mdps) != len(weights):
        raise ValueError(f"disjoint_union needs one weight per MDP, got {len(mdps)} MDPs, {len(weights)} weights")
    weights = _distribution("weights", np.asarray(weights), "list").tolist()
    for name, values in (("actions", {m.num_actions for m in mdps}), ("discount", {float(m.discount) for m in mdps})):
        if len(values) > 1:
            raise ValueError(f"all MDPs of a disjoint union must have the same {name}, got {sorted(values)}")
    width = max(m.next_states.shape[2] for m in mdps)
    shifts = np.cumsum([0, *(m.num_states for m in mdps)])[:-1]

    def pad(table: np.ndarray) -> np.ndarray:
        return np.pad(table, ((0, 0), (0, 0), (0, width - table.shape[2])))

    return from_successors(
        np.concatenate([pad(m.next_states) + shift for m, shift in zip(mdps, shifts, strict=True)]),
        np.concatenate([pad(m.probs) for m in mdps]),
        np.concatenate([weight * m.initial for m, weight in zip(mdps, weights, strict=True)]),
        float(mdps[0].discount),
        np.concatenate([np.zeros(m.num_states, bool) if m.ends is None else m.ends for m in mdps]),
    )


def sample_start(mdp: TabularMDP, u: jax.Array) -> jax.Array:
    """Draw states from rho. u: uniforms [B] -> int32 [B]."""
    cell, fraction = _cell(u, mdp.num_states)
    return mdp.start_draws[cell, _is_beyond(fraction, mdp.start_threshold[cell])]


def sample_next(mdp: TabularMDP, u: jax.Array, state: jax.Array, action: jax.Array) -> jax.Array:
    """Draw successors from P(.|s, a). u, state, action: [B] -> int32 [B]."""
    cell, fraction = _cell(u, mdp.next_states.shape[2])
    where = (state, action, cell)
    return mdp.draws[(*where, _is_beyond(fraction, mdp.threshold[where]))]


def _is_beyond(fraction: jax.Array, threshold: jax.Array) -> jax.Array:
    """1 for the alias, 0 for the cell itself: an index, since a select would be a branch that a core mispredicts."""
    return (fraction >= threshold).astype(jnp.int32)


def _cell(u: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    scaled = u * size
    cell = jnp.minimum(scaled.astype(jnp.int32), size - 1)
    return cell, scaled - cell.astype(u.dtype)


def within_reach(mdp: TabularMDP) -> TabularMDP:
    """The same dynamics, a likely successor in the place of every listed one of probability 0.

    What cannot happen has no value: a reward may be infinite there, and 0 times infinity is no number.
    """
    next_states, probs = jnp.asarray(mdp.next_states), jnp.asarray(mdp.probs)
    likely = jnp.take_along_axis(next_states, jnp.argmax(probs, -1, keepdims=True), -1)
    return dataclasses.replace(mdp, next_states=jnp.where(probs > 0, next_states, likely))


def _distribution(name: str, probs: np.ndarray, row_name: str) -> np.ndarray:
    """Distributions along the last axis, in double precision.

    Raises:
      ValueError: if a row is none, as exactly as its dtype says.
    """
    if probs.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {probs.shape}")
    if probs.dtype == np.float64 and np.array_equal(probs, probs.astype(np.float32)):
        probs = probs.astype(np.float32)  # made in single precision, whatever carried it here
    is_coarse = probs.dtype.kind not in "iub" and probs.dtype != np.float64
    if probs.dtype.kind not in "iubf" and probs.dtype.name != "bfloat16":
        raise ValueError(f"{name} must be real numbers, got {probs.dtype}")
    tolerance = 16 * float(jnp.finfo(probs.dtype).eps) if is_coarse else _ROW_SUM_TOLERANCE
    probs = probs.astype(float)
    if not np.all(np.isfinite(probs)):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(probs))[0])
        raise ValueError(f"{name} must be finite, got {probs[where]} at {where}")
    if probs.min(initial=0) < 0:
        where = tuple(int(i) for i in np.argwhere(probs < 0)[0])
        raise ValueError(f"{name} must not be negative, got {probs[where]} at {where}")
    sums = probs.sum(-1)
    if np.max(np.abs(sums - 1)) > tolerance:
        where = tuple(int(i) for i in np.argwhere(np.abs(sums - 1) > tolerance)[0])
        raise ValueError(f"{name} must sum to 1 over every {row_name}, got {sums[where]} at {where}")
    return probs / sums[..., None] if is_coarse else probs


def _alias_tables(probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Walker's alias tables (Vose, 1991) of every row of probs [..., K]: threshold and alias index."""
    rows = probs.reshape(-1, probs.shape[-1])
    num_rows, size = rows.shape
    mass = rows * size / rows.sum(-1, keepdims=True)
    threshold = np.ones_like(mass)
    alias = np.broadcast_to(np.arange(size), mass.shape).copy()
    is_open = np.ones(mass.shape, bool)
    every = np.arange(num_rows)
    for _ in range(size - 1):  # each pass closes the lightest open cell of every row with its heaviest
        light = np.argmin(np.where(is_open, mass, np.inf), axis=1)
        heavy = np.argmax(np.where(is_open, mass, -np.inf), axis=1)
        threshold[every, light] = np.minimum(mass[every, light], 1.0)
        alias[every, light] = heavy
        is_open[every, light] = False
        mass[every, heavy] -= 1 - threshold[every, light]
    return threshold.reshape(probs.shape), alias.reshape(probs.shape)


def _joint_lists(next_states: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct successors of every state over all actions [S, L], and their probabilities [S, A, L]."""
    num_states, num_actions, _ = next_states.shape
    ordered = np.sort(next_states.reshape(num_states, -1), axis=1)
    is_new = np.concatenate([np.ones((num_states, 1), bool), np.diff(ordered, axis=1) > 0], axis=1)
    slot = np.cumsum(is_new, axis=1) - 1
    length = int(slot.max()) + 1
    joint = np.repeat(ordered[:, :1], length, axis=1)
    np.put_along_axis(joint, slot, ordered, axis=1)
    row = np.arange(num_states)[:, None, None]
    where = np.empty_like(next_states)
    for s in range(num_states):
        where[s] = np.searchsorted(ordered[s][is_new[s]], next_states[s])
    joint_probs = np.zeros((num_states, num_actions, length))
    np.add.at(joint_probs, (row, np.arange(num_actions)[:, None], where), probs)
    return joint.astype(np.int32), joint_probs

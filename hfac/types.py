"""Data types shared by every layer: the algorithm protocol, transitions, row updates, run status.

Shape letters, here and everywhere: ``S`` states, ``A`` actions, ``K`` successors, ``B`` batch,
``T`` record points, ``N`` seeds, ``M`` schedules.
"""

import enum
import functools
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

Key = jax.Array
PyTree = Any
Scalar = float | jax.Array
UNROLLED_BATCH = 8  # a sum over so few samples is written out: one fused kernel instead of a reduction


class Status(enum.IntEnum):
    """What became of one run; the first value other than OK is latched and the run frozen."""

    OK = 0
    NON_FINITE = 1
    OUT_OF_BOUNDS = 2
    REWARD_HACKED = 3
    UPPER_NON_FINITE = 4
    ENVIRONMENT_NON_FINITE = 5

    @property
    def meaning(self) -> str:
        """A sentence that says what happened and what to try next."""
        return _STATUS_MEANING[self]


_STATUS_MEANING = {
    Status.OK: "the run is healthy",
    Status.NON_FINITE: "an update was not finite; lower the upper or actor scale, or see what a replay finds",
    Status.UPPER_NON_FINITE: "only the direction of x was no number: the reward or f has no derivative at this x (sqrt "
    "and norms at 0, divisions behind a where); guard the argument there",
    Status.OUT_OF_BOUNDS: "an update passed the divergence bound; lower the step sizes or raise the penalty scale",
    Status.ENVIRONMENT_NON_FINITE: "the environment gave a reward or an observation that is no number; guard its step",
    Status.REWARD_HACKED: "reward hacked: the policy left its reference or repeats itself; raise tau or slow the actor",
}


class Transition(NamedTuple):
    """A weighted batch of transitions (s, a, s').

    A sampled batch has weight 1/B (0 while a chain waits after its episode has ended); the exact
    sampler enumerates every transition with its probability. Sums over the batch are expectations.
    """

    state: jax.Array  # int32 [B]
    action: jax.Array  # int32 [B]
    next_state: jax.Array  # int32 [B]
    weight: jax.Array  # [B]
    discount: jax.Array  # [B], gamma, or 0 where the episode ends with this action


class Solution(NamedTuple):
    """What a method is judged by."""

    x: PyTree  # upper variable
    theta: PyTree  # parameters of the policy that answers it


class Needs(NamedTuple):
    """What a method asks for beyond samples and first derivatives; every method's file states its own as `NEEDS`."""

    model: bool = False  # transition probabilities
    hessian: bool = False  # second derivatives, or products with them
    nested: bool = False  # several lower steps, or a solve, for every upper step
    fixed_tau: bool = False  # the entropy weight stays at its scale, whatever its schedule
    penalty: bool = False  # x moves by zeta / w times a difference of two policies; no requirement, but `tune` knows

    def __str__(self) -> str:
        """Needs in words, such as "model, nested"."""
        words = zip(("model", "second order", "nested", "fixed tau"), self, strict=False)
        return ", ".join(word for word, is_needed in words if is_needed) or "samples only"


class Shared:
    """Large frozen arrays that a problem's functions read, such as the weights of a language model.

    Compiled programs take them as one argument: they are the same for every run, are never copied for each, and never
    checkpointed; their digest belongs to a run's identity. Two of these are equal if they are the same object.
    """

    def __init__(self, tree: PyTree) -> None:
        """Hold a tree of arrays."""
        self.tree = tree

    @functools.cached_property
    def digest(self) -> str:
        """Of what the arrays hold."""
        found = hashlib.sha256()
        for leaf in map(np.asarray, jax.tree.leaves(self.tree)):
            found.update(f"{leaf.dtype} {leaf.shape}".encode())
            found.update(np.ascontiguousarray(leaf).tobytes())
        return found.hexdigest()[:16]


class Host(NamedTuple):
    """A part of every step that runs on the host, between two compiled ones: somebody's answer to what was drawn."""

    draw: Callable[..., tuple[PyTree, PyTree]]  # (key, state, schedules) -> what is asked, and what stays here; pure
    answer: Callable[[PyTree, Any], PyTree]  # (what is asked of all runs [R, ...], their keys uint32 [R, 2]) -> answer
    like: Callable[[PyTree], PyTree]  # shapes of what is asked -> shapes of the answer
    step: Callable[..., tuple[Any, Any]]  # (key, state, schedules, what stayed, answer) -> (state, info); pure


class Algorithm(NamedTuple):
    """A bi-level method as three pure functions; `jit`, `vmap`, `scan` and shard them as you like.

    The functions close over what is static. What is large is `shared`, and `reading` gives the same method over other
    arrays in its place, such as the arguments of a program that is being traced.
    """

    init: "InitFn"
    step: "StepFn"
    solution: "SolutionFn"
    shared: Shared | None = None
    rebuild: Callable[[PyTree], "Algorithm"] | None = None  # shared arrays -> the same method over them
    check_number: Callable[[str, float], None] | None = None  # raises unless an option may have this value in a run
    is_long: bool = False  # a step is a long program, as of neural policies: it is compiled as XLA sees fit
    host: Host | None = None  # parts of a step that cannot be one compiled function; `step` alone cannot be called then

    def reading(self, tree: PyTree) -> "Algorithm":
        """The same method over these shared arrays; itself where there are none."""
        return self if self.rebuild is None else self.rebuild(tree)

    @property
    def shared_arrays(self) -> PyTree:
        """What `reading` takes."""
        return () if self.shared is None else self.shared.tree


class InitFn(Protocol):
    """Builds the first state of a run."""

    def __call__(self, key: Key, schedules: Any) -> Any:
        """Return a state; the key is consumed."""


class StepFn(Protocol):
    """Advances a run by one iteration."""

    def __call__(self, key: Key, state: Any, schedules: Any) -> tuple[Any, Any]:
        """Return (state, info), of the same structure at every step; the key is consumed."""


class SolutionFn(Protocol):
    """Reads the judged quantity off a state."""

    def __call__(self, state: Any) -> Solution:
        """Return the upper variable and the policy parameters."""


def start_from(state: Any, x: PyTree) -> Any:
    """A run's state at another upper variable: by its method of this name, where more than its field `x` changes."""
    own = getattr(state, "start_from", None)
    return state._replace(x=x) if own is None else own(x)


def core(state: Any) -> Any:
    """A run's state itself, or the one inside it whose x is averaged."""
    return getattr(state, "inner", state)


def with_core(state: Any, inner: Any) -> Any:
    """The state with another one in the place of `core`."""
    return state._replace(inner=inner) if hasattr(state, "inner") else inner


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """Arrays of a tree in one floating dtype."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


class Rows(NamedTuple):
    """An update that touches some rows of a table, repeated rows adding up, and perhaps all of it."""

    index: jax.Array  # type: ignore[assignment]  # int32 [B]
    values: jax.Array  # [B, ...] one row of the table each
    dense: jax.Array | None = None  # [S, ...] added to the whole table


def is_rows(node: Any) -> bool:
    """Whether a tree node is a row update (the `is_leaf` of update trees)."""
    return isinstance(node, Rows)


def apply_updates(params: PyTree, updates: PyTree, bound: jax.Array | None = None) -> PyTree:
    """Add updates to parameters and clip every touched entry to the box ``[-bound, bound]``.

    Args:
      params: arrays.
      updates: same tree; a leaf may be `Rows` of the array it updates.
      bound: scalar, or None for no projection.
    """
    return jax.tree.map(lambda p, u: _apply(p, u, bound), params, updates)


def _apply(param: jax.Array, update: jax.Array | Rows, bound: jax.Array | None) -> jax.Array:
    if not isinstance(update, Rows):
        return param + update if bound is None else jnp.clip(param + update, -bound, bound)
    if update.dense is not None:
        moved = _apply(param + update.dense, update._replace(dense=None), None)
        return moved if bound is None else jnp.clip(moved, -bound, bound)
    if update.index.shape[0] > UNROLLED_BATCH:
        added = param.at[update.index].add(update.values)
        return added if bound is None else added.at[update.index].set(jnp.clip(added[update.index], -bound, bound))
    return _with_rows(param, update.index, update.values, bound)


def _with_rows(param: jax.Array, index: jax.Array, values: jax.Array, bound: jax.Array | None) -> jax.Array:
    """Few rows moved, each read from the table as it was and written once: no scatter, where there is one run.

    Of equal rows the last one is written last, and has the others in it.
    """
    rows = []
    for b in range(index.shape[0]):
        row = jax.lax.dynamic_index_in_dim(param, index[b], keepdims=False)
        for earlier in range(b):
            row += jnp.where(index[earlier] == index[b], values[earlier], 0)
        row += values[b]
        rows.append(row if bound is None else jnp.clip(row, -bound, bound))
    for b, row in enumerate(rows):
        param = jax.lax.dynamic_update_index_in_dim(param, row, index[b], 0)
    return param


def map_values(function: Any, *updates: PyTree) -> PyTree:
    """Map over the values of update trees of equal structure, keeping row indices as they are."""

    def leaf(*nodes: Any) -> Any:
        if not is_rows(nodes[0]):
            return function(*nodes)
        dense = None if nodes[0].dense is None else function(*(node.dense for node in nodes))
        return Rows(nodes[0].index, function(*(node.values for node in nodes)), dense)

    return jax.tree.map(leaf, *updates, is_leaf=is_rows)


def weighted_sum(weights: jax.Array, updates: PyTree) -> PyTree:
    """Sum per-sample updates: ``sum_b weights[b] * updates[b]``.

    Args:
      weights: [B].
      updates: every leaf has a leading axis B; `Rows` of a sample may hold one row or several.
    """

    def leaf(node: Any) -> Any:
        if not is_rows(node):
            return _contract(weights, node)
        values = _column(weights, node.values) * node.values
        lead = node.index.ndim
        dense = None if node.dense is None else _contract(weights, node.dense)
        return Rows(node.index.reshape(-1), values.reshape(-1, *values.shape[lead:]), dense)

    return jax.tree.map(leaf, updates, is_leaf=is_rows)


def _contract(weights: jax.Array, values: jax.Array) -> jax.Array:
    if weights.shape[0] > UNROLLED_BATCH:
        return jnp.sum(_column(weights, values) * values, axis=0)
    return functools.reduce(jnp.add, [weights[b] * values[b] for b in range(weights.shape[0])])


def _column(weights: jax.Array, like: jax.Array) -> jax.Array:
    return weights.reshape(weights.shape + (1,) * (like.ndim - weights.ndim))


def add_updates(params: PyTree, *updates: PyTree | None) -> PyTree:
    """Sum whole updates of one parameter tree: rows stay rows, with whatever is dense beside them.

    None stands for a term that is absent; the sum of no terms is a dense zero.
    """
    terms = [update for update in updates if update is not None]
    if not terms:
        return jax.tree.map(jnp.zeros_like, params)
    return jax.tree.map(_add, *terms, is_leaf=is_rows)


def _add(*terms: Any) -> Any:
    rows = [term for term in terms if is_rows(term)]
    parts = [term.dense if is_rows(term) else term for term in terms]
    dense = [part for part in parts if part is not None]
    whole = functools.reduce(jnp.add, dense) if dense else None
    if not rows:
        return whole
    index, values = (jnp.concatenate([getattr(row, name) for row in rows]) for name in ("index", "values"))
    return Rows(index, values, whole)


def densify(params: PyTree, updates: PyTree) -> PyTree:
    """The update as plain arrays shaped like `params`."""
    return jax.tree.map(_dense, params, updates)


def _dense(param: jax.Array, update: Any) -> jax.Array:
    if not is_rows(update):
        return update
    start = jnp.zeros_like(param) if update.dense is None else update.dense
    return start.at[update.index].add(update.values)

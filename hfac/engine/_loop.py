"""The loop of a run: a scan over record points, each a loop of as many steps as lie between. Knows no problem."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac import _checks
from hfac._compiler import random
from hfac.types import Algorithm, Key, PyTree, start_from

Record = Callable[[Any, Any, Any], PyTree]  # (state, info, schedules) -> what is kept

POINTS_PER_DECADE = 8
MAX_STEPS = 2**31 - 1


class History(NamedTuple):
    """What a run recorded, one row per record point."""

    step: jax.Array  # int32 [T], iterations done
    num_samples: jax.Array  # int32 [T], environment transitions since the record point before
    record: PyTree  # leaves [T, ...], what the record function returned


def run_key(seed: int | jax.Array, root: int = 0) -> Key:
    """The key of the run called `seed`: it depends on nothing else, so seeds can be added later.

    Raises:
      ValueError: if the seed is no whole number in [0, 2**31).
    """
    if not isinstance(seed, jax.Array):
        is_number = isinstance(seed, int | float | np.number | np.ndarray) and not isinstance(seed, bool)
        if not is_number or np.ndim(seed) or seed != int(seed) or not 0 <= seed <= MAX_STEPS:
            raise ValueError(f"a seed is a whole number in [0, 2**31), got {seed!r}")
        seed = int(seed)
    return jax.random.fold_in(random.key(root), seed)


def record_points(num_steps: int, record_at: Sequence[int] | None = None) -> np.ndarray:
    """Steps at which a run is recorded, int32 [T]: 0, eight a decade, and the last, unless given.

    Raises:
      ValueError: if num_steps or a point is out of range, or the points do not increase.
    """
    is_number = isinstance(num_steps, int | float | np.number) or (
        isinstance(num_steps, jax.Array) and not num_steps.ndim
    )
    is_number = is_number and not isinstance(num_steps, bool) and np.isfinite(num_steps)
    if not is_number or int(num_steps) != num_steps or not 0 <= num_steps <= MAX_STEPS:
        raise ValueError(f"num_steps must be a whole number in [0, {MAX_STEPS}], got {num_steps}")
    if record_at is None:
        decades = int(np.ceil(np.log10(max(num_steps, 1)))) + 1
        ladder = {round(10 ** (j / POINTS_PER_DECADE)) for j in range(POINTS_PER_DECADE * decades)}
        return np.array(sorted({0, int(num_steps)} | {k for k in ladder if k <= num_steps}), np.int32)
    points = np.asarray(record_at)
    if points.ndim != 1 or points.size == 0 or np.any(points != np.round(points)):
        raise ValueError(f"record_at must be a list of whole numbers, got {record_at}")
    if np.any(np.diff(points) <= 0) or points[0] < 0 or points[-1] > num_steps:
        raise ValueError(f"record_at must increase from 0 to at most num_steps = {num_steps}, got {points.tolist()}")
    return points.astype(np.int32)


@functools.lru_cache(maxsize=256)
def compiled_step(algorithm: Algorithm) -> Any:
    """The step as one jitted function ``(key, state, schedules, shared)``, so that a single trace serves everyone."""

    def step(key: Key, state: Any, schedules: Any, shared: PyTree) -> tuple[Any, Any]:
        return algorithm.reading(shared).step(key, state, schedules)

    return jax.jit(step)


class SharedRecord(NamedTuple):
    """A record function that reads the shared arrays of its problem."""

    make: Callable[[PyTree], Record]  # shared arrays -> the function

    def __call__(self, *args: Any) -> PyTree:
        """Refuse to be called without the arrays."""
        raise TypeError("this record function reads shared arrays; use make(shared)")


def record_over(record: Any, shared: PyTree) -> Record:
    """A record function over these shared arrays."""
    return record.make(shared) if isinstance(record, SharedRecord) else record


@functools.lru_cache(maxsize=256)
def default_record(algorithm: Algorithm) -> Record:
    """Keeps the solution's x, the status and the step of the first fault."""

    def record(state: Any, info: Any, schedules: Any) -> dict[str, Any]:
        del info, schedules
        return {"x": algorithm.solution(state).x, "status": state.status, "failed_at": state.failed_at}

    return record


def first_state(algorithm: Algorithm, key: Key, schedules: Any, initial: Any = None) -> Any:
    """The state a run starts from: the algorithm's own, at another x, or one given whole.

    Raises:
      ValueError: if `initial` is neither a state nor an upper variable of this algorithm.
    """
    state = algorithm.init(random.fold_in(key, 0), schedules)
    if initial is None:
        return state
    if _is_like(initial, state):
        return initial
    x = algorithm.solution(state).x
    if not _is_like(initial, x):
        shapes = jax.tree.map(jnp.shape, initial)
        raise ValueError(
            f"initial must be a state or an upper variable like {jax.tree.map(jnp.shape, x)}, got {shapes}"
        )
    return start_from(state, jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), initial, x))


def _is_like(first: Any, second: Any) -> bool:
    """Whether two trees have the same structure and the same shapes."""
    if jax.tree.structure(first) != jax.tree.structure(second):  # type: ignore[operator]
        return False
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(jnp.shape(a) == jnp.shape(b) for a, b in pairs)


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="chunk")
def advance(
    algorithm: Algorithm,
    record: Record,
    key: Key,
    schedules: Any,
    state: Any,
    lengths: jax.Array,
    shared: PyTree,
    *,
    chunk: int = 1,
) -> tuple[Any, History]:
    """Do intervals of `lengths` steps [T] and record after each, `chunk` steps in a loop whose trip count is known.

    The random stream is a function of the run's key and `state.step` alone: however a run is cut into intervals and
    chunks, its numbers are the same.
    """
    step_key = random.fold_in(key, 1)
    step, keep = compiled_step(algorithm), record_over(record, shared)
    _, info = jax.eval_shape(step, step_key, state, schedules, shared)
    no_info = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), info)

    def iterate(_: jax.Array, carry: tuple[Any, Any, jax.Array]) -> tuple[Any, Any, jax.Array]:
        state, _, num_samples = carry
        state, info = step(random.fold_in(step_key, state.step), state, schedules, shared)
        return state, info, num_samples + info.num_samples

    def interval(carry: tuple[Any, Any], length: jax.Array) -> tuple[tuple[Any, Any], History]:
        state, info, num_samples = _repeat(iterate, length, (*carry, jnp.int32(0)), chunk)
        with _checks.explained("record"):
            kept = keep(state, info._replace(num_samples=num_samples), schedules)
        return (state, info), History(state.step, num_samples, kept)

    (state, _), history = jax.lax.scan(interval, (state, no_info), lengths)
    return state, history


def _repeat(iterate: Callable[[Any, Any], Any], length: jax.Array, carry: Any, chunk: int) -> Any:
    """Iterate `length` times; a device asks its host whether to go on once a chunk, and in what is left over."""
    if chunk == 1:
        return jax.lax.fori_loop(0, length, iterate, carry)
    carry = jax.lax.fori_loop(0, length // chunk, lambda _, own: jax.lax.fori_loop(0, chunk, iterate, own), carry)
    return jax.lax.fori_loop(0, length % chunk, iterate, carry)

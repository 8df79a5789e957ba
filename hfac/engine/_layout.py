"""Many runs laid out on a machine: configurations x seeds, flattened and sharded."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac import _checks, results
from hfac._compiler import random
from hfac._trees import named_leaves
from hfac.engine import _loop, _program, _sharding
from hfac.schedules import Coordinates, Grid, Schedules
from hfac.types import Algorithm

LONGEST_NAME = 200  # letters: names become names of files
MAX_SEED = 2**31 - 1


class Layout(NamedTuple):
    """A sweep laid out on this machine."""

    program: _program.Program
    runs: _program.Runs  # of all slots, padding included
    coordinates: Coordinates  # of all configurations
    seeds: np.ndarray  # [N], all of them
    table: results.RunTable  # of the runs in the slots

    @property
    def num_runs(self) -> int:
        """Configurations x seeds, or those of them that are laid out."""
        return self.table.num_runs

    @property
    def record_shapes(self) -> Any:
        """Shapes of what one record point keeps of one run."""
        return self.program.record_shapes(self.runs)


def lay_out(
    algorithm: Algorithm,
    schedules: Schedules | Grid,
    seeds: Any,
    record: _loop.Record | None = None,
    initial: Any = None,
    width: int | None = None,
    root: int = 0,
    devices: Sequence[Any] | None = None,
    subset: np.ndarray | None = None,
) -> Layout:
    """Flatten configurations x seeds to one padded run axis, over all devices unless the step factorises matrices.

    Arguments are those of `sweep`, the devices to use, and which runs to lay out (places on the flat axis; all unless
    given).

    Raises:
      ValueError: if the algorithm is none, the seeds are not distinct whole numbers, or `initial` has no run axis of
        the right length.
    """
    if not isinstance(algorithm, Algorithm):
        made = "hfac.algorithms.hfac(problem)"
        raise ValueError(f"algorithm must be what a builder returns, such as {made}, got {type(algorithm).__name__}")
    batch, coordinates = schedules if isinstance(schedules, tuple) else Grid(schedules, Coordinates((), {}))
    distinct = check_seeds(seeds)
    num_configs = int(np.prod(coordinates.shape, dtype=int))

    def per_run(leaf: Any) -> np.ndarray:
        return np.repeat(np.broadcast_to(np.asarray(leaf, float), (num_configs,)), len(distinct))[chosen]

    check_numbers(algorithm, batch)
    table = results.run_table(coordinates, distinct)
    chosen = np.arange(table.num_runs) if subset is None else subset
    table, seed = table.take(chosen), np.tile(distinct, num_configs)[chosen]
    for leaf in jax.tree.leaves(initial):
        if jnp.shape(leaf)[:1] != seed.shape:
            raise ValueError(f"initial must have one entry per run, {seed.size} here, got shape {jnp.shape(leaf)}")
    key = jax.vmap(functools.partial(_loop.run_key, root=root))(jnp.asarray(seed))
    runs = _program.Runs(key, jax.tree.map(per_run, batch), initial)
    record = record or _loop.default_record(algorithm)
    devices = list(devices or jax.local_devices())
    for usable in (devices, devices[:1]):
        plan = _sharding.make_plan(seed.size, usable, width)
        prepared = _program.program(algorithm, record, plan)
        padded = jax.tree.map(jnp.asarray, _sharding.pad(plan, runs))
        if len(plan.devices) == 1 or not prepared.factorizes(padded):
            break
    layout = Layout(prepared, padded, coordinates, distinct, table)
    check_names(layout.record_shapes, coordinates)
    return layout


def check_numbers(algorithm: Algorithm, schedules: Any) -> None:
    """Raise `ValueError` unless the method has the options that schedules carry, and takes their values."""
    if algorithm.check_number is None or not isinstance(schedules, Schedules) or _checks.is_traced(schedules):
        return
    for name, values in schedules.options.items():
        for value in np.unique(np.asarray(values, float)):
            algorithm.check_number(name, float(value))


def check_names(record: Any, swept: Coordinates) -> None:
    """Raise `ValueError` if a record would take the place of something else in the results, or cannot be stored.

    Args:
      record: what a record point keeps, shapes and dtypes.
      swept: coordinates of the configurations.
    """
    leaves = named_leaves(record)
    axes = {f"{name}_{i}" for name, leaf in leaves.items() for i in range(len(leaf.shape))}
    coordinates = {label for labels in swept.values.values() for label in labels}
    for name, leaf in leaves.items():
        if not (jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool):
            raise ValueError(f"a record must hold numbers, got {leaf.dtype} in '{name}'")
        if len(name) > LONGEST_NAME or not name.isascii() or name.startswith(results.PART):
            raise ValueError(
                f"a record cannot be called '{name[:60]}': names have at most {LONGEST_NAME} letters of a file's name"
            )
        if name in {"samples", "seed", "step", "judged_tau", *swept.dims, *coordinates, *axes} or name == "zarr.json":
            raise ValueError(f"a record cannot be called '{name}', as something else is; give it another name")


def state_bytes(algorithm: Algorithm, schedules: Schedules) -> int:
    """Bytes of one run's state, of an algorithm with these schedules (or a batch of them); nothing is computed."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((), jnp.result_type(float)), schedules)
    state = jax.eval_shape(functools.partial(_loop.first_state, algorithm), random.key(0), one)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def check_seeds(seeds: Any) -> np.ndarray:
    """Seeds as int32 [N]; a number n stands for 0 .. n - 1.

    Raises:
      ValueError: if they are not distinct whole numbers >= 0 that fit 31 bits.
    """
    array = np.asarray(list(seeds) if isinstance(seeds, range) else seeds)
    if array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
        raise ValueError(f"seeds must be a count >= 1 or a list of whole numbers, got {seeds!r}")
    if array.size and array.max() > MAX_SEED:
        raise ValueError(f"seeds must be distinct and in [0, 2**31), got {seeds}")
    if array.ndim == 0 and array == np.round(array):
        array = np.arange(int(array))
    if array.ndim != 1 or array.size == 0 or np.any(array != np.round(array.astype(float))):
        raise ValueError(f"seeds must be a count >= 1 or a list of whole numbers, got {seeds}")
    if array.min() < 0 or array.max() >= 2**31 or len(set(array.tolist())) < array.size:
        raise ValueError(f"seeds must be distinct and in [0, 2**31), got {seeds}")
    return array.astype(np.int32)

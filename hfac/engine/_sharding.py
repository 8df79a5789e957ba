"""How runs share a machine: the run axis padded, cut into blocks, and spread over devices."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from hfac.types import PyTree

CPU_BLOCK = 128  # runs whose state stays in a core's cache; measured in benchmarks/NOTES.md


def num_cores() -> int:
    """Cores this process may use: as many CPU devices are worth having."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Placement(NamedTuple):
    """Where every run of a sweep goes."""

    devices: tuple[Any, ...]
    num_blocks: int  # per device, one after another
    width: int  # runs per block, side by side; a run's bits depend on nothing else of the plan

    @property
    def num_slots(self) -> int:
        """Runs with padding."""
        return len(self.devices) * self.num_blocks * self.width


def make_plan(num_runs: int, devices: Sequence[Any], width: int | None = None) -> Placement:
    """Spread runs evenly over devices, in blocks that fit a core's cache on CPUs.

    Raises:
      ValueError: if there is no run or no device, or the width is not positive.
    """
    if num_runs < 1 or not devices or (width is not None and width < 1):
        raise ValueError(f"a sweep needs runs, devices and a positive width, got {num_runs}, {len(devices)}, {width}")
    used = tuple(devices[: min(len(devices), num_runs)])
    per_device = -(-num_runs // len(used))
    largest = width or (CPU_BLOCK if used[0].platform == "cpu" else per_device)
    num_blocks = -(-per_device // largest)
    return Placement(used, num_blocks, width or -(-per_device // num_blocks))


def pad(plan: Placement, tree: PyTree) -> PyTree:
    """Repeat the first run to fill every slot; leaves are host or device arrays [R, ...]."""

    def leaf(array: Any) -> Any:
        missing = plan.num_slots - array.shape[0]
        filler = (
            jnp.repeat(array[:1], missing, axis=0) if isinstance(array, jax.Array) else np.repeat(array[:1], missing, 0)
        )
        join = jnp.concatenate if isinstance(array, jax.Array) else np.concatenate
        return join([array, filler]) if missing else array

    return jax.tree.map(leaf, tree)


def over_runs(function: Callable[..., PyTree], plan: Placement, num_shared: int = 0) -> Callable[..., PyTree]:
    """Map a function of one run over all slots: devices by `shard_map`, blocks by `lax.map`, a block by `vmap`.

    The last `num_shared` arguments are the same for every run. There is no communication between runs.
    """

    def one_device(*args: Any) -> PyTree:
        own, shared = args[: len(args) - num_shared], args[len(args) - num_shared :]
        block = jax.vmap(lambda own: function(*own, *shared))
        if plan.num_blocks == 1:
            return block(own)
        stacked = jax.tree.map(lambda a: a.reshape(plan.num_blocks, plan.width, *a.shape[1:]), own)
        out = jax.lax.map(block, stacked)
        return jax.tree.map(lambda a: a.reshape(plan.num_blocks * plan.width, *a.shape[2:]), out)

    if len(plan.devices) == 1:
        return one_device

    def everywhere(*args: Any) -> PyTree:
        specs = [PartitionSpec("runs")] * (len(args) - num_shared) + [PartitionSpec()] * num_shared
        mesh = Mesh(np.array(plan.devices), ("runs",))
        mapped = jax.shard_map(
            one_device, mesh=mesh, in_specs=tuple(specs), out_specs=PartitionSpec("runs"), check_vma=False
        )
        return mapped(*args)

    return everywhere

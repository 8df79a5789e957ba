"""Judging a sweep: metrics of its records, and one row per configuration."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from hfac import judging, statistics
from hfac._activity import activity
from hfac._compiler.jaxpr import has_factorization
from hfac._trees import named_leaves, nested, restored
from hfac.judging import OBJECTIVE, Metric
from hfac.types import Status

if TYPE_CHECKING:
    import xarray


BLOCK, MANY = 8, 64  # runs judged in one call, where there are so many: a call costs as much as a small solve
ROLE = "role"  # attribute of what judging adds to a sweep


def judge(
    data: "xarray.Dataset", metric: Metric, progress: Callable[[int, int], None] = lambda done, total: None
) -> "xarray.Dataset":
    """Add a metric's values to a sweep, +inf where the run had failed. A stored sweep can be judged again.

    Args:
      data: a sweep that recorded what the metric reads.
      metric: from `hfac.metrics`, or a problem's own `judge`.
      progress: called with (runs judged, runs in all).

    Raises:
      ValueError: if the sweep did not record what is needed, or recorded something by a metric's name.
    """
    if not isinstance(metric, Metric):
        made = "hfac.metrics.exact(problem, tau=...)"
        raise ValueError(f"metric must be an hfac.judging.Metric, such as {made}, got {type(metric).__name__}")
    for name in ("status", "samples"):
        if name not in data:
            raise ValueError(f"a sweep is judged with its '{name}', which was not recorded; let `record` keep it")
    _check_metric(data, metric)
    dims = data["status"].dims
    shape = data["status"].shape
    names = [n for n in data.data_vars if set(dims) <= set(data[n].dims) and ROLE not in data[n].attrs]
    num_runs = math.prod(shape[:-1])
    ordered = {str(n): data[n].transpose(*dims, ...).values for n in names}
    leaves = {n: leaf.reshape(num_runs, *leaf.shape[len(dims) - 1 :]) for n, leaf in ordered.items()}
    records = structured(leaves, metric.like)
    _check_shapes(records, metric.like)
    pieces: list[dict[str, np.ndarray]] = []
    for done, piece in _evaluate(metric, records, num_runs):
        pieces.append(piece)
        progress(done, num_runs)
    found = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    has_failed = data["status"].values != Status.OK
    judged = data.drop_dims(metric.dim, errors="ignore")
    taken = sorted(set(found) & set(names))
    if taken:
        raise ValueError(f"the sweep recorded '{taken[0]}', which is the name of a metric; record it by another name")
    taken = sorted(set(found) & {*map(str, {**data.sizes, **data.coords}), metric.dim})
    if taken:
        raise ValueError(f"a value of a metric cannot be called '{taken[0]}', as a coordinate is; give it another name")
    for name, rows in found.items():
        values = rows.reshape(*shape, *rows.shape[2:])
        values = np.where(has_failed.reshape(has_failed.shape + (1,) * (values.ndim - has_failed.ndim)), np.inf, values)
        judged[name] = ((*dims, metric.dim) if name in metric.vectors else dims, values, {ROLE: "metric"})
    return judged.assign_coords({metric.dim: metric.labels}) if metric.labels.size else judged


def _check_metric(data: "xarray.Dataset", metric: Metric) -> None:
    """Raise `ValueError` if a metric's dimension is something else of the sweep."""
    own = {str(n) for n in data.data_vars if ROLE not in data[n].attrs}
    judged = {str(dim) for n in data.data_vars if ROLE in data[n].attrs for dim in data[n].dims}
    others = {str(dim) for dim in data.sizes if dim not in judged} | {str(d) for n in own for d in data[n].dims}
    if metric.labels.size and metric.dim in own | others:
        raise ValueError(f"the dimension of a metric cannot be called '{metric.dim}', as something else is")


def _check_shapes(records: Mapping[str, Any], like: Mapping[str, Any] | None) -> None:
    """Raise `ValueError` if a metric reads trees of other shapes than were recorded, leaves [R, points, ...]."""
    for key, tree in (like or {}).items():
        expected, recorded = named_leaves({key: tree}), named_leaves({key: records[key]})
        for name, leaf in expected.items():
            if (shape := np.shape(recorded[name])[2:]) != leaf.shape:
                raise ValueError(f"the sweep's {name} is {shape}, the metric's {leaf.shape}; judge by its own problem")


def structured(leaves: Mapping[str, Any], like: Mapping[str, Any] | None) -> dict[str, Any]:
    """Named leaves of a record as trees: those of `like` in their own structure, the others one by one.

    Raises:
      ValueError: if a leaf of a tree was not recorded.
    """
    if like is None:
        return nested(leaves)
    inside = {name for key, tree in like.items() for name in named_leaves({key: tree})}
    trees = {key: restored(leaves, tree, key) for key, tree in like.items()}
    return {name: leaf for name, leaf in leaves.items() if name not in inside} | trees


def _evaluate(metric: Metric, records: dict[str, Any], num_runs: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Runs judged so far, and a metric's values of the newest block of them, leaves [runs, ...].

    As many blocks at once as there are devices.

    Programs that factorise matrices run one at a time: on several CPU devices they can deadlock.
    """
    evaluate, size = judging.program(metric.function), BLOCK if num_runs >= MANY else 1

    def block(start: int) -> Any:  # the last one repeats runs, so that all are of one shape
        rows = np.minimum(np.arange(start, start + size), num_runs - 1)
        return jax.tree.map(lambda leaf: leaf[rows], records)

    with activity("compiling"):
        traced = evaluate.trace(*jax.tree.map(jnp.asarray, (metric.carry, block(0))))
    devices = jax.local_devices()[: 1 if has_factorization(traced.jaxpr.jaxpr) else None]
    starts = range(0, num_runs, size)
    for i in range(0, len(starts), len(devices)):
        pairs = list(zip(devices, starts[i : i + len(devices)], strict=False))
        with activity("compiling") if i == 0 else contextlib.nullcontext():  # where it is called; it works elsewhere
            pending = [evaluate(*jax.device_put((metric.carry, block(start)), device)) for device, start in pairs]
        for (_, start), values in zip(pairs, pending, strict=True):
            count = min(size, num_runs - start)
            yield start + count, jax.tree.map(lambda leaf, own=count: leaf[:own], jax.device_get(values))


def summary(data: "xarray.Dataset", name: str = OBJECTIVE) -> list[dict[str, Any]]:
    """One row per configuration (and judged tau) at the last step: interquartile mean, interval, worst, diverged.

    Args:
      data: a judged sweep.
      name: the variable to summarise.
    """
    last = data[name].isel(step=-1)
    failed = (data["status"].isel(step=-1) != Status.OK).sum("seed")
    samples = data["samples"].isel(step=-1).mean("seed")
    rows = []
    others = tuple(dim for dim in last.dims if dim != "seed")
    for where in np.ndindex(*(last.sizes[dim] for dim in others)):
        pick = dict(zip(others, where, strict=True))
        values = last.isel(pick).transpose("seed").values
        interval = statistics.bootstrap(values)
        config = {dim: i for dim, i in pick.items() if dim in failed.dims}
        rows.append(
            {
                **{str(c): float(v) for c, v in last.isel(pick).coords.items() if c not in ("seed", "step")},
                "samples": float(samples.isel(config)),
                "interquartile_mean": float(interval.estimate),
                "low": float(interval.low),
                "high": float(interval.high),
                "worst": float(np.max(values)),
                "diverged": int(failed.isel(config)),
                "seeds": int(values.size),
            }
        )
    return rows

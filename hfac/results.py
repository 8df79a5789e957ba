"""A sweep as an `xarray.Dataset`: labels, provenance, judging, summary; and the same on disk as zarr.

Dimensions: one per swept quantity, `seed`, `step`. Variables: what was recorded, `samples` (environment transitions
so far), and metrics. xarray and zarr are imported where they are used.
"""

import datetime
import importlib.metadata
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from hfac import metrics, statistics
from hfac._jaxpr import has_factorization
from hfac.metrics import Metric
from hfac.schedules import Coordinates
from hfac.types import Status

if TYPE_CHECKING:
    import xarray

PACKAGES = ("jax", "numpy", "optax", "chex")


def provenance() -> dict[str, Any]:
    """What produced a result: versions, device, time, and the code's git commit if it is run from a checkout."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES} | {"jaxlib": jaxlib.__version__}
    device = jax.devices()[0]
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": " ".join(f"{name} {version}" for name, version in found.items()),
        "device": f"{device.platform} {device.device_kind}",
        "git_commit": _git_commit(),
    }


def _git_commit() -> str:
    try:
        where = Path(__file__).parent
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves of a record by a dotted name, such as ``x`` or ``x.bias``."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator=".") or "record": leaf for path, leaf in leaves}


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `named_leaves` for a record of dictionaries: ``x.bias`` is ``["x"]["bias"]``."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *path, last = name.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = leaf
    return tree


def template(record: Any, points: np.ndarray, seeds: np.ndarray, coordinates: Coordinates) -> "xarray.Dataset":
    """An empty result: every variable with its dimensions and coordinates, values not yet written.

    Args:
      record: shapes and dtypes of one run's record at one point.
      points: recorded steps [T].
      seeds: [N].
      coordinates: of the configurations.
    """
    import xarray

    dims = (*coordinates.dims, "seed", "step")
    shape = (*coordinates.shape, len(seeds), len(points))
    coords: dict[str, Any] = {"seed": seeds, "step": points}
    for dim, values in coordinates.values.items():
        coords |= {name: (dim, labels) for name, labels in values.items()}
    variables = {"samples": (dims, np.full(shape, -1, np.int64))}
    for name, leaf in named_leaves(record).items():
        extra = tuple(f"{name}_{i}" for i in range(len(leaf.shape)))
        blank = np.nan if np.issubdtype(leaf.dtype, np.floating) else -1
        variables[name] = ((*dims, *extra), np.full((*shape, *leaf.shape), blank, leaf.dtype))
    return xarray.Dataset(variables, coords)


def dataset(
    record: Any,
    num_samples: np.ndarray,
    points: np.ndarray,
    seeds: np.ndarray,
    coordinates: Coordinates,
    attributes: Mapping[str, Any],
) -> "xarray.Dataset":
    """Label the records of a sweep.

    Args:
      record: leaves [R, T, ...], configurations major, seeds minor.
      num_samples: [R, T], transitions since the record point before.
      points: recorded steps [T].
      seeds: [N].
      coordinates: of the configurations.
      attributes: numbers and texts added to the provenance.
    """
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), record)
    labelled = template(one, points, seeds, coordinates)
    leaves = named_leaves(record) | {"samples": np.cumsum(num_samples.astype(np.int64), axis=1)}
    for name, leaf in leaves.items():
        labelled[name].values[...] = np.asarray(leaf).reshape(labelled[name].shape)
    return labelled.assign_attrs(provenance() | dict(attributes))


def judge(
    data: "xarray.Dataset", metric: Metric, progress: Callable[[int, int], None] = lambda done, total: None
) -> "xarray.Dataset":
    """Add a metric's values to a sweep, +inf where the run had failed. A stored sweep can be judged again.

    Args:
      data: a sweep that recorded what the metric reads.
      metric: from `hfac.metrics`.
      progress: called with (runs judged, runs in all).
    """
    dims = data["status"].dims
    shape = data["status"].shape
    names = [name for name in data.data_vars if set(dims) <= set(data[name].dims)]
    records = {
        n: data[n].transpose(*dims, ...).values.reshape(-1, shape[-1], *data[n].shape[len(dims) :]) for n in names
    }
    num_runs = next(iter(records.values())).shape[0]
    found: list[dict[str, np.ndarray]] = []
    for worth in _evaluate(metric, [nested({str(n): leaf[i] for n, leaf in records.items()}) for i in range(num_runs)]):
        found.append(worth)
        progress(len(found), num_runs)
    has_failed = data["status"].values != Status.OK
    judged = data.drop_dims(metric.dim, errors="ignore")
    for name in found[0]:
        values = np.stack([row[name] for row in found])
        values = values.reshape(*shape, *values.shape[2:])
        values = np.where(has_failed.reshape(has_failed.shape + (1,) * (values.ndim - has_failed.ndim)), np.inf, values)
        judged[name] = ((*dims, metric.dim) if name in metric.vectors else dims, values)
    return judged.assign_coords({metric.dim: metric.labels}) if metric.labels.size else judged


def _evaluate(metric: Metric, runs: list[dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """A metric's values of one run after another, as many at once as there are devices.

    Programs that factorise matrices run one at a time: on several CPU devices they can deadlock.
    """
    evaluate = metrics.program(metric.function)
    traced = evaluate.trace(*jax.tree.map(jnp.asarray, (metric.carry, runs[0])))
    devices = jax.local_devices()[: 1 if has_factorization(traced.jaxpr.jaxpr) else None]
    for i in range(0, len(runs), len(devices)):
        pairs = zip(devices, runs[i : i + len(devices)], strict=False)
        pending = [evaluate(*jax.device_put((metric.carry, run), device)) for device, run in pairs]
        yield from map(jax.device_get, pending)


def summary(data: "xarray.Dataset", name: str = "hyper_objective") -> list[dict[str, Any]]:
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


class Store:
    """A result on disk that grows record point by record point."""

    def __init__(self, path: Path, labelled: "xarray.Dataset") -> None:
        """Create the store at a path that must not exist yet."""
        import zarr

        write(labelled, path, _chunks(labelled))
        self._group = zarr.open_group(path, mode="r+")
        self._shape = labelled["status"].shape
        self._samples = np.zeros(self._shape[:-1], np.int64)

    def write(self, index: int, record: Any, num_samples: np.ndarray) -> None:
        """Write the records [R, ...] of one record point; `num_samples` [R] are those since the last one."""
        self._samples += np.asarray(num_samples, np.int64).reshape(self._samples.shape)
        for name, leaf in (named_leaves(record) | {"samples": self._samples}).items():
            array: Any = self._group[name]
            array[(slice(None),) * (len(self._shape) - 1) + (index,)] = np.asarray(leaf).reshape(
                *self._shape[:-1], *array.shape[len(self._shape) :]
            )

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes, such as the seconds it took."""
        self._group.attrs.update(dict(attributes))


def _chunks(labelled: "xarray.Dataset") -> dict[str, dict[str, Any]]:
    """One chunk per record point, so that writing one touches no other."""
    return {
        str(name): {"chunks": tuple(1 if dim == "step" else size for dim, size in variable.sizes.items())}
        for name, variable in labelled.data_vars.items()
    }


def write(data: "xarray.Dataset", path: Path, encoding: Mapping[str, Any] | None = None) -> None:
    """Store a dataset at a path that must not exist yet."""
    data.to_zarr(path, mode="w-", consolidated=False, encoding=encoding)


def load(path: Path) -> "xarray.Dataset":
    """Read a stored result into memory; record points that a running or stopped sweep has not reached are left out.

    Raises:
      ValueError: if there is none at the path.
    """
    import xarray

    if not Path(path).is_dir():
        raise ValueError(f"no results at {path}; a sweep writes them to OUT/results.zarr")
    data = xarray.open_zarr(path, consolidated=False).load()
    others = [dim for dim in data["samples"].dims if dim != "step"]
    return data.isel(step=(data["samples"] >= 0).all(others).values)


def save(data: "xarray.Dataset", path: Path) -> None:
    """Write the metrics of a judged sweep over those stored before; what was recorded stays as it is."""
    import zarr

    group = zarr.open_group(path, mode="r+")
    recorded = {name for name in data.data_vars if "judged_tau" not in data[name].dims and str(name) in group}
    metrics = data[[name for name in data.data_vars if name not in recorded]]
    for name in [*metrics.data_vars, "judged_tau", "reference"]:
        if name in group:
            del group[name]
    kept = [name for name in metrics.coords if name in ("judged_tau", "reference")]
    metrics.reset_coords(drop=True).assign_coords({name: metrics[name] for name in kept}).to_zarr(
        path, mode="a", consolidated=False
    )

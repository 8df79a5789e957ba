"""A sweep as an `xarray.Dataset`: which runs there are, their labels, and where they come from.

Dimensions: one per swept quantity, `seed`, `step`. Variables: what was recorded, `samples` (environment transitions
so far), and metrics. xarray is imported where it is used.
"""

import datetime
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jaxlib
import numpy as np

from hfac._trees import named_leaves
from hfac.schedules import Coordinates

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


class RunTable(NamedTuple):
    """Which runs there are, one row each."""

    dims: dict[str, tuple[str, ...]]  # swept dimension -> names of its coordinates
    labels: dict[str, np.ndarray]  # every coordinate, and "seed" -> [R]

    @property
    def num_runs(self) -> int:
        """R."""
        return len(self.labels["seed"])

    def rows(self) -> list[tuple[float, ...]]:
        """What tells the runs apart, hashable."""
        return list(zip(*(self.labels[name].tolist() for name in sorted(self.labels)), strict=True))

    def take(self, index: np.ndarray) -> "RunTable":
        """Some of the runs."""
        return RunTable(self.dims, {name: values[index] for name, values in self.labels.items()})

    def cube(self) -> tuple[np.ndarray, dict[str, Any], tuple[str, ...], tuple[int, ...]]:
        """The runs as a grid of configurations x seeds, values in the order in which they appear.

        Returns:
          The runs' order in the flattened grid [R], its coordinates, dimensions and shape.

        Raises:
          ValueError: if the runs do not fill a grid.
        """
        flat, shape = np.zeros(self.num_runs, int), []
        coords: dict[str, Any] = {}
        for dim, names in [*self.dims.items(), ("seed", ("seed",))]:
            combined = list(zip(*(self.labels[name].tolist() for name in names), strict=True))
            place = {row: i for i, row in enumerate(dict.fromkeys(combined))}
            flat = flat * len(place) + np.array([place[row] for row in combined])
            shape.append(len(place))
            for k, name in enumerate(names):
                coords[name] = (dim, np.array([row[k] for row in place], self.labels[name].dtype))
        if not np.array_equal(np.sort(flat), np.arange(np.prod(shape))):
            raise ValueError(f"{self.num_runs} runs do not fill the grid of {' x '.join(map(str, shape))}")
        return np.argsort(flat), coords, (*self.dims, "seed"), tuple(shape)


def run_table(coordinates: Coordinates, seeds: np.ndarray) -> RunTable:
    """All runs of a sweep, configurations major, seeds minor."""
    shape = (*coordinates.shape, len(seeds))
    labels = {}
    for axis, dim in enumerate(coordinates.dims):
        for name, values in coordinates.values[dim].items():
            spread = np.expand_dims(values, tuple(i for i in range(len(shape)) if i != axis))
            labels[name] = np.broadcast_to(spread, shape).ravel()
    labels["seed"] = np.broadcast_to(seeds, shape).ravel()
    return RunTable({dim: tuple(values) for dim, values in coordinates.values.items()}, labels)


def labelled(
    leaves: Mapping[str, np.ndarray], table: RunTable, points: np.ndarray, attributes: Mapping[str, Any]
) -> "xarray.Dataset":
    """Flat records as a labelled grid.

    Args:
      leaves: name -> [R, T, ...].
      table: of the runs.
      points: recorded steps [T].
      attributes: of the dataset.

    Raises:
      ValueError: if the runs do not fill a grid.
    """
    order, coords, dims, shape = table.cube()
    ordered = {name: np.asarray(leaf)[order] for name, leaf in leaves.items()}
    return _as_grid(ordered, dims, shape, coords | {"step": points}, attributes)


def _as_grid(
    leaves: Mapping[str, np.ndarray],
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    coords: Mapping[str, Any],
    attributes: Mapping[str, Any],
) -> "xarray.Dataset":
    """Flat records [R, T, ...], configurations major and seeds minor, as a grid."""
    import xarray

    variables = {}
    for name, leaf in leaves.items():
        extra = tuple(f"{name}_{i}" for i in range(leaf.ndim - 2))
        variables[name] = ((*dims, "step", *extra), leaf.reshape(*shape, *leaf.shape[1:]))
    return xarray.Dataset(variables, coords, dict(attributes))


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
    leaves = {"samples": np.cumsum(num_samples.astype(np.int64), axis=1)} | named_leaves(record)
    coords: dict[str, Any] = {"seed": seeds, "step": points}
    for dim, values in coordinates.values.items():
        coords |= {name: (dim, labels) for name, labels in values.items()}
    shape = (*coordinates.shape, len(seeds))
    flat = {name: np.asarray(leaf) for name, leaf in leaves.items()}
    return _as_grid(flat, (*coordinates.dims, "seed"), shape, coords, provenance() | dict(attributes))

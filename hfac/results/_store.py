"""A sweep on disk: a zarr store that grows run by run and step by step. zarr is imported where it is used.

Recorded values lie in parts, groups of runs with one chunk per record point: whoever moves a part writes to it and to
nothing else, and a part can be added at any time. Every chunk carries a checksum. Metrics, which can be computed again,
lie in a group of their own.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from hfac import _files
from hfac._trees import named_leaves
from hfac.results._dataset import RunTable, labelled
from hfac.results._judge import ROLE

if TYPE_CHECKING:
    import xarray

PART, METRICS, STORE = "part-", "metrics", "results.zarr"
HOW = "how_to_read"
HOW_TO_READ = "hfac.results.load(path): it joins and labels the groups part-000, part-001, ..., which hold the records"
LARGEST_CHUNK = 65_536  # runs


class Part:
    """Runs that are moved together, and the records of them."""

    def __init__(self, path: Path, name: str) -> None:
        """Open a part of the store at `path`.

        Raises:
          ValueError: if it cannot be read.
        """
        import zarr

        self.name, self._path = name, path / name
        with _reading(self._path):
            self._group = zarr.open_group(self._path, mode="r+")
            attributes: dict[str, Any] = dict(self._group.attrs)
            dims = {dim: tuple(names) for dim, names in attributes["dims"].items()}
            self.variables: tuple[str, ...] = tuple(attributes["variables"])
            self.width = int(attributes["width"])
            self.table = RunTable(dims, {label: self._array(label)[:] for label in attributes["labels"]})
            self.points: np.ndarray = self._array("step")[:]

    def _array(self, name: str) -> Any:
        return self._group[name]

    def write(self, index: int, record: Any, samples: np.ndarray) -> None:
        """Write the records [R, ...] of one record point; `samples` [R] are those since the run began."""
        for name, leaf in (named_leaves(record) | {"samples": samples}).items():  # samples last: they say it is there
            self._array(name)[:, index] = np.asarray(leaf)

    def grow(self, points: np.ndarray) -> None:
        """Make room for record points after those there are.

        Raises:
          ValueError: if they do not begin with those there are.
        """
        self.check(points)
        if np.array_equal(points, self.points):
            return
        for name in self.variables:
            array = self._array(name)
            array.resize((array.shape[0], len(points), *array.shape[2:]))
        steps = self._array("step")
        steps.resize((len(points),))
        steps[:] = points
        self.points = points

    def check(self, points: np.ndarray) -> None:
        """Raise ValueError unless record points begin with those there are."""
        begun = self.points[: 1 + int(np.argmax(self.points))]  # a growth that was killed leaves zeros behind
        if not np.array_equal(points[: len(begun)], begun):
            raise ValueError(f"{self._path} is recorded at other steps; runs of unequal history cannot go on together")

    @property
    def reached(self) -> int:
        """Record points that every run has."""
        with _reading(self._path / "samples"):
            is_there = (self._array("samples")[:] >= 0).all(axis=0)
        return is_there.size if is_there.all() else int(np.argmin(is_there))

    def read(self) -> dict[str, np.ndarray]:
        """Every variable [R, T, ...].

        Raises:
          ValueError: if a chunk is damaged.
        """
        found = {}
        for name in self.variables:
            with _reading(self._path / name):
                found[name] = self._array(name)[:]
        return found


class Store:
    """A result on disk."""

    def __init__(self, path: Path) -> None:
        """Open the store at a path.

        Raises:
          ValueError: if there is none, or it cannot be read.
        """
        import zarr

        self.path = _files.place(path)
        if not self.path.is_dir():
            raise ValueError(f"no results at {path}; a sweep writes them to OUT/results.zarr")
        with _reading(self.path):
            self._group = zarr.open_group(self.path, mode="r+")
        names = sorted(child.name for child in self.path.iterdir() if child.name.startswith(PART))
        self.parts = [Part(self.path, name) for name in names]

    @classmethod
    def create(cls, path: Path, attributes: Mapping[str, Any]) -> "Store":
        """Make an empty store at a path that must not exist yet."""
        import zarr

        path = _files.place(path)
        unfinished = path.with_name(f"{path.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        zarr.create_group(unfinished, attributes={HOW: HOW_TO_READ} | dict(attributes))
        unfinished.rename(path)
        return cls(path)

    def add(self, table: RunTable, record: Any, points: np.ndarray, width: int, name: str | None = None) -> Part:
        """Add a part, all at once or not at all.

        Args:
          table: its runs.
          record: shapes and dtypes of one run's record at one point.
          points: steps that are to be recorded [T].
          width: runs side by side in a block, which the last bits of their numbers depend on.
          name: of the part; the next free one unless given.
        """
        import zarr

        name = name or f"{PART}{len(self.parts):03d}"
        unfinished = self.path / f"new-{name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        leaves = {"samples": jax.ShapeDtypeStruct((), np.int64)} | named_leaves(record)
        about = {
            "dims": {dim: list(names) for dim, names in table.dims.items()},
            "labels": list(table.labels),
            "variables": list(leaves),
            "width": width,
        }
        group = zarr.create_group(unfinished, attributes=about)
        checked = _compressors()
        for label, values in table.labels.items():
            group.create_array(label, data=values, dimension_names=("run",), compressors=checked)
        group.create_array("step", data=np.asarray(points), dimension_names=("step",), compressors=checked)
        for variable, leaf in leaves.items():
            _create(group, variable, (table.num_runs, len(points), *leaf.shape), np.dtype(leaf.dtype))
        unfinished.rename(self.path / name)
        part = Part(self.path, name)
        self.parts.append(part)
        return part

    def adopt(self, source: Path, name: str) -> None:
        """Copy a part of another store, whole or not at all."""
        unfinished = self.path / f"new-{name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(source, unfinished)
        unfinished.rename(self.path / name)
        self.parts.append(Part(self.path, name))

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes, such as the seconds it took."""
        self._group.attrs.update(dict(attributes))

    @property
    def attributes(self) -> dict[str, Any]:
        """Provenance and what was added to it."""
        return {name: value for name, value in self._group.attrs.items() if name != HOW}

    def load(self) -> "xarray.Dataset":
        """All runs as a labelled grid; record points that some run has not reached are left out.

        Raises:
          ValueError: if something is damaged, or runs are missing.
        """
        leaves = [part.read() for part in self.parts]
        reached = [part.reached for part in self.parts]
        begun = [i for i, count in enumerate(reached) if count > 0]
        if not begun:
            raise ValueError(f"{self.path} holds no records yet; `hfac resume` goes on with it")
        count = min(reached[i] for i in begun)
        first = self.parts[begun[0]]
        table = RunTable(
            first.table.dims,
            {n: np.concatenate([self.parts[i].table.labels[n] for i in begun]) for n in first.table.labels},
        )
        joined = {n: np.concatenate([leaves[i][n][:, :count] for i in begun]) for n in first.variables}
        try:
            return labelled(joined, table, first.points[:count], self.attributes)
        except ValueError as error:
            raise ValueError(f"{self.path} is not complete, {error}; `hfac resume` goes on with it") from None


def _compressors() -> list[Any]:
    """How every recorded chunk is packed: with a checksum."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return [ZstdCodec(), Crc32cCodec()]


def _create(group: Any, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(max(1, min(shape[0], LARGEST_CHUNK)), 1, *(max(1, size) for size in shape[2:])),
        fill_value=np.nan if np.issubdtype(dtype, np.floating) else -1 if dtype.kind == "i" else 0,
        compressors=_compressors(),
        dimension_names=("run", "step", *(f"{name}_{i}" for i in range(len(shape) - 2))),
    )


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what a damaged store makes zarr raise into one line."""
    try:
        yield
    except Exception as error:
        _finish_reads()
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{path} is damaged: {why}; restore it from a copy, or run again into another folder"
        ) from None


def _finish_reads() -> None:
    """Wait for the chunks that zarr still reads after one has failed; Python lists what is left at exit."""
    from zarr.core.sync import sync

    async def rest() -> None:
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    sync(rest())


def write(data: "xarray.Dataset", path: Path) -> None:
    """Store a finished dataset at a path that must not exist yet."""
    data.to_zarr(_files.place(path), mode="w-", consolidated=False)


def load(path: Path) -> "xarray.Dataset":
    """Read a stored result into memory, with the metrics of the last judging; what is not reached yet is left out.

    Args:
      path: of the results, or of the folder of a run that holds them.

    Raises:
      ValueError: if there is none at the path, or it is damaged.
    """
    import xarray

    path = _files.place(path)
    if (path / STORE).is_dir():
        path = path / STORE
    elif path.is_dir() and not (path / "zarr.json").is_file():
        inside = sorted(child.name for child in path.glob("**/*.zarr"))
        hint = f"; it holds {', '.join(inside)}" if inside else "; a sweep writes them to OUT/results.zarr"
        raise ValueError(f"{path} holds no results{hint}")
    if path.is_dir() and not any(child.name.startswith(PART) for child in path.iterdir()):
        with _reading(path):
            data = xarray.open_zarr(path, consolidated=False).load()
        if not data.data_vars:
            raise ValueError(f"{path} holds no records yet; `hfac resume` goes on with it")
        return data
    data = Store(path).load()
    if not (path / METRICS).is_dir():
        return data
    with _reading(path / METRICS):
        found = xarray.open_zarr(path, group=METRICS, consolidated=False).load()
    reordered = {  # parts may have come in another order than the runs were judged in
        name: index
        for name, index in data.indexes.items()
        if name in found.indexes and sorted(index) == sorted(found.indexes[name])
    }
    found = found.sel(reordered)
    is_same = all(name in found.coords and found[name].equals(data[name]) for name in data.coords)
    for name in found.data_vars:  # version 0.1 did not say so
        found[name].attrs.setdefault(ROLE, "metric")
    return data.assign_coords(found.coords).assign(found.data_vars) if is_same else data


def save(data: "xarray.Dataset", path: Path) -> None:
    """Keep the metrics of a judged sweep beside what was recorded, in place of those of an earlier judging."""
    path = _files.place(path)
    recorded = set(Store(path).parts[0].variables)
    unfinished = path / f"new-{METRICS}"
    shutil.rmtree(unfinished, ignore_errors=True)
    found = data.drop_vars(recorded & set(map(str, data.data_vars)))
    found.drop_attrs().to_zarr(unfinished, mode="w-", consolidated=False)
    shutil.rmtree(path / METRICS, ignore_errors=True)
    unfinished.rename(path / METRICS)

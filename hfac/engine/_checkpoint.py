"""States of a sweep on disk: written whole or not at all, checked when read, the one before kept until then.

A checkpoint is a folder named after its step: the arrays in one safetensors file, and a manifest with its checksum. It
appears by a rename, so that a process killed at any moment leaves the older one in place. Version 0.1 wrote the arrays
with orbax, which cannot name folders outside ASCII where the locale is not UTF-8; what it wrote is still read.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from hfac import _files
from hfac._trees import named_leaves
from hfac.types import PyTree

FORMAT, ORBAX_FORMAT = "hfac checkpoint 2", "hfac checkpoint 1"
MANIFEST, ARRAYS, ORBAX_ARRAYS = "manifest.json", "arrays.safetensors", "arrays"
KEPT = 2  # newest checkpoints


class Snapshot(NamedTuple):
    """Where a sweep stands."""

    step: int  # done by every run
    point: int  # record points reached
    num_samples: np.ndarray  # int64 [R], transitions since the last record point
    samples: np.ndarray  # int64 [R], transitions up to it
    states: PyTree  # leaves [R, ...]


class ForeignError(ValueError):
    """A checkpoint is whole, but of something else."""


class Checkpoints:
    """The checkpoints of one part of a sweep."""

    def __init__(
        self,
        folder: Path,
        belongs_to: Mapping[str, Any],
        kept: int = KEPT,
        unimportant: Collection[str] = (),
        upgrade: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
    ) -> None:
        """Look at a folder, which need not exist yet.

        Args:
          folder: that holds a folder per checkpoint.
          belongs_to: what a checkpoint must have been written by, compared word by word.
          kept: newest checkpoints that stay when one is written.
          unimportant: names in `belongs_to` of this or of an earlier version that are not compared.
          upgrade: turns what version 0.1 belonged to into what this version writes.
        """
        self._kept, self._unimportant, self._upgrade = kept, unimportant, upgrade
        self.folder = _files.place(folder)
        self._belongs_to = json.loads(json.dumps(dict(belongs_to), default=str))

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint, then remove all but the newest.

        Raises:
          OSError: if it cannot be written; the older ones are as they were.
        """
        unfinished, final = self.folder / "new", self.folder / f"{snapshot.step:010d}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            _write_arrays(unfinished / ARRAYS, _arrays(snapshot))
            manifest = {
                "format": FORMAT,
                "step": snapshot.step,
                "point": snapshot.point,
                "belongs_to": self._belongs_to,
                "files": {ARRAYS: _digest(unfinished / ARRAYS)},
            }
            (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            for name in (ARRAYS, MANIFEST):
                _to_disk(unfinished / name)
            shutil.rmtree(final, ignore_errors=True)
            unfinished.rename(final)
            _to_disk(self.folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        for old in self._found()[self._kept :]:
            shutil.rmtree(old, ignore_errors=True)

    def at(self, step: int, like: PyTree) -> Snapshot:
        """The checkpoint of a step.

        Raises:
          ValueError: if it is not there, not whole, or of something else.
        """
        return self._read(self.folder / f"{step:010d}", like)

    @property
    def belongs_to(self) -> dict[str, Any] | None:
        """What wrote the newest checkpoint that can be read, or None without one."""
        for folder in self._found():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["belongs_to"])
        return None

    @property
    def newest_step(self) -> int:
        """Step of the newest checkpoint, 0 without one."""
        found = self._found()
        return int(found[0].name) if found else 0

    def latest(self, like: PyTree) -> tuple[Snapshot | None, list[str]]:
        """The newest checkpoint that is whole, or None; and why newer ones were refused. Damaged ones are put aside.

        Args:
          like: states of the same structure, leaves [R, ...]; shapes and dtypes are enough.

        Raises:
          ValueError: if there are checkpoints, whole ones, and all belong to something else: to begin again would write
            other numbers over the records.
        """
        refused: list[str] = []
        is_foreign = False
        for folder in self._found():
            try:
                return self._read(folder, like), refused
            except ValueError as error:
                refused.append(f"checkpoint {folder} is refused: {error}")
                if isinstance(error, ForeignError):
                    is_foreign = True
                else:  # it must not count among the newest
                    with contextlib.suppress(OSError):
                        folder.rename(folder.with_name(f"damaged-{folder.name}"))
        if is_foreign:
            raise ValueError(f"{'; '.join(refused)}; go on with what wrote it, or run again into another folder")
        return None, refused

    def _found(self) -> list[Path]:
        """Finished checkpoints, newest first."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if path.name.isdigit()), reverse=True)

    def _read(self, folder: Path, like: PyTree) -> Snapshot:
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            form, files, belongs_to = manifest["format"], manifest["files"], manifest["belongs_to"]
            step, point = int(manifest["step"]), int(manifest["point"])
            files = dict(files)
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(f"its {MANIFEST} cannot be read") from None
        if form not in (FORMAT, ORBAX_FORMAT):
            raise ValueError(f"it is of format '{form}', this is '{FORMAT}'")
        for name, digest in files.items():
            path = folder / name
            if not path.is_file():
                raise ValueError(f"{name} is missing")
            if _digest(path) != digest:
                raise ValueError(f"{name} is not what was written")
        own = self._belongs_to
        if form == ORBAX_FORMAT:
            belongs_to = self._upgrade(belongs_to)
            own = _known(own, belongs_to)
        keys = {*belongs_to, *own} - set(self._unimportant)
        differ = sorted(key for key in keys if belongs_to.get(key) != own.get(key))
        if differ:
            words = (f"{key} was {belongs_to.get(key)}, is {own.get(key)}" for key in differ)
            raise ForeignError(f"it belongs to another run: {'; '.join(words)}")
        read = _read_arrays(folder / ARRAYS) if form == FORMAT else _read_orbax(folder / ORBAX_ARRAYS)
        return _snapshot(step, point, read, like)


def _arrays(snapshot: Snapshot) -> dict[str, Any]:
    leaves = {f"state.{name}": leaf for name, leaf in named_leaves(snapshot.states).items()}
    return jax.device_get({"num_samples": snapshot.num_samples, "samples": snapshot.samples} | leaves)


def _snapshot(step: int, point: int, arrays: Mapping[str, Any], like: PyTree) -> Snapshot:
    wanted = {f"state.{name}": leaf for name, leaf in named_leaves(like).items()}
    if {*wanted, "num_samples", "samples"} != set(arrays):
        raise ForeignError("it holds the state of another method")
    for name, leaf in wanted.items():
        found = arrays[name]
        if (found.shape, found.dtype) != (leaf.shape, leaf.dtype):
            raise ForeignError(f"{name} is {found.dtype} {list(found.shape)}, not {leaf.dtype} {list(leaf.shape)}")
    states = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])
    return Snapshot(step, point, arrays["num_samples"], arrays["samples"], states)


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    from safetensors.numpy import save

    path.write_bytes(save({name: np.asarray(array, order="C") for name, array in arrays.items()}))


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    return load(path.read_bytes())


def _read_orbax(path: Path) -> dict[str, np.ndarray]:
    import orbax.checkpoint

    with orbax.checkpoint.PyTreeCheckpointer() as reader:
        stored = reader.metadata(path.absolute()).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: orbax.checkpoint.RestoreArgs(restore_type=np.ndarray), stored)
        return reader.restore(path.absolute(), restore_args=as_numpy)


def _known(own: Any, then: Any) -> Any:
    """What version 0.1 knew of it: settings, and options of a table, that came later had the value they have unsaid."""
    if isinstance(own, dict) and isinstance(then, dict):
        return {key: _known(own.get(key), value) for key, value in then.items()}
    return own


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

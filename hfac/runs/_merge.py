"""Shares of a sweep, run apart, in one folder."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray

from hfac import _files, results
from hfac._errors import InputError, as_input_error
from hfac._progress import waiting
from hfac.engine import Checkpoints
from hfac.runs import _configuration, _folder, _start
from hfac.runs._build import as_paths, build
from hfac.runs._execution import Execution
from hfac.runs._own import agree


def merge(
    folders: Sequence[str | Path], out: str | Path, execution: Execution = _start.PLAIN, **own: Any
) -> xarray.Dataset | None:
    """Put the shares of a sweep together; runs that are missing are run.

    Args:
      folders: of the shares, at least two.
      out: folder to write to, new or empty.
      execution: how what is missing is run.
      **own: problem and algorithm, where those are your own, as for `resume`.

    Raises:
      ValueError: if the folders are no shares of one sweep, or `out` holds something.
    """
    places = [_files.place(folder) for folder in folders]
    if places:  # what cannot be gone on with is refused before anything is copied
        build(as_paths(_folder.read_config(places[0])), own.get("problem"), own.get("algorithm"), places[0])
    with waiting("copying", execution.quiet):
        join(places, _files.place(out))
    return _start.resume(out, execution, **own)


def join(folders: Sequence[Path], out: Path) -> None:
    """Copy the parts and checkpoints of shares under one store, with a configuration beside it.

    Raises:
      InputError: if the folders are no shares of one sweep, two of them hold the same run, or one cannot be read.
    """
    if len(folders) < 2:
        raise InputError(f"merge takes at least two folders, got {len(folders)}")
    configurations = [_folder.read_config(folder) for folder in folders]
    for folder, configuration in zip(folders[1:], configurations[1:], strict=True):
        differ = _folder.differences(configurations[0], configuration)
        if differ:
            raise InputError(f"{folder} is no share of the same sweep: it differs in {', '.join(differ)}")
    inside = next((folder for folder in folders if out.is_relative_to(folder)), None)
    if inside is not None:
        raise InputError(f"--out {out} lies inside {inside}, one of the shares; choose another folder")
    if not _folder.is_free(out):
        raise InputError(f"--out {out} already holds something; nothing is overwritten, choose another folder")
    _check_origin(folders)
    _copy(folders, out)
    _folder.write_config(out, configurations[0] | {"shard": None})


def _check_origin(folders: Sequence[Path]) -> None:
    """Raise `InputError` unless all shares were run by the same libraries, on the same data and kind of device."""
    first: tuple[Path, dict[str, Any]] | None = None
    for place in (place for folder in folders for place in sorted((folder / _folder.CHECKPOINTS).glob("part-*"))):
        found = Checkpoints(place, {}).belongs_to
        if found is None:
            continue
        found = _folder.upgraded(found)
        ignored = ("schedules", *_configuration.FORGOTTEN)
        found = {key: value for key, value in found.items() if key not in ignored and not _is_of_part(key)}
        if first is None:
            first = (place, found)
        differ = sorted(key for key in {*first[1], *found} if not agree(first[1].get(key), found.get(key)))
        if differ:
            words = ", ".join(f"{key} ({first[1].get(key)}, not {found.get(key)})" for key in differ)
            raise InputError(
                f"{place.parent.parent} was not run as {first[0].parent.parent} was, it differs in {words}; shares are "
                "merged if they could have been one run"
            )


def _is_of_part(key: str) -> bool:
    """Whether a name in a checkpoint's identity tells which problem of several its part is about."""
    return key.startswith("problem.")


def _copy(folders: Sequence[Path], out: Path) -> None:
    with as_input_error():
        stores = [results.Store(folder / _folder.RESULTS) for folder in folders]
    seen: dict[tuple[float, ...], Path] = {}
    for folder, store in zip(folders, stores, strict=True):
        for row in (row for part in store.parts for row in part.table.rows()):
            if row in seen:
                raise InputError(f"{seen[row]} and {folder} hold the same run; a share can be merged once")
            seen[row] = folder
    _folder.make(out, "merged")
    for folder in folders:  # what a problem made and kept is the same in every share
        for name in _configuration.MODEL_FILES:
            if (folder / name).is_file() and not (out / name).exists():
                shutil.copyfile(folder / name, out / name)
    together = results.Store.create(out / _folder.RESULTS, stores[0].attributes)
    taken = 0
    for folder, store in zip(folders, stores, strict=True):
        for part in store.parts:
            name = f"{results.PART}{taken:03d}"
            taken += 1
            source = folder / _folder.CHECKPOINTS / part.name
            if source.is_dir():
                shutil.copytree(source, out / _folder.CHECKPOINTS / name)
            together.adopt(folder / _folder.RESULTS / part.name, name)
    totals = {
        name: sum(store.attributes.get(name, 0.0) for store in stores) for name in ("run_seconds", "compile_seconds")
    }
    together.annotate(totals)

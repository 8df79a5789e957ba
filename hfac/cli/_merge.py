"""``hfac merge DIR DIR ... --out DIR``: shares of a sweep, run apart with --shard, in one folder."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from hfac.cli import InputError, _folder, _resume, as_input_error, parse


@dataclasses.dataclass(frozen=True)
class Merge:
    """Settings of a merge."""

    dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of shares."""
    out: Path
    """Folder to write to; it must not hold anything."""
    figures: bool = True
    """Draw the figures."""
    quiet: bool = False
    """Print errors only."""


def main(args: Sequence[str]) -> None:
    """Run the command."""
    settings = parse(Merge, args, "hfac merge", "Put the shares of a sweep together; runs that are missing are run.")
    if len(settings.dirs) < 2:
        raise InputError(f"merge takes at least two folders, got {len(settings.dirs)}")
    configs = [_folder.read_config(folder) for folder in settings.dirs]
    for folder, config in zip(settings.dirs[1:], configs[1:], strict=True):
        differ = _folder.differences(configs[0], config)
        if differ:
            raise InputError(f"{folder} is no share of the same sweep: it differs in {', '.join(differ)}")
    if not _folder.is_free(settings.out):
        raise InputError(f"--out {settings.out} already holds something; nothing is overwritten, choose another folder")
    _check_origin(settings.dirs)
    _join(settings.dirs, settings.out)
    _folder.write_config(settings.out, configs[0] | {"shard": None})
    _resume.go_on(_resume.Resume(settings.out, figures=settings.figures, quiet=settings.quiet))


def _check_origin(folders: Sequence[Path]) -> None:
    """Raise `InputError` unless all shares were run by the same libraries, on the same data and kind of device."""
    from hfac.cli._sweep import FORGOTTEN
    from hfac.engine import Checkpoints

    first: tuple[Path, dict[str, Any]] | None = None
    for place in (place for folder in folders for place in sorted((folder / _folder.CHECKPOINTS).glob("part-*"))):
        found = Checkpoints(place, {}).belongs_to
        if found is None:
            continue
        found = {key: value for key, value in found.items() if key not in ("schedules", *FORGOTTEN)}
        if first is None:
            first = (place, found)
        differ = sorted(key for key in {*first[1], *found} if first[1].get(key) != found.get(key))
        if differ:
            words = ", ".join(f"{key} ({first[1].get(key)}, not {found.get(key)})" for key in differ)
            raise InputError(
                f"{place.parent.parent} was not run as {first[0].parent.parent} was, it differs in {words}; shares are "
                "merged if they could have been one run"
            )


def _join(folders: Sequence[Path], out: Path) -> None:
    """Copy the parts and checkpoints of all folders under one store.

    Raises:
      InputError: if two of them hold the same run, or one cannot be read.
    """
    from hfac import results

    with as_input_error():
        stores = [results.Store(folder / _folder.RESULTS) for folder in folders]
    seen: dict[tuple[float, ...], Path] = {}
    for folder, store in zip(folders, stores, strict=True):
        for row in (row for part in store.parts for row in part.table.rows()):
            if row in seen:
                raise InputError(f"{seen[row]} and {folder} hold the same run; a share can be merged once")
            seen[row] = folder
    _folder.make(out, "merged")
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

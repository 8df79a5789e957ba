"""Builders of a person's own, named by where they are: FILE.py:NAME or MODULE:NAME."""

import functools
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hfac import _files
from hfac._errors import InputError, as_input_error, nearest

FILE = ".py"
SHOWN = 100  # letters of a line


def is_place(name: Any) -> bool:
    """Whether a name says where a person's own is."""
    place, _, attribute = name.rpartition(":") if isinstance(name, str) else ("", "", "")
    return attribute.isidentifier() and (place.endswith(FILE) or all(map(str.isidentifier, place.split("."))))


def placed(name: Any) -> Any:
    """FILE.py:NAME with the file's whole path, so that it is found from every folder; anything else as it is.

    Raises:
      InputError: if that is no path.
    """
    if not (is_place(name) and name.rpartition(":")[0].endswith(FILE)):
        return name
    place, _, attribute = name.rpartition(":")
    with as_input_error():
        return f"{_files.place(place)}:{attribute}"


def short(name: str) -> str:
    """A name without its place, for titles and folders."""
    return name.rpartition(":")[2] if is_place(name) else name


def builder(name: str, kind: str, known: Mapping[str, Any]) -> Callable[..., Any]:
    """What stands at a place: a function that builds something, or one that gives what is built already.

    Args:
      name: FILE.py:NAME or MODULE:NAME.
      kind: of thing, for messages.
      known: names that the person may have meant.

    Raises:
      InputError: if there is none, or the file cannot be imported.
    """
    place, _, attribute = name.rpartition(":")
    what = f"{kind} {short(name)} of {place}"
    module = _module(place, what, known)
    if not hasattr(module, attribute):
        raise InputError(f"{what}: it has no '{attribute}'{nearest(attribute, _public(module))}")
    found = getattr(module, attribute)
    if callable(found):
        return found
    if not hasattr(found, "name"):
        raise InputError(f"{what} must be one, or a function that builds one, got {found!r}")

    def given() -> Any:
        return found

    given.kind = getattr(found, "kind", "own")  # type: ignore[attr-defined]
    return given


def line_of(error: BaseException) -> str:
    """The innermost line of a person's own file at which an error was raised, in brackets; empty if there is none."""
    others = {Path(__file__).parent, Path(sysconfig.get_path("stdlib"))}
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_file() and not others & set(path.parents) and "site-packages" not in path.parts:
            line = (frame.line or "").strip()
            place = f" ({path.name}:{frame.lineno}: {line if len(line) <= SHOWN else f'{line[:SHOWN]} ...'})"
    return place


def _module(place: str, what: str, known: Mapping[str, Any]) -> ModuleType:
    """Import what a person named.

    Raises:
      InputError: if it is not there, or cannot be imported.
    """
    path = _files.place(place) if place.endswith(FILE) else None
    if path is not None and not path.is_file():
        raise InputError(f"{what}: there is no such file")
    try:
        return _from_file(path) if path is not None else _from_here(place)
    except Exception as error:  # whatever a person's own lines raise
        if isinstance(error, ModuleNotFoundError) and error.name == place:
            raise InputError(f"{what}: there is no module of that name{nearest(place, known)}") from None
        raise InputError(f"{what} cannot be imported: {type(error).__name__}: {error}{line_of(error)}") from None


@functools.cache
def _from_file(path: Path) -> ModuleType:
    """A file as a module; files beside it can be imported, as if it were run."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    name = f"_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _from_here(name: str) -> ModuleType:
    """A module, one of this folder too, as `python -m` finds them."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    return importlib.import_module(name)


def _public(module: ModuleType) -> list[str]:
    own = [name for name, each in vars(module).items() if getattr(each, "__module__", None) == module.__name__]
    return [name for name in own if not name.startswith("_")]

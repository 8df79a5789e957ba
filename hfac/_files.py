"""Where files are, and how they are written: whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any


def place(path: str | os.PathLike[str]) -> Path:
    """One path is one place: ``~`` is the home folder, and what is relative starts from here, now and later.

    Raises:
      ValueError: if it is no path, or ``~NAME`` names nobody.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"a path must be a text or a pathlib.Path, got {path!r}")
    text = os.fspath(path)
    if not text:
        raise ValueError("a path has at least one letter, got an empty text; write . for this folder")
    if "\0" in text:
        raise ValueError(f"a path holds no zero character, got {text!r}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:  # the locale knows no such letter; names of files are UTF-8 all the same
        text = os.fsdecode(text.encode("utf-8", "surrogateescape"))
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise ValueError(f"'{text}': nobody of that name has a home folder here; write ./{text} for a file called so")
    try:
        return Path(expanded).absolute()
    except FileNotFoundError:
        raise ValueError(f"'{text}' starts from this folder, which is no longer there; go to another one") from None


def shown(path: Path) -> str:
    """A path as a person would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def replace(path: Path, content: str | bytes) -> None:
    """Write a file beside its place, then move it there: whoever is killed meanwhile leaves the older one as it was.

    Raises:
      OSError: if it cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    unfinished.replace(path)


def read_table(path: Path, missing: str = "") -> dict[str, Any]:
    """The table that a JSON file holds.

    Args:
      path: of the file.
      missing: what to say where there is none.

    Raises:
      ValueError: if it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(missing or f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a table of settings, got a {type(content).__name__}")
    return content

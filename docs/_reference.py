"""Pages made from the code: every public module with its names, every command with its help."""

import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import hfac
from hfac.cli._commands import COMMANDS

NEEDS_A_PROBLEM = {"sweep": "goal_placement", "tune": "goal_placement", "rates": "goal_placement"}

_COLON = "\N{RATIO}"  # stands in for the colon of an attribute's docstring, which napoleon takes for the end of a type


def write(folder: Path) -> None:
    """Write the pages.

    Raises:
      ValueError: if a public name has no docstring.
    """
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):  # of modules that are gone
        old.unlink()
    (folder / "commands.md").write_text(commands(), encoding="utf-8")
    modules = [hfac, *map(importlib.import_module, public_modules())]
    without = [f"{module.__name__}.{name}" for module in modules for name in bare_names(module)]
    if without:
        raise ValueError(f"public names without a docstring: {', '.join(without)}")
    seen: set[int] = set()  # what stands on the page of its own module is not repeated on another
    for module in reversed(modules):
        names = [name for name in public_names(module) if id(getattr(module, name)) not in seen]
        seen |= {id(getattr(module, name)) for name in names}
        (folder / f"{module.__name__}.md").write_text(api_page(module, names), encoding="utf-8")
    listed = "\n".join(module.__name__ for module in modules)
    words = "What can be imported. A name with an underscore in front is nobody's but the library's."
    (folder / "api.md").write_text(f"# API\n\n{words}\n\n```{{toctree}}\n{listed}\n```\n", encoding="utf-8")


def public_modules() -> list[str]:
    """Modules and packages of the library that anybody may import, and the modules inside those packages."""
    return _modules_of(hfac.__path__, "hfac")


def _modules_of(paths: Iterable[str], package: str) -> list[str]:
    found: list[str] = []
    for module in pkgutil.iter_modules(paths):
        if not module.name.startswith("_") and module.name != "cli":
            found.append(f"{package}.{module.name}")
            if module.ispkg:
                found += _modules_of([str(Path(path) / module.name) for path in paths], found[-1])
    return found


def public_names(module: ModuleType) -> list[str]:
    """Functions and classes that a module offers: of `__all__`, or what it or its own files define or register."""
    own = module.__name__
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if _is_documented(getattr(module, name))]
    names = [name for name in {**vars(module), **getattr(module, "REGISTRY", {})} if not name.startswith("_")]
    offered = {name: getattr(module, name) for name in names}
    return [name for name, value in offered.items() if _is_documented(value) and value.__module__.startswith(own)]


def _is_documented(value: object) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


def bare_names(module: ModuleType) -> list[str]:
    """Public functions and classes without a docstring."""
    return [name for name in public_names(module) if not (getattr(module, name).__doc__ or "").strip()]


def escape(app: object, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Put a backslash before what is no markup in a docstring, in place; equations, set off by four blanks, stay."""
    found: list[str] = []
    is_set_off = False
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("    ") and not before.strip() and not is_set_off:
            found += ["::", ""]
            is_set_off = True
        elif line.strip() and not line.startswith("    "):
            is_set_off = False
        found.append(line if is_set_off else _plain(line))
    lines[:] = [line.replace(":", _COLON) for line in found] if what == "attribute" else found


def describe_field(app: object, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Colons come back; of a field of a named tuple, say what stands beside it in the file."""
    lines[:] = [line.replace(_COLON, ":") for line in lines]
    if what == "attribute" and lines and lines[0].startswith("Alias for field number"):
        lines[:] = [_plain(_beside(name))]


def _plain(line: str) -> str:
    pieces = re.split(r"(``.*?``|`.*?`|^\s*\*+\w+:|\*\w+\*)", line)
    pieces[::2] = [re.sub(r"(?<=\w)_(?!\w)|\*|\||`", r"\\\g<0>", piece) for piece in pieces[::2]]
    return "".join(pieces)


def _beside(field: str) -> str:
    """The comment beside a field of a named tuple."""
    path, _, name = field.rpartition(".")
    module, _, owner = path.rpartition(".")
    source = inspect.getsource(getattr(importlib.import_module(module), owner))
    found = re.search(rf"^    {name}: [^#\n]*# (.*)$", source, re.MULTILINE)
    return found[1] if found else ""


def api_page(module: ModuleType, names: list[str]) -> str:
    """A module's page: what it says of itself, and the given names."""
    body = "\n\n".join(
        f".. auto{'class' if inspect.isclass(getattr(module, name)) else 'function'}:: {module.__name__}.{name}\n"
        + ("   :members:\n" if inspect.isclass(getattr(module, name)) else "")
        for name in names
    )
    about = (module.__doc__ or "").strip()
    return f"# {module.__name__}\n\n{about}\n\n" + (f"```{{eval-rst}}\n{body}\n```\n" if names else "")


def commands() -> str:
    """What every command says of itself."""
    found = ["# Commands", "", "As `hfac COMMAND --help` prints it.", ""]
    for name in COMMANDS:
        args = [name, *([NEEDS_A_PROBLEM[name]] if name in NEEDS_A_PROBLEM else []), "--help"]
        environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
        line = [sys.executable, "-m", "hfac", *args]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment, check=True)
        found += [f"## hfac {name}", "", "```text", f"$ hfac {' '.join(args)}", done.stdout.strip(), "```", ""]
    return "\n".join(found)

"""The command line, its commands named in `COMMANDS`: one file parses a command, without jax, and another runs it."""

import contextlib
import io
import os
import re
import sys
import typing
from collections.abc import Sequence
from typing import Any, NoReturn

from hfac._errors import InputError, as_input_error, nearest
from hfac._places import line_of
from hfac._progress import waiting
from hfac._registry import load
from hfac.cli._commands import COMMANDS, GROUPS

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
BUSY = "working"  # what a command does that it does not say more closely


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``hfac``."""
    args = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the compiler's own lines; what matters comes as an exception
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where the locale knows no such letter
    if not args or args[0] in ("-h", "--help"):
        print(_overview())
        return
    if args[0] == "--version":
        from hfac import __version__
        from hfac.cli import _version

        print("\n".join(_version.lines()) if "--verbose" in args[1:] else f"hfac {__version__}")
        return
    if args[0] not in COMMANDS:
        fail("hfac", f"unknown command '{args[0]}'{nearest(args[0], COMMANDS)}")
    command = COMMANDS[args[0]]
    try:
        with waiting(BUSY, quiet=_is_silent(args)):
            asked = load(command.parse)(args[1:])
        if command.run and asked is not None:
            with waiting(BUSY, quiet=_is_silent(args) or asked.settings.quiet):
                load(command.run)(asked)
    except InputError as error:
        fail(f"hfac {args[0]}", str(error))
    except KeyboardInterrupt as stop:
        print(f"hfac {args[0]}: {str(stop) or 'interrupted'}", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if isinstance(error, ValueError) and not _has_started_jax():
            fail(f"hfac {args[0]}", f"jax does not start: {error}; look at the environment's settings JAX_...")
        if not (line := line_of(error)):
            raise
        fail(f"hfac {args[0]}", f"{type(error).__name__}: {error}{line}")  # of a person's own file


def _is_silent(args: Sequence[str]) -> bool:
    """Whether a command is to say nothing, as far as can be told before it is parsed: one of several processes is."""
    return bool({arg.partition("=")[0] for arg in args} & {"--quiet", "--distributed", "--coordinator", "--help", "-h"})


def _has_started_jax() -> bool:
    """Whether jax imports: it does not where a setting of the environment makes no sense to it."""
    try:
        import jax  # noqa: F401
    except ValueError:
        return False
    return True


def _overview() -> str:
    lines = [
        "usage: hfac COMMAND ...",
        "",
        "Bi-level reinforcement learning: compiled, vectorised, exact where exactness is possible.",
        "",
    ]
    for group, words in GROUPS.items():
        own = [command for command in COMMANDS.values() if command.group == group]
        lines += [f"{words}:", *(f"  {command.name:<8} {command.help}" for command in own), ""]
    return "\n".join(
        [
            *lines,
            "options:",
            "  --help, --version, --version --verbose",
            "",
            "`hfac COMMAND --help` explains a command.",
        ]
    )


def fail(program: str, message: str) -> NoReturn:
    """Print one line to stderr and exit with code 2."""
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT)


def parse(config: Any, args: Sequence[str], program: str, description: str, default: Any = None) -> Any:
    """`tyro.cli` whose complaints are one line.

    Raises:
      InputError: if the arguments do not parse.
    """
    import tyro

    from hfac.cli import _config

    if default is None:
        switches = _config.switches_of(typing.get_type_hints(config))
        _config.refuse_values_of_switches(args, switches)
    complaint = io.StringIO()
    keywords = {} if default is None else {"default": default}
    wants_help = any(arg in ("-h", "--help") for arg in args)
    try:
        with contextlib.nullcontext() if wants_help else contextlib.redirect_stderr(complaint):
            parsed = tyro.cli(config, args=list(args), prog=program, description=description, **keywords)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise InputError(_one_line(complaint.getvalue(), program)) from None
    with as_input_error():
        return _placed(parsed)


def _placed(settings: Any) -> Any:
    """Settings whose every path is absolute."""
    import dataclasses
    from pathlib import Path

    from hfac import _files

    if isinstance(settings, Path):
        return _files.place(settings)
    if isinstance(settings, tuple):
        return tuple(map(_placed, settings))
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
        moved = {name: _placed(value) for name, value in values.items()}
        changed = {name: value for name, value in moved.items() if value is not values[name]}
        return dataclasses.replace(settings, **changed) if changed else settings
    return settings


def _one_line(box: str, program: str) -> str:
    """The text of tyro's error box without its frame and its pointer to the help."""
    rows = [re.sub(r"\x1b\[[0-9;]*m", "", row).strip("│╭╮╰╯─ |") for row in box.splitlines()]
    text = " ".join(row for row in rows if row and not row.startswith("For full helptext"))
    text = re.sub(r"\s*[─-]{3,}\s*", " ", text)
    text = re.sub(r"\s*Argument helptext:.*", "", text)
    text = re.sub(r": no type matching .* could be instantiated from \[(.*?)\].*", r": \1 is no value of it", text)
    text = re.sub(r"Value error\s*Error parsing", "", text)
    meant = re.search(r"Unrecognized options: (--[\w.-]+).*?Perhaps you meant: (--[\w.-]+)", text)
    if meant:
        return f"there is no option {meant[1]}; did you mean {meant[2]}?"
    text = re.sub(r"^(Parsing error|Unrecognized options|Invalid (value|input|choice))\s*[─-]*\s*", "", text)
    return f"{text.strip()} (see {program} --help)"

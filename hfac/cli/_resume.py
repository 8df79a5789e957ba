"""``hfac resume DIR`` and ``hfac extend DIR``: go on with a run that was stopped, or make a run larger."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from hfac import _files
from hfac._errors import InputError, as_input_error, nearest
from hfac._progress import waiting
from hfac._registry import is_known, load
from hfac.cli import BUSY, _config, parse
from hfac.cli._commands import COMMANDS, those_that
from hfac.cli._request import Request
from hfac.cli._sweep import content
from hfac.cli._values import Count, Real
from hfac.problems import REGISTRY as PROBLEMS
from hfac.settings import only_in_python

ONCE = "PROBLEM, --out and --config stay as they are"


@dataclasses.dataclass(frozen=True)
class Resume:
    """Settings that change no number."""

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder of a run."""
    devices: Count | None = None
    """Devices to use; 0 takes all."""
    checkpoint_minutes: Real | None = None
    """Longest time between checkpoints, > 0."""
    figures: bool = True
    """Draw the figures, if the run was to draw them."""
    quiet: bool = False
    """Print errors only."""


def resume(args: Sequence[str]) -> None:
    """Run ``hfac resume``: go on where a run stopped; one that never began begins."""
    settings = parse(
        Resume, args, "hfac resume", "Go on with a run that was stopped; its numbers are those of a run that was not."
    )
    resume_folder(settings)


def resume_folder(settings: Resume) -> None:
    """Go on with the run in a folder."""
    stored = _read(settings.dir)
    chosen: dict[str, Any] = {}
    for name in ("devices", "checkpoint_minutes"):
        if getattr(settings, name) is not None and name in stored:
            chosen[name] = getattr(settings, name)
    chosen["figures"] = settings.figures and stored.get("figures", True)
    chosen["quiet"] = settings.quiet or stored.get("quiet", False)
    _execute(settings.dir, stored | chosen, [])


def extend(args: Sequence[str]) -> None:
    """Run ``hfac extend``: more seeds, steps or configurations; what is there stays as it is."""
    rest = list(args)
    if not rest or rest[0] in ("-h", "--help"):
        print(
            "usage: hfac extend DIR [--seeds N] [--first-seed N] [--steps N] [lists of the sweep, such as --tau X ...]"
            "\n\nAdd seeds, steps or configurations to a run. Every value that is there stays as it is; a list must "
            f"hold the values it\nheld before. Other flags are those of the run's own command; {ONCE}."
        )
        return
    if rest[0].startswith("-"):
        raise InputError("which run? hfac extend DIR ...")
    with as_input_error():
        folder = _files.place(rest.pop(0))
    for flag in ("--out", "--config", "--algorithm", "--preset"):
        if _config.take(list(rest), flag)[0] is not None:
            raise InputError(f"{flag}: an extended run keeps its own; {ONCE}")
    _execute(folder, _read(folder), rest)


def _read(folder: Path) -> dict[str, Any]:
    from hfac import runs

    return runs.read_config(folder)


def _execute(folder: Path, stored: Mapping[str, Any], args: list[str]) -> None:
    from hfac import runs

    request = request_of(stored, args)
    request = request._replace(settings=dataclasses.replace(request.settings, out=folder), is_resumed=True)
    new, old = content(request), content(request_of(_read(folder)))
    command = COMMANDS[request.command]
    if command.check_growth:
        load(command.check_growth)(old, new)
    else:
        runs.check_growth(old, new, runs.number_options(old))
    with waiting(BUSY, request.settings.quiet):
        load(command.run)(request)


def request_of(stored: Mapping[str, Any], args: Sequence[str] = ()) -> Request:
    """The request of a stored configuration, flags overriding it.

    Raises:
      InputError: if its command cannot go on, or something in it is wrong.
    """
    command = str(stored["command"])
    for kind in only_in_python(stored):
        raise InputError(
            f"the run's {kind} is in no registry; hfac.runs.resume(folder, "
            f"hfac.runs.Execution(figures=True), {kind}=...) goes on and draws it, hfac.runs.page writes its page"
        )
    if (name := stored.get("problem")) and not is_known(PROBLEMS, name):
        raise InputError(f"the run's problem '{name}' is in no registry here; go on where it is, with hfac.runs.resume")
    if command not in (able := those_that("can_resume")):
        raise InputError(f"a run of `hfac {command}` cannot go on{nearest(command, able)}")
    module = COMMANDS[command].parse.partition(":")[0]
    return load(f"{module}:request")(list(args), stored)

"""``hfac diagnose PROBLEM``: the theory's condition along a run, what the lower level is like, what limits the run."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hfac import _files
from hfac._errors import InputError, as_input_error
from hfac.cli import _config, _sweep
from hfac.cli._request import Request
from hfac.cli._settings import Checkpointing, Execution, FromProblem, Lists, Output
from hfac.cli._values import Count


@dataclasses.dataclass(frozen=True)
class Diagnose(Output, Checkpointing, Execution, Lists, _sweep.Method):
    """Settings of a diagnosis: those of the run that is looked at, one configuration."""

    run: Path | None = None
    """Folder of a finished run to look at; its settings are taken over. It is repeated if it stored x only
    (see --record of `hfac sweep`); nothing in it is changed."""
    configuration: Count | None = None
    """Which of the run's configurations, counted from 0; needed where there are several."""
    steps: Count = 200_000
    """Iterations of every run, >= 1."""
    seeds: Count = 8
    """Number of seeds, >= 1."""
    judge: FromProblem = ()
    """Entropy weight tau of the objective that counts, > 0."""
    record: Annotated[Literal["x", "tables"], tyro.conf.Suppress] = "tables"
    """The condition is about the tracked policies."""


def parse(args: Sequence[str]) -> Request | None:
    """The command's request, or None after the general help; a run that is looked at gives its settings."""
    run, rest = _config.take(list(args), "--run")
    if run is None:
        return request(rest)
    with as_input_error("--run: "):
        return _of_run(_files.place(run), rest)


def request(args: Sequence[str], stored: Mapping[str, Any] | None = None) -> Request | None:
    """The command's request, or None after the general help; flags override what is stored."""
    return _sweep.resolve(list(args), "diagnose", Diagnose, check, stored)


def _of_run(run: Path, rest: list[str]) -> Request | None:
    """A request with the settings of a finished run.

    Raises:
      InputError: if the folder holds none, or a flag contradicts it.
    """
    file = run / "config.json"
    if not file.is_file():
        raise InputError(f"--run {_files.shown(run)}: holds no run, config.json is missing")
    from hfac import runs

    stored = runs.upgraded(_config.read_file(str(file), "--run"))
    named = rest[0] if rest and not rest[0].startswith("-") else None
    if named is not None and named != stored.get("problem"):
        raise InputError(f"--run {run}: is a run of {stored.get('problem')}, not of {named}")
    known = {field.name for field in dataclasses.fields(Diagnose)} | {"problem", *runs.TABLES}
    settings: dict[str, Any] = {key: value for key, value in stored.items() if key in known}
    settings |= {"record": "tables", "run": str(run)}
    judge = settings.get("judge")
    if isinstance(judge, list) and len(judge) > 1:
        settings["judge"] = [min(judge)]
    return request(rest, settings)


def check(settings: Diagnose) -> None:
    """Raise `InputError` unless the settings are in range."""
    _sweep.check_sweep(settings)
    if len(settings.judge) > 1:
        raise InputError(f"--judge takes one entropy weight here, got {len(settings.judge)}")
    from hfac import runs

    rows = runs.schedule_axes(vars(settings))
    several = [len(values) for values in rows.values() if len(values) > 1]
    if several and settings.configuration is None:
        last = math.prod(several) - 1
        raise InputError(
            f"--configuration is needed, from 0 to {last}: there are several, and a diagnosis looks at one"
        )

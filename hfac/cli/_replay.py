"""``hfac replay DIR --seed N``: one run of a stored sweep again, and what went wrong in it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from hfac._errors import InputError
from hfac.cli import _config, _resume, parse
from hfac.cli._commands import those_that
from hfac.cli._values import Count
from hfac.settings import ALIASES, FIELDS, RATES, SettingName

DESCRIPTION = (
    "Repeat one run of a stored sweep. Where the sweep crossed lists, name the run by their flags: --tau 0.01 --seed 3."
)


@dataclasses.dataclass(frozen=True)
class Replay:
    """Settings of a replay."""

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder of a sweep."""
    seed: Count
    """Which run."""
    debug: bool = True
    """Run the bad step without compilation, under checkify, and name the first number that is not finite."""


def main(args: Sequence[str]) -> None:
    """Run the command."""
    which, rest = named_runs(args)
    settings = parse(Replay, rest, "hfac replay", DESCRIPTION)
    from hfac import runs
    from hfac.cli import _sweep_run

    stored = runs.read_config(settings.dir)
    if stored["command"] not in (able := those_that("can_replay")):
        raise InputError(f"{settings.dir} holds a run of `hfac {stored['command']}`; replay takes {' and '.join(able)}")
    request = _resume.request_of(stored)
    request = request._replace(settings=dataclasses.replace(request.settings, out=settings.dir), is_resumed=True)
    job, _ = _sweep_run.prepare(request)
    again = runs.repeat(job, settings.dir, settings.seed, which, settings.debug, quiet=False)
    print("\n".join(again.lines()))


def named_runs(args: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """Values of lists by which a person names runs, and the other arguments.

    Raises:
      InputError: if one is no number.
    """
    rest, which = list(args), dict[str, float]()
    if any(arg in ("-h", "--help") for arg in rest):
        return which, rest
    owners = ("--algorithm.", "--problem.")
    own = [arg.partition("=")[0].removeprefix("--") for arg in rest if arg.startswith(owners)]
    for flag in (*_flags(), *own):
        value, rest = _config.take(rest, f"--{flag}")
        if value is not None:
            which[flag] = _number(flag, value)
    return which, rest


def _flags() -> list[str]:
    return [SettingName(rate, field).flag for rate in RATES for field in FIELDS] + [
        SettingName(rate, field).flag.replace(rate, alias, 1) for alias, rate in ALIASES.items() for field in FIELDS
    ]


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--{flag}: '{text}' is not a number") from None

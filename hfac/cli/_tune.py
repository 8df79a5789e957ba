"""``hfac tune PROBLEM``: search for a method's settings by successive halving; the log, a ready command, a figure."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hfac._errors import InputError
from hfac.cli import _sweep
from hfac.cli._request import Request
from hfac.cli._settings import FROM_PROBLEM
from hfac.cli._values import Count, Real, expand
from hfac.settings import LEAST_JUDGED, RATES, Range, find

MAX_ROUNDS = 12  # seeds double from round to round
RUNS_PAID_FOR = 100  # of full length, by the default budget


@dataclasses.dataclass(frozen=True)
class Tune:
    """Settings of a search; every method gets the same space and the same budget."""

    algorithm: str = "hfac"
    """Method, one of `hfac.algorithms.REGISTRY`."""
    samples: Count = 1_000_000
    """Environment samples of a run that goes all the way; steps for a method that uses none."""
    budget: Count = 0
    """Environment samples of the whole search; 0 stands for 100 times --samples."""
    seeds: Count = 2
    """Seeds of every candidate in the first round; they double from round to round."""
    first_seed: Count = 1_000_000
    """The first of them, every round goes on with the next; keep them away from the seeds you report."""
    design: Literal["random", "grid"] = "random"
    """Candidates: random draws, as many as the budget pays for, or every combination of the listed values, once."""
    rounds: Count = 4
    """Searches by random draws, one after another: each draws around the best of the one before
    and tries fewer candidates on more seeds."""
    search: tuple[str, ...] = ()
    """Axes of the search in place of the default ones: NAME=LOW:HIGH (any number between, uniform in the logarithm),
    NAME=A,B,C or NAME=log:A:B:N (one of these), NAME=A (this). NAME is a schedule flag such as upper or
    entropy-power, offset, penalty-over-entropy, upper-over-penalty, or an option of the method such as inner-steps."""
    judge: Annotated[Real | None, tyro.conf.arg(help_behavior_hint=FROM_PROBLEM)] = None
    """Entropy weight tau at which x is judged, > 0."""
    rungs: Count = 2
    """Stages of halving in a round."""
    reduction: Count = 4
    """Factor by which candidates fall and steps rise from rung to rung, >= 2."""
    search_seed: Count = 0
    """Seed of the random candidates."""
    out: Path | None = None
    """Folder to write to; it must not hold anything. A new one under runs/ unless given."""
    devices: Count = 0
    """Devices to use; 0 takes all. On CPUs a device is a core."""
    cache: bool = True
    """Keep compiled programs in the user's cache folder."""
    figures: bool = True
    """Draw the search."""
    quiet: bool = False
    """Print errors and the command only."""


def request(args: Sequence[str], stored: Mapping[str, Any] | None = None) -> Request | None:
    """The command's request, or None after the general help; flags override what is stored."""
    return _sweep.resolve(list(args), "tune", Tune, check, stored)


def check_growth(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise `InputError` unless the new search is the old one with more rounds of the same budget."""
    from hfac import runs

    changed = {words.partition(" ")[0] for words in runs.differences(old, new)} - {"version", "rounds", "budget"}
    if changed:
        raise InputError(f"a search keeps its {', '.join(sorted(changed))}; only rounds and the budget can grow")
    before, now = (config["budget"] or RUNS_PAID_FOR * config["samples"] for config in (old, new))
    if new["rounds"] < old["rounds"]:
        raise InputError(f"--rounds can only grow: the search has {old['rounds']}, got {new['rounds']}")
    if now * old["rounds"] != before * new["rounds"]:
        need = before * new["rounds"] / old["rounds"]
        raise InputError(f"--rounds {new['rounds']} needs --budget {need:.10g}: as much a round as before; got {now:,}")


def check(settings: Tune) -> None:
    """Raise `InputError` unless the settings are in range."""
    at_least = {"samples": 1, "budget": 0, "seeds": 1, "rounds": 1, "rungs": 1, "reduction": 2, "devices": 0}
    for name, least in at_least.items():
        if getattr(settings, name) < least:
            raise InputError(f"--{name} must be at least {least}, got {getattr(settings, name)}")
    check_rounds(settings.rounds)
    if settings.judge is not None and not settings.judge >= LEAST_JUDGED[True]:
        raise InputError(f"--judge must be at least {LEAST_JUDGED[True]:g}, got {settings.judge:g}")
    if settings.first_seed < 0 or settings.first_seed + 2**settings.rounds * settings.seeds > 2**31:
        raise InputError("--first-seed must be >= 0 and every seed below 2**31")
    axes(settings.search)


def check_rounds(rounds: int) -> None:
    """Raise `InputError` unless so many rounds can be meant."""
    if rounds > MAX_ROUNDS:
        raise InputError(f"--rounds must be at most {MAX_ROUNDS}, got {rounds}: seeds double from round to round")


def axes(entries: Sequence[str]) -> dict[str, Any]:
    """The axes of `--search`: `Range`, or a tuple of values.

    Raises:
      InputError: if an entry is none of the forms.
    """
    found: dict[str, Any] = {}
    for entry in entries:
        flag, equals, text = entry.partition("=")
        if not (flag and equals and text):
            raise InputError(f"--search: '{entry}' must be NAME=LOW:HIGH, NAME=A,B,C or NAME=A")
        if axis_name(flag) in found:
            raise InputError(f"--search: {flag} is given twice")
        found[axis_name(flag)] = _axis(flag, text)
    return found


def axis_of(entry: str) -> str:
    """The name of the axis that an entry of `--search` sets."""
    return axis_name(entry.partition("=")[0])


def axis_name(flag: str) -> str:
    """A flag as the search calls it: "upper" is "upper.scale", "inner-steps" is "inner_steps"."""
    name = find(flag)
    return name.path if name is not None and name.owner in RATES else flag.replace("-", "_")


def _axis(flag: str, text: str) -> Any:
    parts = text.split(":")
    try:
        if len(parts) == 2:
            low, high = expand(parts[0])[0], expand(parts[1])[0]
            if not 0 < low < high:
                raise InputError(f"--search: {flag} must have ends 0 < low < high, got {text}")
            return Range(low, high)
        words = [word for word in text.split(",") if word]
        return tuple(value for word in words for value in _values(word))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"--search: {flag}: {error}") from None


def _values(word: str) -> list[Any]:
    named = {"true": True, "false": False, "none": None}
    if word.lower() in named:
        return [named[word.lower()]]
    if word[0].isalpha() and not word.startswith("log:"):
        return [word]
    return [
        int(value) if value == int(value) and "." not in word and "e" not in word else value for value in expand(word)
    ]

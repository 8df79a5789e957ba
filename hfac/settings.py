"""What the numbers of a run are called: as a flag, as a key of a file, and as a path in `Schedules`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hfac._places import is_place

RATES = ("upper", "actor", "critic", "penalty", "entropy")
FIELDS = ("scale", "power", "offset", "floor")
ALIASES = {"tau": "entropy"}  # other names of the rates, wherever one is named
METHOD, PROBLEM = "algorithm", "problem"  # owners of options
TABLES = (f"{PROBLEM}_options", f"{METHOD}_options")  # of a configuration
OWN = {PROBLEM: "own_problem", METHOD: "own_algorithm"}  # where a run keeps what says which one a person's own is
LEAST_JUDGED = {False: 1e-4, True: 1e-8}  # by whether there is float64: logits are values / tau
JUDGE = 0.003  # entropy weight that x is judged at, where neither a person nor the problem says another


class SettingName(NamedTuple):
    """The name of one number."""

    owner: str  # one of `RATES`, or whose option it is
    field: str  # one of `FIELDS`, or the option

    @property
    def path(self) -> str:
        """In `Schedules` and as a dimension of results, such as "entropy.power" or "algorithm.pen_rate"."""
        return f"{self.owner}.{self.field}"

    @property
    def flag(self) -> str:
        """On the command line without its dashes, such as "entropy", "entropy-power" or "algorithm.pen-rate"."""
        if self.owner not in RATES:
            return self.path.replace("_", "-")
        return self.owner if self.field == FIELDS[0] else f"{self.owner}-{self.field}"

    @property
    def key(self) -> str:
        """In files, such as "entropy", "entropy_power" or "algorithm_options.pen_rate"."""
        if self.owner not in RATES:
            return f"{self.owner}_options.{self.field}"
        return self.flag.replace("-", "_")


class Range(NamedTuple):
    """An axis of a search: any number between two positive ends, uniform in the logarithm."""

    low: float
    high: float


RATE_SETTINGS = tuple(SettingName(rate, field) for rate in RATES for field in FIELDS)
_KNOWN = {word: name for name in RATE_SETTINGS for word in (name.path, name.key)}


def find(word: str) -> SettingName | None:
    """The setting that a flag, a key or a path names, a rate also by its alias; None if it names none."""
    plain = word.replace("-", "_")
    for alias, rate in ALIASES.items():
        stem, dot, field = plain.partition("." if "." in plain else "_")
        if stem == alias:
            plain = f"{rate}{dot}{field}"
    if plain in _KNOWN:
        return _KNOWN[plain]
    owner, dot, option = plain.partition(".")
    owner = owner.removesuffix("_options")
    return SettingName(owner, option) if dot and option and owner in (METHOD, PROBLEM) else None


def key_of(word: str) -> str:
    """What a flag is called in files: "tau-power" is "entropy_power", "first-seed" is "first_seed"."""
    name = find(word)
    return word.replace("-", "_") if name is None or "." in word else name.key


def only_in_python(configuration: Mapping[str, Any]) -> list[str]:
    """Which of problem and method no name leads to: a person's own, handed in from Python."""
    return [kind for kind, mark in OWN.items() if configuration.get(mark) and not is_place(configuration[kind])]

"""Settings found by search, by problem and method: data, in recommended.json beside this file."""

import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

from hfac import schedules as _schedules


@functools.cache
def _table() -> dict[str, dict[str, dict[str, Any]]]:
    return json.loads(importlib.resources.files("hfac").joinpath("recommended.json").read_text())


def name(problem: str, options: Mapping[str, Any] | None = None) -> str:
    """Under which the settings of a problem with these options stand: its environment has its own, or it has one's."""
    with_environment = f"{problem} {(options or {}).get('environment')}"
    return with_environment if with_environment in _table() else problem


def is_known(problem: str, algorithm: str = "hfac") -> bool:
    """Whether there are settings for this pair."""
    return algorithm in _table().get(problem, {})


def options(problem: str, algorithm: str = "hfac") -> dict[str, Any]:
    """Keywords of the method's builder.

    Raises:
      ValueError: if no settings are known for the pair.
    """
    return dict(_entry(problem, algorithm)["options"])


def schedules(problem: str, algorithm: str = "hfac") -> _schedules.Schedules:
    """The schedules.

    Raises:
      ValueError: if no settings are known for the pair.
    """
    entry = _entry(problem, algorithm)
    return _schedules.make(entry["scales"], entry["powers"], float(entry["offset"]), {})


def _entry(problem: str, algorithm: str) -> dict[str, Any]:
    if not is_known(problem, algorithm):
        known = [f"{p}/{a}" for p, methods in _table().items() for a in methods]
        raise ValueError(f"no recommended settings for {problem}/{algorithm}; there are some for {', '.join(known)}")
    return _table()[problem][algorithm]

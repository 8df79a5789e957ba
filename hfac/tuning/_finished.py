"""Finished rungs of a search on disk, so that a search that was stopped goes on from there."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hfac import _files
from hfac.engine import Checkpoints, Snapshot
from hfac.types import PyTree

MAX_RUNGS = 1_000  # of a round: the states of every rung stay


class Outcome(NamedTuple):
    """What a rung found out about a candidate."""

    candidate: int
    steps: int
    samples: float
    objective: float
    diverged: int


class FinishedRungs:
    """A folder of finished rungs: their outcomes, and the states of the candidates that go on."""

    def __init__(self, folder: Path, belongs_to: Mapping[str, Any]) -> None:
        """Look at a folder, which need not exist yet.

        Args:
          folder: of one search.
          belongs_to: what a rung must have been found by, compared word by word.
        """
        self._folder, self._belongs_to = _files.place(folder), json.loads(json.dumps(dict(belongs_to), default=str))

    def outcomes(self, round: int, rung: int) -> list[Outcome] | None:
        """Outcomes of a rung, or None if it was not finished.

        Raises:
          ValueError: if what is there cannot be read or belongs to another search.
        """
        path = self._log(round, rung)
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            belongs_to = content["belongs_to"]
            found = [
                Outcome(candidate, steps, samples, math.inf if value is None else value, diverged)
                for candidate, steps, samples, value, diverged in content["outcomes"]
            ]
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            raise ValueError(f"{path} is damaged; remove {path.parent}, and the round is run again") from None
        if any(belongs_to.get(key) != self._belongs_to.get(key) for key in set(belongs_to) - {"version"}):
            raise ValueError(
                f"{path} belongs to another search; go on with what wrote it, or search into another folder"
            )
        return found

    def is_grouped_by_value(self, round: int) -> bool:
        """Whether version 0.1.0 began the round, which compiled a program for every value of an option."""
        path = self._log(round, 0)
        return path.is_file() and not json.loads(path.read_text(encoding="utf-8")).get("numbers_share_programs")

    def states(self, round: int, rung: int, group: int, like: PyTree) -> PyTree:
        """States of a group's survivors at the end of a rung, leaves [R, ...].

        Raises:
          ValueError: if they are missing or not what was written.
        """
        checkpoints = self._checkpoints(round, group)
        try:
            return checkpoints.at(rung + 1, like).states
        except ValueError as error:
            remedy = f"remove {self._log(round, rung).parent}, and the round is run again"
            raise ValueError(f"{checkpoints.folder} lacks the states of rung {rung}: {error}; {remedy}") from None

    def keep(self, round: int, rung: int, outcomes: list[Outcome], states: Mapping[int, PyTree]) -> None:
        """Write a rung: the states of its survivors by group, then its outcomes, whole or not at all."""
        nothing = np.zeros(1, np.int64)
        for group, leaves in states.items():
            self._checkpoints(round, group).save(Snapshot(rung + 1, rung + 1, nothing, nothing, leaves))
        rows = [[*row[:3], row.objective if math.isfinite(row.objective) else None, row.diverged] for row in outcomes]
        shares = not (rung and self.is_grouped_by_value(round))
        content = {"belongs_to": self._belongs_to, "numbers_share_programs": shares, "outcomes": rows}
        path = self._log(round, rung)
        path.parent.mkdir(parents=True, exist_ok=True)
        _files.replace(path, json.dumps(content) + "\n")

    def _log(self, round: int, rung: int) -> Path:
        return self._folder / f"round-{round}" / f"rung-{rung}.json"

    def _checkpoints(self, round: int, group: int) -> Checkpoints:
        return Checkpoints(
            self._folder / f"round-{round}" / f"group-{group}", self._belongs_to, MAX_RUNGS, ("version",)
        )

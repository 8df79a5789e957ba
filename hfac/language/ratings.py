"""Ratings as they come: every one is stored before it is used, and none is asked for twice."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hfac.language.hosting import Asked
from hfac.language.raters import Rater

Place = tuple[str, int, int, int]  # key of the run, step, policy, place in the batch
FIELDS = ("run", "step", "policy", "place")


class Ratings:
    """Answers a sweep's questions by a rater, through a file of what was answered before."""

    def __init__(self, rater: Rater, decode: Callable[[np.ndarray], str], records: Sequence[Mapping[str, Any]]) -> None:
        """Remember nothing yet.

        Args:
          rater: who is asked.
          decode: text of a completion's tokens.
          records: fields of every prompt.
        """
        self.rater, self._decode, self._records = rater, decode, records
        self._known: dict[Place, float] = {}
        self._path: Path | None = None

    def open(self, path: Path) -> None:
        """Go on with a file, whole lines of which count; it is made with the first rating.

        Raises:
          ValueError: if it holds something else.
        """
        self._path = path
        if not path.is_file():
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:  # cut while it was written: what was not stored was not used
            with path.open("r+b") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.decode("utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                self._known[tuple(row[name] for name in FIELDS)] = float(row["score"])  # type: ignore[index]
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{path}, line {number}, is no rating; restore the file from a copy") from None

    def __call__(self, asked: Asked, keys: np.ndarray) -> np.ndarray:
        """Scores of all completions, float32 [R, policies, G, N]; those of failed runs are 0.

        Raises:
          ValueError: if the rater fails.
        """
        lead = asked.tokens.shape[:-1]
        places: list[Place] = []
        new: dict[Place, tuple[str, Mapping[str, Any], int]] = {}
        for run, policy, group, member in np.ndindex(*lead):
            place = (keys[run].tobytes().hex(), int(asked.step[run]), policy, group * lead[3] + member)
            places.append(place)
            if asked.is_healthy[run] and place not in self._known and place not in new:
                prompt = int(asked.prompt[run, group])
                new[place] = (self._decode(asked.tokens[run, policy, group, member]), self._records[prompt], prompt)
        if new:
            self._ask(new)
        return np.array([self._known.get(place, 0.0) for place in places], np.float32).reshape(lead)

    def _ask(self, new: Mapping[Place, tuple[str, Mapping[str, Any], int]]) -> None:
        texts, records, _ = zip(*new.values(), strict=True)
        scores = self.rater(texts, records)
        if self._path is not None:
            rows = [
                {**dict(zip(FIELDS, place, strict=True)), "prompt": prompt, "text": text, "score": score}
                for (place, (text, _, prompt)), score in zip(new.items(), scores, strict=True)
            ]
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
            with self._path.open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        self._known |= dict(zip(new, scores, strict=True))

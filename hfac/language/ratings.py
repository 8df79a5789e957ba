"""Ratings as they come: every one is stored before it is used, and none is asked for twice."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hfac.language.hosting import Asked
from hfac.language.raters import Rater

Place = tuple[str, int, int, int]  # who wrote: a run's key, or another name; step; policy; place in the batch
FIELDS = ("run", "step", "policy", "place")


class Ratings:
    """Answers questions by a rater, through a file of what was answered before."""

    def __init__(
        self,
        rater: Rater,
        decode: Callable[[np.ndarray], str],
        records: Sequence[Mapping[str, Any]],
        name: str = "rater",
    ) -> None:
        """Remember nothing yet.

        Args:
          rater: who is asked.
          decode: text of a completion's tokens.
          records: fields of every prompt.
          name: of the rater as it is now, which is stored with every rating.
        """
        self._rater, self._decode, self._records, self._name = rater, decode, records, name
        self._others: set[str] = set()  # names that stored ratings have, but for the rater's own
        self._known: dict[Place, tuple[str, float]] = {}  # text and score
        self._rows: list[dict[str, Any]] = []  # not in a file yet
        self._path: Path | None = None

    def open(self, path: Path) -> None:
        """Go on with a file, whole lines of which count; what was rated before goes there.

        Raises:
          ValueError: if it holds something else.
        """
        pending = {tuple(row[name] for name in FIELDS): row for row in self._rows}
        self._path, self._rows, self._known, self._others = path, [], {}, set()
        if path.is_file():
            self._read(path)
        new = {place: row for place, row in pending.items() if place not in self._known}
        self._store(list(new.values()))
        self._known |= {place: (row["text"], row["score"]) for place, row in new.items()}  # type: ignore[misc]

    def _read(self, path: Path) -> None:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:  # cut while it was written: what was not stored was not used
            with path.open("r+b") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.decode("utf-8").split("\n")[:-1], 1):  # texts hold other ends of lines
            try:
                row = json.loads(line)
                place = tuple(row[name] for name in FIELDS)
                self._known[place] = str(row["text"]), float(row["score"])  # type: ignore[index]
                self._others |= {str(row.get("rater", self._name))} - {self._name}
            except (ValueError, KeyError, TypeError):
                way_on = "take the line out, it is asked for again, or put the file back"
                raise ValueError(f"{path}, line {number}, is no rating; {way_on}") from None

    def notes(self) -> list[str]:
        """That stored ratings are of another rater, if they are."""
        if not self._others:
            return []
        return [f"ratings so far are of {', '.join(sorted(self._others))}; those to come are of {self._name}"]

    def __call__(self, asked: Asked, keys: np.ndarray) -> np.ndarray:
        """Scores of all completions, float32 [R, policies, G, N]; those of failed runs are 0.

        Raises:
          ValueError: if the rater fails.
        """
        lead = asked.tokens.shape[:-1]
        found = np.zeros(lead, np.float32)
        questions: dict[Place, tuple[str, int]] = {}
        places: dict[tuple[int, ...], Place] = {}
        for run, policy, group, member in np.ndindex(*lead):
            if asked.is_healthy[run]:
                own = (keys[run].tobytes().hex(), int(asked.step[run]), policy, group * lead[3] + member)
                text = self._decode(asked.tokens[run, policy, group, member])
                places[run, policy, group, member] = own
                questions[own] = (text, int(asked.prompt[run, group]))
        answers = self._answers(questions)
        for where, own in places.items():
            found[where] = answers[own]
        return found

    def of_texts(self, name: str, step: int, policy: int, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Scores of texts of every prompt that belong to no step of a run.

        Args:
          name: what they are, such as anchors.
          step: after which they were written.
          policy: that wrote them.
          texts: of every prompt.

        Raises:
          ValueError: if the rater fails.
        """
        flat = [(text, prompt) for prompt, each in enumerate(texts) for text in each]
        questions = {(name, step, policy, place): question for place, question in enumerate(flat)}
        answers = iter(self._answers(questions).values())
        return [[next(answers) for _ in each] for each in texts]

    def _answers(self, questions: Mapping[Place, tuple[str, int]]) -> dict[Place, float]:
        """Scores of (text, prompt) by place; those that are known are not asked for, those of another text are."""
        new = {place: each for place, each in questions.items() if self._known.get(place, (None,))[0] != each[0]}
        if new:
            texts = [text for text, _ in new.values()]
            scores = self._rater(texts, [self._records[prompt] for _, prompt in new.values()])
            by = {"rater": self._name}
            rows = [
                {**dict(zip(FIELDS, place, strict=True)), "prompt": prompt, "text": text, "score": score, **by}
                for (place, (text, prompt)), score in zip(new.items(), scores, strict=True)
            ]
            self._store(rows)
            self._known |= {place: (text, score) for (place, (text, _)), score in zip(new.items(), scores, strict=True)}
        return {place: self._known[place][1] for place in questions}

    def _store(self, rows: Sequence[dict[str, Any]]) -> None:
        if self._path is None:
            self._rows += rows
            return
        if not rows:
            return
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
        with self._path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

"""Who judges completions, called on the host: VADER, a person's own function, or a command; every answer is checked."""

import hashlib
import json
import math
import shlex
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hfac import _files, _places
from hfac._compiler import random
from hfac._errors import InputError

COMMAND = "command:"
VADER, PEOPLE = KNOWN = ("vader", "people")
FORMS = f"{VADER}, {PEOPLE}, FILE.py:FUNCTION, or {COMMAND}WORDS"
LARGEST_VOCABULARY = 1_000_000
READ = 40  # tokens of a completion that people's rater reads

Rater = Callable[[Sequence[str], Sequence[Mapping[str, Any]]], list[float]]  # (texts, records) -> scores


def make(name: str, timeout: float = 600.0, ratings: Path | None = None) -> Rater:
    """The rater of a name.

    Args:
      name: vader; people, a reward fitted to people's ratings of texts, whose values are log-odds of preferences;
        FILE.py:FUNCTION, a function of (texts, records) that returns a number each; or "command:WORDS", a command that
        reads JSON a line, with `text` and the prompt's fields, and writes {"score": NUMBER} a line.
      timeout: seconds that it may take for one call, > 0.
      ratings: tab-separated file of rated texts (id, ratings, text), for people.

    Returns:
      A function of texts and their records that gives one finite number each.

    Raises:
      ValueError: if there is no such rater; when called, if it fails, takes too long, or answers wrongly.
    """
    if not timeout > 0:
        raise ValueError(f"the rater's timeout must be positive, got {timeout:g}")
    if (ratings is None) == (name == PEOPLE):
        raise ValueError("people's ratings and --rater people go together: give both, --ratings FILE, or neither")
    if name == VADER:
        return _vader()
    if ratings is not None:
        return _people(ratings)
    if name.startswith(COMMAND):
        try:
            words = shlex.split(name.removeprefix(COMMAND))
        except ValueError as error:
            raise ValueError(f"the rater '{name}' is no command: {error}") from None
        if not words:
            raise ValueError(f"the rater '{name}' names no command")
        return _checked(name, lambda texts, records: _answered(words, texts, records, timeout))
    if not _places.is_place(name):
        raise ValueError(f"unknown rater '{name}'; there are {FORMS}")
    function = _places.builder(name, "rater", dict.fromkeys(KNOWN))
    return _checked(name, lambda texts, records: _in_time(function, texts, records, timeout))


def version(name: str) -> str:
    """A rater's name, and a digest of the file that it is in: another file is another rater."""
    place = name.rpartition(":")[0]
    if not (_places.is_place(name) and place.endswith(_places.FILE)):
        return name
    digest = hashlib.sha256(_files.place(place).read_bytes()).hexdigest()
    return f"{Path(place).name}:{_places.short(name)} ({digest[:8]})"


def _vader() -> Rater:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    return lambda texts, records: [float(analyzer.polarity_scores(text)["compound"]) for text in texts]


def _people(path: Path) -> Rater:
    """A reward fitted to ratings; those that are held out for judging are left out, as in tweets.

    Raises:
      ValueError: if the file is not what it should be.
    """
    import jax
    import numpy as np

    from hfac import tweets

    known = [each for each in tweets.read_ratings(path) if not tweets.is_held_out(each)]
    vocabulary = tweets.build_tokenizer([each.text for each in known], LARGEST_VOCABULARY)
    x = tweets.fit_people(known, vocabulary, random.key(0))
    worth = jax.jit(jax.vmap(tweets.reward, (None, 0)))
    return lambda texts, records: np.asarray(worth(x, vocabulary.encode_all(list(texts), READ))).astype(float).tolist()


def _checked(name: str, ask: Callable[..., Any]) -> Rater:
    """A rater whose every answer is one finite number for each text.

    Raises:
      InputError: when called, if it fails or answers something else.
    """

    def rate(texts: Sequence[str], records: Sequence[Mapping[str, Any]]) -> list[float]:
        try:
            answer = ask(list(texts), list(records))
        except (Exception, SystemExit) as error:  # whatever somebody's own lines raise
            words = str(error) if isinstance(error, ValueError) and not _places.line_of(error) else ""
            words = words or f"{type(error).__name__}: {error}{_places.line_of(error)}"
            raise InputError(f"the rater {_places.short(name)} failed: {words}") from None
        try:
            found = [float(each) for each in answer]
        except (TypeError, ValueError):
            raise InputError(f"the rater {_places.short(name)} must return numbers, got {str(answer)[:80]}") from None
        if len(found) != len(texts):
            raise InputError(
                f"the rater {_places.short(name)} must return one number for each of {len(texts)} texts, "
                f"got {len(found)}"
            )
        for text, score in zip(texts, found, strict=True):
            if not math.isfinite(score):
                raise InputError(f"the rater {_places.short(name)} returned {score} for {text[:60]!r}")
        return found

    return rate


def _in_time(function: Callable[..., Any], texts: Any, records: Any, timeout: float) -> Any:
    """What a function returns, or its exception; a hung one is left behind.

    Raises:
      ValueError: if it takes too long.
    """
    found: dict[str, Any] = {}

    def call() -> None:
        try:
            found["answer"] = function(texts, records)
        except BaseException as error:  # handed on to the caller
            found["error"] = error

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        raise ValueError(f"it did not answer within {timeout:g} seconds")
    if "error" in found:
        raise found["error"]
    return found["answer"]


def _answered(words: Sequence[str], texts: Sequence[str], records: Sequence[Any], timeout: float) -> list[Any]:
    """What a command says of texts.

    Raises:
      ValueError: if it fails, takes too long, or does not answer in lines of JSON.
    """
    lines = [
        json.dumps({**record, "text": text}, ensure_ascii=False) for text, record in zip(texts, records, strict=True)
    ]
    try:
        done = subprocess.run(
            words, input="\n".join(lines) + "\n", capture_output=True, timeout=timeout, encoding="utf-8"
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"it did not answer within {timeout:g} seconds") from None
    except OSError as error:
        raise ValueError(f"{words[0]} cannot be run: {error.strerror}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(f"it ended with code {done.returncode}: {last[:200]}")
    scores = []
    for number, line in enumerate(filter(str.strip, done.stdout.splitlines()), 1):
        try:
            score = json.loads(line)["score"]
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise TypeError
            scores.append(score)
        except (ValueError, KeyError, TypeError):
            raise ValueError(f'line {number} of its answer is not {{"score": NUMBER}}: {line[:80]}') from None
    return scores

"""Tweets and people's ratings of them, read from files; whatever is wrong is one line with file, line and rule."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

COLUMNS = ("id", "ratings", "text")
RATINGS = range(-4, 5)  # from very sad to very happy
MIN_TWEETS = 2  # preferences need a pair


class Tweet(NamedTuple):
    """A tweet that people have rated."""

    id: int
    ratings: np.ndarray  # int [n], each in -4..4, one per person
    text: str

    @property
    def mean(self) -> float:
        """Mean rating."""
        return float(self.ratings.mean())


def read_corpus(path: Path) -> list[str]:
    """Tweets of a text file, one a line; empty lines are left out.

    Raises:
      ValueError: if the file cannot be read, is not UTF-8, or has fewer than two tweets.
    """
    tweets = [line for _, line in _lines(path) if line.strip()]
    _check_count(path, len(tweets))
    return tweets


def read_ratings(path: Path) -> list[Tweet]:
    """Rated tweets of a tab-separated file with the header ``id, ratings, text``; ratings are parted by spaces.

    Raises:
      ValueError: if the file cannot be read, is not UTF-8, a line does not parse, or there are fewer than two tweets.
    """
    lines = _lines(path)
    number, header = next(lines, (1, ""))
    if tuple(header.split("\t")) != COLUMNS:
        raise ValueError(f"{path}, line {number}: the header must be {', '.join(COLUMNS)}, parted by tabs")
    tweets = [_tweet(path, number, line) for number, line in lines if line.strip()]
    _check_count(path, len(tweets))
    seen: set[int] = set()
    for tweet in tweets:
        if tweet.id in seen:
            raise ValueError(f"{path}: every id stands once, got {tweet.id} again")
        seen.add(tweet.id)
    return tweets


def _tweet(path: Path, number: int, line: str) -> Tweet:
    cells = line.split("\t")
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{path}, line {number}: a line has {len(COLUMNS)} cells parted by tabs, got {len(cells)}")
    name, ratings, text = cells
    shown = ratings if len(ratings) <= 40 else ratings[:40] + " ..."
    try:
        key, values = int(name), [int(rating) for rating in ratings.split()]
    except ValueError:
        raise ValueError(
            f"{path}, line {number}: id and ratings must be whole numbers, got '{name}' and '{shown}'"
        ) from None
    if not values or any(value not in RATINGS for value in values):
        raise ValueError(
            f"{path}, line {number}: ratings lie in {RATINGS[0]} .. {RATINGS[-1]}, at least one, got '{shown}'"
        )
    if not text.strip():
        raise ValueError(f"{path}, line {number}: the tweet has no text")
    return Tweet(key, np.array(values), text)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path}, line {number}: the file must be UTF-8") from None


def _check_count(path: Path, count: int) -> None:
    if count < MIN_TWEETS:
        found = "is empty" if count == 0 else "has one tweet"
        raise ValueError(f"{path} {found}; preferences need at least {MIN_TWEETS}")

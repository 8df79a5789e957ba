"""Tweets and people's ratings of them, read from files; whatever is wrong is one line with file, line and rule."""

import csv
import io
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

    Cells may be quoted as spreadsheets and pandas do it: all of them, or those with quotation marks, tabs or line ends
    inside, whose own quotation marks are then doubled. A tweet that merely stands in quotation marks keeps them.

    Raises:
      ValueError: if the file cannot be read, is not UTF-8, a line does not parse, or there are fewer than two tweets.
    """
    rows = _rows(list(_lines(path)))
    number, header = next(rows, (1, []))
    if tuple(header) != COLUMNS:
        raise ValueError(f"{path}, line {number}: the header must be {', '.join(COLUMNS)}, parted by tabs")
    tweets = [_tweet(path, number, cells) for number, cells in rows]
    _check_count(path, len(tweets))
    seen: set[int] = set()
    for tweet in tweets:
        if tweet.id in seen:
            raise ValueError(f"{path}: every id stands once, got {tweet.id} again")
        seen.add(tweet.id)
    return tweets


def _rows(lines: list[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """Cells of every line that is not empty, with its number; a quoted cell may hold tabs and line ends."""
    is_quoted = bool(lines) and all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in lines[0][1].split("\t"))
    taken = 0
    while taken < len(lines):
        number, line = lines[taken]
        taken += 1
        cells = line.split("\t")
        goes_on = not _is_whole(line) and cells[-1].startswith('"') and taken < len(lines)
        goes_on = goes_on and len(lines[taken][1].split("\t")) != len(COLUMNS)  # a tweet may begin with a mark
        if is_quoted or goes_on or (len(cells) != len(COLUMNS) and '"' in line):
            while not _is_whole(line) and taken < len(lines):
                line += "\n" + lines[taken][1]
                taken += 1
            yield number, next(csv.reader(io.StringIO(line, newline=""), delimiter="\t"), [])
        elif line.strip():
            yield number, [_unquoted(cell) for cell in cells]


def _is_whole(text: str) -> bool:
    """Whether every quotation mark has its partner."""
    return text.count('"') % 2 == 0


def _unquoted(cell: str) -> str:
    """A cell without the quotation marks that a writer put around it since it holds some itself, doubled."""
    inside = cell[1:-1]
    is_quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '""' in inside
    return inside.replace('""', '"') if is_quoted and '"' not in inside.replace('""', "") else cell


def _tweet(path: Path, number: int, cells: list[str]) -> Tweet:
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
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path}, line {number}: the file must be UTF-8") from None
        if "\0" in text:
            raise ValueError(f"{path}, line {number}: the file must be UTF-8 text, it holds zeros; is it UTF-16?")
        yield number, text


def _check_count(path: Path, count: int) -> None:
    if count < MIN_TWEETS:
        found = "is empty" if count == 0 else "has one tweet"
        raise ValueError(f"{path} {found}; preferences need at least {MIN_TWEETS}")

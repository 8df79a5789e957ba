"""Ratings are stored before they are used, whole, and nobody is asked twice."""

import json

import numpy as np
import pytest

from hfac.language import raters
from hfac.language.hosting import Asked
from hfac.language.ratings import Ratings

KEYS = np.array([[1, 2], [3, 4]], np.uint32)


def asked(step: int = 0, healthy=(True, True)) -> Asked:
    """Two runs, two policies, two prompts, three completions of two tokens each."""
    tokens = np.arange(2 * 2 * 2 * 3 * 2).reshape(2, 2, 2, 3, 2) + 100 * step
    return Asked(np.array([step, step]), np.array(healthy), np.array([[0, 1], [1, 0]]), tokens)


class Rater:
    """Says the first number of a text; remembers all it was asked."""

    def __init__(self, fails_at: int = -1):
        self.texts, self.calls, self.fails_at = [], 0, fails_at

    def __call__(self, texts, records):
        self.calls += 1
        if self.calls == self.fails_at:
            raise ValueError("the rater is away")
        self.texts += texts
        return [float(text.split()[0]) + record["bonus"] for text, record in zip(texts, records, strict=True)]


def ratings(rater, path=None) -> Ratings:
    made = Ratings(rater, lambda ids: " ".join(map(str, ids)), [{"bonus": 0.25}, {"bonus": 0.5}])
    if path is not None:
        made.open(path)
    return made


def test_every_completion_has_its_score_with_its_prompts_record(tmp_path):
    """In the order of the question; one call for all runs and policies."""
    rater = Rater()
    found = ratings(rater, tmp_path / "r.jsonl")(asked(), KEYS)
    bonus = np.array([[0.25, 0.5], [0.5, 0.25]])[:, None, :, None]
    assert np.array_equal(found, asked().tokens[..., 0] + bonus) and found.dtype == np.float32
    assert rater.calls == 1 and len(rater.texts) == 24
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert len(rows) == 24 and rows[0]["text"] == "0 1" and rows[0]["score"] == 0.25 and rows[0]["prompt"] == 0


def test_nobody_is_asked_twice(tmp_path):
    """The same question, in this process and in the next; other steps and other runs are other questions."""
    rater = Rater()
    first = ratings(rater, tmp_path / "r.jsonl")
    scores = first(asked(), KEYS)
    assert np.array_equal(first(asked(), KEYS), scores) and rater.calls == 1
    later = ratings(rater, tmp_path / "r.jsonl")
    assert np.array_equal(later(asked(), KEYS), scores) and rater.calls == 1
    later(asked(1), KEYS)
    assert rater.calls == 2 and len(rater.texts) == 48
    later(asked(0), KEYS[::-1] + np.uint32(7))
    assert len(rater.texts) == 72


def test_what_was_cut_while_it_was_written_is_asked_again_and_nothing_else(tmp_path):
    """Half a line goes, whole lines stay."""
    path = tmp_path / "r.jsonl"
    scores = ratings(Rater(), path)(asked(), KEYS)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    whole = content[: len(content) // 2].count(b"\n")
    rater = Rater()
    assert np.array_equal(ratings(rater, path)(asked(), KEYS), scores)
    assert len(rater.texts) == 24 - whole
    assert sorted(path.read_text().splitlines()) == sorted(content.decode().splitlines())


def test_a_rater_that_fails_loses_nothing(tmp_path):
    """What was answered before is there."""
    first = ratings(Rater(fails_at=2), tmp_path / "r.jsonl")
    scores = first(asked(), KEYS)
    with pytest.raises(ValueError, match="the rater is away"):
        first(asked(1), KEYS)
    rater = Rater()
    again = ratings(rater, tmp_path / "r.jsonl")
    assert np.array_equal(again(asked(), KEYS), scores) and rater.calls == 0


def test_what_a_failed_run_wrote_is_not_rated(tmp_path):
    """Its scores are 0."""
    rater = Rater()
    found = ratings(rater)(asked(healthy=(False, True)), KEYS)
    assert (found[0] == 0).all() and (found[1] > 0).all() and len(rater.texts) == 12


def test_texts_of_no_run_are_rated_once_too(tmp_path):
    """Anchors are rated before there is a folder; they are stored when there is one, and known when a run goes on."""
    rater = Rater()
    first = ratings(rater)
    texts = [["1 a", "2 b"], ["3 c"]]
    assert first.of_texts("anchors", 0, 0, texts) == [[1.25, 2.25], [3.5]]
    first.open(tmp_path / "r.jsonl")
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 3
    again = ratings(rater, tmp_path / "r.jsonl")
    assert again.of_texts("anchors", 0, 0, texts) == [[1.25, 2.25], [3.5]] and rater.calls == 1
    again.of_texts("fresh", 5, 0, texts)
    again.open(tmp_path / "r.jsonl")
    assert rater.calls == 2 and len((tmp_path / "r.jsonl").read_text().splitlines()) == 6


def test_texts_may_hold_anything(tmp_path):
    """Other ends of lines too, which models write now and then."""
    text = "1 a\u2028b\x85c\x0bd\x1ce\r\nf"
    ratings(Rater(), tmp_path / "r.jsonl").of_texts("fresh", 0, 0, [[text]])
    rater = Rater()
    assert ratings(rater, tmp_path / "r.jsonl").of_texts("fresh", 0, 0, [[text]]) == [[1.25]] and rater.calls == 0


def test_a_rating_belongs_to_its_text(tmp_path):
    """Another text at the same place is another question, now and later."""
    rater = Rater()
    ratings(rater, tmp_path / "r.jsonl").of_texts("fresh", 0, 0, [["1 a"]])
    assert ratings(rater, tmp_path / "r.jsonl").of_texts("fresh", 0, 0, [["2 b"]]) == [[2.25]]
    assert ratings(rater, tmp_path / "r.jsonl").of_texts("fresh", 0, 0, [["2 b"]]) == [[2.25]] and rater.calls == 2


def test_a_damaged_file_is_named(tmp_path):
    """File and line."""
    (tmp_path / "r.jsonl").write_text('{"run": 1}\n')
    with pytest.raises(ValueError, match=r"r\.jsonl, line 1, is no rating"):
        ratings(Rater(), tmp_path / "r.jsonl")


def test_another_rater_is_told(tmp_path):
    """A run that goes on with a changed rater says so; every rating names who gave it."""
    path = tmp_path / "r.jsonl"
    for step, name in enumerate(("first", "first", "second")):
        own = Ratings(Rater(), lambda ids: " ".join(map(str, ids)), [{"bonus": 0.0}, {"bonus": 0.0}], name)
        own.open(path)
        assert own.notes() == (["ratings so far are of first; those to come are of second"] if step == 2 else [])
        own(asked(step), KEYS)
    rows = [json.loads(line)["rater"] for line in path.read_text().splitlines()]
    assert rows == ["first"] * 48 + ["second"] * 24


def test_a_file_that_changed_is_another_rater(tmp_path):
    """The name of a rater of one's own goes with what its file holds."""
    path = tmp_path / "mine.py"
    path.write_text("def short(texts, records):\n    return [0.0 for _ in texts]\n")
    first = raters.version(f"{path}:short")
    path.write_text("def short(texts, records):\n    return [1.0 for _ in texts]\n")
    assert first.startswith("mine.py:short") and raters.version(f"{path}:short") != first
    assert raters.version("vader") == "vader"

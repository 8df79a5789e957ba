"""Raters: what each is asked, and that every wrong answer is one line."""

import sys
import time

import pytest

from hfac.language import raters

TEXTS = ["a good day", "a bad day"]
RECORDS = [{"prompt": "p", "topic": 1}, {"prompt": "q"}]
OWN = """
import time

def length(texts, records):
    return [len(text) + record.get("topic", 0) for text, record in zip(texts, records)]

def raises(texts, records):
    return 1 / 0

def hangs(texts, records):
    time.sleep(60)

def nan(texts, records):
    return [0.0, float("nan")]

def few(texts, records):
    return [0.0]

def words(texts, records):
    return ["x", "y"]

def nothing(texts, records):
    pass
"""
SCRIPT = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(json.dumps({"score": len(row["text"]) + row.get("topic", 0)}))
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    return f"{tmp_path}/mine.py"


def test_vader_is_vaders():
    """Its compound score."""
    good, bad = raters.make("vader")(TEXTS, RECORDS)
    assert good == pytest.approx(0.4404) and bad == pytest.approx(-0.5423)


def test_people_prefer_what_people_preferred(tmp_path):
    """A reward fitted to a file of ratings; a missing one is named."""
    rows = [("a good day", "3 2 3"), ("a bad day", "-3 -2 -3"), ("what a bad thing", "-1 -2"), ("so good", "2 4")]
    lines = [f"{i}\t{ratings}\t{text}" for i, (text, ratings) in enumerate(8 * rows) if i % 10 != 7]
    (tmp_path / "rated.tsv").write_text("\n".join(["id\tratings\ttext", *lines]) + "\n")
    good, bad = raters.make("people", ratings=tmp_path / "rated.tsv")(TEXTS, RECORDS)
    assert good > bad + 0.05
    with pytest.raises(ValueError, match=r"rated\.txt"):
        raters.make("people", ratings=tmp_path / "rated.txt")


def test_a_function_of_ones_own_sees_texts_and_records(own):
    """FILE.py:FUNCTION."""
    assert raters.make(f"{own}:length")(TEXTS, RECORDS) == [11.0, 9.0]


def test_a_command_reads_and_writes_json(tmp_path):
    """One object a line."""
    (tmp_path / "rate.py").write_text(SCRIPT)
    assert raters.make(f"command:{sys.executable} {tmp_path}/rate.py")(TEXTS, RECORDS) == [11.0, 9.0]


FAILING = {
    "raises": r"the rater raises failed: ZeroDivisionError: division by zero \(mine.py:8: return 1 / 0\)",
    "hangs": r"the rater hangs failed: it did not answer within 0.2 seconds",
    "nan": r"the rater nan returned nan for 'a bad day'",
    "few": r"the rater few must return one number for each of 2 texts, got 1",
    "words": r"the rater words must return numbers, got \['x', 'y'\]",
    "nothing": r"the rater nothing must return numbers, got None",
}


@pytest.mark.parametrize("name", FAILING)
def test_a_wrong_answer_is_one_line(own, name):
    """And no wait longer than was allowed."""
    began = time.monotonic()
    with pytest.raises(ValueError, match=FAILING[name]):
        raters.make(f"{own}:{name}", timeout=0.2 if name == "hangs" else 30)(TEXTS, RECORDS)
    assert time.monotonic() - began < 20


COMMANDS = {
    "import time; time.sleep(60)": "did not answer within 1 seconds",
    "raise SystemExit('no licence')": "ended with code 1: no licence",
    "print('x')": "line 1 of its answer is not",
    "print()": "must return one number for each of 2 texts, got 0",
}


@pytest.mark.parametrize("code", COMMANDS)
def test_a_command_that_fails_is_one_line(code):
    """Its last words are in it."""
    import shlex

    with pytest.raises(ValueError, match=COMMANDS[code]):
        raters.make(f"command:{sys.executable} -c {shlex.quote(code)}", timeout=1.0 if "sleep" in code else 30)(
            TEXTS, RECORDS
        )


def test_unknown_raters_are_named(own):
    """Before anything is written."""
    for name, words in (
        ("vadr", "unknown rater 'vadr'; there are vader, people, FILE.py:FUNCTION, or command:WORDS"),
        (f"{own}:lenght", "did you mean 'length'?"),
        ("command:", "names no command"),
    ):
        with pytest.raises(ValueError, match=words):
            raters.make(name)
    with pytest.raises(ValueError, match="no_such_program cannot be run"):
        raters.make("command:no_such_program")(TEXTS, RECORDS)
    with pytest.raises(ValueError, match="timeout must be positive"):
        raters.make("vader", timeout=0)

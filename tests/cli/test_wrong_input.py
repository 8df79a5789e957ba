"""Wrong input, generated: one line that says what is wrong, exit code 2, and no file changed."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfac.cli import COMMANDS, main

NUM_EXAMPLES = 200
PROBLEMS = ("goal_placement", "linear_reward", "four_rooms")
WITH_PROBLEM = ("sweep", "tune", "compare", "rates", "diagnose", "plan")
WORDS = st.text("abcdefghijklmnop-_.", min_size=1, max_size=12).map(lambda word: "zz" + word)
NO_NUMBERS = st.sampled_from(
    ["abc", "nan", "inf", "-inf", "", "1e400", "1:2", "log:0:1:3", "1,x", "0x10", "None", "--"]
)
NO_COUNTS = st.one_of(NO_NUMBERS, st.sampled_from(["-1", "1.5", "1e-3", "-1e9"]))
COUNTS = {
    "sweep": ("steps", "seeds", "first-seed", "devices", "block-width", "shard"),
    "rates": ("steps", "seeds", "first-seed", "devices"),
    "plan": ("steps", "seeds", "first-seed"),
    "tune": ("samples", "budget", "seeds", "rounds", "rungs", "reduction"),
    "compare": ("samples", "seeds", "first-seed", "budget"),
    "diagnose": ("steps", "seeds"),
    "tweets": ("steps", "seeds", "vocabulary", "length", "layers", "width", "heads", "epochs"),
}
RATES = ("upper", "actor-power", "critic-offset", "penalty", "entropy", "tau", "offset", "entropy-floor", "judge")
TEXTS = st.one_of(WORDS, st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")))


def flag(draw, command: str) -> list[str]:
    """A flag with a value that it cannot have."""
    if command in ("sweep", "rates", "plan", "tweets") and draw(st.booleans()):
        return [f"--{draw(st.sampled_from(RATES))}", draw(st.one_of(NO_NUMBERS, st.just("-1")))]
    return [f"--{draw(st.sampled_from(COUNTS[command]))}", draw(NO_COUNTS)]


@st.composite
def wrong(draw) -> tuple[list[str], dict[str, str]]:
    """Arguments that are wrong in one place, and the files that they name."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    problem = [draw(st.sampled_from(PROBLEMS))] if command in WITH_PROBLEM else []
    kinds = ["command", "unknown flag", "config"] + (["folder"] if command != "plan" else [])  # plan writes nothing
    kinds += ["flag"] * 4 if command in COUNTS else []
    kinds += ["problem", "option", "method"] if problem else []
    kinds += ["file"] * 2 if command == "tweets" else []
    kind = draw(st.sampled_from(kinds))
    word = draw(WORDS)
    if kind == "command":
        return [word, *problem], {}
    if kind == "problem":
        return [command, word], {}
    if kind == "unknown flag":
        return [command, *(problem or (["."] if command not in ("tweets",) else [])), f"--{word}", "1"], {}
    if kind == "option":
        return [command, *problem, f"--problem.{word}", "1"], {}
    if kind == "method":
        return [command, *problem, "--algorithms" if command == "compare" else "--algorithm", word], {}
    if kind == "flag":
        return [command, *problem, *flag(draw, command)], {}
    if kind == "file":
        which = draw(st.sampled_from(["--corpus", "--ratings", "--pretrained"]))
        return [command, which, draw(st.sampled_from(["file.txt", "nowhere"]))], {"file.txt": draw(st.just(""))}
    if kind == "folder":
        content = draw(st.one_of(TEXTS, WORDS.map(lambda key: json.dumps({"command": key}))))
        if command in ("resume", "extend", "replay", "render", "report"):
            more = ["--seed", "1"] if command == "replay" else []
            return [command, "run", *more], {"run/config.json": content}
        if command == "merge":
            return [command, "run", "run", "--out", "new"], {"run/config.json": content}
        return [command, *problem, "--out", "run"], {"run/other.txt": content}
    if command not in COUNTS:
        return [command, "nowhere", *(["--seed", "x"] if command == "replay" else [])], {}
    mistyped = st.tuples(st.sampled_from(COUNTS[command]), st.sampled_from(["abc", [1, 2], {"a": 1}, -1, 1.5]))
    content = draw(
        st.one_of(
            WORDS.map(lambda key: json.dumps({key: 1})),
            WORDS.map(lambda text: "{" + text),
            mistyped.map(lambda pair: json.dumps({pair[0].replace("-", "_"): pair[1]})),
        )
    )
    return [command, *problem, "--config", "c.json"], {"c.json": content}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.timeout(900)
@settings(
    max_examples=NUM_EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(case=wrong())
def test_no_wrong_input_gives_a_traceback_or_changes_a_file(case, tmp_path_factory, monkeypatch):
    args, files = case
    folder = tmp_path_factory.mktemp("wrong")
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("hfac.runs.configure", lambda *args: None)
    before = snapshot(folder)
    said, shown = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as stop, contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
        main(args)
    words = "".join(line for line in said.getvalue().splitlines(keepends=True) if "so far" not in line)
    assert stop.value.code == 2, (args, words)
    assert words.count("\n") == 1 and "error:" in words and "Traceback" not in words, (args, words)
    assert shown.getvalue() == "" and snapshot(folder) == before, args

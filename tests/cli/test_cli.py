"""The command line as a user meets it: one-line errors, exit codes, files."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from hfac.cli import main
from hfac.cli._commands import COMMANDS, GROUPS
from hfac.cli._values import expand, numbers, whole
from hfac.pages import FILE
from support.commands import Done, command
from support.folders import CELLS
from support.reported import folder

WRONG = {
    "no problem": ([], "which problem?"),
    "unknown problem": (["goal_placment"], "did you mean 'goal_placement'?"),
    "unknown flag": (["goal_placement", "--entropyy", "0.1"], "--entropy"),
    "not a number": (["goal_placement", "--entropy", "abc"], "'abc' is not a number"),
    "empty list": (["goal_placement", "--entropy"], "--entropy"),
    "negative scale": (["goal_placement", "--entropy", "-0.1"], "--entropy must be > 0, got -0.1"),
    "negative power": (["goal_placement", "--actor-power", "-1"], "--actor-power must be >= 0, got -1"),
    "zero offset": (["goal_placement", "--offset", "0"], "--offset must be > 0, got 0"),
    "floor above scale": (["goal_placement", "--entropy", "0.01", "--entropy-floor", "0.02"], "floor must not exceed"),
    "twice the same": (["goal_placement", "--entropy", "0.1", "0.1"], "--entropy lists a value twice"),
    "steps not whole": (["goal_placement", "--steps", "1.5"], "'1.5' is not a whole number"),
    "no steps": (["goal_placement", "--steps", "0"], "--steps must be at least 1, got 0"),
    "too many steps": (["goal_placement", "--steps", "3e9"], "below 2**31"),
    "no seeds": (["goal_placement", "--seeds", "0"], "--seeds must be at least 1, got 0"),
    "more runs than memory": (["goal_placement", "--seeds", "2e9"], "2,000,000,000 runs need"),
    "zip of unknown": (["goal_placement", "--zip", "entropy,foo", "--entropy", "1", "2"], "--zip: 'foo'"),
    "zip of unequal": (
        ["goal_placement", "--zip", "entropy,penalty", "--entropy", "1", "2", "--penalty", "3"],
        "equal lengths",
    ),
    "bad range": (["goal_placement", "--entropy", "log:0:1:3"], "both ends must be positive"),
    "judge at zero": (["goal_placement", "--judge", "0"], "--judge must be positive, got 0"),
    "problem option": (["goal_placement", "--problem.slip", "2"], "slip must lie in [0, 1], got 2"),
    "problem cell": (["goal_placement", "--problem.landmark", "12", "0"], "landmark must be two numbers in [0, 10)"),
    "algorithm option": (["goal_placement", "--algorithm.batch-size", "0"], "batch_size must be a whole number >= 1"),
    "algorithm conflict": (
        ["goal_placement", "--algorithm.sampler", "exact"],
        "the exact sampler draws nothing",
    ),
    "unknown algorithm": (["goal_placement", "--algorithm", "hfca"], "did you mean 'hfac'?"),
    "missing config": (["goal_placement", "--config", "nowhere.toml"], "cannot read nowhere.toml"),
    "unknown preset": (["goal_placement", "--preset", "best"], "--preset"),
}


@pytest.mark.parametrize("args, expected", WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line_and_writes_nothing(args, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hfac.runs.configure", lambda *args: None)
    with pytest.raises(SystemExit) as stop:
        main(["sweep", *args])
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert expected in said.err
    assert said.err.count("\n") == 1 and "Traceback" not in said.err
    assert said.out == "" and list(tmp_path.iterdir()) == []


WRONG_SEARCH = {
    "tune without problem": (["tune"], "which problem?"),
    "unknown axis": (["tune", "goal_placement", "--search", "speed=1,2"], "no axis 'speed'"),
    "not an axis": (["tune", "goal_placement", "--search", "upper"], "must be NAME=LOW:HIGH"),
    "ends in the wrong order": (["tune", "goal_placement", "--search", "upper=2:1"], "ends 0 < low < high, got 2:1"),
    "grid over a range": (["tune", "goal_placement", "--design", "grid"], "a grid needs values on every axis"),
    "budget for nobody": (["tune", "goal_placement", "--budget", "10"], "--budget 10 pays for no candidate"),
    "too many rounds": (["tune", "goal_placement", "--rounds", "1e9"], "--rounds must be at most 12"),
    "compare for nobody": (["compare", "goal_placement", "--budget", "10"], "--budget 10 pays for no candidate"),
    "no reduction": (["tune", "goal_placement", "--reduction", "1"], "--reduction must be at least 2, got 1"),
    "unknown method": (["compare", "goal_placement", "--algorithms", "hfca"], "did you mean 'hfac'?"),
    "a method twice": (["compare", "goal_placement", "--algorithms", "hfac", "hfac"], "lists 'hfac' twice"),
    "a single seed": (["compare", "goal_placement", "--seeds", "1"], "--seeds must be at least 2, got 1"),
    "tuning seeds": (["compare", "goal_placement", "--first-seed", "1e6"], "must stay below 1,000,000"),
    "no such settings": (["compare", "goal_placement", "--settings", "none.json"], "--settings: cannot read none.json"),
    "unsupported pair": (
        ["compare", "linear_reward", "--algorithms", "hfac", "advantage"],
        "linear_reward has a policy term g",
    ),
}


@pytest.mark.parametrize("args, expected", WRONG_SEARCH.values(), ids=WRONG_SEARCH)
def test_wrong_search_is_one_line_and_writes_nothing(args, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hfac.runs.configure", lambda *args: None)
    with pytest.raises(SystemExit) as stop:
        main(args)
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert expected in said.err
    assert said.err.count("\n") == 1 and "Traceback" not in said.err
    assert said.out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ('steps = "many"', "steps: 'many' is not a number"),
        ("stepps = 3", "unknown setting 'stepps'; did you mean 'steps'?"),
        ("[problem_options]\nslipp = 0.2", "unknown setting 'problem_options.slipp'; did you mean 'slip'?"),
        ("steps = ", "does not parse"),
        ("\xff\xfe", "not UTF-8"),
    ],
)
def test_wrong_config_file(text, expected, tmp_path, capsys):
    file = tmp_path / "c.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SystemExit) as stop:
        main(["sweep", "goal_placement", "--config", str(file)])
    assert stop.value.code == 2
    assert expected in capsys.readouterr().err


def test_unknown_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["sweeep"])
    assert stop.value.code == 2
    assert "did you mean 'sweep'?" in capsys.readouterr().err


def test_values():
    assert expand("0.1:0.3:3") == pytest.approx([0.1, 0.2, 0.3])
    assert expand("log:1e-3:1e-1:3") == pytest.approx([1e-3, 1e-2, 1e-1])
    assert numbers(["0.1,0.2", "3"]) == (0.1, 0.2, 3.0)
    assert whole("200_000") == whole("2e5") == 200_000


def test_help_lists_every_command_in_its_group(capsys):
    main([])
    said = capsys.readouterr().out
    assert all(f"\n  {name:<8} {command.help}" in said for name, command in COMMANDS.items())
    assert [said.index(words) for words in GROUPS.values()] == sorted(said.index(words) for words in GROUPS.values())


def test_versions_that_a_report_should_name(capsys):
    done = command("--version", "--verbose")
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows["hfac"] == command("--version").stdout.split()[1] and rows["jax"] == jax.__version__
    assert {"jaxlib", "numpy", "platform", "devices", "compiled"} <= set(rows) and "cpu" in rows["devices"]


def test_help_needs_no_jax():
    code = "import sys; from hfac.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "assert 'jax' not in sys.modules and 'numpy' not in sys.modules, 'help imported too much'"
    for args in (["--help"], ["sweep", "--help"], ["report", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "usage" in done.stdout


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> tuple[Path, Done]:
    folder = tmp_path_factory.mktemp("sweep") / "first"
    args = "sweep goal_placement --steps 2_000 --seeds 3 --first-seed 5 --entropy 0.01 0.03 --penalty 2 --no-cache"
    done = command(*args.split(), "--problem.size", "7", "--problem.landmark", "6", "6", "--out", str(folder))
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.mark.slow
def test_plan_foretells_what_no_machine_could_hold(tmp_path, monkeypatch):
    monkeypatch.setattr("hfac.cli._plan.CALIBRATION_SECONDS", 0.1)
    lists = ["--entropy", "log:0.01:0.1:50", "--shard", "2/1000"]
    done = command("plan", "goal_placement", "--seeds", "1e9", "--steps", "100", *lists, cwd=tmp_path)
    assert done.returncode == 0 and all("so far" in line for line in done.stderr.splitlines()), done.stderr
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    every, share = "50,000,000,000 = 50 configurations x 1,000,000,000 seeds", "50,000,000 of them in a share"
    assert rows["runs"] == f"{every}; {share}"
    assert " GB in all while running" in rows["memory"] and " GB uncompressed" in rows["results"]
    assert list(tmp_path.iterdir()) == []


def test_sweep_writes_what_it_says(swept):
    from hfac import results

    folder, done = swept
    data = results.load(folder / "results.zarr")
    assert data["entropy.scale"].values.tolist() == [0.01, 0.03]
    assert data["seed"].values.tolist() == [5, 6, 7]
    assert data["step"].values[[0, -1]].tolist() == [0, 2_000]
    assert data["samples"].isel(step=-1).values.tolist() == [[4_000] * 3] * 2
    assert data["x"].shape[-1] == 49 and np.isfinite(data["x"]).all()
    assert np.isfinite(data["hyper_objective"]).all() and data["judged_tau"].values.tolist() == [0.003]
    assert {"versions", "device", "compile_seconds", "run_seconds", "git_commit"} <= set(data.attrs)
    assert (folder / "summary.csv").read_text().count("\n") == 3
    assert sorted(p.name for p in (folder / "figures").iterdir()) == ["grid.png", "objective.png"]
    assert "interquartile mean" in done.stdout and "6 runs x 2,000 steps" in done.stderr


def test_sweep_refuses_a_folder_that_holds_something(swept):
    folder, _ = swept
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    done = command("sweep", "goal_placement", "--out", str(folder))
    assert done.returncode == 2 and "already holds something" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_config_reproduces_the_sweep(swept, tmp_path):
    from hfac import results

    folder, _ = swept
    again = tmp_path / "again"
    done = command("sweep", "--config", str(folder / "config.json"), "--out", str(again))
    assert done.returncode == 0, done.stderr
    first, second = (results.load(f / "results.zarr") for f in (folder, again))
    np.testing.assert_array_equal(first["x"], second["x"])
    configs = [json.loads((f / "config.json").read_text()) for f in (folder, again)]
    assert configs[0] == configs[1]


def test_report_judges_again(swept, tmp_path):
    import shutil

    from hfac import results

    folder = tmp_path / "copy"
    shutil.copytree(swept[0], folder)
    before = results.load(folder / "results.zarr")
    done = command("report", str(folder), "--judge", "0.03", "0.01", "--no-figures")
    assert done.returncode == 0, done.stderr
    after = results.load(folder / "results.zarr")
    assert after["judged_tau"].values.tolist() == [0.03, 0.01]
    np.testing.assert_array_equal(before["x"], after["x"])
    assert done.stdout.count("\n") == 5  # a head, two schedules at two tau


def test_report_of_nothing(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", str(tmp_path)])
    assert stop.value.code == 2
    assert "holds no run" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"command": "plan"}')
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path)])
    assert "holds a run of `hfac plan`; report takes sweep" in capsys.readouterr().err


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_tune_writes_its_search_and_prints_a_command(tmp_path_factory):
    found = folder("tune", tmp_path_factory)
    assert {p.name for p in found.iterdir()} == {
        *("config.json", "search.csv", "best.json", "provenance.json", "figures", "checkpoints", ".lock", FILE)
    }
    log = table(found / "search.csv")
    assert {(row["round"], row["rung"]) for row in log} == {("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")}
    assert all(row["offset" if "offset" in row else "upper.offset"] == "300.0" for row in log)
    assert (found.parent / "said").read_text(encoding="utf-8").startswith("hfac sweep goal_placement")


@pytest.mark.slow
def test_what_a_search_prints_runs_and_its_settings_are_compared(tmp_path, tmp_path_factory):
    found = folder("tune", tmp_path_factory)
    line = shlex.split((found.parent / "said").read_text(encoding="utf-8"))
    again = command(*line[1:], "--seeds", "2", "--no-figures", "--quiet", "--out", str(tmp_path / "again"))
    assert again.returncode == 0, again.stderr
    both = tmp_path / "both"
    done = command("compare", "goal_placement", *CELLS, "--algorithms", "partial", "exact_gradient", "--samples", "400",
                "--budget", "1600", "--tuning-seeds", "1", "--rounds", "1", "--rungs", "1", "--seeds", "2", "--quiet",
                "--model-steps", "5", "--settings", str(found / "best.json"), "--out", str(both))  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = table(both / "table_samples.csv")
    assert [row["method"] for row in rows] == ["hfac", "partial"]
    assert rows[0]["minus the first, paired [95 %]"] == "" != rows[1]["minus the first, paired [95 %]"]
    assert [row["needs"] for row in table(both / "table_model.csv")] == [
        "samples only",
        "model, nested",
    ]
    assert {p.name for p in (both / "settings").iterdir()} == {"hfac.json", "partial.json", "exact_gradient.json"}
    assert {p.name for p in (both / "figures").iterdir()} >= {"compare_samples.png", "compare_model.png"}

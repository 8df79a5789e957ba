"""`hfac rates` and `hfac diagnose` as a user meets them."""

import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from hfac import results
from hfac.cli import main
from support.folders import CELLS


@pytest.fixture(autouse=True)
def as_a_user(monkeypatch):
    """The command's own process would have jax's default promotion rules; devices and cache stay as they are."""
    monkeypatch.setattr("hfac.runs.configure", lambda *args: None)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_rates_says_slope_interval_theory_and_verdict(tmp_path, capsys):
    out = tmp_path / "o"
    args = ["--steps", "2000", "--seeds", "3", "--entropy-power", "0.05", "0.2", "--window", "100", "2000"]
    main(["rates", "goal_placement", *CELLS, "--quiet", *args, "--out", str(out)])
    said = capsys.readouterr().out
    assert said.count("rate k^") == 2 and "tau^2 -0.4" in said  # the second schedule's own balance
    rows = table(out / "rates.csv")
    assert len(rows) == 18 and len({row["configuration"] for row in rows}) == 2
    for row in rows:
        assert float(row["low"]) <= float(row["slope"]) <= float(row["high"])
        assert (row["quantity"] in ("smallest", "average")) == bool(row["theory"])
        assert not row["theory"] or row["verdict"] in ("consistent", "faster", "slower")
    assert {p.name for p in (out / "figures").iterdir()} == {"rates_0.png", "rates_1.png"}
    assert "hypergradient_square" in results.load(out / "results.zarr")


WRONG = {
    "a window outside": (["rates", "goal_placement", "--steps", "100", "--window", "1", "200"], "end at --steps 100"),
    "a narrow window": (["rates", "goal_placement", "--steps", "100", "--window", "90", "100"], "half a decade"),
    "half a window": (["rates", "goal_placement", "--window", "90"], "--window takes the first and the last step"),
    "two judges": (["rates", "goal_placement", "--judge", "0.1", "0.2"], "--judge takes one entropy weight"),
    "one seed": (["rates", "goal_placement", "--seeds", "1"], "--seeds must be at least 2"),
    "another family": (["rates", "goal_placement", "--algorithm", "partial"], "tracks no theta_pen"),
    "central": (["rates", "goal_placement", "--algorithm.difference", "central"], "forward difference only"),
    "no such run": (["diagnose", "--run", "nowhere"], "--run nowhere: holds no run"),
    "several": (["diagnose", "goal_placement", "--entropy", "0.1", "0.2"], "--configuration is needed"),
    "out of range": (
        ["diagnose", "goal_placement", "--entropy", "0.1", "0.2", "--configuration", "2"],
        "--configuration must lie in [0, 2), got 2",
    ),
}


@pytest.mark.parametrize("args, expected", WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line_and_writes_nothing(args, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(args)
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert expected in said.err and said.err.count("\n") == 1
    assert said.out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_finished_run_is_diagnosed_as_it_was(tmp_path, monkeypatch, capsys):
    """By repeating it where it kept x only, from its own tables where it kept them."""
    runs = {record: tmp_path / record for record in ("x", "tables")}
    for record, run in runs.items():
        args = ["--steps", "1000", "--seeds", "2", "--record", record, "--no-figures"]
        main(["sweep", "goal_placement", *CELLS, "--quiet", *args, "--out", str(run)])
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    capsys.readouterr()
    out = tmp_path / "repeated"
    main(["diagnose", "--run", str(runs["x"]), "--out", str(out), "--figures"])
    said = capsys.readouterr().out
    assert said.startswith("PL ") and "limited by" in said
    assert {p: p.stat().st_mtime_ns for p in before} == before
    repeated, kept = (results.load(folder / "results.zarr") for folder in (out, runs["tables"]))
    for name in ("x", "theta_pen", "leader_value"):
        np.testing.assert_array_equal(repeated[name], kept[name])
    assert (out / "figures" / "diagnosis.png").stat().st_size > 10_000
    found = json.loads((out / "diagnosis.json").read_text())
    assert sum(found["shares"].values()) == pytest.approx(1)
    along = [float(row["ratio"]) for row in table(out / "condition.csv") if row["where"] == "run"]
    assert found["constant"] == pytest.approx(np.nanmin(along))

    looked_at = []

    def look(problem, data, *rest):
        looked_at.append(data)
        raise ValueError("stop here")

    monkeypatch.setattr("hfac.diagnostics.diagnose", look)
    with pytest.raises(SystemExit):
        main(["diagnose", "--run", str(runs["tables"]), "--out", str(tmp_path / "again")])
    np.testing.assert_array_equal(looked_at[0]["theta_pen"], kept["theta_pen"])
    assert not (tmp_path / "again" / "results.zarr").exists()  # nothing was run again


def test_a_run_of_another_problem_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"problem": "beacon"}')
    with pytest.raises(SystemExit) as stop:
        main(["diagnose", "goal_placement", "--run", str(tmp_path)])
    assert stop.value.code == 2
    assert "is a run of beacon, not of goal_placement" in capsys.readouterr().err

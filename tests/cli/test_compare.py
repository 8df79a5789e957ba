"""`hfac compare` goes on where it was stopped, and grows; what does not fit into memory is refused before it starts."""

import csv
import json
import shutil
from unittest import mock

import jax
import numpy as np
import pytest

from hfac import results
from hfac.cli import _compare_run, main
from hfac.runs import _memory
from support.folders import SIZE
from support.reported import KINDS, folder

TUNE = ["tune", "goal_placement", *SIZE, "--samples", "400", "--budget", "4e5", "--rounds", "1"]
TUNE += ["--search", "offset=300"]


@pytest.fixture(autouse=True)
def plain_jax(monkeypatch):
    monkeypatch.setattr("hfac.runs.configure", lambda *args: None)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def table(folder):
    with (folder / "table_samples.csv").open() as file:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def judged(folder, method):
    return results.load(folder / "results" / f"{method}.zarr")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return folder("compare", tmp_path_factory)


def test_it_goes_on_to_its_table(whole, tmp_path, monkeypatch):
    place, tuned = tmp_path / "run", []
    shutil.copytree(whole, place)
    for name in ("finished.json", "table_samples.csv"):
        (place / name).unlink()
    monkeypatch.setattr(_compare_run, "tune", lambda problem, method, *args: tuned.append(method))
    main(["resume", str(place)])
    assert tuned == [] and table(place) == table(whole) and (place / "finished.json").is_file()


@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped(whole, tmp_path, monkeypatch, capsys):
    """Stopped before the second method runs, and again before the table, and tuned no more."""
    place, tuned = tmp_path / "run", []
    own_run = _compare_run.run

    def stops(problem, method, *args):
        if method == "partial":
            raise KeyboardInterrupt
        return own_run(problem, method, *args)

    def stopped(*line):
        with pytest.raises(SystemExit) as stop:
            main(line)
        assert stop.value.code == 130 and f"`hfac resume {place}` goes on from there" in capsys.readouterr().err

    with monkeypatch.context() as patch:
        patch.setattr(_compare_run, "run", stops)
        stopped(*KINDS["compare"], "--no-figures", "--out", str(place))
    monkeypatch.setattr(_compare_run, "tune", lambda problem, method, *args: tuned.append(method))
    with monkeypatch.context() as patch:
        patch.setattr(_compare_run, "show", mock.Mock(side_effect=KeyboardInterrupt))
        stopped("resume", str(place))
    main(["resume", str(place)])
    assert tuned == [] and table(place) == table(whole)


@pytest.mark.slow
def test_it_grows_by_seeds_samples_and_methods(whole, tmp_path, capsys):
    place = tmp_path / "run"
    shutil.copytree(whole, place)
    main(["extend", str(place), "--seeds", "3", "--samples", "600", "--algorithms", "hfac", "partial", "nested"])
    assert [row["method"] for row in table(place)] == ["hfac", "partial", "nested"]
    for method in ("hfac", "partial"):
        before, after = judged(whole, method), judged(place, method)
        assert after.sizes["seed"] == 3 and after["samples"].max() > before["samples"].max()
        kept = after.sel(seed=[0, 1], step=before["step"])
        np.testing.assert_array_equal(kept["x"], before["x"])
        own = [json.loads((each / "settings" / f"{method}.json").read_text()) for each in (whole, place)]
        assert own[0] == own[1]
    found = json.loads((place / "settings" / "partial.json").read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps(found | {"upper": 0.5}))
    capsys.readouterr()
    for wrong, words in (
        (["--seeds", "2"], "--seeds can only grow"),
        (["--samples", "400"], "--samples can only grow"),
        (["--algorithms", "hfac", "nested"], "--algorithms must hold what it held"),
        (["--rounds", "2"], "a comparison keeps its rounds"),
        (["--budget", "3200"], "a comparison keeps its budget"),
        (["--settings", str(other)], "--settings: the comparison has settings of partial and keeps them"),
    ):
        with pytest.raises(SystemExit):
            main(["extend", str(place), *wrong])
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1, said


@pytest.mark.parametrize("command", [KINDS["compare"], TUNE])
def test_what_does_not_fit_is_refused_before_it_starts(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_memory, "host", lambda: 2_000.0)
    with pytest.raises(SystemExit) as stop:
        main([*command, "--out", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "runs need" in said and said.count("\n") == 1, said
    assert not (tmp_path / "run").exists()

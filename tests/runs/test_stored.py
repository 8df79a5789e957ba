"""Runs that version 0.1.0 stored are reported, gone on with, made larger and repeated."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jaxlib
import numpy as np
import pytest

from hfac import results
from hfac.cli import main
from support.commands import TIMEOUT, environment

STORED = Path(__file__).parents[1] / "stored" / "0.1.0"


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Unpacks a stored run, as if this machine's jax had made it: another one's numbers may differ in the last bits."""
    monkeypatch.setattr("hfac.runs.configure", lambda *args: None)
    own = {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "device": jax.devices()[0].platform, "devices": 2}

    def unpack(name: str) -> Path:
        folder = tmp_path / name
        with zipfile.ZipFile(STORED / f"{name}.zip") as packed:
            packed.extractall(folder)
        for path in [*folder.glob("checkpoints/*/*/manifest.json"), *folder.glob("checkpoints/*/*/*/manifest.json"),
                     *folder.glob("checkpoints/*/rung-*.json")]:  # fmt: skip
            content = json.loads(path.read_text())
            content["belongs_to"] |= {key: value for key, value in own.items() if key in content["belongs_to"]}
            path.write_text(json.dumps(content))
        return folder

    return unpack


def test_it_is_read(stored):
    data = results.load(stored("sweep"))
    assert dict(data.sizes) | {"x_0": 16, "seed": 2, "entropy.scale": 2} == dict(data.sizes)
    assert int(data["step"][-1]) == 300 and np.isfinite(data["hyper_objective"]).all()


def test_it_is_reported(stored, capsys):
    folder = stored("sweep")
    before = results.load(folder)
    main(["report", str(folder), "--no-figures", "--judge", "0.03"])
    assert capsys.readouterr().out.count("\n") == 3
    after = results.load(folder)
    np.testing.assert_array_equal(before["x"], after["x"])
    assert after["judged_tau"].values.tolist() == [0.03]


def test_it_is_finished_to_the_numbers_it_had(stored):
    whole, folder = results.load(stored("sweep")), stored("stopped")
    main(["resume", str(folder), "--no-figures"])
    assert not list(folder.glob("checkpoints/*/damaged-*"))
    found = results.load(folder)
    assert int(found["step"][-1]) == 300
    np.testing.assert_allclose(found["x"], whole["x"], rtol=0, atol=1e-5)


def test_a_finished_one_is_left_as_it_is(stored):
    folder = stored("sweep")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    main(["resume", str(folder)])
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} | before == before | {
        folder / ".lock": (folder / ".lock").stat().st_mtime_ns,
        **{path: path.stat().st_mtime_ns for path in folder.glob("checkpoints/*/.lock")},
    }


def test_it_grows(stored):
    folder = stored("sweep")
    before = results.load(folder)
    main(["extend", str(folder), "--steps", "400", "--seeds", "3", "--entropy", "0.01", "0.03", "0.1", "--quiet"])
    after = results.load(folder)
    assert (after.sizes["seed"], after.sizes["entropy.scale"], int(after["step"][-1])) == (3, 3, 400)
    kept = after["x"].sel({"seed": before["seed"], "entropy.scale": before["entropy.scale"], "step": before["step"]})
    np.testing.assert_array_equal(kept, before["x"])


def test_one_of_its_runs_is_repeated(stored, capsys):
    main(["replay", str(stored("sweep")), "--seed", "1", "--tau", "0.03"])
    said = capsys.readouterr().out
    assert "the stored run is healthy too" in said


@pytest.mark.slow
def test_rates_grow(stored, capsys):
    folder = stored("rates")
    main(["extend", str(folder), "--steps", "300", "--quiet"])
    assert int(results.load(folder)["step"][-1]) == 300
    assert "smallest |grad Phi" in capsys.readouterr().out


@pytest.mark.slow
def test_a_search_is_finished_and_grows(stored, capsys):
    folder = stored("tune")
    main(["resume", str(folder), "--quiet", "--no-figures"])
    first = capsys.readouterr().out
    assert first.startswith("hfac sweep goal_placement --algorithm hfac")
    main(["extend", str(folder), "--rounds", "2", "--budget", "4e3", "--quiet"])
    assert capsys.readouterr().out.startswith("hfac sweep goal_placement")


@pytest.mark.slow
def test_a_search_stopped_within_a_round_ends_where_it_would_have(stored):
    finished, stopped = stored("tune"), stored("tune").with_name("stopped search")
    shutil.copytree(finished, stopped)
    (stopped / "checkpoints" / "round-0" / "rung-1.json").unlink()
    (stopped / "best.json").unlink()
    main(["resume", str(stopped), "--quiet", "--no-figures"])
    best, again = (json.loads((folder / "best.json").read_text()) for folder in (finished, stopped))
    assert {key: again[key] for key in best if key != "version"} == {k: v for k, v in best.items() if k != "version"}


@pytest.mark.slow
def test_tweets_are_reported(stored, capsys):
    main(["report", str(stored("tweets")), "--no-figures"])
    assert "score" in capsys.readouterr().out


@pytest.mark.slow
def test_tweets_grow(stored):
    folder = stored("tweets")
    shutil.copytree(folder, folder.with_name("copy"))
    code = "import sys; from hfac.cli import main; main(['report', sys.argv[1], '--no-figures']); "
    code += "main(['extend', sys.argv[1], '--steps', '3', '--no-figures'])"
    line = [sys.executable, "-c", code, str(folder)]  # a process of its own: tweets are written in single precision
    done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    before, after = (results.load(place) for place in (folder.with_name("copy"), folder))
    assert int(after["step"][-1]) == 3
    np.testing.assert_array_equal(after["tokens"].sel(step=before["step"]), before["tokens"])

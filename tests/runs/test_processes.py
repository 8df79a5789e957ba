"""A sweep over several processes: the same runs, wherever they are moved."""

import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from hfac import results, runs, statistics
from hfac.cli import _sweep, _tweets
from hfac.runs import Processes, Stopped
from support.commands import command, start
from support.folders import RECORDED, SIZE, same, swept

RUN = ["--steps", "5_000", "--seeds", "4", "--entropy", "0.01", "0.03", "--block-width", "2"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_both(folder: Path, *more: str) -> list[subprocess.Popen]:
    port = free_port()
    base = ["sweep", "goal_placement", *SIZE, "--devices", "2", "--out", str(folder), *more]
    base += ["--coordinator", f"127.0.0.1:{port}", "--num-processes", "2"]
    return [start(*base, "--process-id", str(i)) for i in range(2)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    return swept(tmp_path_factory, *SIZE, *RUN, "--devices", "1")[0]


def test_two_processes_of_two_devices_and_one_device_agree_bit_for_bit(alone, tmp_path):
    folder = tmp_path / "run"
    both = start_both(folder, *RUN)
    said = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    same(folder, alone)
    assert len(results.Store(folder / "results.zarr").parts) == 2
    assert "interquartile mean" in said[0][0] and said[1] == ("", ""), said


@pytest.mark.slow
def test_at_other_widths_rounding_grows_along_the_chain_and_the_law_stays(tmp_path):
    """Default sweep on 10 x 10 cells, float32: 1e-5 at 1e4 steps, and in distribution at the end."""
    widths, found = (1, 8), []
    for width in widths:
        folder = tmp_path / str(width)
        size = ["--steps", "30_000", "--seeds", "16", "--block-width", str(width), "--no-figures"]
        done = command("sweep", "goal_placement", *size, "--out", str(folder))
        assert done.returncode == 0, done.stderr
        found.append(results.load(folder / "results.zarr"))
    early = [data["x"].sel(step=slice(0, 10_000)).values for data in found]
    assert early[0].dtype == np.float32 and int(found[0]["step"].sel(step=slice(0, 10_000))[-1]) == 10_000
    assert np.abs(early[0] - early[1]).max() <= 1e-5 * np.abs(early[0]).max()
    final = [data["hyper_objective"].isel(step=-1).values.ravel() for data in found]
    difference = statistics.paired_difference(*final)
    assert difference.low <= 0 <= difference.high, difference


def test_one_process_is_lost_and_the_run_goes_on_later(tmp_path):
    folder, long = tmp_path / "run", ["--steps", "3e5", "--seeds", "4", "--block-width", "1"]
    both = start_both(folder, *long)
    deadline = time.monotonic() + 120
    while not (folder / "alive" / "1").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    both[1].send_signal(signal.SIGKILL)
    both[1].communicate(timeout=60)
    both[0].send_signal(signal.SIGTERM)
    said = both[0].communicate(timeout=120)[1]
    assert both[0].returncode == 130 and "Traceback" not in said, said
    assert f"`hfac resume {folder}` goes on from there" in said
    held = [part.table.num_runs for part in results.Store(folder / "results.zarr").parts]
    assert held == [2, 2]
    done = command("resume", str(folder))
    assert done.returncode == 0, done.stderr
    data = results.load(folder / "results.zarr")
    assert data.sizes["seed"] == 4 and int(data["step"][-1]) == 300_000


def test_silence_ends_the_wait(tmp_path):
    unfinished = ["part-001 (2 runs) at step 10 of 100"]
    with pytest.raises(Stopped, match="no other process has been heard of") as stop:
        Processes(0, 2).await_all(tmp_path, lambda: unfinished, lambda: False, patience=0.1)
    assert "part-001 (2 runs) at step 10 of 100" in str(stop.value)
    answers = iter([unfinished, []])
    Processes(0, 2).await_all(tmp_path, lambda: next(answers), lambda: False)


def test_shares_merge_to_the_whole(alone, tmp_path):
    shares = [tmp_path / f"share{i}" for i in (1, 2, 3)]
    for i, folder in enumerate(shares, 1):
        args = ["sweep", "goal_placement", *SIZE, *RUN, "--devices", "1", "--shard", f"{i}/3", "--out", str(folder)]
        done = command(*args)
        assert done.returncode == 0 and f"share {i}/3 is finished" in done.stderr, done.stderr
    done = command("merge", *map(str, shares), "--out", str(tmp_path / "whole"), "--no-figures")
    assert done.returncode == 0, done.stderr
    same(tmp_path / "whole", alone)
    done = command("merge", *map(str, shares[:2]), "--out", str(tmp_path / "rest"), "--no-figures", "--quiet")
    assert done.returncode == 0, done.stderr  # what is missing is run
    first, second = (results.load(folder / "results.zarr") for folder in (tmp_path / "rest", alone))
    order = second["seed"].values
    for name in RECORDED:
        np.testing.assert_array_equal(first[name].sel(seed=order), second[name])
    done = command("merge", str(shares[0]), str(shares[0]), "--out", str(tmp_path / "twice"))
    assert done.returncode == 2 and "hold the same run" in done.stderr and not (tmp_path / "twice").exists()


WRONG = {
    "no share": (["--shard", "3/2"], "--shard must be I/N with 1 <= I <= N"),
    "half a description": (["--coordinator", "a:1"], "--coordinator, --num-processes and --process-id go together"),
    "no such process": (
        ["--coordinator", "a:1", "--num-processes", "2", "--process-id", "2"],
        "--process-id must lie in [0, --num-processes = 2), got 2",
    ),
    "no folder": (["--distributed"], "several processes need --out"),
}


def test_shares_of_tweets_start_from_one_decoder(tmp_path, monkeypatch, capsys):
    from hfac.cli import main

    monkeypatch.chdir(tmp_path)
    for share in (["--shard", "1/2"], ["--distributed"]):
        with pytest.raises(SystemExit):
            main(["tweets", *share, "--out", "run"])
        assert "shares start from one decoder: give --pretrained" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_has_changed_is_another_experiment(tmp_path):
    corpus, found = tmp_path / "corpus.txt", []
    for text in ("good day\nbad day\n", "good day\nbad night\n"):
        corpus.write_text(text)
        found.append(runs.identity(_sweep.content(_tweets.request(["--corpus", str(corpus)]))))
    assert runs.differences(*found)[0].startswith("corpus_digest (")
    assert len(runs.differences(*found)) == 1


@pytest.mark.parametrize("args, expected", WRONG.values(), ids=WRONG)
def test_wrong_descriptions(args, expected, tmp_path, monkeypatch, capsys):
    from hfac.cli import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["sweep", "goal_placement", *args])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and expected in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

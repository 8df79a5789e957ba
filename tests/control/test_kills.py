"""Neural policies in processes of their own: killed and gone on with, and one beside another."""

import signal
import time

import numpy as np
import pytest

from hfac import results
from support.commands import TIMEOUT, start

SIZE = ("--problem.num-pairs", "8", "--problem.segment", "4", "--problem.hidden", "8", "--problem.reward-hidden", "8",
        "--algorithm.num-envs", "4", "--algorithm.num-steps", "8", "--algorithm.epochs", "2")  # fmt: skip
RATES = ("--upper", "1e-3", "--actor", "3e-3", "--critic", "3e-3", "--penalty", "3", "--entropy", "0.01",
         "--offset", "100")  # fmt: skip
LINE = ("sweep", "preferences", *SIZE, *RATES, "--seeds", "2", "--no-figures")


def finished(*line):
    """A command in a process of its own: other precision than that of the tests."""
    process = start(*line)
    said = process.communicate(timeout=TIMEOUT)[1]
    assert process.returncode == 0, said


@pytest.mark.slow
def test_killed_and_resumed_to_the_same_bits(tmp_path):
    run = ("--steps", "6000", "--checkpoint-minutes", "0.002")
    finished(*LINE, *run, "--out", str(tmp_path / "whole"))
    process = start(*LINE, *run, "--out", str(tmp_path / "run"))
    while not any(p.name.isdigit() for p in (tmp_path / "run" / "checkpoints").glob("part-000/*")):
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    finished("resume", str(tmp_path / "run"))
    killed, whole = (results.load(tmp_path / name / "results.zarr") for name in ("run", "whole"))
    assert set(killed) == set(whole) and "return" in whole
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name], strict=True)


@pytest.mark.stress
def test_twenty_fresh_processes_two_by_two_all_finish(tmp_path):
    for pair in range(10):
        both = [start(*LINE, "--steps", "20", "--out", str(tmp_path / f"{pair}-{i}")) for i in range(2)]
        for process in both:
            said = process.communicate(timeout=TIMEOUT)[1]
            assert process.returncode == 0, said

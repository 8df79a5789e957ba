"""The benchmarks run at toy size and store what they promise; speed decides nothing here."""

import json
import runpy
import shutil
import sys
from unittest import mock

import jax
import pytest


def benchmark(name: str, *args: str) -> None:
    """``python -m benchmarks.NAME ARGS`` in this process, whose devices and precision stay as they are."""
    module = f"benchmarks.{name}"
    sys.modules.pop(module, None)  # as in a process that has just begun
    with (
        mock.patch.object(sys, "argv", [module, *args]),
        mock.patch.object(jax.config, "update"),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.enable_x64(True),
    ):
        runpy.run_module(module, run_name="__main__", alter_sys=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="the C reference needs gcc")
def test_throughput(tmp_path):
    file = tmp_path / "throughput.json"
    args = ["--runs", "4", "--alternations", "2", "--seconds", "0.05", "--quality-steps", "500", "--json", str(file)]
    benchmark("throughput", *args)
    found = json.loads(file.read_text())
    assert found["runs"] == 4 and found["ratio_to_c"] > 0 and found["ratio_to_c_all_cores"] > 0
    assert found["c_ns_per_step"] > 0 and isinstance(found["valid"], bool)
    assert found["phi"] == pytest.approx(found["c_phi"], abs=0.02)  # both still near the start, 0.108


@pytest.mark.slow
def test_scaling(tmp_path):
    file = tmp_path / "scaling.json"
    sizes = ["--runs", "4", "--sizes", "4", "8", "--actions", "3", "--batches", "2", "--seconds", "0.01"]
    benchmark("scaling", *sizes, "--json", str(file))
    found = json.loads(file.read_text())
    assert [row["size"] for row in found["states"]["rows"]] == [16, 64]
    assert all(
        row["ns_per_run_step"] > 0 for axis in ("runs", "actions", "batch", "devices") for row in found[axis]["rows"]
    )
    for row in found["states"]["rows"]:
        assert row["state_bytes_per_run"] < row["program_bytes_per_run"] < 3 * row["state_bytes_per_run"]
    assert found["states"]["exponents"]["program_bytes_per_run"] > 0.5


@pytest.mark.slow
def test_tweets(tmp_path, capsys):
    file = tmp_path / "tweets.json"
    small = ["--batch", "4", "--opponents", "2", "--sampled", "8", "--sampled-length", "4", "--length", "6"]
    small += ["--layers", "1", "--width", "8", "--repeats", "1", "--vocabulary", "60"]
    benchmark("tweets", *small, "--json", str(file))
    found = json.loads(file.read_text())
    assert found["step"] > 0 and all(took > 0 for took in {**found["parts"], **found["writing"]}.values())
    said = capsys.readouterr().out
    assert "the rest" in said and "with the cache" in said


@pytest.mark.slow
def test_peers(tmp_path, capsys):
    file = tmp_path / "peers.json"
    args = ["--runs", "2", "--seconds", "0.01", "--repeats", "1", "--sizes", "10", "5", "--episodes", "4"]
    benchmark("peers", *args, "--horizon", "20", "--json", str(file))
    small, rooms = json.loads(file.read_text())
    assert small["case"] == "m_sobirl S=10 A=5" and rooms["case"] == "hpgd four_rooms"
    for row in (small, rooms):
        assert row["ms_alone"] > 0 and row["ms_together"] > 0 and row["is_healthy"]
        assert row["ratio_alone"] == pytest.approx(row["released_ms"][0] / row["ms_alone"])
    assert small["samples_per_iteration"] == 0 and 4 <= rooms["samples_per_iteration"] <= 80
    assert "Python loops" in capsys.readouterr().out  # where the ratio comes from

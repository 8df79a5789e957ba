"""The Python of the README runs as it stands."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def run(marker: str) -> dict:
    (block,) = [b for b in BLOCKS if marker in b]
    scope: dict = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(block, "README.md", "exec"), scope)
    return scope


def test_every_block_is_run_here():
    assert len(BLOCKS) == 4


def test_sweep_from_python(capsys):
    data = run("hfac.sweep(")["data"]
    assert dict(data.sizes) | {"x_0": 0, "step": 0} == {
        "entropy.scale": 2, "actor.scale": 2, "seed": 8, "judged_tau": 2, "x_0": 0, "step": 0
    }  # fmt: skip
    assert np.isfinite(data["hyper_objective"].values).all()


def test_a_job_from_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = run("hfac.runs.start(")["data"]
    assert dict(data.sizes)["problem.slip"] == 2 and data.sizes["seed"] == 6
    assert "problem.slip 0.1, entropy.scale 0.03, seed 5" in capsys.readouterr().out
    assert (tmp_path / "runs" / "slippery" / "summary.csv").is_file()


def test_step_in_a_users_scan():
    scope = run("jax.lax.scan(")
    assert scope["x"].shape == (4, 100)
    assert scope["samples"].tolist() == [2_000] * 4


def test_problem_of_ones_own(capsys):
    import hfac

    scope = run("def two_rooms")
    checks = {check.method: check.relative_error for check in scope["checks"]}
    assert checks["implicit"] == pytest.approx(0, abs=1e-6)
    assert checks["penalty, central"] < checks["penalty"] < 0.1  # bias O(w^2) and O(w)
    assert "implicit" in capsys.readouterr().out
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        problem = scope["two_rooms"]()
        algorithm = hfac.algorithms.hfac(problem, coupled=True)
        data = hfac.sweep(algorithm, hfac.schedules.attenuating(upper=0.05, entropy=0.05, offset=5_000), 8, 30_000)
        judged = hfac.judge(data.isel(step=[0, -1]), hfac.metrics.exact(problem, 0.03))
    start, end = judged["hyper_objective"].isel(judged_tau=0).median("seed").values
    assert end < start - 0.1  # the leader learns to lure the follower to the last cell

"""What the pages show runs: the Python of the README and of the tutorials as it stands, commands at toy size."""

import math
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest

from hfac import tweets
from support.commands import command
from support.folders import SIZE
from support.rated import made_up
from support.slow import few

ROOT = Path(__file__).parents[1]


def run(page: str) -> dict:
    """What a page's Python leaves behind; lines for the shell are left out."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:python|\{code-cell\} ipython3)\n(.*?)```", text, re.DOTALL)
    assert blocks
    scope: dict = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks:
            lines = [line for line in block.splitlines() if not line.startswith(("!", ":tags:"))]
            exec(compile("\n".join(lines), page, "exec"), scope)
    return scope


def test_the_front_page_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150 and max(map(len, lines)) <= 200


PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_is_there(page):
    for named in re.findall(r"tests/[\w/]+\.py", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / named).is_file(), f"{page}: {named}"


def test_sweep_from_python(capsys):
    data = run("README.md")["data"]
    assert dict(data.sizes) | {"x_0": 0, "step": 0} == {
        "entropy.scale": 2, "seed": 8, "judged_tau": 2, "x_0": 0, "step": 0
    }  # fmt: skip
    assert np.isfinite(data["hyper_objective"].values).all()


@pytest.mark.slow
def test_a_job_from_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hfac.runs.configure", lambda: None)
    data = run("docs/tutorials/durable-runs.md")["data"]
    assert dict(data.sizes)["problem.slip"] == 2 and data.sizes["seed"] == 6
    assert "problem.slip 0.1, entropy.scale 0.03, seed 5" in capsys.readouterr().out
    assert (tmp_path / "slippery" / "summary.csv").is_file()


@pytest.mark.slow
def test_step_in_a_users_scan():
    scope = run("docs/tutorials/embedding.md")
    assert scope["x"].shape == (4, 100)
    assert scope["samples"].tolist() == [2_000] * 4
    assert dict(scope["data"].sizes)["actor.scale"] == 2


@pytest.mark.slow
def test_environment_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = run("docs/tutorials/own-environment.md")
    data = scope["data"]
    assert np.all(data["status"] == 0) and np.all(np.isfinite(data["return"]))
    assert np.all(data["played_objective"].isel(step=-1) < data["played_objective"].isel(step=0) - 0.1)
    assert (tmp_path / "runs" / "harbour" / "summary.csv").is_file()


def test_problem_of_ones_own(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = run("docs/tutorials/own-problem.md")
    checks = {check.method: check.relative_error for check in scope["checks"]}
    assert checks["implicit"] == pytest.approx(0, abs=1e-6)
    assert checks["penalty, central"] < checks["penalty"] < 0.1  # bias O(w^2) and O(w)
    assert "implicit" in capsys.readouterr().out
    start, end = scope["data"]["hyper_objective"].isel(judged_tau=0, step=[0, -1]).median("seed").values
    assert end < start - 0.8  # the leader learns to lure the follower to the last cell
    assert (tmp_path / "corridor" / "figures" / "objective.png").is_file()


SMALLER = {
    "--seeds": math.log2,
    **dict.fromkeys(("--steps", "--samples", "--budget"), lambda count: count / 1000),
}
SHORT = {
    "rates": "--steps 300 --seeds 3",
    "compare": "--budget 8_000 --rounds 1 --model-steps 5",
    "tweets": "--length 8 --layers 1 --width 8 --heads 2 --vocabulary 200 --epochs 1 --steps 3 --seeds 2",
}


def commands(page: str) -> list[list[str]]:
    """The lines of a page's blocks for a shell that begin with `hfac`."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for line in "\n".join(blocks).splitlines() if line.startswith("hfac")]


def at_toy_size(args: list[str]) -> list[str]:
    """The same command on a problem of 16 cells or with a small decoder, with fewer and shorter runs."""
    for flag, smaller in SMALLER.items():
        if flag in args:
            place = args.index(flag) + 1
            args = [*args[:place], f"{smaller(float(args[place])):.0f}", *args[place + 1 :]]
    return [*args, *shlex.split(SHORT.get(args[0], "")), *(SIZE if "goal_placement" in args else [])]


SHELL = few((page for page in PAGES if commands(page)), "README.md")


@pytest.mark.parametrize("page", SHELL)
def test_the_commands_of_a_page_run_one_after_the_other(page, tmp_path):
    rows = [f"{tweet.id}\t{' '.join(map(str, tweet.ratings))}\t{tweet.text}\n" for tweet in made_up(100)]
    (tmp_path / "rated.tsv").write_text("id\tratings\ttext\n" + "".join(rows))
    (tmp_path / "mine.txt").write_text("\n".join(tweets.grammar(200)))
    for args in commands(page):
        done = command(*at_toy_size(args), cwd=tmp_path)
        assert done.returncode == 0, (args, done.stderr)

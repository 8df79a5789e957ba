"""The skeletons of docs/guides/extending.md run as they stand: a problem, a method, a kind of lower level."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, runs, schedules
from hfac.algorithms import REGISTRY as METHODS
from hfac.cli._commands import COMMANDS
from hfac.options import KINDS
from hfac.plots import FIGURES
from hfac.problems import REGISTRY as PROBLEMS
from hfac.runs import Execution
from hfac.runs._report import REPORTS
from hfac.tabular.sampling import SAMPLERS
from support import cases
from support.slow import few
from support.toys import EVERY, toy

PAGE = Path(__file__).parents[1] / "docs" / "guides" / "extending.md"
TEXT = PAGE.read_text(encoding="utf-8")
PROBLEM, METHOD, KIND = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
QUIET = Execution(figures=False, quiet=True)


def run(block: str) -> dict:
    scope: dict = {"__name__": "skeleton"}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(block, str(PAGE), "exec"), scope)
    return scope


def test_the_problem(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = run(PROBLEM)
    errors = {check.method: check.relative_error for check in scope["checks"]}
    assert errors["implicit"] < 1e-6 and errors["penalty, central"] < errors["penalty"] < 0.1
    data = scope["data"]
    assert data.sizes["entropy.scale"] == 2 and data.sizes["seed"] == 4
    ends = data["hyper_objective"].isel(judged_tau=0, step=[0, -1]).median(("seed", "entropy.scale"))
    assert ends[1] < ends[0]  # the leader earns more
    assert (tmp_path / "runs" / "toll_road" / "summary.csv").is_file()


@pytest.mark.parametrize("kind", few(["tables", "sequences"], "tables"))
def test_the_method_is_partial_at_a_share_of_its_rate(kind):
    """On tables and on sequences, run by run the numbers of the shipped method with that rate."""
    impatient = run(METHOD)["impatient"]
    problem, own = (cases.goal(), {"sampler": "exact"}) if kind == "tables" else (toy("score"), {"every": EVERY})
    rates = {"actor": 0.5, "critic": 0.3, "entropy": 0.5}
    both = schedules.grid(schedules.fixed(upper=0.1, **rates), {"algorithm.share": [0.5, 1.0]})
    data = hfac.sweep(impatient(problem, dtype=jnp.float64, **own), both, 1, 40, record_at=[40])
    for share in (0.5, 1.0):
        partial = algorithms.partial(problem, dtype=jnp.float64, **own)
        alone = hfac.sweep(partial, schedules.fixed(upper=0.1 * share, **rates), 1, 40, record_at=[40])
        np.testing.assert_allclose(data["x"].sel({"algorithm.share": share}), alone["x"], rtol=1e-9)
    with pytest.raises(ValueError, match="share must lie in"):
        hfac.sweep(impatient(problem, **own), schedules.grid(both.one(0), {"algorithm.share": [2.0]}), 1, 1)


def test_the_kind_is_swept_judged_stored_and_resumed(tmp_path):
    scope = run(KIND)
    problem = scope["Choice"]()
    settings = {"upper": 0.3, "actor": 1.0, "critic": 0.5, "penalty": [0.1, 0.3], "entropy": 0.5, "offset": 300.0}
    ends = {}
    for name in ("hfac", "nested", "partial"):
        job = runs.job(problem, name, settings=settings, steps=3_000, seeds=2, judge=0.5, preset="attenuating")
        data = runs.start(job, tmp_path / name, QUIET)
        values = data["hyper_objective"].isel(judged_tau=0).median(("seed", "penalty.scale"))
        ends[name] = float(values[-1])
        assert name == "partial" or values[-1] < values[0] - 0.05
    assert ends["hfac"] < ends["partial"] - 0.05  # what it ignores is how the choice answers
    again = runs.extend(tmp_path / "hfac", QUIET, problem, steps=3_500)
    np.testing.assert_array_equal(
        again["x"].sel(step=3_000), runs.load(job_of(problem, settings), tmp_path / "hfac")["x"].sel(step=3_000)
    )
    with pytest.raises(ValueError, match="has no central difference"):
        algorithms.hfac(problem, difference="central")


def job_of(problem, settings):
    return runs.job(problem, "hfac", settings=settings, steps=3_500, seeds=2, judge=0.5, preset="attenuating")


def test_every_registry_of_the_table_is_one():
    named = {"SAMPLERS": SAMPLERS, "COMMANDS": COMMANDS, "REPORTS": REPORTS, "FIGURES": FIGURES, "KINDS": KINDS}
    for name, registry in named.items():
        assert f"`{name}`" in TEXT and len(registry) > 0
    for name, registry in (("problems", PROBLEMS), ("algorithms", METHODS)):
        assert f"`REGISTRY` of `hfac/{name}/__init__.py`" in TEXT and len(registry) > 5

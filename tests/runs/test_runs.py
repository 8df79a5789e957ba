"""Durable runs from Python: jobs, problems of one's own, numbers of the problem as dimensions, growth, repetition."""

import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pytest
import xarray

import hfac
from hfac import algorithms, pages, problems, results, runs, schedules, settings
from hfac.cli import main
from hfac.runs import Execution
from hfac.runs._objective_report import plateaus
from support import cases, helpers
from support.folders import SIZE, same
from support.slow import few

SMALL = {"size": 4, "landmark": (3, 3), "hazard_rows": (1, 2), "hazard_columns": (1, 2)}
QUIET = Execution(figures=False, quiet=True)
RATES = {"upper": 0.01, "entropy": [0.01, 0.03]}


def job(**changed):
    given = {"problem": "goal_placement", "problem_options": SMALL, "settings": RATES, "steps": 60, "seeds": 2}
    return runs.job(**given | changed)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    return folder, runs.start(job(), folder, QUIET)


@pytest.mark.parametrize("name", settings.RATE_SETTINGS)
def test_a_setting_has_one_name_in_three_spellings(name):
    assert name == settings.find(name.path) == settings.find(name.flag) == settings.find(name.key)
    assert settings.key_of(name.flag) == name.key
    if name.owner == "entropy":
        assert settings.find(name.flag.replace("entropy", "tau")) == name


def test_names_of_options_and_of_nothing():
    assert settings.find("algorithm.pen-rate") == settings.find("algorithm_options.pen_rate")
    assert settings.find("algorithm.pen-rate").path == "algorithm.pen_rate"
    assert [settings.find(word) for word in ("seeds", "entropy_speed", "algorithm", "other.thing")] == [None] * 4
    assert settings.key_of("first-seed") == "first_seed"


def test_a_job_runs_what_a_sweep_runs(stored):
    folder, data = stored
    made = job()
    whole = hfac.sweep(made.algorithm, made.grid, 2, 60, width=made_width(folder))
    np.testing.assert_array_equal(data["x"], whole["x"])
    judged = hfac.judge(whole, hfac.metrics.exact(made.problem, 0.003))
    np.testing.assert_allclose(data["hyper_objective"], judged["hyper_objective"], rtol=1e-6)
    assert made.num_runs == 4 and made.coordinates.dims == ("entropy.scale",)
    assert {"config.json", "results.zarr", "summary.csv"} <= {child.name for child in folder.iterdir()}


def test_one_of_several_pairs_grows(tmp_path):
    rates = {("entropy", "actor"): [(0.01, 0.1), (0.03, 0.2)], ("critic", "upper"): [(0.1, 0.01), (0.2, 0.02)]}
    folder = tmp_path / "a"
    before = runs.start(job(settings=rates, steps=3, seeds=1), folder, QUIET)
    more = {("actor", "entropy"): [(0.1, 0.01), (0.2, 0.03), (0.3, 0.1)]}
    after = runs.extend(folder, QUIET, settings=more)
    assert after["x"].shape[:2] == (3, 2) and before["x"].shape[:2] == (2, 2)
    np.testing.assert_array_equal(after["x"][:2], before["x"])


def made_width(folder):
    return results.Store(folder / "results.zarr").parts[0].width


def test_the_command_line_goes_on_with_what_python_began(stored, capsys, monkeypatch):
    monkeypatch.setattr("hfac.runs.configure", lambda *args: None)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        main(["resume", str(stored[0])])
    assert "is finished" in capsys.readouterr().err


def test_growth_keeps_every_value(stored, tmp_path):
    folder, before = tmp_path / "b", stored[1]
    shutil.copytree(stored[0], folder)
    larger = runs.extend(folder, QUIET, seeds=3, steps=80, settings={"entropy": [0.01, 0.02, 0.03]})
    assert dict(larger.sizes) | {"x_0": 16} == dict(larger.sizes)
    assert larger.sizes["seed"] == 3 and larger.sizes["entropy.scale"] == 3 and int(larger["step"][-1]) == 80
    kept = larger["x"].sel({"entropy.scale": [0.01, 0.03], "seed": [0, 1]}).sel(step=before["step"])
    np.testing.assert_array_equal(kept, before["x"])
    with pytest.raises(ValueError, match="--seeds can only grow"):
        runs.extend(folder, QUIET, seeds=2)
    with pytest.raises(ValueError, match="a run keeps its preset"):
        runs.extend(folder, QUIET, preset="fixed")
    with pytest.raises(ValueError, match="--entropy must hold what it held"):
        runs.extend(folder, QUIET, settings={"entropy": [0.01, 0.02]})


def test_a_stopped_run_goes_on_to_the_same_numbers(stored, tmp_path, monkeypatch):
    folder = tmp_path / "b"
    monkeypatch.setattr("hfac.engine._parts.LEAST_SECONDS", 0.0)

    class Enough(BaseException):
        pass

    write = results.Part.write

    def writes_a_little(part, index, record, samples):
        if index == 7:
            raise Enough
        write(part, index, record, samples)

    monkeypatch.setattr(results.Part, "write", writes_a_little)
    with pytest.raises(Enough):
        runs.start(job(), folder, QUIET)
    monkeypatch.setattr(results.Part, "write", write)
    again = runs.resume(folder, QUIET)
    np.testing.assert_array_equal(again["x"], stored[1]["x"])


@pytest.fixture(scope="module")
def shares(tmp_path_factory):
    """Folders of the halves of the same job."""
    place = tmp_path_factory.mktemp("shares")
    for i in (1, 2):
        share = dataclasses.replace(QUIET, share=(i, 2), block_width=2)
        assert runs.start(job(), place / f"s{i}", share) is None
    return [place / "s1", place / "s2"]


def test_shares_are_merged_to_the_whole(stored, shares, tmp_path):
    merged = runs.merge(shares, tmp_path / "whole", QUIET)
    np.testing.assert_allclose(merged["x"], stored[1]["x"], rtol=1e-5, atol=1e-7)


def test_one_run_again(stored):
    found = runs.replay(stored[0], 1, {"tau": 0.03})
    assert found.stored_failed_at == found.replay.failed_at == -1 and found.gap < 1e-5
    assert found.lines()[0].startswith("entropy.scale 0.03, seed 1: the run is healthy")
    with pytest.raises(ValueError, match=r"2 runs have seed 1; say which, by entropy\.scale"):
        runs.replay(stored[0], 1)
    with pytest.raises(ValueError, match="--seed 9: the sweep has 0 to 1"):
        runs.replay(stored[0], 9)


def own_method(problem, **options):
    """A builder that no registry knows."""
    return algorithms.hfac(problem, coupled=True, **options)


def test_problems_and_methods_of_ones_own(tmp_path):
    problem = cases.goal(discount=0.7)
    mine = {
        "problem": problem,
        "algorithm": own_method,
        "problem_options": None,
        "algorithm_options": {"pen_rate": 0.5},
    }
    data = runs.start(job(**mine), tmp_path / "a", QUIET)
    again = runs.extend(tmp_path / "a", QUIET, problem, own_method, seeds=3)
    np.testing.assert_array_equal(again["x"].sel(seed=[0, 1]), data["x"])
    with pytest.raises(ValueError, match="the run's problem is in no registry"):
        runs.resume(tmp_path / "a", QUIET)
    with pytest.raises(ValueError, match="the run's algorithm is in no registry"):
        runs.resume(tmp_path / "a", QUIET, problem)
    with pytest.raises(ValueError, match="the run began with another problem: mdp"):
        runs.extend(tmp_path / "a", QUIET, cases.goal(discount=0.6), own_method, steps=70)
    with pytest.raises(SystemExit):
        main(["resume", str(tmp_path / "a")])


@pytest.mark.parametrize("wrong, words", [
    ({"problem": "nowhere"}, "unknown problem 'nowhere'"),
    ({"algorithm": "hfaq"}, "unknown algorithm 'hfaq'; did you mean 'hfac'"),
    ({"settings": {"entropi": 1.0}}, "unknown setting 'entropi'; did you mean 'entropy"),
    ({"settings": {"entropy": -1.0}}, "--entropy must be > 0, got -1"),
    ({"problem_options": {"slipp": 0.1}}, "slipp"),
    ({"algorithm_options": {"coupled": "no"}}, "coupled must be True or False, got 'no'"),
    ({"problem_options": SMALL | {"slip": [0.1, 0.1]}}, "--problem.slip lists a value twice"),
    ({"problem_options": {"size": [4, 5], "landmark": (3, 3), "hazard_rows": (1, 2), "hazard_columns": (1, 2)}},
     "problems of one sweep have an x of one shape"),
    ({"steps": 0}, "--steps must be at least 1, got 0"),
    ({"steps": 1.5}, "steps must be a whole number, got 1.5"),
    ({"judge": 0.0}, "--judge must be positive and finite, got 0"),
    ({"judge": "low"}, "judge must be one or more entropy weights > 0, got 'low'"),
    ({"record": "y"}, "record must be 'x' or 'tables' or 'policies', got 'y'"),
    ({"preset": "fast"}, "preset must be None or 'recommended' or 'attenuating' or 'fixed', got 'fast'"),
    ({"judge": float("inf")}, "--judge must be positive and finite, got inf"),
    ({"judge": [0.1, float("nan")]}, "--judge must be positive and finite, got nan"),
    ({"settings": {"entropy": None}}, "setting entropy: None is no number"),
    ({"settings": {"entropy": [0.1, "a"]}}, "setting entropy: 'a' is no number"),
    ({"settings": {"entropy": 10**400}}, "is no number that fits"),
    ({"settings": {1: 2}}, "a setting is called by a text, or several by a tuple of them, got 1"),
    ({"settings": [1]}, "settings must be a table of numbers or lists by name, got [1]"),
    ({"settings": {("entropy", "actor"): [1, 2]}}, "entropy, actor go together: a row has 2 numbers, got [1, 2]"),
    ({"problem_options": {"size": "4"}}, "--problem: size must be a whole number, got '4'"),
    ({"problem_options": 3}, "problem_options must be a table of options by name, got 3"),
    ({"algorithm": 3}, "algorithm must be a name of hfac.algorithms.REGISTRY or a builder, got 3"),
    ({"problem": 3, "problem_options": None}, "problem must be a name of hfac.problems.REGISTRY or a problem, got 3"),
    ({"preset": "recommended", "problem": "random_mdp", "problem_options": {}, "algorithm": "aid"}, "no recommended"),
])  # fmt: skip
def test_wrong_jobs_are_refused_in_one_line(wrong, words):
    with pytest.raises(ValueError) as error:
        job(**wrong)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("call, words", [
    (lambda to: runs.start("goal_placement", to, QUIET), "job must be what hfac.runs.job makes, got 'goal_placement'"),
    (lambda to: runs.start(job(), to, "fast"), "execution must be an hfac.runs.Execution, got 'fast'"),
    (lambda to: runs.start(job(), 3, QUIET), "a path must be a text or a pathlib.Path, got 3"),
    (lambda to: jax.jit(lambda x: runs.start(job(), to, QUIET) and x)(1.0), "outside of jit, grad and vmap"),
])  # fmt: skip
def test_wrong_starts_are_refused_in_one_line_and_leave_nothing(call, words, tmp_path):
    with pytest.raises(ValueError) as error:
        call(tmp_path / "run")
    assert words in str(error.value) and "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def mine(slip: float = 0.1) -> hfac.Problem:
    """Two rooms, a door that jams."""
    kernel = np.array([[1 - slip, slip], [slip, 1 - slip]])
    return hfac.Problem(
        mdp=hfac.mdp.from_dense(np.stack([kernel, kernel[::-1]], 1), np.array([1.0, 0.0]), 0.9),
        reward=lambda x, s, a, n: jax.numpy.tanh(x[n]),
        cost=lambda x, s, a, n: x[n] ** 2 - (n == 1),
        init_x=lambda key: jax.numpy.zeros(2, "float32"),
        name="mine",
    )


@pytest.mark.slow
def test_a_builder_of_ones_own_is_named_like_any_other(tmp_path, monkeypatch):
    monkeypatch.setitem(problems.REGISTRY, "mine", mine)
    with jax.numpy_dtype_promotion("standard"):
        made = runs.job("mine", problem_options={"slip": [0.0, 0.1]}, steps=20, seeds=1)
        assert runs.start(made, tmp_path / "run", QUIET)["problem.slip"].values.tolist() == [0.0, 0.1]
        larger = runs.extend(tmp_path / "run", QUIET, problem_options={"slip": [0.0, 0.05, 0.1]})
    assert larger["problem.slip"].values.tolist() == [0.0, 0.05, 0.1]


def test_what_goes_on_with_a_problem_of_ones_own_is_python(tmp_path):
    with jax.numpy_dtype_promotion("standard"):
        made = runs.job(mine(), steps=20, seeds=1)
        runs.start(made, tmp_path / "run", QUIET)
    with pytest.raises(ValueError, match=r"this very run; hfac.runs.resume\('.*/run', problem=...\) goes on with it"):
        runs.start(made, tmp_path / "run", QUIET)
    with pytest.raises(ValueError, match=r"or a problem, got <function mine at .*>; call it"):
        runs.job(mine)


def test_a_named_problem_is_not_replaced(stored):
    folder, _ = stored
    with pytest.raises(ValueError, match="the run's problem is goal_placement, of the registry; leave out problem="):
        runs.extend(folder, QUIET, problem=cases.goal(), seeds=3)


@pytest.mark.parametrize("part", few(["reward", "cost", "h"], "cost"))
def test_a_problem_that_changes_away_from_the_first_x_only_is_refused(part, tmp_path):
    def own(factor):
        scale = dict.fromkeys(("reward", "cost", "h"), 1.0) | {part: factor}
        return hfac.Problem(
            mdp=helpers.random_mdp(0),
            reward=lambda x, s, a, n: scale["reward"] * jax.numpy.tanh(x[a]),
            cost=lambda x, s, a, n: scale["cost"] * x[a],
            h=lambda x: scale["h"] * jax.numpy.sum(x),
            init_x=lambda key: jax.numpy.zeros(3),
            name="own",
        )

    runs.start(runs.job(own(1.0), steps=10, seeds=1), tmp_path / "run", QUIET)
    before = (tmp_path / "run" / "config.json").read_bytes()
    for call in (
        lambda: runs.extend(tmp_path / "run", QUIET, problem=own(2.0), steps=20),
        lambda: runs.extend(tmp_path / "run", QUIET, problem=own(2.0), seeds=2),  # what is there is finished
        lambda: runs.extend(tmp_path / "run", QUIET, problem=own(2.0), judge=0.5),
        lambda: runs.resume(tmp_path / "run", QUIET, problem=own(2.0)),
        lambda: runs.replay(tmp_path / "run", 0, problem=own(2.0)),
    ):
        with pytest.raises(ValueError, match=f"the run began with another problem: {part} differs"):
            call()
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert runs.extend(tmp_path / "run", QUIET, problem=own(1.0), steps=20, seeds=2).sizes["seed"] == 2


def test_another_method_is_refused_where_everything_is_finished(tmp_path):
    runs.start(job(algorithm=own_method), tmp_path / "a", QUIET)

    def own(problem, **options):
        return algorithms.partial(problem)

    own.__name__ = own_method.__name__
    with pytest.raises(ValueError, match="the run began with another algorithm: state differs"):
        runs.extend(tmp_path / "a", QUIET, algorithm=own, seeds=3)
    own.__name__ = "other"
    with pytest.raises(ValueError, match=f"the run's algorithm is called {own_method.__name__}, not other"):
        runs.extend(tmp_path / "a", QUIET, algorithm=own, seeds=3)
    assert runs.extend(tmp_path / "a", QUIET, algorithm=own_method, seeds=3).sizes["seed"] == 3


NAMES = [("../../up", "up-001"), ("a/b c", "a_b_c-001"), ("\0", "run-001"), ("n" * 300, "n" * 80 + "-001")]


@pytest.mark.parametrize("name, folder", few(NAMES, NAMES[0]))
def test_the_name_of_a_problem_makes_one_folder_below_runs(name, folder, here):
    runs.start(job(problem=dataclasses.replace(cases.goal(), name=name), problem_options=None), None, QUIET)
    made = [path.relative_to(here).as_posix() for path in (*here.iterdir(), *(here / "runs").iterdir())]
    assert made == ["runs", f"runs/{folder}"]


def test_a_folder_that_is_gone_is_one_line(here, tmp_path):
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for call in (
        lambda: runs.start(job(), "a", QUIET),
        lambda: runs.start(job(), None, QUIET),
        lambda: runs.resume("a"),
    ):
        with pytest.raises(ValueError, match="no longer there; go to another one"):
            call()


def test_shares_are_not_merged_into_one_of_them(shares):
    with pytest.raises(ValueError, match=r"lies inside .*s1, one of the shares"):
        runs.merge(shares, shares[0] / "in", QUIET)
    assert not (shares[0] / "in").exists()


# numbers of the problem


@pytest.fixture(scope="module")
def slips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "slips"
    made = job(problem_options=SMALL | {"slip": [0.0, 0.2]}, seeds=1)
    return folder, runs.start(made, folder, dataclasses.replace(QUIET, figures=True))


def test_a_list_for_a_number_of_the_problem_is_a_dimension(slips, tmp_path):
    folder, data = slips
    assert data["x"].dims[:2] == ("problem.slip", "entropy.scale")
    for slip in (0.0, 0.2):
        alone = runs.start(job(problem_options=SMALL | {"slip": slip}, seeds=1), tmp_path / str(slip), QUIET)
        for name in ("x", "samples", "hyper_objective", "reference"):
            np.testing.assert_array_equal(data[name].sel({"problem.slip": slip}), alone[name])
    lines = (folder / "summary.csv").read_text().splitlines()
    assert len(lines) == 5 and lines[0].startswith("problem.slip,entropy.scale")
    assert sorted(child.name for child in (folder / "figures").iterdir()) == ["slip=0", "slip=0.2"]
    assert runs.replay(folder, 0, {"problem.slip": 0.2, "tau": 0.01}).gap < 1e-5


def test_the_list_of_the_problem_grows(slips):
    folder, before = slips
    larger = runs.extend(folder, QUIET, problem_options={"slip": [0.0, 0.1, 0.2]})
    assert larger["problem.slip"].values.tolist() == [0.0, 0.1, 0.2]
    kept = larger.sel({"problem.slip": [0.0, 0.2]})
    for name in ("x", "samples", "hyper_objective"):
        np.testing.assert_array_equal(kept[name], before[name])


@pytest.mark.slow
def test_the_command_line_crosses_numbers_of_the_problem(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hfac.runs.configure", lambda *args: None)
    args = ["goal_placement", *SIZE, "--no-figures", "--steps", "20", "--seeds", "1", "--problem.slip", "0", "0.3"]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        main(["sweep", *args, "--out", str(tmp_path / "a")])
        said = capsys.readouterr()
        assert len(said.out.splitlines()) == 3 and said.out.split()[0] == "problem.slip"
        (tmp_path / "c.json").write_text(json.dumps(json.loads((tmp_path / "a" / "config.json").read_text())))
        main(["sweep", "--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "b")])
    same(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("command", ["rates", "diagnose"])
def test_a_command_that_takes_one_problem_says_so(command, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([command, "goal_placement", *SIZE, "--problem.slip", "0", "0.3", "--out", str(tmp_path / "a")])
    said = capsys.readouterr().err
    assert f"--problem.slip: hfac {command} takes one problem, not a list" in said and said.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_a_number_of_the_problem_is_compiled_for_and_one_of_the_method_is_not():
    made = job(problem_options=SMALL | {"slip": [0.0, 0.2]}, algorithm_options={"pen_rate": [0.1, 1.0]})
    assert len(made.variants) == 2 and made.grid.size == 4 and made.num_runs == 16
    assert made.coordinates.dims == ("problem.slip", "entropy.scale", "algorithm.pen_rate")
    assert problems.goal_placement(**SMALL, slip=0.2).mdp.probs.shape == made.variants[1].problem.mdp.probs.shape


def test_a_named_grid_is_a_pair():
    base = schedules.attenuating()
    found = schedules.grid(base, {"entropy.scale": [0.1, 0.2], "upper.scale": [1.0, 2.0]})
    batch, coordinates = found
    assert found.size == 4 and batch is found.schedules and coordinates is found.coordinates
    assert found.one(3).upper.scale == 2.0 and found.one(3).entropy.scale == 0.2
    assert schedules.single(base).size == 1 and schedules.single(base).one(0).actor.scale == base.actor.scale


# what a review found


def test_a_share_stays_one_whoever_goes_on_with_it(shares, tmp_path):
    shutil.copytree(shares[0], tmp_path / "a")
    assert runs.resume(tmp_path / "a", QUIET) is None  # and not the whole sweep
    assert json.loads((tmp_path / "a" / "config.json").read_text())["shard"] == "1/2"
    assert sum(part.table.num_runs for part in results.Store(tmp_path / "a" / "results.zarr").parts) == 2


def test_an_empty_share_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="--shard 5/5 is empty: there are 4 runs"):
        runs.start(job(), tmp_path / "a", dataclasses.replace(QUIET, share=(5, 5)))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("wrong", [{"share": (0, 2)}, {"share": (3, 2)}, {"block_width": -1}, {"on_divergence": "kep"}])
def test_wrong_executions(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Execution(**wrong)


def test_numbers_of_other_libraries_are_stored_as_numbers(tmp_path):
    options = SMALL | {"size": np.int64(4), "slip": np.array([0.0, 0.2])}
    runs.start(job(seeds=np.int32(1), steps=np.int64(20), problem_options=options), tmp_path / "a", QUIET)
    stored = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (stored["seeds"], stored["steps"], stored["problem_options"]["slip"]) == (1, 20, [0.0, 0.2])
    assert runs.resume(tmp_path / "a", QUIET).sizes["problem.slip"] == 2


def test_another_reward_is_another_problem(tmp_path):
    problem = cases.goal()
    other = dataclasses.replace(problem, reward=lambda x, s, a, n: 0 * x[0], reward_grad=None)
    runs.start(job(problem=problem, problem_options=None), tmp_path / "a", QUIET)
    with pytest.raises(ValueError, match="the run began with another problem: reward differs"):
        runs.extend(tmp_path / "a", QUIET, other, steps=80)


def test_a_run_in_a_thread(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        data = pool.submit(runs.start, job(seeds=1, steps=10), tmp_path / "a", QUIET).result(timeout=200)
    assert data.sizes["seed"] == 1


@pytest.mark.slow
def test_times_are_of_this_run_alone(tmp_path):
    made = job(seeds=1, steps=10)
    for name in ("a", "b"):
        assert runs.start(made, tmp_path / name, QUIET).attrs["run_seconds"] >= 0


def test_a_finished_run_is_drawn_when_figures_are_asked_for(stored, tmp_path):
    folder = shutil.copytree(stored[0], tmp_path / "run")
    shutil.rmtree(folder / "figures", ignore_errors=True)
    runs.resume(folder, runs.Execution(quiet=True))
    assert not (folder / "figures").exists()
    runs.resume(folder, runs.Execution(quiet=True, figures=True))
    assert (folder / "figures" / "objective.png").is_file()


def test_a_descent_that_stands_still_above_the_runs_is_a_note():
    def judged(ends):
        values = np.stack([np.full((2, 2), 0.5), ends])  # [step, seed, tau]
        found = {"hyper_objective": (("step", "seed", "judged_tau"), values)}
        return xarray.Dataset(found, coords={"judged_tau": [0.003, 0.1], "reference": ("judged_tau", [0.5, 0.3])})

    (note,) = plateaus(judged(np.array([[0.4, 0.35], [0.5, 0.32]])))
    assert "at tau = 0.003 the exact descent stays where it starts, 0.5, and a run ends at 0.4" in note
    assert plateaus(judged(np.array([[0.5, 0.35], [0.6, 0.32]]))) == []
    (note,) = plateaus(judged(np.array([[0.5, 0.35], [0.6, 0.28]])))
    assert "at tau = 0.1 a run ends at 0.28, below the exact descent's 0.3" in note


def test_a_page_of_a_run_from_python(stored, tmp_path):
    folder = shutil.copytree(stored[0], tmp_path / "run")
    file = runs.page(folder, figures=False)
    assert file == folder / "report.html" and "goal_placement" in file.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="is goal_placement, of the registry; leave out problem="):
        runs.page(folder, problem=cases.goal())


def test_a_page_and_a_command_know_a_problem_that_is_in_no_registry(tmp_path, capsys):
    own = {"command": "sweep", "problem": "mine", "own_problem": {"x": [0.0]}, "problem_options": None}
    assert "hfac.runs.resume('.', problem=...)" in pages.origin(own, {}).again
    (tmp_path / "config.json").write_text(json.dumps(own))
    with pytest.raises(SystemExit, match="2"):
        main(["sweep", "--config", str(tmp_path / "config.json")])
    assert "the problem of this run is in no registry: hfac.runs.start runs it in Python" in capsys.readouterr().err

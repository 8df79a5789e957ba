"""Kinds of faults that strangers met in tools like this one, each with its right answer; the numbers are the kinds'.

What is generated is held against what it reads as: a value of a file is used exactly or refused, and any tree of
floats comes back from stores and checkpoints bit for bit.
"""

import functools
import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import time
import types
import typing
import unicodedata
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hfac
from hfac import algorithms, engine, exact, metrics, options, problems, results, runs, schedules
from hfac._compiler.jaxpr import has_library_call
from hfac._trees import named_leaves, restored
from hfac.cli import InputError, _config, _diagnose, _sweep, _tune, main
from hfac.engine import Checkpoints, Snapshot, advance_part, first_shapes
from hfac.tweets._corpus import read_corpus, read_ratings
from hfac.tweets._tokenizer import build
from support import cases
from support.commands import command, environment, refused
from support.folders import CELLS, RECORDED, once
from support.reported import folder
from support.slow import few
from support.wages import chain, plain, problem, wandering

SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Dtypes promote as they do outside of these tests."""
    with jax.numpy_dtype_promotion("standard"):
        yield


# 1. settings that come from a file are checked like settings that come from flags

FILES = {
    "text for a switch": ('[algorithm_options]\ncoupled = "no"', 'algorithm_options.coupled: "no" is neither true nor'),
    "text for a number": ('[problem_options]\nslip = "0.1"', "problem_options.slip: '0.1' is not a number"),
    "a fraction for a count": ("[algorithm_options]\nbatch_size = 4.5", "batch_size: 4.5 is not a whole number"),
    "text for none": ('[algorithm_options]\ntail_average = "None"', "tail_average: 'None' is not a number"),
    "a table named by its problem": ("[problem]\nslip = 0.2", "options of the problem stand in [problem_options]"),
    "a table named by its method": ("[algorithm]\ncoupled = true", "options of the algorithm stand in [algorithm_opt"),
    "no table": ("problem_options = 3", "problem_options: 3 is no table of options"),
    "a number for a list": ("[problem_options]\nlandmark = 3", "landmark: 3 is no list"),
    "a list too short": ("[problem_options]\nlandmark = [3]", "landmark: [3] must have 2 entries, got 1"),
    "a switch for a number": ("[problem_options]\nslip = true", "slip: true is not a number"),
    "a number for a choice": ("[algorithm_options]\nsampler = 1", "sampler: 1 is none of markov, iid, exact"),
    "not a number": ("[problem_options]\nslip = nan", "slip: NaN is not finite"),
    "twice, dashed and not": ("first-seed = 1\nfirst_seed = 2", "'first_seed' is given twice"),
    "twice, by an alias": ("tau = 0.1\nentropy = 0.2", "'entropy' is given twice, as 'tau' and as 'entropy'"),
    "text for a count": ('steps = "100"', "steps: '100' is not a number; write it without quotation marks"),
    "text in a list": ('entropy = ["0.1"]', "entropy: '0.1' is not a number"),
    "a list of texts": ('zip = "entropy,actor"', 'zip: "entropy,actor" is no list'),
    "a misspelled option": ("[algorithm_options]\ncoupeld = true", "did you mean 'coupled'?"),
}


@pytest.mark.parametrize("text, expected", FILES.values(), ids=FILES)
def test_a_value_of_a_file_that_is_not_of_its_type_is_refused(text, expected, here, capsys):
    (here / "c.toml").write_text(text)
    assert expected in refused(capsys, "sweep", "goal_placement", "--config", "c.toml")
    assert [path.name for path in here.iterdir()] == ["c.toml"]


@pytest.mark.parametrize(
    "text", ['{"problem_options": {"slip": null}}', '{"steps": 1, "steps": 2}', '{"judge": 1e999}']
)
def test_so_it_is_in_json(text, here, capsys):
    (here / "c.json").write_text(text)
    assert "--config: " in refused(capsys, "sweep", "goal_placement", "--config", "c.json")


def test_a_whole_number_may_be_written_in_any_way_in_flags_and_files(here):
    (here / "c.toml").write_text("steps = 2e3\nseeds = 4.0\n[algorithm_options]\nbatch_size = 4.0")
    asked = _sweep.request(["goal_placement", "--config", "c.toml"])
    assert (asked.settings.steps, asked.settings.seeds, asked.algorithm_options.batch_size) == (2000, 4, 4)
    asked = _sweep.request(["goal_placement", "--algorithm.batch-size", "4.0", "--problem.landmark", "3.0", "3e0"])
    assert asked.algorithm_options.batch_size == 4 and asked.problem_options.landmark == (3, 3)
    assert isinstance(asked.algorithm_options.batch_size, int)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5)
    | st.sampled_from([0, 1, 4.0, "markov", "exact", "fixed", "0.1", "None", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def reads_as(value: typing.Any, hint: typing.Any, used: typing.Any) -> bool:
    """Whether a value that is used is the file's, in the setting's type; written without the library's own rules."""
    parts = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return value is None and used is None if used is None else reads_as(value, parts[0], used)
    if typing.get_origin(hint) is typing.Literal:
        return value in parts and type(value) is str and used == value
    if typing.get_origin(hint) is tuple:
        inner = [parts[0]] * len(used) if parts[-1] is Ellipsis else list(parts)
        value = value if isinstance(value, list) else [value] if inner[:1] == [float] or parts[0] is float else None
        return value is not None and len(value) == len(used) == len(inner) and all(map(reads_as, value, inner, used))
    if hint in (int, float):
        is_number = type(value) in (int, float) and type(used) is hint
        return is_number and (used == value or used == float(value))
    return type(value) is hint is type(used) and value == used


@SLOW
@given(value=JSON, data=st.data())
def test_any_value_in_any_table_is_used_as_it_reads_or_refused(value, data):
    builders = {"problem_options": problems.goal_placement, "algorithm_options": algorithms.hfac}
    table = data.draw(st.sampled_from(["settings", *builders]))
    if table == "settings":
        hints = typing.get_type_hints(_sweep.Sweep)
        names = [
            "steps",
            "seeds",
            "judge",
            "entropy",
            "zip",
            "quiet",
            "preset",
            "checkpoint_minutes",
            "record",
            "shard",
        ]
    else:
        hints = _config.option_hints(builders[table])
        names = list(hints)
    name = data.draw(st.sampled_from(names))
    loaded = {name: value} if table == "settings" else {table: {name: value}}
    try:
        asked = _sweep.resolve(["goal_placement"], "sweep", stored=loaded, check=lambda settings: None)
    except InputError as error:
        assert "\n" not in str(error)
        return
    used = getattr(getattr(asked, table), name)
    if table in builders and name in options.lists(builders[table]) and isinstance(value, list):
        hints[name] = tuple[(float if float in (hints[name], *typing.get_args(hints[name])) else int), ...]
    assert reads_as(value, hints[name], used), (name, value, used)


# 2. a repeated group is a second group; an alias is one everywhere


def axes(*args: str) -> dict:
    lists = ["--entropy", "1", "2", "--actor", "3", "4", "--critic", "5", "6", "--upper", "7", "8"]
    return runs.schedule_axes(vars(_sweep.request(["goal_placement", *lists, *args]).settings))


def test_every_zip_is_a_group_of_its_own():
    found = axes("--zip", "entropy,actor", "--zip", "critic,upper")
    assert found == {
        ("entropy.scale", "actor.scale"): [(1, 3), (2, 4)],
        ("critic.scale", "upper.scale"): [(5, 7), (6, 8)],
    }
    assert axes("--zip", "entropy,actor", "critic,upper") == found == axes("--zip=tau,actor", "--zip=critic,upper")


def test_other_lists_may_be_given_in_pieces_too():
    asked = _sweep.request(["goal_placement", "--entropy", "0.1", "--tau=0.2", "--judge", "0.1", "--judge", "0.2"])
    assert (asked.settings.entropy, asked.settings.judge) == ((0.1, 0.2), (0.1, 0.2))
    asked = _tune.request(["goal_placement", "--search", "upper=1", "--search", "tau=2", "actor=3"])
    assert _tune.axes(asked.settings.search) == {"upper.scale": (1,), "entropy.scale": (2,), "actor.scale": (3,)}


ZIPS = {
    "itself": ["--zip", "entropy,entropy"],
    "itself by another name": ["--zip", "entropy,tau"],
    "in two groups": ["--zip", "entropy,actor", "--zip", "entropy,critic"],
    "alone": ["--zip", "entropy"],
}


@pytest.mark.parametrize("args", ZIPS.values(), ids=ZIPS)
def test_a_list_is_paired_once_and_with_another(args, here, capsys):
    lists = ["--entropy", "1", "2", "--actor", "3", "4", "--critic", "5", "6"]
    assert "--zip" in refused(capsys, "sweep", "goal_placement", *lists, *args)


def test_an_alias_is_one_in_files_too(here):
    (here / "c.toml").write_text("tau = [0.1, 0.2]\ntau-power = 0.5\nactor = [1, 2]\nzip = ['tau,actor']")
    asked = _sweep.request(["goal_placement", "--config", "c.toml"])
    assert (asked.settings.entropy, asked.settings.entropy_power) == ((0.1, 0.2), (0.5,))
    assert set(runs.schedule_axes(vars(asked.settings))) == {("entropy.scale", "actor.scale"), ("entropy.power",)}


# 3. numbers are checked whatever type carries them

BAD = st.sampled_from([-0.01, 0.0, np.nan, np.inf, -np.inf, "abc", "0.1", None, True, 1j, [0.1], (), object()])
CARRIERS = [float, np.float32, np.float64, jnp.float32, jnp.asarray, lambda v: np.full(3, v), lambda v: jnp.full(3, v)]


@SLOW
@given(value=BAD, carry=st.sampled_from(CARRIERS), rate=st.sampled_from(schedules.RATES))
def test_no_bad_number_makes_a_schedule(value, carry, rate):
    value = carry(value) if isinstance(value, float) else value
    with pytest.raises(ValueError, match="schedule scale must be"):
        schedules.attenuating(**{rate: value})


@SLOW
@given(value=st.floats(1e-6, 1e6), carry=st.sampled_from(CARRIERS), step=st.integers(0, 10**6))
def test_every_good_number_does_whatever_carries_it(value, carry, step):
    decay = schedules.PowerDecay(carry(value), power=0.5, offset=10)
    for at in (step, np.int64(step), jnp.int32(step)):
        np.testing.assert_allclose(decay(at), value * (1 + step / 10) ** -0.5, rtol=1e-5)


def test_traced_numbers_and_derivatives_pass():
    slope = jax.grad(lambda scale: schedules.PowerDecay(scale, 1.0, 10.0)(10))(2.0)
    assert float(slope) == pytest.approx(0.5)
    grads = jax.grad(lambda s: -s.upper(10))(schedules.attenuating())
    assert isinstance(grads, schedules.Schedules) and float(grads.upper.scale) < 0
    assert jax.tree.map(lambda _: 0, schedules.attenuating()).upper.scale == 0


@pytest.mark.parametrize(
    "option", [{"batch_size": jnp.float32(np.nan)}, {"pen_rate": jnp.float32(2)}, {"pen_rate": "1"}]
)
def test_options_are_checked_likewise(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        algorithms.hfac(plain(), **option)


# 4. the stream of a seed is pinned


def test_a_seed_is_a_stream_whatever_generator_is_the_default():
    def end():
        return hfac.run(algorithms.hfac(plain()), hfac.run_key(3), cases.gentle(), 20)[0].x

    expected = end()
    with jax.default_prng_impl("rbg"), jax.threefry_partitionable(False):
        np.testing.assert_array_equal(end(), expected)
        assert jax.random.key_impl(hfac.run_key(0)) == "threefry2x32"


ABROAD = {"LC_ALL": "C", "LANG": "tr_TR", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Pacific/Chatham"}
ABROAD |= {"JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_THREEFRY_PARTITIONABLE": "0", "MPLBACKEND": "module://no_such.backend"}
ITINERARY = """
import json, os, shutil, sys
from hfac.cli import main

folder, figures = sys.argv[1], {}
for name, *more in (["sweep", "--config", "c.json"], ["extend", folder, "--steps", "60"], ["report", folder]):
    if name == "report":  # which meets matplotlib anew, and another backend
        os.environ["MPLBACKEND"] = "nonsense"
        for module in list(sys.modules):
            "matplotlib" in module and sys.modules.pop(module)
    main([name, *more])
    figures[name] = sorted(os.listdir(os.path.join(folder, "figures")))
    shutil.rmtree(os.path.join(folder, "figures"))
    main(["resume", folder])
json.dump(figures, open("figures.json", "w"))
"""


@pytest.fixture(scope="module")
def abroad(tmp_path_factory) -> types.SimpleNamespace:
    """A sweep like `swept` in one process of another clock, language, default generator and backend of figures."""

    def make(place: Path) -> None:
        place.mkdir()
        cells = {"size": 4, "landmark": [3, 3], "hazard_rows": [1, 2], "hazard_columns": [1, 2]}
        told = {"problem": "goal_placement", "problem_options": cells, "out": "é 雪", "steps": 30, "seeds": 2}
        (place / "c.json").write_text(json.dumps(told | {"entropy": [0.01, 0.03]}, ensure_ascii=False), "utf-8")
        line = [sys.executable, "-c", ITINERARY, str(place / "é 雪")]
        done = subprocess.run(line, cwd=place, capture_output=True, timeout=240, env=environment(**ABROAD), check=False)
        said = done.stderr.decode(errors="replace")
        assert done.returncode == 0 and "Traceback" not in said, said
        (place / "said").write_text(said, "utf-8")
        os.utime(place / "é 雪" / "config.json", (0, 0))

    place = once(tmp_path_factory, "abroad", make)
    figures = json.loads((place / "figures.json").read_text())
    return types.SimpleNamespace(folder=place / "é 雪", said=(place / "said").read_text("utf-8"), figures=figures)


def test_a_run_grows_by_the_same_numbers_under_another_default_generator(abroad, swept, tmp_path):
    shutil.copytree(swept, tmp_path / "here")
    assert command("extend", str(tmp_path / "here"), "--steps", "60", "--no-figures").returncode == 0
    found, expected = (results.load(folder)["x"] for folder in (abroad.folder, tmp_path / "here"))
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found.sel(step=60), found.sel(step=30))


# 5. names of records cannot collide


@SLOW
@given(names=st.sets(st.sampled_from(["samples", "step", "seed", "entropy.scale", "x_0", "mine", "also"]), min_size=1))
def test_a_record_that_would_take_another_name_is_refused_before_the_first_step(names):
    done = []

    def count(number):
        done.append(int(number))
        return number

    def record(state, info, rates):
        kept = {"x": jnp.ones(3), "status": state.status} | dict.fromkeys(names, jnp.ones(()))
        return kept | ({"entropy": {"scale": kept.pop("entropy.scale")}} if "entropy.scale" in names else {})

    grid = schedules.grid(cases.gentle(), {"entropy.scale": [0.1, 0.2]})
    is_free = names <= {"mine", "also"}
    try:
        data = hfac.sweep(wandering(np.zeros(3, np.float32), count), grid, 2, 3, record=record)
    except ValueError as error:
        assert not is_free and not done and "a record cannot be called" in str(error)
    else:
        assert is_free and set(done) == {1, 2, 3} and names <= set(data.data_vars)


def test_a_record_by_a_metric_s_name_is_not_replaced(swept):
    def record(state, info, rates):
        return {"x": state.x, "status": state.status, "hyper_objective": jnp.zeros(())}

    data = hfac.sweep(wandering(np.zeros(5, np.float32)), cases.gentle(), 2, 3, record=record)
    with pytest.raises(ValueError, match="recorded 'hyper_objective', which is the name of a metric"):
        hfac.judge(data, metrics.exact(plain(), 0.1))
    judged = results.load(swept)
    assert judged["judged_tau"].values.tolist() != [0.2]
    again = hfac.judge(judged, metrics.exact(cases.goal(), 0.2))  # what was judged before is replaced
    assert again["judged_tau"].values.tolist() == [0.2]


# 6. any tree may be an upper variable


class Pair(typing.NamedTuple):
    first: typing.Any
    second: typing.Any


LEAF = st.sampled_from([(), (1,), (2, 3), (0,)]).map(lambda shape: np.zeros(shape, np.float32))
KEYS = st.text("ab.%/_ é0", max_size=3)
TREES = st.recursive(
    st.none() | LEAF,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.tuples(inner, inner)
        | st.builds(Pair, inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.dictionaries(st.integers(0, 3), inner, max_size=2)
    ),
    max_leaves=5,
)
TWO, THREE = np.zeros(2, np.float32), np.zeros(3, np.float32)
FOUND = {
    "tuple": (THREE, [TWO, Pair(THREE, None), {0: TWO, 1: THREE}], {}),
    "dictionary": {"a": {"b": TWO}, "a.b": THREE, "none": None, "tuple": (TWO, ())},
    "nothing": None,
}


def over(tree: typing.Any) -> hfac.Problem:
    """A problem whose upper variable is a tree: everything in it counts."""

    def wage(x, s, a, s_next):
        parts = [jnp.sum(jnp.tanh(leaf + 0.1 * (s_next + i))) for i, leaf in enumerate(jax.tree.leaves(x))]
        return sum(parts, jnp.zeros(()))

    return problem(reward=wage, cost=lambda x, *where: 0.1 * wage(x, *where), init_x=lambda key: tree)


def comes_back(algorithm: hfac.types.Algorithm, metric: metrics.Metric, tree, folder: Path) -> bool:
    """Whether every leaf of x comes back bit for bit from a sweep that was cut, gone on with, judged and stored."""
    rates, points = cases.gentle(), np.array([0, 2, 4])

    def record(state, info, rates):
        return {"x": algorithm.solution(state).x, "status": state.status}

    data, states = hfac.sweep(algorithm, rates, 2, 4, record, points, return_state=True)
    judged = hfac.judge(data, metric)
    assert np.isfinite(judged["hyper_objective"]).all()
    layout = engine.lay_out(algorithm, rates, 2, record)
    store = results.Store.create(folder / "r.zarr", {})
    part = store.add(layout.table, layout.record_shapes, points, layout.program.plan.width)
    for is_end in (False, True):
        checkpoints = Checkpoints(folder / "c", {})
        start, refused = checkpoints.latest(first_shapes(layout))
        assert not refused
        assert advance_part(layout, part, checkpoints, start, lambda *_, stop=not is_end: stop, 1e9) is is_end
    last, _ = Checkpoints(folder / "c", {}).latest(first_shapes(layout))
    assert jax.tree.structure(last.states) == jax.tree.structure(jax.device_get(states))
    found = results.load(folder / "r.zarr")
    assert set(found.data_vars) == set(data.data_vars)
    results.save(judged, folder / "r.zarr")
    again = results.load(folder / "r.zarr")
    np.testing.assert_array_equal(again["hyper_objective"], judged["hyper_objective"])
    x = restored({name: found[name].isel(step=-1).values for name in found.data_vars}, tree, "x")
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(last.states.x), strict=True)
    return all(kept.dtype == moved.dtype and np.array_equal(kept, moved) for kept, moved in pairs)


@pytest.mark.parametrize("name", few(FOUND, "tuple", "nothing"))
def test_a_tree_comes_back_from_a_sweep_as_it_was(name, tmp_path):
    own = over(FOUND[name])
    assert comes_back(algorithms.hfac(own), metrics.exact(own, 0.1), FOUND[name], tmp_path)


@pytest.mark.slow
@settings(parent=SLOW, max_examples=8)
@given(tree=TREES)
def test_any_tree_comes_back_from_a_sweep(tree, tmp_path_factory):
    """Moved at random and stored; the method takes every tree as it is."""
    own, rates = over(tree), cases.gentle()
    algorithm = algorithms.hfac(own)
    state = jax.eval_shape(algorithm.init, hfac.run_key(0), rates)
    moved, _ = jax.eval_shape(algorithm.step, hfac.run_key(0), state, rates)
    assert jax.tree.map(jnp.shape, moved.x) == jax.tree.map(jnp.shape, tree)
    assert jax.eval_shape(lambda x: exact.hyper_objective(own, x, 0.1), tree).shape == ()

    def total(carry, record):
        return carry, {"hyper_objective": sum(map(jnp.sum, jax.tree.leaves(record["x"])), jnp.zeros(()))}

    metric = hfac.judging.Metric(total, (), "none", np.array([]), (), {"x": tree})
    assert comes_back(wandering(tree), metric, tree, tmp_path_factory.mktemp("tree"))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(tree=TREES, seed=st.integers(0, 99))
def test_names_of_leaves_can_be_turned_back(tree, seed, tmp_path_factory):
    rng = np.random.default_rng(seed)
    tree = jax.tree.map(lambda leaf: rng.normal(size=(2, *leaf.shape)).astype(np.float32), tree)
    found = restored(named_leaves({"x": tree}), tree, "x")
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert all(a is b for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True))
    kept = Checkpoints(tmp_path_factory.mktemp("c"), {})
    kept.save(Snapshot(1, 1, np.zeros(2, np.int64), np.zeros(2, np.int64), tree))
    back = kept.at(1, tree).states
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


# 7. one path is one place


def test_the_home_folder_is_meant_by_a_tilde(swept, monkeypatch):
    place = swept.parents[2]  # where the sweep was started, by a path that begins with ~
    monkeypatch.setenv("HOME", str(place / "home"))
    monkeypatch.chdir(place)
    assert sorted(path.name for path in place.iterdir()) == ["home"]
    assert {"config.json", "results.zarr", "summary.csv"} <= {path.name for path in swept.iterdir()}
    data = results.load(Path("~/runs/a"))
    assert results.load("~/runs/a/results.zarr").equals(data)
    assert command("report", "~/runs/a", "--no-figures", cwd=place).returncode == 0
    assert sorted(path.name for path in place.iterdir()) == ["home"]


def test_paths_are_absolute_from_the_start_on(here, capsys):
    (here / "c.toml").write_text('out = "runs/b"')
    assert _sweep.request(["goal_placement", "--config", "c.toml"]).settings.out == here / "runs" / "b"
    assert _sweep.request(["goal_placement", "--out", "runs/a"]).settings.out == here / "runs" / "a"
    assert "nobody of that name" in refused(capsys, "sweep", "goal_placement", "--out", "~no-such-person/a")


# 8. figures never decide a run, and never change a session


def test_a_backend_that_is_not_there_leaves_a_finished_sweep(abroad):
    assert abroad.figures == {name: ["grid.png", "objective.png"] for name in ("sweep", "extend", "report")}
    assert not any("figure" in line for line in abroad.said.splitlines() if "note:" in line)


def test_a_figure_that_cannot_be_drawn_is_a_note(swept):
    assert "note: a figure could not be drawn: KeyError" in (swept / "said").read_text()
    assert (swept / "summary.csv").is_file() and not (swept / "figures").exists()


def test_drawing_leaves_a_session_as_it_was(swept, tmp_path):
    import matplotlib
    import matplotlib.pyplot as plt

    with matplotlib.rc_context():
        plt.switch_backend("svg")
        before = dict(matplotlib.rcParams)
        made = hfac.plots.save_all(results.load(swept), cases.goal(), {0.1: 0.0}, tmp_path / "figures")
        assert len(made) >= 2
        assert plt.get_backend() == "svg" and dict(matplotlib.rcParams) == before and not plt.get_fignums()
    plt.switch_backend("agg")


# 9. outside UTF-8 locales


def test_a_name_outside_ascii_is_one_in_any_locale(abroad):
    assert abroad.folder.name == "é 雪" and int(results.load(abroad.folder)["step"][-1]) == 60


def test_another_clock_and_another_language_change_nothing(abroad, swept):
    found, expected = results.load(abroad.folder), results.load(swept)
    for name in RECORDED:
        np.testing.assert_array_equal(found[name].sel(step=expected["step"]), expected[name], strict=True)
    assert "is finished" in command("resume", str(abroad.folder)).stderr


# 10. a healthy folder is not called damaged


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """The folder ~/runs/a of a sweep whose figures could not be drawn, and what the command said."""
    place = tmp_path_factory.mktemp("swept")
    (place / "home").mkdir()
    args = ["sweep", "goal_placement", *CELLS, "--steps", "30", "--seeds", "2", "--entropy", "0.01", "0.03"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(place / "home"))
        patch.setattr("hfac.plots.save_all", mock.Mock(side_effect=KeyError("no such thing")))
        done = command(*args, "--out=~/runs/a", cwd=place)
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if "note:" in line]
    assert all("w/tau" in line or "a figure could not be drawn" in line for line in notes), notes
    folder = place / "home" / "runs" / "a"
    (folder / "said").write_text(done.stderr)
    return folder


def test_a_run_s_folder_is_as_good_as_its_store(swept):
    assert results.load(swept).identical(results.load(swept / "results.zarr"))
    with pytest.raises(ValueError, match=r"holds no results; it holds results\.zarr"):
        results.load(swept / "..")
    with pytest.raises(ValueError, match="holds no results; a sweep writes them"):
        results.load(swept / "checkpoints")


def test_what_xarray_opens_first_says_where_the_records_are(swept):
    import xarray

    opened = xarray.open_zarr(swept / "results.zarr", consolidated=False)
    assert "hfac.results.load" in opened.attrs["how_to_read"] and "part-000" in opened.attrs["how_to_read"]
    assert "hfac.results.load" in repr(opened)
    assert "how_to_read" not in results.load(swept).attrs


# 11. single precision is a precision


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_a_kernel_made_in_less_than_double_precision_is_one(dtype):
    kernel = jax.nn.softmax(jax.random.normal(jax.random.key(0), (30, 3, 30), dtype))
    made = hfac.mdp.from_dense(kernel, jax.nn.softmax(jnp.arange(30).astype(dtype) / 10), 0.9)
    assert np.abs(made.probs.sum(-1) - 1).max() < 1e-14 and abs(made.initial.sum() - 1) < 1e-14
    both = hfac.mdp.disjoint_union([chain(), chain()], jax.nn.softmax(jnp.zeros(2, dtype)))
    assert both.initial.sum() == pytest.approx(1, abs=1e-12)


def test_it_is_no_licence():
    with pytest.raises(ValueError, match="probs must sum to 1"):
        hfac.mdp.from_successors(chain().next_states, np.full((5, 2, 1), 0.9999, np.float32), np.eye(5)[0], 0.9)
    with pytest.raises(ValueError, match="probs must sum to 1"):
        hfac.mdp.from_successors(chain().next_states, np.full((5, 2, 1), 1 - 1e-8), np.eye(5)[0], 0.9)
    given = np.full((5, 2, 2), [1 / 3, 2 / 3])
    made = hfac.mdp.from_successors(np.repeat(chain().next_states, 2, -1), given, np.eye(5)[0], 0.9)
    np.testing.assert_array_equal(made.probs, given)  # double precision is left as it is


# 12. NumPy is welcome wherever arrays are


@pytest.mark.slow
def test_numpy_is_as_good_as_jax():
    numbers = {
        "init_x": lambda key: np.zeros(5), "h": lambda x: 0, "g": lambda x, pi: np.float64(0),
        "cost": lambda x, s, a, s_next: np.float64(0) * x[s_next] - 1 * (s_next == 4),
        "reward_grad": lambda x, s, a, s_next: hfac.Rows(s_next, np.float64(1) - jnp.tanh(x[s_next]) ** 2),
    }  # fmt: skip
    own, plain = problem(**numbers), problem(cost=lambda x, s, a, s_next: -jnp.where(s_next == 4, 1.0, 0.0) + 0 * x[0])
    ends = [
        hfac.run(algorithms.hfac(each), hfac.run_key(0), cases.gentle(), 50, initial=np.zeros(5))[0].x
        for each in (own, plain)
    ]
    np.testing.assert_allclose(*ends, atol=1e-6)

    @jax.jit
    def statuses():
        methods = (getattr(algorithms, name)(own) for name in ("partial", "zeroth_order", "exact_gradient", "nested"))
        return [hfac.run(method, hfac.run_key(0), cases.gentle(), 2)[0].status for method in methods]

    assert [int(status) for status in statuses()] == [0] * 4
    assert float(exact.hyper_objective(own, np.zeros(5), 0.1)) < 0
    assert problem(init_x=lambda key: 0.5, reward=lambda x, s, a, n: x, cost=lambda x, s, a, n: 1).init_x(None) == 0.5


# 13. a problem may be built inside jit, grad and vmap


def test_a_problem_s_numbers_may_be_traced():
    def value(c):
        return exact.hyper_objective(problem(cost=lambda x, s, a, n: c * x[n]), jnp.ones(5), 0.1)

    assert [float(found) for found in jax.jit(jax.value_and_grad(value))(0.1)] == pytest.approx([0.1, 1.0])
    np.testing.assert_allclose(jax.vmap(value)(jnp.array([0.1, 0.2])), [0.1, 0.2])


def test_a_run_may_close_over_a_traced_number():
    def end(c):
        algorithm = algorithms.hfac(problem(cost=lambda x, s, a, n: c * x[n]))
        return hfac.run(algorithm, hfac.run_key(0), cases.gentle(), 20)[0].x

    alone, together = end(0.1), jax.vmap(end)(jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(together[0], alone, atol=1e-6)
    moved = jax.jit(lambda c: jax.jvp(end, (c,), (1.0,)))
    for c, expected in zip((0.1, 0.2), together, strict=True):
        found, slope = moved(c)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("build", [
    lambda v: hfac.mdp.from_successors(chain().next_states, chain().probs, chain().initial, v),
    lambda v: problems.goal_placement(slip=v),
    lambda v: problems.random_mdp(num_states=v),
])  # fmt: skip
def test_dynamics_are_not_built_from_traced_numbers(build):
    with pytest.raises(ValueError, match=r"is a traced value.* outside of jit, grad and vmap"):
        jax.vmap(lambda v: build(v).discount if hasattr(build(v), "discount") else 0)(jnp.array([0.5, 0.6]))


def test_a_sweep_inside_a_transformation_says_what_to_do():
    with pytest.raises(ValueError, match="call it outside of jit, grad and vmap; `run` may"):
        jax.jit(lambda c: hfac.sweep(algorithms.hfac(plain()), cases.gentle(), 2, 3) and c)(0.0)


# 14. what cannot happen has no value


@pytest.mark.slow
def test_a_reward_at_probability_zero_counts_nothing():
    lists = np.broadcast_to([0, 1, 4], (5, 2, 3))
    mdp = hfac.mdp.from_successors(lists, np.broadcast_to([0.5, 0.5, 0.0], (5, 2, 3)), np.eye(5)[0], 0.9)

    def build(at_four):
        def wage(x, s, a, n):
            return jnp.where(n == 4, at_four + x[0], jnp.tanh(x[n]))

        return problem(mdp=mdp, reward=wage, cost=lambda x, s, a, n: wage(x, s, a, n) ** 2)

    def end(value, **chosen):
        return hfac.run(algorithms.hfac(build(value), **chosen), hfac.run_key(0), cases.gentle(), 20)[0].x

    x = jnp.linspace(0.1, 0.5, 5)
    functions = [
        *(functools.partial(end, **chosen) for chosen in ({"sampler": "exact"}, {"difference": "central"}, {})),
        functools.partial(end, sampler="exact", difference="central"),
        *(lambda v, f=f: f(build(v), x, 0.1) for f in (exact.hypergradient, exact.hyper_objective)),
    ]
    found = jax.jit(lambda value: [function(value) for function in functions])
    expected = found(0.0)
    for value in (np.inf, -np.inf, np.nan):
        jax.tree.map(np.testing.assert_array_equal, found(value), expected)
    for value in (np.inf, np.nan):  # not traced, and so checked where the problem is built
        np.testing.assert_allclose(functions[-1](value), expected[-1])


# 15. small inputs that ended badly


@pytest.mark.slow
def test_without_compilation_a_run_is_the_same():
    algorithm = algorithms.hfac(plain())
    compiled, _ = hfac.run(algorithm, hfac.run_key(0), cases.gentle(), 3)
    with jax.disable_jit():
        open_, history = hfac.run(algorithm, hfac.run_key(0), cases.gentle(), 3)
    np.testing.assert_allclose(open_.x, compiled.x, atol=1e-6)
    assert history.step.tolist() == [0, 1, 2, 3] and np.any(open_.x != 0)


@pytest.mark.slow
def test_without_compilation_a_sweep_is_the_same():
    algorithm = algorithms.hfac(plain())
    compiled = hfac.sweep(algorithm, cases.gentle(), 1, 3)
    with jax.disable_jit():
        open_ = hfac.sweep(algorithm, cases.gentle(), 1, 3)
    np.testing.assert_allclose(open_["x"], compiled["x"], atol=1e-6)


def test_a_list_has_a_sane_limit(here, capsys):
    began = time.monotonic()
    for text in ("log:1e-3:1e-1:1e9", "0.1:0.2:20000"):
        assert "10,000" in refused(capsys, "sweep", "goal_placement", "--entropy", text)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name", ["c.toml", "C.TOML", "c.json"])
def test_a_configuration_may_begin_with_a_byte_order_mark(name, here):
    text = "steps = 7" if name.lower().endswith("toml") else '{"steps": 7}'
    (here / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert _sweep.request(["goal_placement", "--config", name]).settings.steps == 7


TWEETS = [
    'so "happy" today',
    '"all quoted"',
    "plain",
    'ends with "',
    '" starts with',
    '"a" and "b"',
    "tab\tinside",
    "two\nlines",
]


@pytest.mark.parametrize("quoting", ["all", "minimal"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ratings_that_a_spreadsheet_or_pandas_wrote(quoting, end, tmp_path):
    import csv

    style = csv.QUOTE_ALL if quoting == "all" else csv.QUOTE_MINIMAL
    with (tmp_path / "r.tsv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", quoting=style, lineterminator=end)
        writer.writerow(["id", "ratings", "text"])
        writer.writerows([i, "1 2 -3", text] for i, text in enumerate(TWEETS))
    found = read_ratings(tmp_path / "r.tsv")
    assert [tweet.text for tweet in found] == TWEETS
    assert all(tweet.ratings.tolist() == [1, 2, -3] for tweet in found)


def test_plain_ratings_keep_a_tweet_s_own_quotation_marks(tmp_path):
    plain = ['"all quoted"', 'so "happy"', '"starts', 'ends"', '"', "''"]
    (tmp_path / "r.tsv").write_text("id\tratings\ttext\n" + "".join(f"{i}\t1\t{t}\n" for i, t in enumerate(plain)))
    assert [tweet.text for tweet in read_ratings(tmp_path / "r.tsv")] == plain


@pytest.mark.parametrize(
    "read, text", [(read_corpus, "one\ntwo\n"), (read_ratings, "id\tratings\ttext\n1\t2\ta\n2\t1\tb\n")]
)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32-le"])
def test_text_in_another_encoding_is_refused(read, text, encoding, tmp_path):
    (tmp_path / "t.txt").write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=r"t\.txt, line 1: the file must be UTF-8"):
        read(tmp_path / "t.txt")


def test_an_accent_is_one_however_it_is_composed():
    composed, parts = "café naïve", unicodedata.normalize("NFD", "café naïve")
    assert composed != parts
    vocabulary = build([composed], 20)
    assert vocabulary.encode(parts, 4).tolist() == vocabulary.encode(composed, 4).tolist()
    assert build([parts], 20) == vocabulary


# 16. a cache folder that the user has set is kept


@pytest.mark.parametrize("chosen", [True, False])
def test_the_cache_is_where_the_user_wants_it(chosen, tmp_path):
    own = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine")} if chosen else {}
    plain = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment = plain | {"XDG_CACHE_HOME": str(tmp_path / "theirs")} | own
    code = "from hfac.runs import configure; import jax; configure(0, True)\n"
    code += "print(jax.config.jax_compilation_cache_dir)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)
    assert done.stdout.strip() == str(tmp_path / ("mine" if chosen else "theirs/hfac")), done.stderr


# 17. words that send people the wrong way

TABLE, LIST = np.arange(5.0), [0.0, 1.0, 2.0, 3.0, 4.0]
UNTRACEABLE = {
    "a table of numpy's": ({"reward": lambda x, s, a, n: TABLE[n] * x[0]}, r"reward .* jnp\.asarray\(table\)"),
    "a list": ({"cost": lambda x, s, a, n: LIST[n] * x[0]}, r"cost .* jnp\.asarray\(values\)"),
    "a branch": ({"reward": lambda x, s, a, n: x[0] if n > 2 else x[1]}, r"reward .*branches.* jnp\.where"),
    "a branch of h": ({"h": lambda x: x[0] if x[0] > 0 else x[1]}, r"h .*branches.* jnp\.where"),
    "a number": ({"reward": lambda x, s, a, n: float(x[0])}, "reward .*turns a traced value into a Python number"),
    "numpy's function": ({"h": lambda x: np.sum(np.asarray(x))}, "h .*hands a traced value to NumPy"),
    "numpy in g": ({"g": lambda x, pi: np.asarray(pi).sum()}, "g .*hands a traced value to NumPy"),
    "too few arguments": ({"reward": lambda x, s: x[0]}, r"reward must be a function of \(x, s, a, s_next\)"),
    "nothing returned": ({"cost": lambda x, s, a, n: None}, "cost must return a scalar.*NoneType"),
    "no derivative": ({"h": lambda x: jnp.sqrt(jnp.sum(x**2))}, "the derivative of h in x must be finite"),
    "no derivative of a wage": ({"reward": lambda x, s, a, n: jnp.linalg.norm(x)}, "the derivative of reward in x"),
    "a key for a number": ({"init_x": lambda key: np.zeros(int(key))}, "init_x"),
}


@pytest.mark.parametrize("parts, expected", UNTRACEABLE.values(), ids=UNTRACEABLE)
def test_a_function_that_cannot_be_used_is_named_with_the_remedy(parts, expected):
    with pytest.raises((ValueError, TypeError), match=expected) as error:
        problem(**parts)
    assert "\n" not in str(error.value) and "docs.jax.dev" not in str(error.value)


def test_a_direction_of_x_that_is_not_finite_is_not_blamed_on_the_policies():
    own = problem(
        reward=lambda x, s, a, n: jnp.where(x[n] > -1, jnp.sqrt(x[n] + 1), 0.0), init_x=lambda key: jnp.zeros(5)
    )
    state, _ = hfac.run(algorithms.hfac(own), hfac.run_key(0), cases.gentle(), 5, initial=-np.ones(5))
    status = hfac.Status(int(state.status))
    assert status == hfac.Status.UPPER_NON_FINITE and "has no derivative" in status.meaning


@pytest.mark.parametrize("wage", [
    lambda x, s, a, n: jnp.sort(x)[n],
    lambda x, s, a, n: jnp.abs(jnp.fft.fft(x)[n]) + 0 * x[0],
    lambda x, s, a, n: jax.lax.top_k(x, 3)[0][n % 3],
    lambda x, s, a, n: x[n] * jax.pure_callback(np.float32, jax.ShapeDtypeStruct((), jnp.float32), jnp.float32(1),
                                                vmap_method="sequential"),
])  # fmt: skip
def test_what_cannot_be_native_code_is_seen_before_the_compiler_complains(wage):
    jaxpr = jax.make_jaxpr(wage)(jnp.ones(5), *[jnp.int32(1)] * 3)
    assert has_library_call(jaxpr.jaxpr)
    assert not has_library_call(jax.make_jaxpr(lambda x: jnp.tanh(x) @ x)(jnp.ones(5)).jaxpr)


@pytest.mark.slow
def test_a_reward_that_sorts_prints_nothing():
    code = "import jax.numpy as jnp, numpy as np, hfac\n"
    code += "m = hfac.mdp.from_successors(np.zeros((1, 2, 1), int), np.ones((1, 2, 1)), [1.0], 0.5)\n"
    code += "p = hfac.Problem(mdp=m, reward=lambda x, s, a, n: jnp.sort(x)[a], h=lambda x: jnp.sum(x**2), "
    code += "init_x=lambda key: jnp.arange(2.0))\n"
    code += "hfac.sweep(hfac.algorithms.hfac(p), hfac.schedules.attenuating(), 2, 3)"
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize("args, remedy", [
    (["--figures", "False"], "write --no-figures"), (["--figures=false"], "write --no-figures"),
    (["--cache", "0"], "write --no-cache"), (["--quiet", "True"], "write --quiet"),
    (["--algorithm.coupled", "False"], "write --algorithm.no-coupled"),
    (["--algorithm.coupled=true"], "write --algorithm.coupled"),
])  # fmt: skip
def test_a_switch_takes_no_value(args, remedy, here, capsys):
    assert f"takes no value; {remedy}" in refused(capsys, "sweep", "goal_placement", *args)


def test_a_platform_that_is_not_there_is_one_line(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "cuda"}
    args = [sys.executable, "-m", "hfac", "sweep", "goal_placement", "--quiet", "--out", str(tmp_path / "o")]
    done = subprocess.run(args, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "JAX_PLATFORMS=cuda" in done.stderr and "unset it" in done.stderr
    assert not (tmp_path / "o").exists()


# 18. a command has the flags that it honours, and shares are merged if they could have been one run


@pytest.mark.parametrize("flag", ["--shard 1/2", "--distributed", "--coordinator h:1", "--num-processes 2"])
def test_a_diagnosis_is_not_shared(flag, here, capsys):
    assert "hfac diagnose" in refused(capsys, "diagnose", "goal_placement", *flag.split())
    assert not list(here.iterdir())


@pytest.mark.slow
def test_a_diagnosis_goes_on(here, tmp_path_factory):
    shutil.copytree(folder("diagnose", tmp_path_factory), here / "run")
    whole = (here / "run" / "diagnosis.json").read_bytes()
    (here / "run" / "diagnosis.json").unlink()
    main(["resume", "run"])
    assert (here / "run" / "diagnosis.json").read_bytes() == whole
    asked = _diagnose.request([], {"command": "diagnose", "problem": "goal_placement", "shard": None})
    assert not hasattr(asked.settings, "shard")  # as version 0.1 stored it


@pytest.fixture(scope="module")
def shares(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("shares")
    args = ["sweep", "goal_placement", *CELLS, "--steps", "20", "--seeds", "4", "--no-figures", "--quiet"]
    for i in (1, 2):
        done = command(*args, "--shard", f"{i}/2", "--out", str(place / str(i)))
        assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize("key, value", [("jax", "0.0.1"), ("corpus_digest", "other"), ("device", "gpu")])
def test_shares_of_other_runs_are_not_merged(shares, key, value, tmp_path, capsys):
    shutil.copytree(shares, tmp_path / "s")
    for manifest in (tmp_path / "s" / "2").glob("checkpoints/*/*/manifest.json"):
        content = json.loads(manifest.read_text())
        content["belongs_to"][key] = value
        manifest.write_text(json.dumps(content))
    said = refused(capsys, "merge", str(tmp_path / "s" / "1"), str(tmp_path / "s" / "2"), "--out", str(tmp_path / "o"))
    assert f"it differs in {key}" in said and not (tmp_path / "o").exists()
    runs.join([shares / "1", shares / "2"], tmp_path / "good")


def test_what_a_path_holds_counts_and_not_where_it_lies(tmp_path):
    from hfac.cli import _tweets

    texts = {"a": "one\ntwo\n", "b": "one\ntwo\n", "c": "one\nthree\n"}
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "corpus.txt").write_text(text)
        (tmp_path / name / "model.safetensors").write_text(text)
    found = {
        name: runs.identity(
            _sweep.content(
                _tweets.request(["--corpus", str(tmp_path / name / "corpus.txt"), "--pretrained", str(tmp_path / name)])
            )
        )
        for name in texts
    }
    assert found["a"] == found["b"] != found["c"]
    assert {"corpus_digest", "pretrained_digest"} <= set(found["a"])
    assert found["a"]["pretrained_digest"] != found["c"]["pretrained_digest"]


# 19. everything public is reachable


def test_every_public_module_is_reached_after_a_bare_import():
    names = [module.name for module in pkgutil.iter_modules(hfac.__path__) if not module.name.startswith("_")]
    code = "import hfac\n" + "".join(f"hfac.{name}\n" for name in names if name != "cli")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert {"tuning", "comparison"} <= set(names) - {"cli"} <= set(dir(hfac))
    assert all(importlib.import_module(f"hfac.{name}").__doc__ for name in names)


# 20. notes at the start are for what the user chose


@pytest.mark.parametrize("args, expected", [
    ([], 0), (["--preset", "attenuating"], 0), (["--steps", "77"], 0), (["--upper", "0.001"], 0),
    (["--entropy", "0.001"], 2), (["--critic-power", "0.9"], 1), (["--entropy", "0.001", "--algorithm", "partial"], 0),
])  # fmt: skip
def test_the_default_says_nothing_of_itself(args, expected):
    job = runs.build(_sweep.content(_sweep.request(["goal_placement", *args])))
    assert len(job.remarks()) == expected

"""Inputs that strangers tried on the kinds of `test_complaints.py`, and what became of them."""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, exact, judging, runs, schedules
from hfac.cli import _sweep, main
from hfac.runs import Execution
from support import cases
from support.commands import refused
from support.folders import CELLS
from support.wages import plain, problem, wandering

GOAL = cases.goal()
QUIET = Execution(figures=False, quiet=True)
BASE = schedules.attenuating()


@pytest.fixture(autouse=True)
def as_users_have_it():
    with jax.numpy_dtype_promotion("standard"):
        yield


# flags and files


def asked(*args):
    return _sweep.request(["goal_placement", *args])


def test_an_offset_that_is_given_for_one_rate_stays():
    axes = runs.schedule_axes(vars(asked("--offset", "100", "200", "--entropy-offset", "50").settings))
    assert axes[("entropy.offset",)] == [(50.0,)]
    (group,) = [paths for paths, rows in axes.items() if len(rows) == 2]
    assert "entropy.offset" not in group and len(group) == 4


def test_the_last_of_a_repeated_flag_counts_for_everything():
    last = asked("--preset", "fixed", "--preset", "recommended")
    alone = asked("--preset", "recommended")
    assert dataclasses.asdict(last.algorithm_options) == dataclasses.asdict(alone.algorithm_options)
    found = asked("--algorithm", "hfac", "--algorithm", "nested", "--algorithm.inner-steps", "3")
    assert found.settings.algorithm == "nested" and found.algorithm_options.inner_steps == 3


def test_lists_of_options_may_be_given_in_pieces_too():
    found = asked(
        "--algorithm.pen-rate", "0.1", "--algorithm.pen-rate", "0.3", "--problem.slip", "0", "--problem.slip=0.1"
    )
    assert found.algorithm_options.pen_rate == (0.1, 0.3) and found.problem_options.slip == (0.0, 0.1)


def test_a_list_of_a_method_may_be_a_range_in_files_too(here):
    (here / "c.toml").write_text('[algorithm_options]\npen_rate = "0.1:0.3:3"\n')
    np.testing.assert_allclose(asked("--config", "c.toml").algorithm_options.pen_rate, (0.1, 0.2, 0.3))


WRONG = {
    "no end": (["--checkpoint-minutes", "inf"], "--checkpoint-minutes: 'inf' is not finite"),
    "a negative switch with a value": (["--no-figures", "False"], "--no-figures takes no value; write --figures"),
    "a share in other digits": (["--shard", "²/³"], "--shard must be I/N"),
    "too many": (["--upper", "0.001:0.01:9000", "--actor", "0.1:1:9000"], "cross to 81,000,000; at most 10,000,000"),
    "a zip of what is paired": (
        ["--zip", "entropy,offset", "--entropy", "1", "2"],
        "offset is one list for all five rates",
    ),
    "judged twice": (["--judge", "0.1", "0.1"], "--judge lists a value twice"),
    "text for a number or none": (
        ["--algorithm.tail-average", "inf"],
        "--algorithm.tail-average: 'inf' is no value of it",
    ),
    "part of a step": (["--steps", "4.5"], "--steps: '4.5' is not a whole number"),
}


@pytest.mark.parametrize("args, words", WRONG.values(), ids=WRONG)
def test_wrong_flags(args, words, here, capsys):
    said = refused(capsys, "sweep", "goal_placement", *args, "--out", "run")
    assert words in said and len(said) < 220 and list(here.iterdir()) == []


FILES = {
    "options of another problem": (
        'problem = "beacon"\n[problem_options]\ncells = 5',
        "are of beacon, not of goal_placement",
    ),
    "two spellings": ("tau = 0.1\nentropy = 0.2", "given twice, as 'tau' and as 'entropy'"),
    "a zero character": ('out = "a\\u0000b"', "a path holds no zero character"),
    "a list that is too long": ('judge = ["0.1:0.3:9000", "1:2:9000"]', "the list has 18,000 values"),
}


@pytest.mark.parametrize("text, words", FILES.values(), ids=FILES)
def test_wrong_files(text, words, here, capsys):
    (here / "c.toml").write_text(text)
    assert words in refused(capsys, "sweep", "goal_placement", "--config", "c.toml")


@pytest.mark.parametrize(
    "content, words",
    [
        ("steps = 3".encode("utf-16-le"), "is not UTF-8 text"),
        (b"steps: 3", "JSON, which every file is whose name"),
    ],
)
def test_files_of_another_form(content, words, here, capsys):
    name = "c.toml" if b"=" in content else "c.yaml"
    (here / name).write_bytes(content)
    assert words in refused(capsys, "sweep", "goal_placement", "--config", name)


def test_a_report_takes_no_value_for_a_switch_either(here, capsys):
    assert "--figures takes no value; write --no-figures" in refused(capsys, "report", "run", "--figures", "False")


@pytest.mark.parametrize(
    "search, words",
    [
        (["batch-size=1.5,2"], "batch_size must be a whole number"),
        (["batch-size=1:3"], "takes listed values, not a range"),
        (["pen-rate=2,3"], "pen_rate must lie in (0, 1]"),
        (["pen-rate=0.1,0.1"], "lists a value twice"),
        (["sampler=iid,foo"], "sampler must be"),
        (["upper=0,1"], "upper.scale must be finite and > 0"),
    ],
)
def test_a_search_is_looked_through_before_it_begins(search, words, here, capsys):
    said = refused(capsys, "tune", "goal_placement", *CELLS, "--samples", "100", "--search", *search, "--out", "run")
    assert words in said and list(here.iterdir()) == []


@pytest.mark.slow
def test_a_whole_number_is_one_however_it_is_written(here):
    main(
        [
            "tune",
            "goal_placement",
            *CELLS,
            "--samples",
            "100",
            "--budget",
            "800",
            "--rounds",
            "1",
            "--rungs",
            "1",
            "--seeds",
            "1",
            "--search",
            "batch-size=1.0,2",
            "offset=300",
            "--no-figures",
            "--quiet",
            "--out",
            "run",
        ]
    )
    assert (here / "run" / "best.json").is_file()


def test_an_empty_comparison_is_refused(here, capsys):
    (here / "c.toml").write_text("algorithms = []")
    assert "--algorithms is empty" in refused(capsys, "compare", "goal_placement", "--config", "c.toml")


@pytest.mark.parametrize("name, value", [("JAX_ENABLE_X64", "maybe"), ("JAX_DEFAULT_MATMUL_PRECISION", "bogus")])
def test_an_environment_that_jax_does_not_take_is_one_line(name, value, tmp_path):
    command = [sys.executable, "-m", "hfac", "sweep", "goal_placement", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        command, env=os.environ | {name: value}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and value in done.stderr, done.stderr


def test_a_stream_does_not_depend_on_the_offset_of_the_process():
    code = "import hfac, jax; print(jax.random.key_data(hfac.run_key(3)).tolist())"
    own = os.environ | {"JAX_RANDOM_SEED_OFFSET": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=own, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == str(jax.random.key_data(hfac.run_key(3)).tolist())


# numbers in Python


@pytest.mark.parametrize(
    "options, words",
    [
        ({"coupled": "no"}, "coupled must be True or False, got 'no'"),
        ({"coupled": 1}, "coupled must be True or False, got 1"),
        ({"tail_average": "None"}, "tail_average must be one number"),
        ({"tail_average": True}, "tail_average must be one number"),
        ({"batch_size": 1.5}, "batch_size must be a whole number"),
        ({"batch_size": "4"}, "batch_size must be a whole number"),
        ({"pen_rate": jnp.array([0.1, 0.3])}, "pen_rate must be one number"),
        ({"sampler": "foo"}, "sampler must be"),
    ],
)
def test_options_of_builders_are_checked_like_flags(options, words):
    with pytest.raises(ValueError) as error:
        algorithms.hfac(GOAL, **options)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("four", [4, 4.0, np.float64(4), np.int32(4), jnp.int32(4)])
def test_a_whole_number_is_one_whatever_carries_it(four):
    """The step is the same to the last operation."""
    key, rates, expected = hfac.run_key(0), cases.gentle(), of_four()
    algorithm = algorithms.hfac(GOAL, batch_size=four)
    state = algorithm.init(key, rates)
    assert str(jax.make_jaxpr(algorithm.step)(key, state, rates)) == expected


@functools.cache
def of_four():
    key, rates, algorithm = hfac.run_key(0), cases.gentle(), algorithms.hfac(GOAL, batch_size=4)
    return str(jax.make_jaxpr(algorithm.step)(key, algorithm.init(key, rates), rates))


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("pen_rate", np.nan, "must be finite"),
        ("pen_rate", 2.0, "pen_rate must lie in (0, 1]"),
        ("pen_rate", "0.5", "must be a number"),
        ("penrate", 0.5, "'penrate' of hfac cannot differ"),
        ("batch_size", 4.0, "'batch_size' of hfac cannot differ"),
        ("coupled", True, "must be a number"),
    ],
)
def test_numbers_of_methods_in_schedules_are_checked(name, value, words):
    with pytest.raises(ValueError) as error:
        rates = schedules.grid(BASE, {f"algorithm.{name}": [value]})
        hfac.sweep(algorithms.hfac(GOAL), rates, 1, 3)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values, words",
    [
        (["0.1", "0.2"], "must be a number"),
        ("12", "must be a list of numbers"),
        ([True, 0.2], "must be a number"),
        (0.1, "must be a list of numbers"),
        ([None], "must be a number"),
        ([1e-60], "must be a number of single precision"),
    ],
)
def test_lists_of_a_grid_are_checked(values, words):
    with pytest.raises(ValueError, match=words):
        schedules.grid(BASE, {"entropy.scale": values})


def test_what_single_precision_cannot_hold_is_refused():
    for wrong in (1e-60, 1e60):
        with pytest.raises(ValueError, match="schedule scale must be a number of single precision"):
            schedules.attenuating(upper=wrong)
    with pytest.raises(ValueError, match="discount must be below 1 in single precision"):
        hfac.mdp.from_dense(np.ones((1, 1, 1)), [1.0], 1 - 1e-9)


@pytest.mark.parametrize("seeds", ["2", None, {1, 2}, [True, False], 1e10, [0.5]])
def test_seeds_that_are_none(seeds):
    with pytest.raises(ValueError, match="seeds must be"):
        hfac.sweep(algorithms.hfac(GOAL), BASE, seeds, 3)


def test_keys_and_counts_that_are_none():
    algorithm = algorithms.hfac(GOAL)
    for wrong in (-1, 1.5, "a", None, 2**40, True):
        with pytest.raises(ValueError, match="a seed is a whole number"):
            hfac.run_key(wrong)
    with pytest.raises(ValueError, match=r"key must be a key, as hfac\.run_key\(seed\) makes one, got 0"):
        hfac.run(algorithm, 0, BASE, 3)
    with pytest.raises(ValueError, match="num_steps must be a whole number"):
        hfac.run(algorithm, hfac.run_key(0), BASE, True)
    assert int(hfac.run(wandering(np.zeros(2)), hfac.run_key(0), BASE, jnp.int32(3), lambda *_: ())[0].step) == 3


def test_a_number_of_a_method_may_be_traced():
    def end(rate):
        algorithm = algorithms.hfac(GOAL, pen_rate=rate)
        return hfac.run(algorithm, hfac.run_key(0), cases.gentle(), 20)[0].theta_pen

    np.testing.assert_allclose(jax.jit(end)(0.5), end(0.5), rtol=1e-5, atol=1e-6)


def test_dynamics_made_in_single_precision_and_carried_in_double():
    kernel = np.asarray(jax.nn.softmax(jax.random.normal(jax.random.key(0), (5, 3, 5), jnp.float32)), float)
    found = hfac.mdp.from_dense(kernel.tolist(), np.full(5, 0.2), 0.9)
    np.testing.assert_allclose(found.probs.sum(-1), 1, atol=1e-12)
    with pytest.raises(ValueError, match="must not be empty"):
        hfac.mdp.from_dense(np.zeros((0, 0, 0)), [], 0.9)


# functions of a user


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"reward": lambda x, s, a, n: "a"}, "reward must return numbers, got str"),
        (
            {"cost_grad": lambda x, s, a, n: np.eye(5)[n]},
            "cost_grad cannot be compiled: it hands a traced value to NumPy",
        ),
        ({"cost_grad": lambda x, s, a, n: hfac.Rows(n, 1.0 if n > 2 else 0.0)}, "cost_grad cannot be compiled: it"),
        ({"reward_grad": lambda x, s, a, n: np.zeros(4)}, "reward_grad must return a gradient like x"),
        ({"reward_grad": lambda x, s, a, n: None}, "reward_grad must return a gradient like x"),
    ],
)
def test_every_function_is_looked_at_when_the_problem_is_built(wrong, words):
    with pytest.raises(ValueError) as error:
        problem(**wrong)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_gradients_that_are_given_may_be_dense_or_rows():
    dense = problem(cost_grad=lambda x, s, a, n: 2 * x[n] * jnp.eye(5)[n])
    rows = problem(cost_grad=lambda x, s, a, n: hfac.Rows(n[None], (2 * x[n])[None]))
    ends = [
        hfac.run(algorithms.hfac(each), hfac.run_key(0), cases.gentle(), 30)[0].x for each in (plain(), dense, rows)
    ]
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "record, words",
    [
        (lambda state, info, rates: {"a": 1 if state.x[0] > 0 else 0}, "record cannot be compiled: it branches"),
        (lambda state, info, rates: {"a": np.mean(np.asarray(state.x))}, "record cannot be compiled: it hands"),
    ],
)
def test_a_record_is_explained_too(record, words):
    with pytest.raises(ValueError) as error:
        hfac.sweep(algorithms.hfac(plain()), BASE, 1, 3, record)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, words",
    [
        ("judged_tau", "cannot be called 'judged_tau'"),
        ("part-000", "cannot be called 'part-000'"),
        ("a" * 300, "have at most 200 letters"),
    ],
)
def test_names_of_records_that_cannot_be_stored(name, words):
    def record(state, info, rates):
        return {"x": state.x, name: state.step, "status": state.status, "failed_at": state.failed_at}

    with pytest.raises(ValueError, match=words):
        hfac.sweep(algorithms.hfac(plain()), BASE, 1, 3, record)


def test_a_record_holds_numbers():
    with pytest.raises(ValueError, match="a record must hold numbers, got key"):
        hfac.sweep(algorithms.hfac(plain()), BASE, 1, 3, lambda state, info, rates: {"k": jax.random.key(0)})


def test_a_job_with_names_that_cannot_be_stored_leaves_no_folder(tmp_path):
    own = problem(
        init_x=lambda key: {"k" * 300: jnp.zeros(5)},
        reward=lambda x, s, a, n: x["k" * 300][n],
        cost=lambda x, s, a, n: x["k" * 300][n] ** 2,
    )
    with pytest.raises(ValueError, match="have at most 200 letters"):
        runs.start(runs.job(own, steps=3, seeds=1), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


@functools.cache
def moved():
    """A sweep over two entropy weights and two seeds."""
    return hfac.sweep(algorithms.hfac(plain()), schedules.grid(BASE, {"entropy.scale": [0.1, 0.2]}), 2, 3)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"values": "step"}, "a value of a metric cannot be called 'step'"),
        ({"values": "x_0"}, "cannot be called 'x_0'"),
        ({"values": "entropy.scale"}, "cannot be called 'entropy.scale'"),
        ({"dim": "x_0"}, "dimension of a metric cannot be"),
        ({"dim": "seed"}, "dimension of a metric cannot be"),
        ({"dim": "x"}, "dimension of a metric cannot be"),
    ],
)
def test_a_metric_takes_the_place_of_nothing(changes, words):
    data = moved()
    name, dim = changes.get("values", "own"), changes.get("dim", "own_dim")
    vectors = (name,) if "dim" in changes else ()

    def function(carry, record):
        return carry, {name: jnp.ones(1) if vectors else jnp.sum(record["x"])}

    with pytest.raises(ValueError, match=words):
        hfac.judge(data, judging.Metric(function, (), dim, np.ones(1) if vectors else np.array([]), vectors))
    assert "own" in hfac.judge(data, judging.Metric(lambda c, r: (c, {"own": r["x"][0]}), (), "none", np.array([]), ()))


def test_nothing_at_all_is_replayed_too(tmp_path):
    own = problem(init_x=lambda key: None, reward=lambda x, s, a, n: n * 0.1, cost=lambda x, s, a, n: n * 0.1)
    runs.start(runs.job(own, steps=5, seeds=1), tmp_path / "run", QUIET)
    assert runs.replay(tmp_path / "run", 0, problem=own).gap == 0.0


# derivatives of exact values


@pytest.mark.slow
def test_exact_values_have_derivatives_in_both_modes():
    """In a reward's number, tau, x and gamma, against central differences; Hessians against the hyper-gradient's."""
    base, x = cases.goal(), jnp.linspace(-0.5, 0.5, 16)

    def value(number):
        c, tau, gamma = number
        of_discount = dataclasses.replace(base, mdp=dataclasses.replace(base.mdp, discount=gamma))
        scaled = dataclasses.replace(
            of_discount, reward=lambda x, s, a, n: c * base.reward(x, s, a, n), reward_grad=None
        )
        return exact.hyper_objective(scaled, x, tau)

    at, step = jnp.array([1.0, 0.1, 0.8]), 1e-5 * jnp.eye(3)
    reverse, forward = jax.jit(jax.value_and_grad(value)), jax.jit(jax.jacfwd(value))
    difference = [(reverse(at + each)[0] - reverse(at - each)[0]) / 2e-5 for each in step]
    np.testing.assert_allclose(reverse(at)[1], difference, rtol=1e-6)
    np.testing.assert_allclose(forward(at), difference, rtol=1e-6)
    of_x = jax.grad(lambda x: exact.hyper_objective(base, x, 0.1))
    gradient = jax.jit(lambda x: exact.hypergradient(base, x, 0.1))
    step = jnp.zeros(16).at[3].set(1.0)
    along = jax.jit(lambda x: jax.jvp(of_x, (x,), (step,)))  # of a symmetric matrix, a column is a row
    found, row = along(x)
    np.testing.assert_allclose(found, gradient(x), atol=1e-12)
    np.testing.assert_allclose(row, (gradient(x + 1e-5 * step) - gradient(x - 1e-5 * step)) / 2e-5, atol=1e-9)


def test_a_persons_own_settings_of_figures_change_none(tmp_path, monkeypatch):
    import matplotlib

    from hfac import plots

    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    with plots.styled():
        assert not matplotlib.rcParams["text.usetex"]
        figure, axis = plots.subplots(1, 1, (2, 2))
        axis.set_title("$x$")
        plots.save(figure, tmp_path / "a.png")
    assert matplotlib.rcParams["text.usetex"] and (tmp_path / "a.png").stat().st_size > 1_000

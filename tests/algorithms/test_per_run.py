"""Numbers of a method that differ between the runs of one compiled sweep."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, options, results, schedules, tuning
from hfac.cli import main
from hfac.schedules import grid
from support.helpers import small_random
from support.slow import few
from support.toys import EVERY, LEADERS, toy

BASE = schedules.fixed(offset=300.0)
SIZE = ("size", "4"), ("landmark", "3", "3"), ("hazard-rows", "1", "2"), ("hazard-columns", "1", "2")
SMALL = [text for name, *values in SIZE for text in (f"--problem.{name}", *values)]
QUIET = ["--no-figures", "--no-cache", "--quiet"]
NUMBERS = {  # method -> values of its numbers, in the first run and in the second
    "a_parl": {"damping": (0.1, 0.5)},
    "aid": {"damping": (0.0, 0.3)},
    "bome": {"eta": (0.5, 0.9)},
    "f2sa": {"delta": (0.1, 0.4), "delta_power": (0.86, 0.3)},
    "hfac": {"pen_rate": (1.0, 0.2)},
    "m_sobirl": {"adjoint_rate": (0.5, 0.1)},
    "zeroth_order": {"smoothing": (0.1, 0.4)},
}
SMALLER = {"a_parl": {"num_episodes": 4, "horizon": 10}, "zeroth_order": {"inner_steps": 5}}


problem = functools.cache(functools.partial(small_random, 0))


@functools.partial(jax.jit, static_argnums=0)
def solved(algorithm, rates):
    return algorithm.solution(hfac.run(algorithm, hfac.run_key(0), rates, 40)[0])


@functools.cache
def together(name):
    """A method with its numbers still to be given, and its solutions at both values of them."""
    builder = functools.partial(getattr(algorithms, name), problem(), dtype=jnp.float64, **SMALLER.get(name, {}))
    axes = {tuple(f"algorithm.{option}" for option in NUMBERS[name]): list(zip(*NUMBERS[name].values(), strict=True))}
    return builder, jax.vmap(functools.partial(solved, builder()))(grid(BASE, axes)[0])


@pytest.mark.parametrize(("name", "run"), few(itertools.product(NUMBERS, (0, 1)), ("f2sa", 1), ("hfac", 1)))
def test_a_run_with_a_number_is_a_method_built_with_it(name, run):
    """Runs of one program differ by the number alone, and are what two programs compute."""
    builder, both = together(name)
    own = options.of(getattr(algorithms, name))
    assert {option for option, found in own.items() if found.is_number} == set(NUMBERS[name])
    alone = solved(builder(**{option: pair[run] for option, pair in NUMBERS[name].items()}), BASE)
    for one, other in zip(jax.tree.leaves(both), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one[run], other, rtol=1e-8, atol=1e-9)
    assert not np.array_equal(*jax.tree.leaves(both.x)[0])


@pytest.mark.slow
def test_the_parameter_of_generalised_advantages_differs_by_run():
    builder = functools.partial(algorithms.hfac, toy(LEADERS[0]), every=EVERY, dtype=jnp.float64)
    both = jax.vmap(functools.partial(solved, builder()))(grid(BASE, {"algorithm.gae_lambda": [1.0, 0.5]})[0])
    for run, gae_lambda in enumerate((1.0, 0.5)):
        alone = solved(builder(gae_lambda=gae_lambda), BASE)
        for one, other in zip(jax.tree.leaves(both), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(one[run], other, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
def test_a_number_is_a_dimension_of_the_results_that_grows(tmp_path, capsys):
    folder = tmp_path / "swept"
    main(["sweep", "goal_placement", *SMALL, *QUIET, "--steps", "200", "--seeds", "2", "--algorithm.pen-rate", "0.1",
          "1", "--out", str(folder)])  # fmt: skip
    before = results.load(folder)
    assert before["algorithm.pen_rate"].values.tolist() == [0.1, 1.0]
    assert before["hyper_objective"].sizes["algorithm.pen_rate"] == 2
    main(["extend", str(folder), "--algorithm.pen-rate", "0.1", "0.3", "1", "--quiet", "--no-figures"])
    after = results.load(folder)
    assert sorted(after["algorithm.pen_rate"].values) == [0.1, 0.3, 1.0]
    low, middle, high = (after["hyper_objective"].sel({"algorithm.pen_rate": rate}) for rate in (0.1, 0.3, 1.0))
    for rate, kept in ((0.1, low), (1.0, high)):
        held = before["hyper_objective"].sel({"algorithm.pen_rate": rate})
        np.testing.assert_array_equal(kept.transpose(*held.dims), held)
    assert not np.array_equal(middle, high)
    capsys.readouterr()
    main(["replay", str(folder), "--seed", "1", "--algorithm.pen-rate", "0.3"])
    assert "the stored run is healthy too" in capsys.readouterr().out
    main(["resume", str(folder), "--no-figures"])
    assert "nothing to do" in capsys.readouterr().out or results.load(folder).equals(after)


def test_one_value_is_no_dimension(tmp_path):
    folder = tmp_path / "one"
    main(["sweep", "goal_placement", *SMALL, *QUIET, "--steps", "50", "--seeds", "1", "--algorithm.pen-rate", "0.3",
          "--out", str(folder)])  # fmt: skip
    assert "algorithm.pen_rate" not in results.load(folder)["hyper_objective"].dims


def test_a_search_over_a_number_compiles_one_method():
    stepped = []

    @functools.wraps(algorithms.hfac)
    def builder(problem, **given):
        built = algorithms.hfac(problem, **given)

        def step(*args):
            stepped.append(tuple(sorted(given.items())))
            return built.step(*args)

        return built._replace(step=step)

    space = {"entropy.scale": (0.05, 0.1), "pen_rate": (0.1, 1.0)}
    (trials,) = tuning.search(problem(), builder, tuning.cross(space), 200, 0.1, seeds=(5, 6), num_rungs=1)
    assert len({trial.objective for trial in trials}) == 4
    assert len(set(stepped)) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["0.1", "0.1"], "lists a value twice"),
        (["0.1", "-1"], "pen_rate"),
        (["0.1", "abc"], "is not a number"),
        ([], ""),
    ],
)
def test_wrong_lists_are_refused_in_one_line(given, said, capsys):
    with pytest.raises(SystemExit):
        main(["sweep", "goal_placement", *SMALL, *QUIET, "--algorithm.pen-rate", *given])
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown

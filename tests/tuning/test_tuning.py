"""The search for settings, and the table that compares methods."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, comparison, tuning
from hfac.tuning import Range
from support import cases

SPACE = {"upper.scale": Range(1e-3, 1e-1), "entropy.scale": Range(0.05, 0.2), "penalty_over_entropy": (3.0,)}


@pytest.fixture(scope="module")
def goal():
    return cases.goal()


@pytest.fixture(scope="module")
def build(goal):
    """The builder of HFAC, which makes one and the same method on the goal from the same options."""
    made = functools.cache(functools.partial(algorithms.hfac, goal))
    return functools.wraps(algorithms.hfac)(lambda problem, **options: made(**options))


@pytest.fixture(scope="module")
def log(goal, build):
    candidates = tuning.draw(SPACE, 8)
    return list(tuning.search(goal, build, candidates, 800, 0.1, seeds=(5, 6), num_rungs=2, reduction=2))


def test_candidates_lie_in_their_space_and_repeat():
    drawn = tuning.draw(SPACE, 200, seed=3)
    upper = np.array([s.rates["upper.scale"] for s in drawn])
    assert upper.min() >= 1e-3
    assert upper.max() <= 1e-1
    assert abs(np.mean(np.log10(upper)) + 2) < 0.15  # uniform in the logarithm: standard error 0.04
    assert all(s.rates["penalty.scale"] == pytest.approx(3 * s.rates["entropy.scale"]) for s in drawn)
    assert drawn == tuning.draw(SPACE, 200, seed=3)
    assert drawn != tuning.draw(SPACE, 200, seed=4)


def test_methods_that_share_an_axis_try_the_same_values():
    ours = tuning.draw(tuning.space_of(algorithms.hfac), 10)
    theirs = tuning.draw(tuning.space_of(algorithms.nested), 10)
    assert [s.rates for s in ours] == [s.rates for s in theirs]
    assert {s.options["inner_steps"] for s in theirs} <= {1, 3, 10, 30, 100}


def test_methods_with_a_penalty_search_what_x_moves_by():
    space = tuning.space_of(algorithms.hfac, algorithms.needs("hfac"))
    assert "upper.scale" not in space
    drawn = tuning.draw(space, 50)
    moves = [s.rates["upper.scale"] / s.rates["penalty.scale"] for s in drawn]
    assert 1e-4 <= min(moves) < max(moves) <= 3e-2
    low, high = 0.999e-4, 3.001e-2
    assert all(
        low <= s.rates["upper.scale"] / s.rates["penalty.scale"] <= high for s in tuning.around(drawn, space, 200)
    )
    assert "upper.scale" in tuning.space_of(algorithms.partial, algorithms.needs("partial"))
    given = tuning.space_of(algorithms.hfac, algorithms.needs("hfac"), {"upper.scale": (0.1,)})
    assert tuning.UPPER_RATIO not in given


def test_a_grid_crosses_its_values():
    settings = tuning.cross({"upper.scale": (0.1, 0.2), "offset": (10.0,), "inner_steps": (1, 5)})
    assert [(s.rates["upper.scale"], s.options["inner_steps"]) for s in settings] == [
        (0.1, 1), (0.1, 5), (0.2, 1), (0.2, 5),
    ]  # fmt: skip
    assert settings[0].rates["critic.offset"] == 10.0
    with pytest.raises(ValueError, match="a grid needs values on every axis"):
        tuning.cross(SPACE)


def test_a_rung_goes_on_from_where_the_last_one_stopped(goal, build, log):
    assert [len(rung) for rung in log] == [8, 4]
    assert [rung[0].steps for rung in log] == [200, 400]
    assert [rung[0].samples for rung in log] == [400, 800]
    for rung in log:
        assert [t.objective for t in rung] == sorted(t.objective for t in rung)
    survivors = {t.candidate for t in log[1]}
    assert survivors == {t.candidate for t in log[0][:4]}
    best = log[1][0]
    algorithm = build(goal, **best.setting.options)
    data = hfac.sweep(algorithm, tuning.to_schedules(best.setting), [5, 6], 400, record_at=[400])
    judged = hfac.judge(data, hfac.metrics.exact(goal, 0.1))["hyper_objective"].values.ravel()
    assert float(judged.mean()) == pytest.approx(best.objective, abs=1e-5)


def test_a_budget_is_what_the_search_costs(log):
    for num_rungs, reduction in ((1, 2), (2, 2), (3, 4)):
        count = tuning.affordable(1e6, 100, 4, num_rungs, reduction)
        plan = tuning.rungs(count, num_rungs, reduction)
        before = [0.0, *(rung.share for rung in plan)]
        used = sum(r.num_candidates * (r.share - b) for r, b in zip(plan, before, strict=False)) * 100 * 4
        assert 0.9e6 < used <= 1e6
    spent = sum(t.samples for t in log[0]) + sum(t.samples - 400 for t in log[1])
    assert spent * 2 == 8 * 400 * 2 + 4 * 400 * 2


def test_children_lie_near_their_parents_and_in_the_space():
    space = {"upper.scale": Range(1e-3, 1e-1), "entropy.scale": (0.05, 0.1, 0.2), "offset": (10.0,)}
    space |= {tuning.PENALTY_RATIO: Range(1.0, 100.0), "pen_rate": (1.0, 0.3, 0.1)}
    parents = tuning.draw(space, 2, seed=5)
    family = tuning.around(parents, space, 400, seed=1, width=0.1)
    assert family[:2] == parents
    assert family == tuning.around(parents, space, 400, seed=1, width=0.1)
    assert tuning.around(parents, space, 1) == parents[:1]
    upper = np.log([s.rates["upper.scale"] for s in family])
    moves = (upper[2:] - np.log([parents[i % 2].rates["upper.scale"] for i in range(2, 400)])) / np.log(100)
    inside = (upper[2:] > np.log(1.001e-3)) & (upper[2:] < np.log(0.999e-1))  # the rest stopped at an end
    assert inside.mean() > 0.5
    assert np.exp(upper).min() >= 0.999e-3
    assert np.exp(upper).max() <= 1.001e-1
    assert abs(np.median(moves)) < 0.02  # standard error of the median 0.006
    assert 0.05 < moves[inside].std() < 0.12
    entropies = [(0.05, 0.1, 0.2).index(s.rates["entropy.scale"]) for s in family]
    origins = [(0.05, 0.1, 0.2).index(parents[i % 2].rates["entropy.scale"]) for i in range(400)]
    assert {abs(a - b) for a, b in zip(entropies, origins, strict=True)} == {0, 1}
    assert {s.options["pen_rate"] for s in family} <= {1.0, 0.3, 0.1}
    assert all(s.rates["critic.offset"] == 10.0 for s in family)


def test_rounds_cost_what_the_plan_says_and_use_seeds_of_their_own(goal, build):
    plan = tuning.SearchPlan(200, 12 * 200 * 2, num_seeds=1, first_seed=50, num_rounds=2, num_rungs=1, reduction=2)
    assert [plan.num_candidates(r) for r in range(2)] == [12, 6]
    assert [list(plan.seeds(r)) for r in range(3)] == [[50], [51, 52], [53, 54, 55, 56]]
    first, second = tuning.tune(goal, build, SPACE, plan, 0.1)
    assert sorted(t.candidate for t in first) == list(range(12))
    assert sorted(t.candidate for t in second) == list(range(12, 18))
    assert {t.round for t in first} == {0}
    assert {t.round for t in second} == {1}
    best = [t.setting for t in first[: tuning.NUM_PARENTS]]
    again = {t.candidate: t.setting for t in second}
    assert [again[12 + i] for i in range(tuning.NUM_PARENTS)] == best
    algorithm = build(goal)
    data = hfac.sweep(algorithm, tuning.to_schedules(best[0]), [51, 52], 100, record_at=[100])
    judged = hfac.judge(data, hfac.metrics.exact(goal, 0.1))["hyper_objective"].values.ravel()
    worth = next(t.objective for t in second if t.candidate == 12)
    assert float(judged.mean()) == pytest.approx(worth, abs=1e-5)


def test_diverged_candidates_rank_last(goal, build):
    settings = [tuning.Setting({}, {"upper.scale": scale}) for scale in (1e30, 1e-3)]
    (rung,) = tuning.search(goal, build, settings, 100, 0.1, seeds=(5, 6), num_rungs=1)
    assert [t.candidate for t in rung] == [1, 0]
    assert (rung[1].objective, rung[1].diverged) == (math.inf, 2)


def test_wrong_spaces_are_refused():
    for space, message in (
        ({"upper.scale": Range(2.0, 1.0)}, "must have ends 0 < low < high, got 2:1"),
        ({"upper.scale": ()}, "axis 'upper.scale' lists no value"),
    ):
        with pytest.raises(ValueError, match=message):
            tuning.draw(space, 2)
    with pytest.raises(ValueError, match="at least one candidate, got 0"):
        tuning.draw(SPACE, 0)
    with pytest.raises(ValueError, match="the search has no axis 'inner_steps'"):
        tuning.space_of(algorithms.hfac, overrides={"inner_steps": (1,)})


@pytest.fixture(scope="module")
def entries(goal):
    setting = tuning.Setting({}, {"upper.scale": 0.02, "entropy.scale": 0.1, "penalty.scale": 0.5})
    names = ("hfac", "partial", "exact_gradient")
    return [comparison.run(goal, name, setting, 0.1, range(4), 1_000, num_steps=50) for name in names]


def test_every_method_ends_at_its_budget(entries):
    ours, partial, exact = entries
    for entry, steps, samples in ((ours, 500, 1_000), (partial, 1_000, 1_000), (exact, 50, 0)):
        assert int(entry.data["step"][-1]) == steps
        np.testing.assert_array_equal(entry.data["samples"].isel(step=-1), samples)
        assert entry.counts_samples == (samples > 0)
        assert entry.objective().shape == (4,)
    assert exact.needs.model
    assert not ours.needs.model


def test_the_table_pairs_seeds_and_times_the_target(entries):
    first = entries[0].data["hyper_objective"].isel(step=0, seed=0, judged_tau=0).item()
    rows = comparison.table(entries[:2], target=first + 1)
    assert rows[0].difference is None
    pair = hfac.statistics.paired_difference(entries[1].objective(), entries[0].objective())
    assert rows[1].difference == pair
    assert rows[0].to_target == 0  # met at the start
    assert comparison.table(entries[:1], target=-1e9)[0].to_target == math.inf
    printed = comparison.lines([comparison.cells(row, 0.0) for row in rows])
    assert len({len(line) for line in printed}) == 1
    assert "not reached" in comparison.lines([comparison.cells(rows[0]._replace(to_target=math.inf), 0.0)])[1]


def test_a_budget_ends_at_the_last_point_not_above_it():
    problem = cases.ending()
    setting = tuning.Setting({}, {"upper.scale": 1e-3})
    entry = comparison.run(problem, "hfac", setting, 0.1, range(3), 500)
    samples = entry.data["samples"].transpose("seed", "step").values
    for row, end in zip(samples, entry.ends(), strict=True):
        assert row[end] <= 500
        assert end + 1 == len(row) or row[end + 1] > 500
        assert row[end] > 400


def test_streamed_pieces_are_one_sweep(goal, build):
    algorithm, rates = build(goal), cases.gentle()
    layout = hfac.engine.lay_out(algorithm, rates, 3)
    pieces = list(hfac.engine.stream(layout, [10, 300]))
    data = hfac.sweep(algorithm, rates, 3, 300, record_at=[10, 300])
    assert [piece.step for piece in pieces if piece.point is not None] == [10, 300]
    last = pieces[-1]
    np.testing.assert_array_equal(last.record["x"], data["x"].isel(step=-1))
    assert int(last.num_samples.sum()) == int((data["samples"].isel(step=1) - data["samples"].isel(step=0)).sum())
    assert jax.tree.leaves(last.states)[0].dtype == jnp.int32

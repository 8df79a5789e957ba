"""Every experiment runs at toy size and leaves what it says."""

import contextlib
import csv
import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray

import hfac

CONFIGURED = ("jax_enable_x64", "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


def relaxed():
    """Experiments are users' code: they run under jax's default promotion rules."""
    return jax.numpy_dtype_promotion("standard")


@contextlib.contextmanager
def as_on_the_command_line():
    """What commands set for their process is set back."""
    kept = {name: getattr(jax.config, name) for name in CONFIGURED}
    try:
        with relaxed(), jax.numpy_rank_promotion("allow"):
            yield
    finally:
        for name, value in kept.items():
            jax.config.update(name, value)


def rows(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_embed(capsys):
    from experiments import embed

    config = embed.Embed(seeds=2, steps=200, rounds=2)
    with relaxed(), jax.numpy_rank_promotion("allow"):
        assert embed.own_scan(config).shape == (2, 100)
        assert len(embed.inside_another_loop(config)) == 2
        assert embed.descend_with_optax(steps=30) < 0.05  # from 0.108 at x = 0


@pytest.mark.slow
def test_finetune(tmp_path, capsys):
    from experiments import finetune
    from support import models

    (tmp_path / "mine.py").write_text("def rate(texts, records):\n    return [len(text) / 20 for text in texts]\n")
    (tmp_path / "p.txt").write_text("The soup\nzz\n")
    options = ("--num-prompts", "2", "--completions", "2", "--num-anchors", "2", "--lora-layers", "last:1",
               "--actor", "0.02", "--upper", "0.01", "--entropy", "0.02", "--penalty", "0.1", "--quiet")  # fmt: skip
    study = finetune.Study(
        tmp_path / "o",
        models.whole(tmp_path / "model"),
        tmp_path / "p.txt",
        f"{tmp_path}/mine.py:rate",
        seeds=2,
        steps=3,
        length=4,
        levels=(1e-4,),
        options=options,
    )
    with as_on_the_command_line():
        finetune.main(study)
        once = capsys.readouterr().out
        finetune.main(study)  # what is there is not run again
    assert once.splitlines()[:-1] == capsys.readouterr().out.splitlines()[-len(once.splitlines()) : -1]
    table = rows(tmp_path / "o" / "table.csv")
    assert [row["method"] for row in table] == ["hfac", "hfac", "partial", "partial"]
    assert len({row["completions"] for row in table}) == 1
    assert (tmp_path / "o" / "finetune.png").is_file() and "equal samples" in once


@pytest.mark.slow
def test_the_derivative_of_a_run(capsys):
    from experiments import embed

    with relaxed(), jax.numpy_rank_promotion("allow"):
        forward, differences = embed.derivative_of_a_run(steps=50)
    assert forward == pytest.approx(differences, rel=1e-6)  # central differences in float64, step 1e-5


@pytest.mark.slow
def test_goal_placement_study(tmp_path, capsys):
    from experiments import goal_placement

    study = goal_placement.Study(out=tmp_path / "study", seeds=3, steps=200, candidates=8)
    with relaxed(), jax.numpy_rank_promotion("allow"):
        goal_placement.main(study)
    table = rows(study.out / "table.csv")
    assert [row["arm"] for row in table] == list(goal_placement.ARMS)
    assert table[-1]["minus free powers, paired [95 %]"] == "0.0000 [0.0000, 0.0000]"
    searched = rows(study.out / "search.csv")
    per_arm = {arm: sum(row["arm"] == arm for row in searched) for arm in goal_placement.ARMS}
    assert len(set(per_arm.values())) == 1  # the same budget for every arm
    assert (study.out / "goal_placement.png").stat().st_size > 10_000
    assert (study.out / "report.html").stat().st_size > 1_000_000


@pytest.mark.slow
def test_random_mdp_cannot_tell_methods_apart(tmp_path):
    from experiments import random_mdp

    study = random_mdp.Study(out=tmp_path / "study", seeds=3, steps=1_000)
    with relaxed(), jax.numpy_rank_promotion("allow"):
        random_mdp.main(study)
    table = rows(study.out / "table.csv")
    assert [row["method"] for row in table] == list(random_mdp.METHODS)
    assert all(float(row["worst gap"]) < 1e-4 for row in table)  # the wrong method too
    about = json.loads((study.out / "study.json").read_text())
    assert about["command"].startswith("python -m experiments.random_mdp") and about["wall_seconds"] > 0
    assert (study.out / "random_mdp.png").stat().st_size > 10_000
    assert (study.out / "report.html").stat().st_size > 1_000_000


@pytest.mark.slow
def test_linear_reward_tells_partial_from_the_rest(tmp_path):
    from experiments import linear_reward

    study = linear_reward.Study(out=tmp_path / "study", seeds=2, instances=(0,), steps=400)
    with relaxed(), jax.numpy_rank_promotion("allow"):
        linear_reward.main(study)
    table = {row["method"]: row for row in rows(study.out / "table.csv")}
    assert list(table) == list(linear_reward.METHODS)
    partial = table.pop("partial, exact sampler")
    assert float(partial["worst end"]) > float(partial["start"])
    assert all(float(row["worst gap"]) < 1e-3 for row in table.values())
    assert (study.out / "linear_reward.png").stat().st_size > 10_000
    assert (study.out / "report.html").stat().st_size > 1_000_000


def test_arms_hold_what_they_say():
    from experiments import goal_placement as g

    rng = np.random.default_rng(0)
    for arm, (powers, tau) in g.ARMS.items():
        setting = dict(zip(g.SETTINGS, g.draw_settings(rng, powers, tau), strict=True))
        if tau is not None:
            assert setting["entropy.scale"] == tau and setting["entropy.power"] == 0, arm
    assert "experiments" in sys.modules


@pytest.mark.slow
def test_four_rooms_fills_every_column(tmp_path):
    from experiments import four_rooms

    study = four_rooms.Study(out=tmp_path / "study", seeds=2, betas=(1.0,), shorten=1_000)
    with relaxed(), jax.numpy_rank_promotion("allow"):
        four_rooms.main(study)
    table = rows(study.out / "table.csv")
    assert [row["lambda"] for row in table] == [f"{tau:g}" for tau in four_rooms.LAMBDAS]
    assert all(np.isfinite(float(row[name].split()[0])) for row in table for name in four_rooms.COLUMNS)
    assert set(json.loads((study.out / "expense.json").read_text())) == {*four_rooms.PEERS, *four_rooms.COLUMNS}
    assert (study.out / "four_rooms.png").stat().st_size > 10_000
    assert (study.out / "report.html").stat().st_size > 1_000_000


@pytest.mark.slow
def test_rates_fit_and_draw_an_arm(tmp_path):
    from experiments import rates

    study = rates.Study(out=tmp_path / "study", arms=("linear_reward, fixed",), seeds=3, steps=1_000)
    with relaxed(), jax.numpy_rank_promotion("allow"):
        rates.main(study)
    table = rows(study.out / "table.csv")
    assert {row["theory"] for row in table if row["quantity"] in ("smallest", "average")} == {"-0.333"}
    assert (study.out / "linear_reward_fixed.png").stat().st_size > 10_000
    assert (study.out / "report.html").stat().st_size > 1_000_000


def test_rates_have_arms_of_both_presets():
    from experiments import rates

    assert {(name.partition(", ")[2], f"{hfac.schedules.balance(arm.schedules).rate:.3f}")
            for name, arm in rates.ARMS.items()} == {("attenuating", "-0.100"), ("fixed", "-0.333")}  # fmt: skip


@pytest.mark.slow
def test_pl_condition_of_a_problem_that_strains_it(tmp_path):
    from experiments import pl_condition

    study = pl_condition.Study(out=tmp_path / "study", arms=("beacon",), seeds=2, steps=300)
    with relaxed(), jax.numpy_rank_promotion("allow"):
        pl_condition.main(study)
    (row,) = rows(study.out / "table.csv")
    assert float(row["C along, smallest"]) > 0 and row["limited by"] in (*hfac.diagnostics.PARTS, "unsettled")
    assert {"beacon.png", "pl_condition.png", "study.json", "report.html"} <= {p.name for p in study.out.iterdir()}


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_tweets_pairs_its_arms_and_draws_them(tmp_path, monkeypatch, capsys):
    from experiments import tweets

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"{word} {place} day\n" for word in ("good", "bad", "sad", "fine") for place in "abcde"))
    arms = ("hfac, score", "partial, policy pairs")
    small = {"seeds": 2, "steps": 2, "reference": 64, "epochs": 1, "layers": 1, "width": 8, "length": 5}
    study = tweets.Study(out=tmp_path / "study", corpus=corpus, arms=arms, **small)
    with as_on_the_command_line():
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("hfac.tweets._pretrain.save_model", interrupted)
            tweets.main(study)
        tweets.main(study)
        tables = {name: rows(study.out / name) for name in ("table.csv", "differences.csv")}
        tweets.main(study)
    assert "hfac_score is finished: 2 runs x 2 steps" in capsys.readouterr().err
    assert tables == {name: rows(study.out / name) for name in tables}
    assert [row["arm"] for row in tables["table.csv"]] == list(arms)
    assert all(row["tweets"] == f"{2 * 64:,}" for row in tables["table.csv"][:1])
    (paired,) = tables["differences.csv"]
    assert paired["difference"] == "partial, policy pairs, minus hfac, score"
    assert paired["score"] and not paired["response_objective"]  # they serve different leaders
    assert (study.out / "tweets.png").stat().st_size > 10_000
    assert (study.out / "report.html").stat().st_size > 1_000_000
    with pytest.raises(SystemExit, match="holds something else than this study"):
        tweets.main(dataclasses.replace(study, steps=3))


def test_a_study_of_tweets_that_cannot_begin_is_refused_in_one_line(tmp_path, monkeypatch):
    from experiments import tweets

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "file").write_text("kept")
    with pytest.raises(SystemExit, match="--arms takes 'hfac, anchored'"):
        tweets.main(tweets.Study(out=tmp_path / "none", arms=("hfac",)))
    with as_on_the_command_line():
        with pytest.raises(SystemExit, match="holds something else than this study"):
            tweets.main(tweets.Study(out=tmp_path / "file"))
        with pytest.raises(ValueError, match="missing"):
            tweets.main(tweets.Study(out=tmp_path / "later", corpus=tmp_path / "missing"))
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "cache"}


@pytest.mark.slow
def test_control_exact_writes_its_table_and_draws(tmp_path):
    from experiments import control_exact

    out = tmp_path / "out"
    study = control_exact.Study(out=out, seeds=2, steps=(8,), problems=("incentives",))
    with as_on_the_command_line():
        control_exact.main(study)
    table = rows(out / "table.csv")
    assert [row["method"] for row in table] == ["hfac", "partial"]
    assert (out / "control_exact.png").stat().st_size > 10_000


def test_a_problem_that_control_exact_does_not_have_is_refused(tmp_path):
    from experiments import control_exact

    with pytest.raises(SystemExit, match="must be of"):
        control_exact.main(control_exact.Study(out=tmp_path / "out", problems=("four_rooms",), steps=(8,)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_returns_of_reward_design_are_drawn_beside_each_other(tmp_path, monkeypatch):
    from experiments import returns, reward_design

    tiny = returns.SETTINGS["cartpole"]._replace(draws={"num_envs": 4, "num_steps": 8, "epochs": 2})
    monkeypatch.setitem(returns.SETTINGS, "cartpole", tiny)
    monkeypatch.setattr(returns, "UNIT", 32)
    out = tmp_path / "out"
    with relaxed(), jax.numpy_rank_promotion("allow"):
        reward_design.main(reward_design.Study(out=out, seeds=2, steps=6, arms=("no bi-level term",)))
    (row,) = rows(out / "table.csv")
    assert row["arm"] == "no bi-level term" and row["diverged"] == "0" and float(row["start"]) > 5
    assert (out / "reward_design.png").stat().st_size > 10_000
    assert "Return of fresh episodes" in (out / "report.html").read_text(encoding="utf-8")


def test_ends_are_compared_seed_by_seed():
    from experiments import returns

    def data(end):
        values = np.stack([np.zeros(4), np.linspace(0, 9, 4), *[end + np.arange(4.0)] * 3])
        found = {"return": (("step", "seed"), values), "status": (("step", "seed"), np.zeros((5, 4)))}
        return xarray.Dataset(found | {"samples": (("step", "seed"), np.ones((5, 4)))})

    base = data(10.0)
    assert returns.row("base", base, base, "base")["above base, paired [95 %]"] == ""
    row = returns.row("other", data(13.5), base, "base")
    assert row["above base, paired [95 %]"] == "3.5 [3.5, 3.5]" and row["worst"] == "13.5"
    assert row["end [95 %]"].startswith("15.0 [")


def test_an_arm_that_preferences_does_not_have_is_refused(tmp_path):
    from experiments import preferences

    with relaxed(), pytest.raises(SystemExit, match="must be of partial"):
        preferences.main(preferences.Study(out=tmp_path / "out", arms=("hpgd",)))


@pytest.mark.slow
def test_estimators_in_an_environment_agree_with_exact_directions(tmp_path):
    from experiments import control_estimators

    study = control_estimators.Study(out=tmp_path / "out", draws=300, num_envs=16)
    with as_on_the_command_line():
        control_estimators.main(study)
    table = {row["way"]: row for row in rows(study.out / "table.csv")}
    assert set(table) == set(control_estimators.WAYS)
    noise = {way: float(row["noise of a draw / size"]) for way, row in table.items()}
    assert noise["independent restarts"] > 5 * noise["coupled restarts"]
    bias = [float(row["relative distance from grad Phi"]) for row in rows(study.out / "penalty.csv")]
    assert bias == sorted(bias, reverse=True)

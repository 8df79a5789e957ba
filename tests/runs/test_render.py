"""Animations of stored runs: whose episodes they show, how they are drawn, and what cannot be shown."""

import dataclasses
import io
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hfac import control, plots, problems, results, runs
from hfac.control import environments, judging, playing
from hfac.runs import View
from support import cases
from support.commands import command
from support.folders import kept

QUIET = runs.Execution(quiet=True)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return kept(tmp_path_factory)


@pytest.fixture(scope="module")
def poles(tmp_path_factory):
    """Policies of CartPole."""
    folder = tmp_path_factory.mktemp("render") / "poles"
    tiny = {
        "problem_options": {"hidden": (8,), "reward_hidden": (4,)},
        "algorithm_options": {"num_envs": 2, "num_steps": 4},
    }
    rates = {"actor": 0.3, "critic": 0.01}
    made = runs.job("reward_design", "true_reward", settings=rates, steps=6, seeds=2, record="policies", **tiny)
    runs.start(made, folder, QUIET)
    return folder


@pytest.fixture
def filmed(monkeypatch):
    """What would be drawn."""
    found = []
    monkeypatch.setattr(plots, "film", lambda scenes, caption, *_: found.append((scenes, caption)) or b"GIF89a")
    return found


def test_what_is_shown_is_what_was_judged(poles):
    found = runs.recorded(poles, seed=1)
    problem = problems.reward_design(hidden=(8,), reward_hidden=(4,))
    totals, lengths = control.episodes(problem, jax.random.key(judging.SAME_NUMBERS), found["theta"])
    assert float(jnp.mean(totals)) == float(results.load(poles)["return"].sel(seed=1).isel(step=-1))
    several = jax.tree.map(lambda leaf: leaf[None], (found["x"], found["theta"]))
    (shown,) = playing.of_policies(problem, 3, *several)
    assert (shown.earned[-1], shown.length) == (totals[3], lengths[3]) and 5 < shown.length < 500
    end = int(shown.length)
    assert np.all(shown.earned[end:] == shown.earned[-1])
    assert np.all(shown.states.angle[end:] == shown.states.angle[end])
    assert abs(shown.states.angle[end]) > 0.2 or abs(shown.states.position[end]) > 2.4
    assert np.all(np.abs(shown.states.angle[:end]) < 0.21)


def test_a_walk_over_a_table_earns_what_the_leader_set():
    problem = cases.goal(slip=0.0)
    x = np.random.default_rng(0).normal(size=16)
    pi = np.tile(np.eye(problem.mdp.num_actions)[1], (16, 1))
    (found,) = playing.of_tables(problem, 0, x[None], pi[None], 7)
    goals, moves = np.exp(x) / np.exp(x).sum(), problem.mdp.next_states[:, 1]
    for before, after in zip(found.states, found.states[1:], strict=False):
        assert after == moves[before, int(np.argmax(problem.mdp.probs[before, 1]))]
    np.testing.assert_allclose(np.diff(found.earned), goals[found.states[1:]], rtol=1e-6)
    assert found.length == 7


def test_an_episode_that_ends_rests():
    problem = cases.ending()
    policies = np.random.default_rng(0).dirichlet(np.ones(3), size=(4, 5))
    xs = jnp.broadcast_to(problem.init_x(None), (4, 4))
    for each in playing.of_tables(problem, 0, xs, policies, 20):
        end = int(each.length)
        assert np.all(each.states[end:] == each.states[end]) and np.all(each.earned[end:] == each.earned[end])
        assert each.states[end - 1] in (1, 4) and not np.isin(each.states[: end - 1], (1, 4)).any()


@pytest.mark.parametrize(
    "view, words",
    [
        (View(which={"tau": 0.03}, seed=1), "entropy 0.03, seed 1"),
        (View(which={"entropy": 0.01}, seed=2), "entropy 0.01, seed 2"),
        (View(), None),
    ],
)
def test_the_run_that_is_named_or_the_typical_one_is_shown(view, words, grid, filmed, tmp_path):
    data = results.load(grid)
    runs.render(grid, tmp_path / "new" / "a.gif", view)
    ((scenes, caption),) = filmed
    assert caption == (words or plots.typical(data)[0])
    assert (tmp_path / "new" / "a.gif").read_bytes() == b"GIF89a"
    assert scenes[0].title == "after 0 steps" and scenes[2].title == "after 40 steps"
    assert len({len(scene.earned) for scene in scenes}) == 1 and len(scenes[0].earned) == 101  # 5 / (1 - gamma) steps


def test_a_middle_record_point_is_halfway():
    assert plots.milestones(np.array([5.0, 4.0, 3.0, 2.0, 1.0, 1.0])) == (0, 2, 5)
    assert plots.milestones(np.array([1.0, 0.0, 0.0])) == (0, 1, 2)
    assert plots.milestones(np.array([1.0, np.inf, np.inf, np.inf])) == (0, 1, 3)
    assert plots.milestones(np.array([1.0, 0.0])) == (0, 1, 1)


@pytest.mark.parametrize("name", environments.REGISTRY)
def test_environments_draw_their_states(name):
    env = getattr(environments, name)()
    reset = jax.jit(env.reset)
    seen = []

    def draw(axes, step):
        env.draw(axes, jax.tree.map(np.asarray, reset(jax.random.key(step))[1]))
        seen.append([line.get_xydata().tolist() for line in axes.lines])

    picture = Image.open(io.BytesIO(plots.film([plots.Scene("a", draw, np.zeros(2))], "b", 30)))
    assert picture.n_frames == 2 and seen[0] == seen[1] != seen[2]  # once for the size of the picture
    assert all(np.isfinite(point).all() for lines in seen for line in lines for point in line)


def test_episodes_that_have_ended_rest_until_the_longest_has(monkeypatch):
    monkeypatch.setattr("hfac.plots._episodes.MOST_FRAMES", 10)
    steps = {"short": [], "long": []}

    def scene(name, length):
        def draw(axes, step):
            steps[name].append(step)
            axes.set(xlim=(0, 1), ylim=(0, 1))
            axes.plot([0, 1], [step / 29, 0])

        return plots.Scene(name, draw, np.arange(length + 1.0))

    told = []
    content = plots.film([scene("short", 2), scene("long", 29)], "words", 25, lambda *done: told.append(done))
    picture = Image.open(io.BytesIO(content))
    assert picture.n_frames == 11 and told[-1] == (11, 11)  # every third step
    assert steps["long"][1:] == [*range(0, 29, 3), 29] and set(steps["short"][2:]) == {2}
    picture.seek(5)
    assert picture.info["duration"] == 40
    picture.seek(10)
    assert picture.info["duration"] == 2_000


def test_an_animation_from_the_command_line(poles, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(poles, folder)
    done = command("render", str(folder), "--length", "4", "--episode", "5", "--fps", "10", cwd=tmp_path)
    assert done.returncode == 0 and "written: run/figures/policies.gif" in done.stderr, done.stderr
    with Image.open(folder / "figures" / "policies.gif") as picture:
        assert picture.n_frames == 5 and picture.info["duration"] == 100 and picture.size[0] > 600
    again = command("render", str(folder))
    assert again.returncode == 2 and "nothing is overwritten" in again.stderr and again.stderr.count("\n") == 1


def test_a_figure_of_ones_own_environment(poles, filmed, tmp_path):
    job = runs.build(runs.as_paths(runs.read_config(poles)))
    without = job.problem.environment._replace(draw=None)
    object.__setattr__(job.problem, "environment", without)
    with pytest.raises(ValueError, match=r"reward_design cannot be drawn: give its environment a function draw"):
        runs.animate(job, poles, tmp_path / "a.gif", View())
    object.__setattr__(job.problem, "environment", without._replace(draw=lambda axes, state: axes.plot(state.angle, 0)))
    runs.animate(job, poles, tmp_path / "a.gif", View())
    with pytest.raises(ValueError, match=r"draw must be a function of \(axes, state\)"):
        control.environment.check(without._replace(draw=lambda axes: None))


def test_what_cannot_be_drawn_is_one_line(poles, grid, tmp_path, monkeypatch):
    job = runs.build(runs.as_paths(runs.read_config(grid)))
    variant = job.variants[0]
    plain = dataclasses.replace(variant.problem, layout=None, name="plain")
    with pytest.raises(ValueError, match="plain cannot be drawn: grids are, and environments that say how"):
        other = dataclasses.replace(job, variants=(variant._replace(problem=plain),))
        runs.animate(other, grid, tmp_path / "a.gif", View())
    data = results.load(poles)
    less = data.drop_vars([name for name in data if name.startswith("theta")])
    monkeypatch.setattr(results, "load", lambda path: less)
    with pytest.raises(ValueError, match="no policies were kept; run the sweep with --record policies"):
        runs.render(poles, tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "args, words",
    [
        (["--out", "a.png"], "an animation is a GIF; call it a.gif"),
        (["--fps", "0"], "--fps must be a whole number from 1 to 50, got 0"),
        (["--fps", "60"], "--fps must be a whole number from 1 to 50, got 60"),
        (["--episode", "32"], "--episode must be a whole number in [0, 32), got 32"),
        (["--length", "0"], "--length must be a whole number >= 1"),
        (["--seed", "7"], "--seed 7: the sweep has 0 to 2"),
        (["--tau", "0.5"], "--tau 0.5: the sweep has 0.01, 0.03"),
        (["--actor", "0.5"], "--actor: the sweep has no list of these; its runs differ in entropy.scale"),
    ],
)
def test_wrong_settings_are_one_line(args, words, grid, tmp_path):
    done = command("render", str(grid), *args, cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (grid / "figures").exists() and list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_judged_says_so(grid, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(grid, folder)
    shutil.rmtree(folder / "results.zarr" / "metrics")
    with pytest.raises(ValueError, match="is not judged yet; `hfac report"):
        runs.render(folder)

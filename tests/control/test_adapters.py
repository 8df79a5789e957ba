"""Environments of other packages by name: ends and limits apart, no resets, spaces, and what is missing in one line."""

import importlib.metadata
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import control, runs
from hfac.control import environment, environments
from support.packages import packages  # noqa: F401, a fixture

KEY = jax.random.key(0)


def walked(env, *actions):
    """Steps of an environment from its first state."""
    state, found = env.reset(KEY)[1], []
    for action in actions:
        found.append(env.step(KEY, state, jnp.asarray(action)))
        state = found[-1].state
    return found


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    "name, size, limit",
    [("gymnax:Line-v0", 2, 3), ("gymnax:Cells-v0", 4, 3), ("gymnax:Push-v0", 2, 3), ("brax:slide", 3, 1_000),
     ("jumanji:Board-v1", 7, 2), ("jumanji:Push-v0", 7, 2)],
)  # fmt: skip
def test_an_environment_of_another_package_is_what_its_type_says(name, size, limit):
    env = environments.make(name)
    environment.check(env)
    assert (env.name, env.limit, env.observations.low.shape) == (name, limit, (size,))
    assert env.source.startswith(name.partition(":")[0])
    obs, _ = env.reset(KEY)
    step = env.step(KEY, env.reset(KEY)[1], environment.any_action(KEY, env.actions))
    for array in (obs, step.obs, step.reward):
        assert array.dtype == np.float32 and not array.weak_type


@pytest.mark.usefixtures("packages")
def test_gymnax_ends_are_not_its_limit_and_nothing_is_reset():
    env = environments.make("gymnax:Line-v0")
    right = walked(env, 1, 1, 1)
    assert [float(step.obs[0]) for step in right] == [1, 2, 3]
    assert [bool(step.terminated) for step in right] == [False, True, True]
    assert [bool(step.truncated) for step in right] == [False, False, True]
    left = walked(env, 0, 0, 0)[-1]
    assert left.truncated and not left.terminated
    assert env.scale == (4, 1) and np.array_equal(env.observations.high, [4, np.inf])
    assert float(walked(environments.make("gymnax:Push-v0"), [0.75])[0].obs[0]) == 0.5
    assert np.array_equal(walked(environments.make("gymnax:Cells-v0"), 1)[0].obs, [0, 1, 0, 0])


@pytest.mark.usefixtures("packages")
def test_a_fall_in_brax_is_an_end():
    env = environments.make("brax:slide")
    still, fell = walked(env, [0.0, 0.0], [1.0, 1.0])
    assert not still.terminated and fell.terminated and not fell.truncated
    assert np.array_equal(env.actions.low, [-1, -1]) and np.array_equal(env.actions.high, [1, 1])


@pytest.mark.usefixtures("packages")
def test_the_time_limit_of_jumanji_is_no_end():
    env = environments.make("jumanji:Board-v1")
    late = walked(env, 0, 0, 0)
    assert not any(step.terminated | step.truncated for step in late)  # the library counts to `limit`
    won, cut = walked(env, 1)[0], walked(env, 2)[0]
    assert won.terminated and not won.truncated and float(won.reward) == 1
    assert cut.truncated and not cut.terminated
    assert np.array_equal(cut.obs, [1, 0, 0, 1, 2, 1, 1])
    assert env.scale == (1, 1, 1, 1, 5, 1, 2)


WRONG = {
    "gymnax:Line": "gymnax has no environment 'Line'; did you mean 'Line-v0'?",
    "brax:slid": "did you mean 'slide'?",
    "jumanji:xyz": "there are Board-v1, Boards-v0, Push-v0",
    "gymnx:Line-v0": "unknown package of environments 'gymnx'; did you mean 'gymnax'?",
    "cartpol": "unknown environment 'cartpol'; did you mean 'cartpole'?",
    "zzz": "brax:NAME, gymnax:NAME, jumanji:NAME",
    "gymnax:Both-v0": "actions must be one whole number or a box, got Several",
    "jumanji:Boards-v0": "one whole number or a box of floats, got Spec",
}


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_name_is_one_line(name):
    with pytest.raises(ValueError) as caught:
        environments.make(name)
    assert WRONG[name] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["gymnax", "brax", "jumanji"])
def test_a_package_that_is_missing_is_one_line_that_says_what_gets_it(package, monkeypatch):
    for module in (package, f"{package}.envs", f"{package}.registration"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match="does not import") as caught:
        environments.make(f"{package}:some")
    assert f'pip install "hfac[{package}]"' in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_a_run_goes_on_with_the_version_that_it_was_begun_with(tmp_path, monkeypatch):
    versions = {"gymnax": "1.2"}
    known = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: versions.get(name) or known(name))
    small = {"environment": "gymnax:Line-v0", "num_pairs": 2, "segment": 2, "hidden": (2,), "reward_hidden": (2,)}
    quiet, sizes = runs.Execution(quiet=True, figures=False), {"num_envs": 2, "num_steps": 4}
    job = runs.job("preferences", "partial", steps=2, seeds=1, problem_options=small, algorithm_options=sizes)
    data = runs.start(job, tmp_path / "run", quiet)
    assert data.attrs["environment"] == "gymnax 1.2" and float(data["episode_length"].max()) <= 3
    versions["gymnax"] = "1.3"
    with pytest.raises(ValueError, match=r"environment was gymnax 1\.2, is gymnax 1\.3"):
        runs.extend(tmp_path / "run", quiet, steps=3)
    versions["gymnax"] = "1.2"
    assert runs.extend(tmp_path / "run", quiet, steps=3)["step"][-1] == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_cartpole_of_gymnax_is_the_native_one_step_by_step():
    pytest.importorskip("gymnax", reason='gymnax is not installed: pip install "hfac[gymnax]"')
    theirs, ours = environments.make("gymnax:CartPole-v1"), environments.make("cartpole")
    assert (theirs.limit, theirs.actions) == (ours.limit, ours.actions)
    state = theirs.reset(KEY)[1]
    own = jax.tree.unflatten(jax.tree.structure(ours.reset(KEY)[1]), theirs.reset(KEY)[0])
    move, own_move = jax.jit(theirs.step), jax.jit(ours.step)
    for i in range(40):
        action = jnp.int32(i % 3 == 0)
        step, own_step = move(KEY, state, action), own_move(KEY, own, action)
        np.testing.assert_allclose(step.obs, own_step.obs, rtol=1e-5, atol=1e-6)
        assert (bool(step.terminated), bool(step.truncated)) == (bool(own_step.terminated), False)
        state, own = step.state, own_step.state
        if step.terminated:
            break
        assert float(step.reward) == float(own_step.reward)
    assert step.terminated


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["brax:fast", "jumanji:Snake-v1"])
def test_environments_of_the_real_package(name):
    package = name.partition(":")[0]
    pytest.importorskip(package, reason=f'{package} is not installed: pip install "hfac[{package}]"')
    env = environments.make(name)
    assert isinstance(env, control.Environment) and env.limit in (1_000, 4_000)
    environment.check(env)

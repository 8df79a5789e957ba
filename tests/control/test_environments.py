"""Native environments against gymnasium step by step; environments that are wrong are told so in one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import control
from hfac.control import environment, environments
from support.gymnasium_steps import STEPS


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_those_of_gymnasium(name):
    env = getattr(environments, name)()
    kind = type(jax.eval_shape(env.reset, jax.random.key(0))[1])
    step = jax.jit(env.step)
    for start, rows in STEPS[name]:
        state = kind(*jnp.asarray(start, jnp.float64))
        for action, obs, reward, terminated in rows:
            taken = jnp.asarray([action]) if isinstance(env.actions, control.Box) else jnp.int32(action)
            found = step(jax.random.key(0), state, taken)
            np.testing.assert_allclose(found.obs, obs, atol=2e-6)
            assert float(found.reward) == pytest.approx(reward, abs=2e-6)
            assert bool(found.terminated) == terminated and not found.truncated
            state = found.state


@pytest.mark.parametrize("name", environments.REGISTRY)
def test_an_environment_is_what_its_type_says(name):
    environment.check(getattr(environments, name)())


def walk(**parts):
    """A step to the left or right on a line."""

    def reset(key):
        return jnp.zeros(1), jnp.zeros(())

    def step(key, state, action):
        after = state + jnp.where(action == 1, 1.0, -1.0).astype(state.dtype)
        return control.Step(after[None], after, jnp.ones(()), after > 3, jnp.array(False))

    line = control.Box([-9.0], [9.0])
    whole = {"reset": reset, "step": step, "observations": line, "actions": control.Discrete(2), "name": "walk"}
    return control.Environment(**whole | parts)


def stepping(change):
    """The walk with a step that differs."""

    def step(key, state, action):
        return change(walk().step(key, state, action), state)

    return walk(step=step)


def branching(key, state, action):
    return walk().step(key, state, 1 if state > 0 else 0)


WRONG = {
    "no environment": (lambda: 3, "must be an hfac.control.Environment, got int"),
    "four values": (lambda: stepping(lambda found, _: tuple(found)[:4]), "one `done` must be told apart"),
    "a done that is a number": (lambda: stepping(lambda f, _: f._replace(terminated=0)), "terminated must be a bool"),
    "a whole reward": (lambda: stepping(lambda f, _: f._replace(reward=1)), "reward must be a float"),
    "a reward of two": (lambda: stepping(lambda f, _: f._replace(reward=f.obs)), "without dimensions"),
    "a reward that is no number": (lambda: stepping(lambda f, _: f._replace(reward=f.reward * jnp.nan)), "finite"),
    "a shape that changes": (lambda: stepping(lambda f, _: f._replace(state=f.obs)), "as reset makes it"),
    "a type that changes": (lambda: stepping(lambda f, _: f._replace(state=f.state.astype(jnp.int32))), "cast it"),
    "a structure that changes": (lambda: stepping(lambda f, _: f._replace(state=(f.state,))), "structure"),
    "another observation": (lambda: stepping(lambda f, _: f._replace(obs=jnp.zeros(2))), "observation of floats"),
    "a Python if": (lambda: walk(step=branching), "branches on a traced value"),
    "a step that names no end": (lambda: stepping(lambda f, _: control.Step(f.obs, f.state, f.reward)), "terminated"),
    "a step without a key": (lambda: walk(step=lambda state, action: 0), "a function of (key, state, action), got one"),
    "a reset that is none": (lambda: walk(reset=3), "reset must be a function of (key), got int"),
    "a reset without a state": (lambda: walk(reset=lambda key: jnp.zeros(1)), "must return (obs, state)"),
    "bounds upside down": (lambda: walk(observations=control.Box([1.0], [0.0])), "low < high"),
    "actions without bounds": (lambda: walk(actions=control.Box([-np.inf], [np.inf])), "must be finite"),
    "no actions": (lambda: walk(actions=control.Discrete(0)), "whole number"),
    "a limit of nothing": (lambda: walk(limit=0), "limit must be"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_environment_is_one_line(name):
    make, words = WRONG[name]
    with pytest.raises(ValueError) as caught:
        environment.check(make())
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "parts, words",
    [
        ({"reward": lambda x, obs, action: x}, "reward must be a function of (x, obs, action, next_obs), got one of"),
        ({"reward": lambda x, obs, action, next_obs: obs}, "reward must return a real number for one step, got shape"),
        ({"cost": lambda x, obs, action, next_obs: x}, "cost must be a function of (x, obs, action, next_obs, hidden)"),
        ({"h": None}, "the upper objective is empty"),
    ],
)
def test_a_wrong_leader_is_one_line(parts, words):
    whole = {"reward": lambda x, obs, action, next_obs: x, "init_x": lambda key: jnp.zeros(()), "h": lambda x: x**2}
    with pytest.raises(ValueError) as caught:
        control.ControlProblem(environment=walk(), **whole | parts)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_pythons_numbers_in_a_state_are_taken():
    def reset(key):
        return jnp.zeros(1), {"n": 0, "at": 0.0}

    def step(key, state, action):
        at = state["at"] + 1.0
        return control.Step(jnp.asarray(at)[None], {"n": state["n"] + 1, "at": at}, jnp.ones(()), jnp.array(False),
                            jnp.array(False))  # fmt: skip

    environment.check(walk(reset=reset, step=step))

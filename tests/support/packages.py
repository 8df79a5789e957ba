"""Packages of environments as tests know them: tiny ones with the interface of the real, put in their place."""

import sys
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

FAR = np.float32(np.finfo(np.float32).max)  # what gymnax writes for no bound


class At(NamedTuple):
    """A place on a line, and steps so far."""

    place: jax.Array
    time: Any


class Space(NamedTuple):
    """A box of gymnax."""

    low: Any
    high: Any
    shape: tuple[int, ...]


class Several(NamedTuple):
    """Several actions of gymnax by name."""

    spaces: dict[str, Any]


class Count(NamedTuple):
    """A whole number of gymnax."""

    n: int
    shape: tuple[int, ...] = ()


class Params(NamedTuple):
    """Of gymnax."""

    max_steps_in_episode: int = 3


class Line:
    """Of gymnax: to the right it ends at 2; observations [2, 1], the time is a Python number at first."""

    def __init__(self, actions: Any = None):
        self.actions = actions or Count(2)

    def reset_env(self, key, params):
        assert key.dtype == jnp.uint32 and key.shape == (2,)
        state = At(jnp.zeros(()), 0)
        return self.show(state), state

    def step_env(self, key, state, action, params):
        state = At(state.place + (2 * jnp.sum(action) - 1), state.time + 1)
        return self.show(state), state, 1, self.is_terminated(state, params), {}

    def step(self, *args):
        raise AssertionError("it resets itself")

    def show(self, state):
        return jnp.array([[state.place], [1]])

    def is_terminated(self, state, params):
        return state.place >= 2

    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode

    def observation_space(self, params):
        return Space(jnp.array([[-4.0], [-FAR]]), jnp.array([[4.0], [FAR]]), (2, 1))

    def action_space(self, params):
        return self.actions


class Cells(Line):
    """Of gymnax: one of four cells."""

    def show(self, state):
        return jnp.clip(state.place, 0, 3).astype(jnp.int32)

    def observation_space(self, params):
        return Count(4)


def gymnax() -> dict[str, ModuleType]:
    """Modules of it."""
    envs = {"Line-v0": Line, "Cells-v0": Cells, "Push-v0": lambda: Line(Space(-1.0, 1.0, (1, 1))),
            "Both-v0": lambda: Line(Several({"a": Count(2)}))}  # fmt: skip
    own = ModuleType("gymnax.registration")
    own.registered_envs = list(envs)  # type: ignore[attr-defined]
    own.make = lambda name: (envs[name](), Params())  # type: ignore[attr-defined]
    return {"gymnax": ModuleType("gymnax"), "gymnax.registration": own}


class Body(NamedTuple):
    """A state of brax."""

    pipeline_state: jax.Array
    obs: jax.Array
    reward: Any
    done: jax.Array
    info: dict[str, jax.Array]


class Slide:
    """Of brax: pushed past 1 it falls, which it calls a time limit too."""

    action_size = 2

    def reset(self, rng):
        place = jax.random.uniform(rng, (3,))
        return Body(place, place, *jnp.zeros(2), {"time_out": jnp.zeros(())})

    def step(self, state, action):
        place = state.pipeline_state + jnp.sum(action)
        done = jnp.where(place[0] > 1, 1.0, 0.0)
        return Body(place, place, 1.0, done, {"time_out": done})


def brax() -> dict[str, ModuleType]:
    """Modules of it."""
    own = ModuleType("brax.envs")
    own._envs = {"slide": Slide}  # type: ignore[attr-defined]
    own.get_environment = lambda name: own._envs[name]()  # type: ignore[attr-defined]
    return {"brax": ModuleType("brax"), "brax.envs": own}


class Spec:
    """Of jumanji, with what a test gives it."""

    def __init__(self, shape=(), dtype=float, **fields):
        self.shape, self.dtype = shape, np.dtype(dtype)
        vars(self).update(fields)


class Seen(NamedTuple):
    """An observation of jumanji."""

    board: jax.Array  # [2, 2]
    at: At
    step_count: jax.Array


class TimeStep(NamedTuple):
    """Of jumanji."""

    observation: Seen
    reward: Any
    discount: jax.Array
    is_last: jax.Array

    def last(self):
        return self.is_last


class Board:
    """Of jumanji: 1 wins; 2 steps are called an end; action 2 breaks off."""

    def __init__(self, action_spec: Any = None, time_limit: int = 2):
        self.time_limit = time_limit
        self.action_spec = action_spec or Spec(num_values=3)

    @property
    def observation_spec(self):
        place = Spec(minimum=np.int32(0), maximum=np.int32(5))
        return Spec(board=Spec((2, 2), bool, minimum=False, maximum=True), at=Spec(place=place), step_count=Spec())

    def reset(self, key):
        state = (key, At(jnp.int32(0), jnp.int32(0)))
        return state, TimeStep(self.show(state[1]), jnp.zeros(()), jnp.ones(()), jnp.array(False))

    def step(self, state, action):
        at = At(jnp.sum(action).astype(jnp.int32), state[1].time + 1)
        is_end = (at.place == 1) | (at.time >= self.time_limit)
        found = TimeStep(self.show(at), at.place, 1.0 - is_end, is_end | (at.place == 2))
        return (state[0], at), found

    def show(self, at):
        return Seen(jnp.eye(2, dtype=bool), at, at.time)


def jumanji() -> dict[str, ModuleType]:
    """Modules of it."""
    pushes = Spec((2,), float, minimum=-1.0, maximum=np.ones(2))
    envs = {"Board-v1": Board, "Boards-v0": lambda: Board(Spec((2,), np.int32, num_values=np.array([2, 3]), minimum=0)),
            "Push-v0": lambda: Board(pushes)}  # fmt: skip
    own = ModuleType("jumanji")
    own.registered_environments = lambda: set(envs)  # type: ignore[attr-defined]
    own.make = lambda name: envs[name]()  # type: ignore[attr-defined]
    return {"jumanji": own}


@pytest.fixture
def packages(monkeypatch):
    """All of them in place of the real ones."""
    for name, module in (gymnax() | brax() | jumanji()).items():
        monkeypatch.setitem(sys.modules, name, module)

"""Environments as pure functions: reset, step, spaces; a terminal state is not a time limit."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac import _checks
from hfac._compiler import random
from hfac._trees import named_leaves
from hfac.types import Key, PyTree

TRIED_STEPS = 8  # with random actions, before anything is built on an environment


class Discrete(NamedTuple):
    """Actions 0, ..., num - 1; an action is an int32."""

    num: int


class Box(NamedTuple):
    """Arrays [d] between two bounds, which may be infinite for observations."""

    low: Any  # [d]
    high: Any  # [d]


class Step(NamedTuple):
    """What one action led to."""

    obs: jax.Array  # [d], from which the environment goes on: after a reset, where it resets itself
    state: PyTree
    reward: jax.Array  # [], the environment's own; the follower never sees it
    terminated: jax.Array  # bool [], the episode is over: nothing more can be earned
    truncated: jax.Array  # bool [], cut off at a time limit: more could have been earned
    final_obs: jax.Array | None = None  # [d], where the action led, if the environment has reset itself since


class Environment(NamedTuple):
    """A controlled process as pure functions of one episode; the library vmaps them."""

    reset: Callable[[Key], tuple[jax.Array, PyTree]]  # key -> (obs [d], state)
    step: Callable[[Key, PyTree, jax.Array], Step]  # (key, state, action)
    observations: Box
    actions: Discrete | Box
    limit: int | None = None  # steps after which an episode is cut off; the library counts them
    name: str = "environment"
    scale: Any = None  # [d], usual sizes of observations, by which networks see them divided
    draw: Callable[[Any, PyTree], None] | None = None  # (matplotlib's axes, state of NumPy arrays) draws one moment
    source: str | None = None  # package and version that it comes from, where that is not this one


def reached(step: Step) -> jax.Array:
    """The observation that an action led to. [d]."""
    return step.obs if step.final_obs is None else step.final_obs


def strong(tree: PyTree, dtype: Any) -> PyTree:
    """The same arrays with types of their own, floats in `dtype`: what a step returns is what it takes."""

    def leaf(value: Any) -> jax.Array:
        kind = jnp.result_type(value)
        return jax.lax.convert_element_type(jnp.asarray(value), dtype if jnp.issubdtype(kind, jnp.floating) else kind)

    return jax.tree.map(leaf, tree)


def any_action(key: Key, actions: Discrete | Box, dtype: Any = jnp.float32) -> jax.Array:
    """A uniformly random action."""
    if isinstance(actions, Discrete):
        return jax.random.randint(key, (), 0, actions.num, jnp.int32)
    low, high = (jnp.asarray(bound, dtype) for bound in actions)
    return low + (high - low) * jax.random.uniform(key, low.shape, dtype)


def check(environment: Any) -> None:
    """Raise `ValueError` unless an environment is what its type says and a few random steps of it are finite."""
    if not isinstance(environment, Environment):
        raise ValueError(f"environment must be an hfac.control.Environment, got {type(environment).__name__}")
    name = environment.name
    _check_spaces(environment)
    if environment.limit is not None:
        _checks.count(f"{name}: limit", environment.limit)
    if environment.draw is not None and not (callable(environment.draw) and _checks.takes(environment.draw, 2)):
        raise ValueError(f"{name}: draw must be a function of (axes, state), got {environment.draw!r}")
    _checks.functions(environment, {"reset": "key", "step": "key, state, action"}, where=f"{name}: ")
    key = random.key(0)
    with _checks.explained(f"reset of {name}"):
        first = jax.eval_shape(environment.reset, key)
    if not (isinstance(first, tuple) and len(first) == 2):
        got = _shape(first) if isinstance(first, jax.ShapeDtypeStruct) else _type_name(first)
        raise ValueError(f"reset of {name} must return (obs, state), got {got}")
    obs, state = jax.eval_shape(lambda key: strong(environment.reset(key), jnp.float32), key)
    _check_obs(f"reset of {name}", obs, environment.observations)
    action = jax.eval_shape(lambda key: any_action(key, environment.actions), key)
    with _checks.explained(f"step of {name}"):
        found = jax.eval_shape(environment.step, key, state, action)
    if not isinstance(found, Step):
        raise ValueError(
            f"step of {name} must return an hfac.control.Step(obs, state, reward, terminated, truncated), got "
            f"{_type_name(found)}; one `done` must be told apart: an end, or a time limit"
        )
    _check_obs(f"step of {name}", reached(found), environment.observations)
    _check_same(f"step of {name}", state, jax.eval_shape(lambda tree: strong(tree, jnp.float32), found.state))
    for field, kind in (("reward", "float"), ("terminated", "bool"), ("truncated", "bool")):
        value = jax.eval_shape(jnp.asarray, getattr(found, field))
        if value.shape != () or not value.dtype.name.startswith(kind):
            raise ValueError(f"step of {name}: {field} must be a {kind} without dimensions, got {_shape(value)}")
    _try(environment, key)


def _check_spaces(environment: Environment) -> None:
    name, actions, observations = environment.name, environment.actions, environment.observations
    if not isinstance(observations, Box):
        raise ValueError(f"{name}: observations must be an hfac.control.Box(low, high), got {observations!r}")
    if isinstance(actions, Discrete):
        _checks.count(f"{name}: number of actions", actions.num)
    elif not isinstance(actions, Box):
        raise ValueError(f"{name}: actions must be an hfac.control.Discrete or Box, got {actions!r}")
    for words, space in (("observations", observations), ("actions", actions)):
        if isinstance(space, Box):
            low, high = np.asarray(space.low), np.asarray(space.high)
            if low.ndim != 1 or low.shape != high.shape or not np.all(low < high):
                raise ValueError(f"{name}: {words} must have bounds [d] with low < high, got {low} and {high}")
            if words == "observations" and environment.scale is not None:
                sizes = np.asarray(environment.scale)
                if sizes.shape != low.shape or not np.all(np.isfinite(sizes) & (sizes > 0)):
                    raise ValueError(f"{name}: scale must be positive numbers {list(low.shape)}, got {sizes}")
            if words == "actions" and not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
                raise ValueError(f"{name}: bounds of actions must be finite, got {low} and {high}")


def _check_obs(what: str, obs: Any, space: Box) -> None:
    size = np.asarray(space.low).shape
    if not hasattr(obs, "shape") or obs.shape != size or obs.dtype.kind != "f":
        got = _shape(obs) if hasattr(obs, "shape") else _type_name(obs)
        remedy = "cast it" if getattr(obs, "shape", None) == size else "observations=Box(low, high) says the shape"
        raise ValueError(f"{what} must give an observation of floats {list(size)}, got {got}; {remedy}")


def _check_same(what: str, before: PyTree, after: PyTree) -> None:
    """Raise `ValueError` unless a state keeps its structure, shapes and types."""
    structures: Any = [jax.tree.structure(tree) for tree in (before, after)]
    if structures[0] != structures[1]:
        raise ValueError(f"{what} must keep the state's structure {_type_name(before)}, got {_type_name(after)}")
    old, new = named_leaves({"state": before}), named_leaves({"state": after})
    for name, leaf in old.items():
        if (leaf.shape, leaf.dtype) != (new[name].shape, new[name].dtype):
            raise ValueError(
                f"{what} must keep every array of the state as reset makes it: {name} was {_shape(leaf)}, is "
                f"{_shape(new[name])}; cast it"
            )


def _try(environment: Environment, key: Key) -> None:
    """Raise `ValueError` if an observation or a reward of a few random steps is not finite."""

    def one(carry: tuple[jax.Array, PyTree], key: Key) -> tuple[tuple[jax.Array, PyTree], Any]:
        act, move = jax.random.split(key)
        found = environment.step(move, carry[1], any_action(act, environment.actions))
        values = {"obs": reached(found), "reward": jnp.asarray(found.reward)}
        return strong((found.obs, found.state), jnp.float32), values

    def several(key: Key) -> Any:
        first = strong(environment.reset(key), jnp.float32)
        return first[0], jax.lax.scan(one, first, jax.random.split(key, TRIED_STEPS))[1]

    obs, values = jax.device_get(jax.jit(several)(key))
    for name, found in (("obs of reset", obs), *values.items()):
        if not np.all(np.isfinite(found)):
            raise ValueError(f"{environment.name}: {name} must be finite, got {found[~np.isfinite(found)][0]}")


def _shape(leaf: Any) -> str:
    return f"{leaf.dtype} {list(leaf.shape)}"


def _type_name(value: Any) -> str:
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, tuple) else type(value).__name__

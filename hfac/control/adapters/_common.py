"""What adapters share: a package that may be absent, its names, observations and states as the library takes them."""

import contextlib
import importlib
import importlib.metadata
import io
from collections.abc import Callable, Collection, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler import random
from hfac._errors import InputError, nearest
from hfac.control.environment import Box, Discrete, Environment, Step, strong
from hfac.types import Key, PyTree

WIDEST = 1e6  # a bound beyond it says nothing: packages write the largest float for none


class Found(NamedTuple):
    """What a package's step led to, before any reset."""

    obs: PyTree
    state: PyTree
    reward: Any
    terminated: Any
    truncated: Any = False


def imported(package: str, module: str) -> ModuleType:
    """A module of a package that is an extra.

    Raises:
      InputError: if it does not import.
    """
    try:
        with _their_rules(), contextlib.redirect_stdout(io.StringIO()):  # some print what they do without
            return importlib.import_module(module)
    except (ImportError, AttributeError) as error:  # the latter of versions that are too old for this jax
        remedy = f'`pip install "hfac[{package}]"` gets it'
        raise InputError(f"environments of {package} need it, and it does not import ({error}); {remedy}") from None


def made(package: str, name: str, known: Collection[str], build: Callable[[str], Any]) -> Any:
    """The package's own environment of a name.

    Raises:
      InputError: if there is none, or it cannot be made here.
    """
    if name not in known:
        raise InputError(f"{package} has no environment '{name}'{nearest(name, sorted(known))}")
    try:
        with _their_rules():
            return build(name)
    except Exception as error:  # some load files that are not here
        raise InputError(
            f"{package} cannot make '{name}': {' '.join(str(error).split()) or type(error).__name__}"
        ) from None


def adapted(
    package: str,
    name: str,
    reset: Callable[[jax.Array], tuple[PyTree, PyTree]],
    step: Callable[[jax.Array, PyTree, jax.Array], Found],
    actions: Discrete | Box,
    limit: int | None,
    bounds: Callable[[Any], tuple[Any, Any]] = lambda path: (-np.inf, np.inf),
) -> Environment:
    """An environment whose observation [d] is all numbers of the package's, in the order of the tree's leaves.

    Args:
      package: whose version belongs to a run.
      name: of the environment.
      reset: raw key -> (observation, state).
      step: (raw key, state, action).
      actions: space.
      limit: steps after which an episode is cut off.
      bounds: path of a leaf of the observation -> its lowest and highest values, of its shape or one number.

    Raises:
      InputError: if an observation holds something that is no number.
    """

    def begin(key: Key) -> tuple[jax.Array, PyTree]:
        with _their_rules():
            obs, state = reset(jax.random.key_data(key))
            return _flat(obs), strong(state, jnp.float32)

    def move(key: Key, state: PyTree, action: jax.Array) -> Step:
        state = strong(state, jnp.float32)
        action = jnp.asarray(action).astype(jnp.int32 if isinstance(actions, Discrete) else jnp.float32)
        with _their_rules():
            found = step(jax.random.key_data(key), state, action)
            reward, state = jnp.asarray(found.reward).astype(jnp.float32), strong(found.state, jnp.float32)
            ends = (jnp.asarray(flag).astype(bool) for flag in (found.terminated, found.truncated))
            return Step(_flat(found.obs), state, reward, *ends)

    with _their_rules():
        obs = jax.eval_shape(lambda key: reset(jax.random.key_data(key))[0], random.key(0))
    title = f"{package}:{name}"
    observations = _box(title, obs, bounds)
    sizes = np.maximum(*np.abs(observations))
    scale = np.where(np.isfinite(sizes), sizes, 1.0)
    source = f"{package} {_version(package)}"
    return Environment(begin, move, observations, actions, limit, title, tuple(scale.tolist()), source=source)


@contextlib.contextmanager
def _their_rules() -> Iterator[None]:
    """Settings that jax has unless a process changes them: packages are written for no others."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _flat(obs: PyTree) -> jax.Array:
    return jnp.concatenate([jnp.ravel(jnp.asarray(leaf)).astype(jnp.float32) for leaf in jax.tree.leaves(obs)])


def _box(title: str, obs: PyTree, bounds: Callable[[Any], tuple[Any, Any]]) -> Box:
    """Bounds of a flat observation."""
    lows, highs = [np.zeros(0)], [np.zeros(0)]
    for path, leaf in jax.tree_util.tree_flatten_with_path(obs)[0]:
        if not (
            leaf.dtype == bool or jnp.issubdtype(leaf.dtype, jnp.integer) or jnp.issubdtype(leaf.dtype, jnp.floating)
        ):
            raise InputError(f"{title}: observations must be numbers, got {leaf.dtype}")
        low, high = (np.broadcast_to(np.asarray(bound, float), leaf.shape).ravel() for bound in bounds(path))
        says = (np.maximum(np.abs(low), np.abs(high)) < WIDEST) & (low < high)
        lows.append(np.where(says, low, -np.inf))
        highs.append(np.where(says, high, np.inf))
    if sum(map(len, lows)) == 0:
        raise InputError(f"{title}: an observation must hold a number")
    return Box(np.concatenate(lows), np.concatenate(highs))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # of a folder on the path
        return "of no version"

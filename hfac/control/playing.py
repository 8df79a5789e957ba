"""Single episodes, to look at: where policies went, step by step, from the same random numbers."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler import random
from hfac.control import judging, networks, rollouts
from hfac.control.environment import Discrete
from hfac.control.problem import ControlProblem
from hfac.control.tabular import one_hot
from hfac.tabular.problem import Problem
from hfac.types import Key, PyTree, cast


class Episode(NamedTuple):
    """One episode of a policy; after its end everything rests and nothing is earned."""

    states: PyTree  # of the environment, leaves [T + 1, ...]
    earned: Any  # [T + 1], sum of the rewards so far
    length: Any  # int32 [], steps until the end


def check_episode(episode: int) -> None:
    """Raise `ValueError` unless there is an episode of that number among those by which record points are judged."""
    if not (isinstance(episode, int) and 0 <= episode < judging.NUM_EPISODES):
        raise ValueError(f"episode must be a whole number in [0, {judging.NUM_EPISODES}), got {episode}")


def longest(problem: ControlProblem | Problem) -> int:
    """Steps of the longest episode: as long as those that are judged, on tables some horizons of the discount."""
    if isinstance(problem, Problem):
        return math.ceil(rollouts.LONGEST / (1 - float(problem.mdp.discount)))
    if problem.table is not None:
        return longest(problem.table)
    return problem.environment.limit or judging.LONGEST


def of_policies(
    problem: ControlProblem, episode: int, xs: PyTree, thetas: PyTree, num_steps: int | None = None
) -> list[Episode]:
    """An episode of each of several policies, in the environment's own reward, or r_x where a table has none.

    Args:
      problem: gives environment and policy.
      episode: whose random numbers all of them have, of the episodes by which record points are judged.
      xs: upper variables, leaves [P, ...].
      thetas: parameters of the policies, leaves [P, ...].
      num_steps: T, at most; all of the longest unless given.

    Raises:
      ValueError: if there is no episode of that number.
    """
    check_episode(episode)
    dtype = jnp.float32

    def one(x: PyTree, theta: PyTree) -> Episode:
        act = judging.acting(problem, theta, dtype)
        path = judging.walk(problem.environment, act, _key(episode), longest(problem), num_steps, dtype)
        if problem.table is None:
            return _episode(path, path.reward)
        rewards = jax.vmap(functools.partial(problem.reward, x))(path.obs[:-1], path.action, path.obs[1:])
        return _episode(path, rewards)

    return _each(one, cast((xs, thetas), dtype))


def of_tables(problem: Problem, episode: int, xs: PyTree, policies: Any, num_steps: int | None = None) -> list[Episode]:
    """An episode of each of several policies of a tabular problem, in r_x.

    Args:
      problem: gives dynamics and r_x.
      episode: whose random numbers all of them have, of the episodes by which record points are judged.
      xs: upper variables, leaves [P, ...].
      policies: tables [P, S, A].
      num_steps: T, at most; all of the longest unless given.

    Raises:
      ValueError: if there is no episode of that number.
    """
    check_episode(episode)
    environment, dtype = one_hot(problem), jnp.result_type(float)
    distribution = networks.categorical(Discrete(problem.mdp.num_actions))

    def one(x: PyTree, pi: jax.Array) -> Episode:
        def act(key: Key, obs: jax.Array) -> jax.Array:
            return distribution.act(jnp.log(pi)[jnp.argmax(obs)], distribution.noise(key, dtype))

        path = judging.walk(environment, act, _key(episode), longest(problem), num_steps, dtype)
        rewards = jax.vmap(functools.partial(problem.reward, x))(path.states[:-1], path.action, path.states[1:])
        return _episode(path, rewards)

    return _each(one, cast((xs, policies), dtype))


def _each(one: Callable[..., Episode], several: tuple[PyTree, ...]) -> list[Episode]:
    """Episodes one by one, of NumPy arrays."""
    found = jax.jit(jax.vmap(one))(*several)
    count = len(found.length)
    return [jax.tree.map(lambda leaf, i=i: _shown(leaf[i]), found) for i in range(count)]


def _shown(leaf: jax.Array) -> Any:
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)


def _key(episode: int) -> Key:
    """Of one of the episodes by which record points are judged."""
    return jax.random.split(random.key(judging.SAME_NUMBERS), judging.NUM_EPISODES)[episode]


def _episode(path: judging.Path, rewards: jax.Array) -> Episode:
    earned = jnp.cumsum(jnp.where(path.is_alive, rewards, 0))
    earned = jnp.concatenate([jnp.zeros(1, earned.dtype), earned])
    return Episode(path.states, earned, jnp.sum(path.is_alive, dtype=jnp.int32))

"""A tabular problem walked through as an environment, together with its exact judge."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.control.environment import Box, Discrete, Environment, Step
from hfac.control.problem import ControlProblem
from hfac.tabular import mdp as dynamics
from hfac.tabular.problem import Problem
from hfac.types import Key, PyTree

Observe = Literal["one_hot", "coordinates"]


class Coding(NamedTuple):
    """States as observations and back."""

    table: np.ndarray  # [S, d]
    shape: tuple[int, int] | None  # rows and columns, where states are the cells of a grid in order

    def state(self, obs: jax.Array) -> jax.Array:
        """The state that an observation [d] shows. int32 []."""
        if self.shape is None:
            distances = jnp.sum((jnp.asarray(self.table, obs.dtype) - obs[None]) ** 2, -1)
            return jnp.argmin(distances).astype(jnp.int32)
        cells = [jnp.round((obs[i] + 1) / 2 * max(n - 1, 1)).astype(jnp.int32) for i, n in enumerate(self.shape)]
        return cells[0] * self.shape[1] + cells[1]


def tabular(problem: Problem, observe: Observe = "coordinates", **parts: Any) -> ControlProblem:
    """A tabular problem as one on an environment: the follower sees observations, the oracle still judges x.

    Args:
      problem: any tabular problem without a policy term.
      observe: coordinates of the problem, or one_hot.
      **parts: actor, critic, hidden and name of the problem on an environment.

    Raises:
      ValueError: if the problem has a policy term, or coordinates are asked for where there is no grid.
    """
    if problem.g is not None:
        raise ValueError(f"{problem.name} has a policy term g, which no sampled policy has; use the tabular methods")
    coding = _coding(problem, observe)
    return ControlProblem(
        environment=_environment(problem, coding),
        reward=lambda x, obs, action, after: problem.reward(x, coding.state(obs), action, coding.state(after)),
        cost=None if problem.cost is None else _cost(problem, coding),
        init_x=problem.init_x,
        h=problem.h,
        discount=float(problem.mdp.discount),
        table=problem,
        fixed_tau=problem.fixed_tau,
        **{"name": problem.name, **parts},
    )


def one_hot(problem: Problem) -> Environment:
    """The dynamics of a tabular problem as an environment that shows which state it is in."""
    return _environment(problem, _coding(problem, "one_hot"))


def _cost(problem: Problem, coding: Coding) -> Any:
    def cost(x: PyTree, obs: jax.Array, action: jax.Array, after: jax.Array, hidden: jax.Array) -> jax.Array:
        del hidden
        return problem.cost(x, coding.state(obs), action, coding.state(after))  # type: ignore[misc]

    return cost


def _coding(problem: Problem, observe: Observe) -> Coding:
    num_states = problem.mdp.num_states
    if observe == "one_hot":
        return Coding(np.eye(num_states), None)
    if observe != "coordinates":
        raise ValueError(f"observe must be 'coordinates' or 'one_hot', got '{observe}'")
    if problem.coordinates is not None:
        return Coding(np.asarray(problem.coordinates, float), None)
    shape = (1, 1) if problem.layout is None else problem.layout.shape
    if shape[0] * shape[1] != num_states:
        raise ValueError(f"{problem.name} has no coordinates of its {num_states} states; write observe='one_hot'")
    rows, columns = np.divmod(np.arange(num_states), shape[1])
    cells = [2 * cell / max(n - 1, 1) - 1 for cell, n in zip((rows, columns), shape, strict=True)]
    return Coding(np.stack(cells, -1), shape)


def _environment(problem: Problem, coding: Coding) -> Environment:
    mdp = problem.mdp
    size = coding.table.shape[1]

    def shown(state: jax.Array) -> jax.Array:
        return jnp.asarray(coding.table, float)[state]

    def reset(key: Key) -> tuple[jax.Array, jax.Array]:
        tables = mdp.astype(float)
        state = dynamics.sample_start(tables, jax.random.uniform(key, (1,), float))[0]
        return shown(state), state

    def step(key: Key, state: jax.Array, action: jax.Array) -> Step:
        tables = mdp.astype(float)
        after = dynamics.sample_next(tables, jax.random.uniform(key, (1,), float), state[None], action[None])[0]
        ends = jnp.array(False) if mdp.ends is None else tables.ends[state]
        return Step(shown(after), after, jnp.zeros((), float), ends, jnp.array(False))

    return Environment(reset, step, Box(-np.ones(size) - 0.5, np.ones(size) + 0.5), Discrete(mdp.num_actions),
                       name=problem.name)  # fmt: skip

"""Whether a problem or a method of a person's own is the one that a run began with."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler import random
from hfac._errors import InputError
from hfac._trees import named_leaves
from hfac.control import ControlProblem, judging
from hfac.control.environment import any_action
from hfac.tabular.problem import Problem, transition_table
from hfac.types import Algorithm, cast

TOLERANCE = 1e-3  # machines round differently
NUM_STEPS = 8  # of an environment, along which its problem's functions are seen


def of_problem(problem: Any) -> dict[str, Any]:
    """A few numbers of all that a problem holds: its first x and, of a table, its dynamics and functions.

    Functions are seen at the first x and at a point beside it: where x starts at zero, much is zero.
    """
    first = cast(problem.init_x(random.key(0)), np.float32)
    found = {"x": _numbers(first)}
    rng = np.random.default_rng(0)
    points = (first, jax.tree.map(lambda leaf: leaf + rng.normal(size=leaf.shape).astype(np.float32), first))
    if isinstance(problem, ControlProblem):
        return found | _of_environment(problem, points)
    if not isinstance(problem, Problem):
        return found
    mdp = problem.mdp
    pi = jnp.full((mdp.num_states, mdp.num_actions), 1 / mdp.num_actions, jnp.float32)
    found["mdp"] = _numbers([mdp.next_states, mdp.probs, mdp.initial, mdp.discount, mdp.ends])
    ways: dict[str, Callable[[Any, Any], Any]] = {
        "reward": lambda part, x: transition_table(part, mdp, x, "reward"),
        "cost": lambda part, x: transition_table(part, mdp, x, "cost"),
        "h": lambda part, x: part(x),
        "g": lambda part, x: part(x, pi),
    }
    parts = {name: getattr(problem, name) for name in ways}
    return found | {
        name: _numbers([ways[name](part, x) for x in points]) for name, part in parts.items() if part is not None
    }


def _of_environment(problem: ControlProblem, points: Sequence[Any]) -> dict[str, Any]:
    """The same of a problem on an environment, along a few steps with random actions."""
    environment, preferences = problem.environment, problem.preferences

    def walked() -> dict[str, Any]:
        path = judging.walk(
            environment, lambda key, obs: any_action(key, environment.actions), random.key(0), NUM_STEPS
        )
        steps = (path.obs[:-1], path.action, path.obs[1:])

        def along(part: Callable[..., Any], *more: Any) -> list[Any]:
            return [jax.vmap(functools.partial(part, x))(*steps, *more) for x in points]

        found = {"environment": [path.obs, path.reward, path.is_alive], "reward": along(problem.reward)}
        if problem.cost is not None:
            found["cost"] = along(problem.cost, path.reward)
        return found if problem.h is None else found | {"h": [problem.h(x) for x in points]}

    numbers: dict[str, Any] = jax.device_get(jax.jit(walked)())
    numbers["environment"] += [np.float64(environment.limit or 0)]
    numbers["discount"] = np.float64(problem.discount)
    if preferences is not None:
        sizes = (preferences.num_pairs, preferences.length, preferences.rationality)
        numbers["preferences"] = [np.asarray(sizes, float), preferences.anchors]
    return {name: _numbers(values) for name, values in numbers.items()}


def of_method(algorithm: Algorithm, schedules: Any) -> dict[str, Any]:
    """What a run of a method carries from step to step: names, shapes and types."""
    state = named_leaves(jax.eval_shape(algorithm.init, random.key(0), schedules))
    words = repr(sorted((name, leaf.shape, str(leaf.dtype)) for name, leaf in state.items()))
    return {"state": hashlib.sha256(words.encode()).hexdigest()[:16]}


def check(kind: str, stored: Any, found: Mapping[str, Any]) -> None:
    """Raise `InputError` unless a problem or a method is the one that a run began with.

    Args:
      kind: problem or algorithm.
      stored: what `of_problem` or `of_method` said then.
      found: what it says now.
    """
    known = stored if stored.keys() == {"x"} else {**stored, **found}  # once that was all of some kinds
    differ = [name for name in known if not agree(stored.get(name), found.get(name))]
    if differ:
        raise InputError(
            f"the run began with another {kind}: {', '.join(differ)} differ{'s' if len(differ) == 1 else ''}; hand in "
            f"the {kind} that it is about, or start a run of its own"
        )


def agree(first: Any, second: Any) -> bool:
    """Whether two values of configurations are the same; numbers that were measured may be rounded differently."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(agree(first[name], second[name]) for name in first)
    if not (isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second)):
        return bool(first == second)
    try:
        return bool(np.allclose(np.asarray(first, float), np.asarray(second, float), rtol=TOLERANCE, atol=1e-6))
    except (TypeError, ValueError):
        return bool(list(first) == list(second))


def _numbers(tree: Any) -> list[float]:
    """Three random sums over every array of a tree, its size, and how many of its entries are not finite."""
    found: list[float] = []
    for leaf in jax.tree.leaves(tree):
        values = np.asarray(leaf, float).ravel()
        is_finite = np.isfinite(values)
        weights = np.random.default_rng(values.size).normal(size=(3, values.size))
        sums = weights @ np.where(is_finite, values, 0) / max(np.sqrt(values.size), 1)
        found += [float(values.size), float(np.sum(~is_finite)), *(float(f"{each:.6g}") for each in sums)]
    return found

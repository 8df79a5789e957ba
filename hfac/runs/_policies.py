"""The policies of a method at a record point: how they are kept, and how they come back as trees."""

from collections.abc import Callable
from typing import Any

import jax
import xarray

from hfac._compiler import random
from hfac._trees import named_leaves, restored
from hfac.engine import SharedRecord, default_record
from hfac.schedules import Schedules
from hfac.types import Algorithm, PyTree, core

Record = Callable[[Any, Any, Any], Any]


def keeping(algorithm: Algorithm, record: Any = None) -> Any:
    """Record function that keeps the parameters of the tracked policies beside what another one keeps.

    Args:
      algorithm: whose policies they are.
      record: the other one, which returns a dictionary; x, status and the step of the first fault unless given.
    """
    own = record or default_record(algorithm)

    def with_policies(record: Record) -> Record:
        def keep(state: Any, info: Any, schedules: Any) -> dict[str, Any]:
            found, policies = record(state, info, schedules), tracked(algorithm, state)
            if taken := sorted(set(found) & set(policies)):
                raise ValueError(f"the problem's record keeps something else as '{taken[0]}'; give it another name")
            return {**found, **policies}

        return keep

    if isinstance(own, SharedRecord):
        return SharedRecord(lambda shared: with_policies(own.make(shared)))
    return with_policies(own)


def tracked(algorithm: Algorithm, state: Any) -> dict[str, PyTree]:
    """Parameters of the policies in a state: theta, which answers x, and theta_pen where there is a penalised one."""
    found = {"theta": algorithm.solution(state).theta}
    inner = core(state)
    return found | ({"theta_pen": inner.theta_pen} if hasattr(inner, "theta_pen") else {})


def shapes(algorithm: Algorithm, schedules: Schedules) -> dict[str, PyTree]:
    """Trees of shapes and dtypes: x, and the parameters of the tracked policies."""

    def first() -> dict[str, PyTree]:
        state = algorithm.init(random.key(0), schedules)
        return {"x": algorithm.solution(state).x} | tracked(algorithm, state)

    return jax.eval_shape(first)


def trees(algorithm: Algorithm, schedules: Schedules, run: xarray.Dataset) -> dict[str, PyTree]:
    """Upper variable and policies of records, with the axes that they have.

    Args:
      algorithm: that recorded them.
      schedules: any of its runs.
      run: records of one run, or one of them.
    """
    like = shapes(algorithm, schedules)
    leaves = {str(name): values.values for name, values in run.data_vars.items()}
    there = [name for name, tree in like.items() if set(named_leaves({name: tree})) <= set(leaves)]
    return {name: restored(leaves, like[name], name) for name in there}

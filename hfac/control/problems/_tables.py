"""Tabular problems with neural followers that see coordinates: what they learn is judged by the oracle, at x."""

from collections.abc import Callable
from typing import Any

from hfac import problems
from hfac.control.problem import ControlProblem
from hfac.control.tabular import tabular


def _with_neural_followers(name: str) -> Callable[..., ControlProblem]:
    builder = getattr(problems, name)

    def build(**options: Any) -> ControlProblem:
        return tabular(builder(**options), name=f"{name}_control")

    build.__name__ = build.__qualname__ = f"{name}_control"
    build.__doc__ = f"`{name}` as an environment: neural policies over coordinates, x and its judge as on the table."
    build.options = builder  # type: ignore[attr-defined]
    build.kind = "control"  # type: ignore[attr-defined]
    build.is_exact = True  # type: ignore[attr-defined]
    return build


goal_placement_control = _with_neural_followers("goal_placement")
four_rooms_control = _with_neural_followers("four_rooms")
beacon_control = _with_neural_followers("beacon")
incentives_control = _with_neural_followers("incentives")

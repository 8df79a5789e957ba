"""The settings that a search may try: axes, random draws, draws around good settings, crossed lists."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hfac import _checks, options, schedules, settings
from hfac.settings import Range
from hfac.types import Algorithm, Needs

WIDTH = 0.1  # of a draw around a parent, as a part of a range's logarithm
CHANGE = 0.25  # chance that such a draw moves a listed value to its neighbour
PENALTY_RATIO = "penalty_over_entropy"  # the penalty's scale in units of the entropy's
UPPER_RATIO = "upper_over_penalty"  # the upper scale in units of the penalty's: what x moves by, zeta / w
SETTINGS = tuple(name.path for name in settings.RATE_SETTINGS)


Axis = Range | tuple[Any, ...]  # a range, or the values to choose from
Space = Mapping[str, Axis]  # "upper.scale", "offset", "penalty_over_entropy", or an option of the method's builder

RATE_SPACE: Space = {
    "upper.scale": Range(1e-4, 5e-2),
    "actor.scale": Range(0.5, 12.0),
    "critic.scale": Range(0.4, 1.2),
    PENALTY_RATIO: Range(5.0, 500.0),
    "entropy.scale": Range(0.006, 0.1),
    "offset": Range(3e3, 1e5),
    "upper.power": (0.6, 0.75, 0.9, 1.05, 1.2),
    "actor.power": (0.0, 0.15, 0.3, 0.5),
    "critic.power": (0.0, 0.15, 0.3, 0.5),
    "penalty.power": (0.0, 0.15, 0.3, 0.5),
    "entropy.power": (0.0, 0.05, 0.15, 0.3),
}
PENALTY_SPACE: Space = {UPPER_RATIO: Range(1e-4, 3e-2)}  # in place of upper.scale
PLANNER_SPACE: Space = {"upper.scale": Range(0.02, 20.0), "offset": Range(30.0, 3e4)}  # noiseless: few, long steps
OPTION_SPACE: Space = {"inner_steps": (1, 3, 10, 30, 100), "coupled": (True,), "pen_rate": (1.0, 0.3, 0.1)}


class Setting(NamedTuple):
    """One candidate: keywords of the method's builder, and numbers of its schedules."""

    options: dict[str, Any]
    rates: dict[str, float]  # "upper.scale" -> value


def is_rate(name: str) -> bool:
    """Whether an axis belongs to the schedules; all others are options of the method."""
    return name in ("offset", PENALTY_RATIO, UPPER_RATIO) or name in SETTINGS


def check_rate(name: str, value: Any) -> None:
    """Raise `ValueError` unless an axis of the schedules may have a value."""
    is_strict = name in ("offset", PENALTY_RATIO, UPPER_RATIO) or name.endswith((".scale", ".offset"))
    _checks.number(name, value, f"be finite and {'>' if is_strict else '>='} 0", 0, is_strict)


def options_of(builder: Callable[..., Algorithm]) -> list[str]:
    """Names of a method's options, those of a tabular lower level among them."""
    return list(options.of(builder))


def space_of(
    builder: Callable[..., Algorithm], needs: Needs | None = None, overrides: Space | None = None
) -> dict[str, Axis]:
    """The default space of a method: all schedules, and those of `OPTION_SPACE` that it has.

    Args:
      builder: of the method.
      needs: of the method: one that plans takes few long steps instead of many short ones, and one with a penalty
        searches zeta / w, what x moves by, in place of zeta.
      overrides: axes that replace default ones.

    Raises:
      ValueError: if an override names neither a schedule's number nor an option of the builder.
    """
    needs = needs or Needs()
    known = options_of(builder)
    space: dict[str, Axis] = {**RATE_SPACE, **(PLANNER_SPACE if needs.model else {})}
    if needs.penalty and not needs.model:
        del space["upper.scale"]
        space.update(PENALTY_SPACE)
    space |= {name: axis for name, axis in OPTION_SPACE.items() if name in known}
    for name, axis in (overrides or {}).items():
        if not is_rate(name) and name not in known:
            there_are = ", ".join([*RATE_SPACE, UPPER_RATIO, *known])
            raise ValueError(f"the search has no axis '{name}'; there are {there_are}")
        for scale, ratio in (("penalty.scale", PENALTY_RATIO), ("upper.scale", UPPER_RATIO)):
            if name in (scale, ratio):
                space.pop(ratio if name == scale else scale, None)
        space[name] = axis
    return space


def draw(space: Space, count: int, seed: int = 0) -> list[Setting]:
    """Random candidates, every axis independently.

    An axis has a stream of its own: methods that share it try the same values, which pairs their searches.

    Raises:
      ValueError: if the count is not positive or a range has no positive, ordered ends.
    """
    if count < 1:
        raise ValueError(f"a search needs at least one candidate, got {count}; raise the budget or lower the samples")
    _check(space)

    def column(name: str, axis: Axis) -> list[Any]:
        rng = np.random.default_rng([seed, *name.encode()])
        if isinstance(axis, Range):
            return np.exp(rng.uniform(math.log(axis.low), math.log(axis.high), count)).tolist()
        return [axis[i] for i in rng.integers(len(axis), size=count)]

    columns = [column(name, axis) for name, axis in space.items()]
    return [_setting(dict(zip(space, row, strict=True))) for row in zip(*columns, strict=True)]


def around(parents: Sequence[Setting], space: Space, count: int, seed: int = 0, width: float = WIDTH) -> list[Setting]:
    """The parents themselves, then candidates near them.

    Every number of a range moves by a normal step in the logarithm, a listed value now and then to its neighbour.

    Args:
      parents: settings from the space, best first; each has as many children as the others.
      space: that they came from.
      count: candidates in all; parents beyond it are left out.
      seed: of the steps.
      width: standard deviation of a step, as a part of the range's logarithm.
    """
    size = max(0, count - len(parents))
    origins = [_chosen(parents[i % len(parents)], space) for i in range(size)]

    def column(name: str, axis: Axis) -> list[Any]:
        rng = np.random.default_rng([seed, *name.encode()])
        values = [origin[name] for origin in origins]
        if isinstance(axis, Range):
            low, high = math.log(axis.low), math.log(axis.high)
            moves = width * (high - low) * rng.normal(size=size)
            return np.exp(np.clip(np.log(values) + moves, low, high)).tolist()
        shifts = rng.choice([-1, 1], size=size) * (rng.uniform(size=size) < CHANGE)
        places = np.clip([_place(axis, value) for value in values] + shifts, 0, len(axis) - 1)
        return [axis[i] for i in places]

    columns = [column(name, axis) for name, axis in space.items()] if size else []
    return [*parents[:count], *(_setting(dict(zip(space, row, strict=True))) for row in zip(*columns, strict=True))]


def _place(values: tuple[Any, ...], value: Any) -> int:
    """Where a value stands in a list; a number may have been rounded on its way."""
    return next(i for i, v in enumerate(values) if v == value or (isinstance(v, float) and math.isclose(v, value)))


def cross(space: Space) -> list[Setting]:
    """Every combination of the listed values.

    Raises:
      ValueError: if an axis is a range, which has no end of values.
    """
    for name, axis in space.items():
        if isinstance(axis, Range):
            raise ValueError(
                f"a grid needs values on every axis, got the range {axis.low:g}:{axis.high:g} for '{name}'"
            )
    _check(space)
    return [_setting(dict(zip(space, row, strict=True))) for row in itertools.product(*space.values())]  # type: ignore[arg-type]


def _check(space: Space) -> None:
    for name, axis in space.items():
        if isinstance(axis, Range) and not (0 < axis.low < axis.high < math.inf):
            raise ValueError(f"the range of '{name}' must have ends 0 < low < high, got {axis.low:g}:{axis.high:g}")
        if not axis:
            raise ValueError(f"axis '{name}' lists no value; give at least one")


def _setting(chosen: Mapping[str, Any]) -> Setting:
    rates = {name: float(value) for name, value in chosen.items() if name in SETTINGS}
    if "offset" in chosen:
        rates |= {f"{rate}.offset": float(chosen["offset"]) for rate in schedules.RATES}
    if PENALTY_RATIO in chosen:
        rates["penalty.scale"] = chosen[PENALTY_RATIO] * rates.get("entropy.scale", 1.0)
    if UPPER_RATIO in chosen:
        rates["upper.scale"] = chosen[UPPER_RATIO] * rates.get("penalty.scale", 1.0)
    return Setting({name: value for name, value in chosen.items() if not is_rate(name)}, rates)


def _chosen(setting: Setting, space: Space) -> dict[str, Any]:
    """The values on the axes of a space that make a setting; undoes `_setting`."""
    rates = setting.rates
    derived = {
        "offset": rates.get("upper.offset"),
        PENALTY_RATIO: rates.get("penalty.scale", math.nan) / rates.get("entropy.scale", 1.0),
        UPPER_RATIO: rates.get("upper.scale", math.nan) / rates.get("penalty.scale", 1.0),
    }
    known = {**derived, **rates, **setting.options}
    return {name: known[name] for name in space}


def to_schedules(setting: Setting) -> schedules.Schedules:
    """The schedules of a setting; what it does not say is `hfac.schedules.attenuating`'s."""
    return schedules.replace(schedules.attenuating(), setting.rates)

"""Values on the command line: counts, lists and ranges of numbers."""

import math
from collections.abc import Callable
from typing import Annotated, Any

import tyro


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number; write 0.01, 1e-3, 0.01:0.1:5 or log:1e-3:1e-1:5") from None
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is not finite")
    return value


MAX_LIST = 10_000  # values of one list


def expand(text: str) -> list[float]:
    """One entry of a list: a number, ``A:B:N`` evenly spaced, or ``log:A:B:N`` evenly spaced in the logarithm.

    Raises:
      ValueError: if it is none of these.
    """
    parts = text.split(":")
    if len(parts) == 1:
        return [_number(text)]
    is_log = parts[0] == "log"
    ends = parts[1:] if is_log else parts
    if len(ends) != 3:
        raise ValueError(f"'{text}' is not a range; write A:B:N or log:A:B:N")
    low, high = _number(ends[0]), _number(ends[1])
    count = whole(ends[2])
    if count < 2:
        raise ValueError(f"range '{text}' needs at least 2 points")
    if count > MAX_LIST:
        raise ValueError(f"range '{text}' has more than {MAX_LIST:,} points, as many as a list may have")
    if is_log and (low <= 0 or high <= 0):
        raise ValueError(f"range '{text}' is logarithmic: both ends must be positive")
    steps = [i / (count - 1) for i in range(count)]
    if is_log:
        return [math.exp(math.log(low) + t * (math.log(high) - math.log(low))) for t in steps]
    return [low + t * (high - low) for t in steps]


def numbers(texts: list[str]) -> tuple[float, ...]:
    """All entries of a list; commas separate like spaces.

    Raises:
      ValueError: if the list is empty or an entry is no number.
    """
    entries = [part for text in texts for part in text.split(",") if part]
    if not entries:
        raise ValueError("the list is empty; give at least one number")
    found = tuple(value for entry in entries for value in expand(entry))
    if len(found) > MAX_LIST:
        raise ValueError(f"the list has {len(found):,} values; at most {MAX_LIST:,} may stand in one")
    return found


def whole(text: str) -> int:
    """A whole number; ``200_000`` and ``2e5`` are the same.

    Raises:
      ValueError: if it is not whole.
    """
    value = _number(text)
    if value != math.floor(value):
        raise ValueError(f"'{text}' is not a whole number")
    return int(value)


Numbers = Annotated[
    tuple[float, ...],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="X|A:B:N|log:A:B:N ...",
        instance_from_str=lambda texts: numbers(list(texts)),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [f"{v:g}" for v in value],
    ),
]
Count = Annotated[
    int,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="N",
        instance_from_str=lambda texts: whole(texts[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [f"{value}"],
    ),
]


Real = Annotated[
    float,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="X",
        instance_from_str=lambda texts: _number(texts[0]),
        is_instance=lambda value: isinstance(value, int | float) and not isinstance(value, bool),
        str_from_instance=lambda value: [f"{value}"],
    ),
]


def one_or_more(texts: list[str], as_type: Callable[[float], Any] = float) -> Any:
    """One number, or a list of several."""
    found = tuple(map(as_type, numbers(texts)))
    return found[0] if len(found) == 1 else found


def _several(metavar: str, as_type: Callable[[float], Any]) -> Any:
    """How tyro reads one number or several."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar=metavar,
        instance_from_str=lambda texts: one_or_more(list(texts), as_type),
        is_instance=lambda value: isinstance(value, int | float | tuple) and not isinstance(value, bool),
        str_from_instance=lambda value: [f"{v}" for v in (value if isinstance(value, tuple) else (value,))],
    )


OneOrMore = Annotated[float | tuple[float, ...], _several("X|A:B:N|log:A:B:N ...", float)]
OneOrMoreWhole = Annotated[int | tuple[int, ...], _several("N ...", lambda value: whole(repr(value)))]


def describe(value: Any) -> str:
    """A value as it would be typed."""
    return " ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else str(value)

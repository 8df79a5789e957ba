"""Whether a number that somebody gave is one, and in range, whatever type carries it; traced values pass."""

import collections.abc
import contextlib
import inspect
import math
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from hfac._places import line_of

MAX_COUNT = 2**31 - 1  # counts are int32 on the device


def is_traced(tree: Any) -> bool:
    """Whether a tree holds a value of a function that is being traced."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def number(
    name: str, value: Any, rule: str = "be finite", low: float = -math.inf, strict: bool = False, remedy: str = ""
) -> None:
    """Raise `ValueError` unless a number, or every number of an array, is finite and at least (or above) `low`.

    Args:
      name: of the number, for the message.
      value: Python, NumPy or jax number or array; a traced one passes.
      rule: what it must do, for the message.
      low: lower bound.
      strict: whether the bound itself is out.
      remedy: what to write instead, for the message.
    """
    if isinstance(value, jax.core.Tracer):
        return
    is_array = isinstance(value, np.ndarray | np.generic | jax.Array)
    if not is_array and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" and array.dtype.name not in ("bfloat16", "float16"):
        raise ValueError(f"{name} must be a number, got {show(value)} of type {array.dtype}")
    array = array.astype(float)
    if not np.all(np.isfinite(array) & ((array > low) if strict else (array >= low))):
        raise ValueError(f"{name} must {rule}, got {show(value)}{remedy and '; '}{remedy}")


def positive(name: str, value: Any) -> None:
    """Raise `ValueError` unless a number is positive and finite."""
    number(name, value, "be positive and finite", 0, strict=True)


def count(name: str, value: Any) -> None:
    """Raise `ValueError` unless a number is whole and in [1, 2**31)."""
    number(name, value, "be a whole number >= 1", 1)
    if isinstance(value, jax.core.Tracer) or np.ndim(value) or int(value) != value:
        raise ValueError(f"{name} must be a whole number >= 1, got {show(value)}")
    if value > MAX_COUNT:
        raise ValueError(f"{name} must be below 2**31, got {show(value)}")


def option(name: str, value: Any, hint: Any) -> Any:
    """The value of a builder's option as its type: a whole number may be 4.0, truth values are True and False.

    Raises:
      ValueError: if it is of another type.
    """
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        if not (isinstance(value, str) and value in parts):
            raise ValueError(f"{name} must be {' or '.join(map(repr, parts))}, got {value!r}")
        return value
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        others = [part for part in parts if part is not type(None)]
        is_none = value is None and len(others) < len(parts)
        return value if is_none or len(others) > 1 else option(name, value, others[0])
    if typing.get_origin(hint) is tuple and Ellipsis not in parts:
        if not isinstance(value, list | tuple | np.ndarray) or len(value) != len(parts):
            raise ValueError(f"{name} must be {len(parts)} values, got {value!r}")
        return tuple(option(name, each, part) for each, part in zip(value, parts, strict=True))
    if (typing.get_origin(hint) or hint) is collections.abc.Mapping and not isinstance(value, collections.abc.Mapping):
        raise ValueError(f"{name} must be a table by name, got {value!r}")
    if isinstance(value, jax.core.Tracer) or hint not in (bool, int, float):
        return value
    if hint is bool:
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} must be True or False, got {value!r}")
        return bool(value)
    is_array = isinstance(value, np.ndarray | np.generic | jax.Array)
    if np.ndim(value) or not (is_array or isinstance(value, int | float)) or isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be {'a whole' if hint is int else 'one'} number, got {value!r}")
    is_whole = hint is int and np.isfinite(value) and int(value) == value
    return int(value) if is_whole else value  # whoever takes it checks the range


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, as strictly as JSON tells them apart; a list stands for a tuple."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, part) for part in parts)
    if origin is typing.Literal:
        return isinstance(value, str) and value in parts
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        each = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return len(value) == len(each) and all(map(fits, value, each))
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, origin) and (origin is bool or not isinstance(value, bool))


def words(hint: Any) -> str:
    """A type of `fits` in words."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(words(part) for part in parts)
    if origin is typing.Literal:
        return " or ".join(map(repr, parts))
    if origin is tuple:
        return f"a list of which each is {words(parts[0])}"
    known = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a table"}
    return "nothing" if origin is type(None) else known.get(origin, origin.__name__)


def takes(function: Any, num_args: int) -> bool:
    """Whether a function can be called with so many arguments by place; one that does not say can."""
    try:
        inspect.signature(function).bind(*[None] * num_args)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def functions(owner: Any, signatures: Mapping[str, str], optional: Collection[str] = (), where: str = "") -> None:
    """Raise `ValueError` unless fields of an object are functions of the arguments that are named.

    Args:
      owner: has the fields.
      signatures: field -> arguments by place, such as "x, s, a".
      optional: fields that may be None.
      where: what stands before a field's name in the message.
    """
    for name, words in signatures.items():
        function = getattr(owner, name)
        if function is None and name in optional:
            continue
        if not callable(function):
            raise ValueError(f"{where}{name} must be a function of ({words}), got {type(function).__name__}")
        if not takes(function, len(words.split(", "))):
            got = inspect.signature(function)
            raise ValueError(f"{where}{name} must be a function of ({words}), got one of {got}")


def untraced(**values: Any) -> None:
    """Raise `ValueError` if a value that dynamics are built from is one of a function that is being traced."""
    for name, value in values.items():
        if is_traced(value):
            raise ValueError(
                f"{name} is a traced value, and dynamics are built from numbers: build the problem or the MDP outside "
                "of jit, grad and vmap and hand it in; several MDPs can be stacked, as pytrees, and vmapped over"
            )


def show(value: Any) -> str:
    """A number or an array as it would be typed."""
    return str(np.asarray(value).tolist()) if not isinstance(value, jax.core.Tracer) else str(value)


_UNTRACEABLE = {  # what jax says of a function that it cannot trace -> what that means, and what to write
    jax.errors.TracerArrayConversionError: "hands a traced value to NumPy or indexes a NumPy table by it; hold the "
    "table as jnp.asarray(table), and write jnp for np",
    jax.errors.TracerBoolConversionError: "branches on a traced value (if, while, and, or); write jnp.where",
    jax.errors.TracerIntegerConversionError: "needs a traced value as a Python integer (a list's index, range); hold "
    "the list as jnp.asarray(values)",
    jax.errors.NonConcreteBooleanIndexError: "indexes by a mask of traced values; write jnp.where",
    jax.errors.ConcretizationTypeError: "turns a traced value into a Python number (float, int, .item()); write jnp",
}


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """What jax says, at length, of a function that cannot be traced, as one line that names it and the remedy.

    Raises:
      ValueError: if the function in the block cannot be traced.
    """
    try:
        yield
    except tuple(_UNTRACEABLE) as error:
        words = next(words for kind, words in _UNTRACEABLE.items() if isinstance(error, kind))
        raise ValueError(f"{name} cannot be compiled: it {words}{line_of(error)}") from None
    except TypeError as error:
        if missing := re.search(r"(\w+)\.__new__\(\) missing .*: (.*)", str(error)):
            raise ValueError(f"{name}: {missing.group(1)}(...) is not given {missing.group(2)}") from None
        if "not a valid JAX type" not in str(error):
            raise
        kind = re.search(r"<class '([^']*)'>", str(error))
        raise ValueError(f"{name} must return numbers, got {kind.group(1) if kind else error}") from None
    except OverflowError as error:
        raise ValueError(f"{name} must return numbers of the device, got one that is {error}") from None

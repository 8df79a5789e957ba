"""Whether a number that somebody gave is one, and in range, whatever type carries it; traced values pass."""

import math
from typing import Any

import jax
import numpy as np

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

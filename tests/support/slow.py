"""Products of which `make test` runs a few, so that each of their parts is seen once, and `make test-slow` the rest."""

from collections.abc import Iterable
from typing import Any

import pytest


def few(values: Iterable[Any], *kept: Any) -> list[Any]:
    """Parameters of a test, a tuple for several arguments; those that are not kept are slow."""
    values = list(values)
    assert all(value in values for value in kept), "what is kept is one of the values"
    return [value if value in kept else _slow(value) for value in values]


def _slow(value: Any) -> Any:
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)

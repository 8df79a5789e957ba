"""What this process is doing at the moment that says nothing until it is over, for whoever shows it to a person."""

import contextlib
import threading
import time
from collections.abc import Iterator

_guard = threading.Lock()
_under_way: list[str] = []
_seconds = 0.0


@contextlib.contextmanager
def activity(name: str) -> Iterator[None]:
    """Say that a block does something of its own, such as "compiling"; one inside another counts once."""
    global _seconds
    with _guard:
        is_outermost = not _under_way
        _under_way.append(name)
    began = time.perf_counter()
    try:
        yield
    finally:
        with _guard:
            _under_way.remove(name)
            _seconds += time.perf_counter() - began if is_outermost else 0.0


def current() -> str:
    """What is under way; "" if nothing is."""
    with _guard:
        return _under_way[-1] if _under_way else ""


def seconds() -> float:
    """Seconds that activities took, those under way left out."""
    return _seconds

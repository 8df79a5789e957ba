"""What this process is doing at the moment that says nothing until it is over, for whoever shows it to a person."""

import contextlib
import threading
import time
from collections.abc import Iterator

_guard = threading.Lock()
_under_way: list[str] = []
_seconds, _began = 0.0, 0.0  # of those that are over; when the one under way began


@contextlib.contextmanager
def activity(name: str) -> Iterator[None]:
    """Say that a block does something of its own, such as "compiling"; one inside another counts once."""
    global _seconds, _began
    with _guard:
        _began = _began if _under_way else time.perf_counter()
        _under_way.append(name)
    try:
        yield
    finally:
        with _guard:
            _under_way.remove(name)
            _seconds += 0.0 if _under_way else time.perf_counter() - _began


def current() -> str:
    """What is under way; "" if nothing is."""
    with _guard:
        return _under_way[-1] if _under_way else ""


def seconds() -> float:
    """Seconds that activities have taken so far."""
    with _guard:
        return _seconds + (time.perf_counter() - _began if _under_way else 0.0)

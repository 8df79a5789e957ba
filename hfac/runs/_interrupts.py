"""Ctrl-C and SIGTERM as a request to stop at the next good moment, not as an exception in the middle of a write."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupts:
    """Whether somebody asked to stop; a second request is not held back."""

    is_set = False

    def _ask(self, number: int, frame: Any) -> None:
        del number, frame
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """Hold back SIGINT and SIGTERM within a block; the block asks `is_set` when it can stop."""
    asked = Interrupts()
    if threading.current_thread() is not threading.main_thread():  # only that one hears of signals
        yield asked
        return
    before = {number: signal.signal(number, asked._ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

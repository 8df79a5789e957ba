"""Progress of a long command: a live line in a terminal, plain lines in a file."""

import sys
import time
from typing import Any


class Progress:
    """Reports how much of a phase is done: every few seconds in a file, continuously in a terminal."""

    def __init__(self, total: float, unit: str, quiet: bool = False, interval: float = 10.0) -> None:
        """Start a phase of `total` units.

        Args:
          total: amount of work.
          unit: what is counted, such as "steps".
          quiet: print nothing.
          interval: seconds between lines when the output is not a terminal.
        """
        self._total, self._unit, self._quiet, self._interval = max(total, 1), unit, quiet, interval
        self._began = self._printed = time.perf_counter()
        self._is_live = sys.stderr.isatty()
        self._live: Any = None
        if self._is_live and not quiet:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(bar_width=30), TextColumn("{task.description}"))
            self._live = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._live.add_task("", total=self._total)
            self._live.start()

    def update(self, done: float, detail: str = "", total: float | None = None) -> None:
        """Say how much is done, and of how much if that was not known before; `detail` is appended."""
        self._total = total or self._total
        now = time.perf_counter()
        text = self._describe(done, now, detail)
        if self._live is not None:
            self._live.update(self._task, completed=done, total=self._total, description=text)
        elif not self._quiet and now - self._printed >= self._interval:
            print(text, file=sys.stderr, flush=True)
            self._printed = now

    def close(self) -> float:
        """End the phase; returns its seconds."""
        if self._live is not None:
            self._live.stop()
        return time.perf_counter() - self._began

    def _describe(self, done: float, now: float, detail: str) -> str:
        share = done / self._total
        left = (now - self._began) * (1 - share) / share if share > 0 else float("nan")
        parts = [f"{share:4.0%}", f"{done:,.0f} of {self._total:,.0f} {self._unit}"]
        parts += [detail] if detail else []
        return ", ".join([*parts, f"{clock(left)} left" if share > 0 else "starting"])


def clock(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def say(text: str, quiet: bool = False) -> None:
    """Print a line for the person who runs the command."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)

"""How far a long phase is: a bar in a terminal, a line now and then in a file.

The innermost phase is the one that is shown, and only after two seconds. A thread of its own shows it, so that it moves
while a program is compiled, too.
"""

import collections
import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from hfac import _activity

PATIENCE = 2.0  # seconds of a phase before anything is shown
FIRST_LINE = 5.0  # seconds of a phase before its first line in a file
SHORTEST, LONGEST = 10.0, 600.0  # seconds between two lines; in between, a tenth of the time so far
LEAST_WORK, LEAST_SHARE = 1.0, 0.01  # seconds that a rate is taken from; part of the work that the time left is
RECENT = 10.0  # seconds that a rate is taken from, at most, or half of all if that is longer
REFRESHES = 4  # of a bar, per second
AWAY = 0.5  # seconds that a bar is away after somebody printed something
BAR_WIDTHS = (8, 30)  # narrowest and widest

_guard = threading.RLock()
_phases: list["Phase"] = []  # the innermost is last


def progress(phase: str, total: float | None, unit: str, quiet: bool = False, done: float = 0) -> "Phase":
    """Make a phase that can say how far it is; it is a context, and what it gives has `update`.

    Args:
      phase: what is done, such as "judging".
      total: amount of work, or None until `update` says it.
      unit: what is counted, in the plural.
      quiet: print nothing.
      done: what was done before the phase began.
    """
    return Phase(phase, quiet, total, unit, done)


def waiting(phase: str, quiet: bool = False) -> "Phase":
    """Make a phase that cannot say how far it is; it is a context."""
    return Phase(phase, quiet)


class Phase:
    """Something that may take long; see `progress` and `waiting`."""

    def __init__(
        self,
        name: str,
        quiet: bool = False,
        total: float | None = None,
        unit: str = "",
        done: float = 0,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin a phase; nothing is shown before it is entered.

        Args:
          name: what is done.
          quiet: print nothing.
          total: amount of work, or None if that cannot be said.
          unit: what is counted, in the plural.
          done: what was done before.
          stream: to write to; stderr unless given.
          now: seconds.
        """
        self._name, self._quiet, self._unit = name, quiet, unit
        self._along: tuple[float, str] | None = None
        self._said = ""
        self._total, self._stream, self._now = total, stream, now
        self._began = self._alone_since = now()
        self._pace = _Pace(done, now())
        self._next_line = self._began + FIRST_LINE
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._console: Any = None
        self._live: Any = None
        self._watched: dict[str, _Watched] = {}  # streams of sys that are watched
        self._is_line_open = False  # in a terminal, of somebody else

    def __enter__(self) -> "Phase":
        """Become the phase that is shown."""
        with _guard:
            if _phases:
                _phases[-1]._hide()
            _phases.append(self)
        self._stream = self._stream or sys.stderr
        if not self._quiet:
            self._console = _terminal(self._stream)
            self._thread = threading.Thread(target=self._keep_showing, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the phase; its bar goes, and the one around it may come back."""
        self._is_over.set()
        with _guard:
            self._hide()
            _phases.remove(self)
            if _phases:
                _phases[-1]._begin_alone()
        if self._thread is not None:
            self._thread.join()

    @property
    def seconds(self) -> float:
        """Since the phase began."""
        return self._now() - self._began

    def update(
        self, done: float, total: float | None = None, along: tuple[float, str] | None = None, said: str = ""
    ) -> None:
        """Say how far it is.

        Args:
          done: amount of work that is done.
          total: amount of all work, if that was not known before.
          along: what comes along with a unit of it, such as (128, "samples").
          said: how it goes, in words.
        """
        with _guard:
            self._pace.add(done, self._now())
            self._total, self._along, self._said = total or self._total, along or self._along, said or self._said
            self.show()

    def go_on(self, phase: str) -> None:
        """Go on under another name, at a rate of its own."""
        with _guard:
            self._name, self._pace = phase, _Pace(self._pace.done, self._now())

    def show(self) -> None:
        """Show the bar, or print the next line, if it is time."""
        with _guard:
            now = self._now()
            is_innermost = bool(_phases) and _phases[-1] is self and not self._is_over.is_set()
            if self._quiet or not is_innermost or now - self._alone_since < PATIENCE:
                return
            if self._console is not None:
                if self._live is None and not self._is_line_open:
                    self._watch_streams()
                    self._live = _bar(self._console, self._render)
                    self._live.start(refresh=True)
            elif now >= self._next_line:
                self._next_line = now + min(max((now - self._alone_since) / 10, SHORTEST), LONGEST)
                words = ", ".join(itertools.chain(*self._words(now)))
                print(f"{self._title()}: {words}", file=self._stream, flush=True)

    def _keep_showing(self) -> None:
        """What the thread does."""
        while not self._is_over.wait(0.25):
            with contextlib.suppress(OSError, ValueError):  # nobody reads any more
                self.show()

    def _begin_alone(self) -> None:
        self._alone_since = self._now()
        self._next_line = self._alone_since + FIRST_LINE

    def _hide(self) -> None:
        self._take_away()
        for name, stream in self._watched.items():
            if getattr(sys, name) is stream:
                setattr(sys, name, stream.stream)
        self._watched = {}

    def _take_away(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _watch_streams(self) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if name not in self._watched and stream.isatty():
                self._watched[name] = _Watched(stream, self._step_aside)
                setattr(sys, name, self._watched[name])

    def _step_aside(self, text: str) -> None:
        """Make room for somebody's text; the bar comes back below it, once its line is ended."""
        with _guard:
            self._take_away()
            self._is_line_open = not text.endswith("\n")
            self._alone_since = max(self._alone_since, self._now() - PATIENCE + AWAY)

    def _title(self) -> str:
        """The phase, and what it does that says nothing."""
        doing = _activity.current()
        return f"{self._name}, {doing}" if doing else self._name

    def _words(self, now: float) -> tuple[list[str], list[str], list[str]]:
        """What is known, in the order in which it is read: share, details, times."""
        so_far, pace = f"{clock(now - self._began)} so far", self._pace
        if self._total is None:
            return [], [], [so_far]
        share, amount = f"{self._share():.0%}", f"{pace.done:,.0f} of {self._total:,.0f} {self._unit}"
        rate, left = pace.rate(), pace.left(self._total, now)
        said = [self._said] if self._said else []
        if rate is None:
            return [share], [amount, *said], [so_far]
        speed = f"{number(rate)} {self._unit}/s" if rate >= 0.1 else f"{clock(1 / rate)} each"
        along = [f"{number(rate * self._along[0])} {self._along[1]}/s"] if self._along else []
        return [share], [amount, speed, *along, *said], [so_far, *([] if left is None else [f"{clock(left)} left"])]

    def _share(self) -> float:
        return min(self._pace.done / self._total, 1.0) if self._total else 1.0

    def _render(self) -> Any:
        """The bar on one line if it fits, else with details on a second one. It takes no lock: rich holds its own."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        title, (share, details, times), width = self._title(), self._words(self._now()), self._console.width - 1
        text = ", ".join([*share, *details, *times])
        is_whole = len(title) + len(text) + 2 + BAR_WIDTHS[0] <= width
        text = text if is_whole else ", ".join([*share, *times])
        room = width - len(title) - len(text) - 2
        row: list[Any] = [Text(title, no_wrap=True, overflow="ellipsis")]
        if room >= BAR_WIDTHS[0]:
            done = self._share() if self._total is not None and self._pace.moved > 0 else None
            row.append(ProgressBar(total=1, completed=done or 0, width=min(room, BAR_WIDTHS[1]), pulse=done is None))
        row.append(Text(text, no_wrap=True, overflow="ellipsis"))
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row(*row)
        if is_whole or not details:
            return line
        return Group(line, Text("  " + ", ".join(details), no_wrap=True, overflow="ellipsis"))


class _Pace:
    """How fast something is, by its later reports; compiling does not count."""

    def __init__(self, done: float, now: float) -> None:
        """Nothing has been reported since `done` was done."""
        self.done = self._first = done
        self._began, self._idle = now, _activity.seconds()
        self._reports = collections.deque([(0.0, done)])  # seconds at work, what was done

    @property
    def moved(self) -> float:
        """What was done since the beginning."""
        return self.done - self._first

    def add(self, done: float, now: float) -> None:
        """Another report."""
        if done <= self.done:
            self.done = done
            return
        worked, self.done = self._worked(now), done
        self._reports.append((worked, done))
        while len(self._reports) > 2 and worked - self._reports[1][0] >= max(worked / 2, RECENT):
            self._reports.popleft()

    def rate(self) -> float | None:
        """Units per second, or None before there is something to tell it from."""
        (since, before), (until, after) = self._reports[0], self._reports[-1]
        return (after - before) / (until - since) if after > before and until - since >= LEAST_WORK else None

    def left(self, total: float, now: float) -> float | None:
        """Seconds to the total: they pass between reports, and grow where one is late."""
        rate, worked = self.rate(), self._reports[-1][0]
        is_early = self.moved < LEAST_SHARE * (total - self._first) and worked < RECENT
        if rate is None or is_early:
            return None
        since, (first, before) = max(self._worked(now) - worked, 0.0), self._reports[0]
        usual = (self.done - before) / (len(self._reports) - 1)  # of a report
        if since * rate <= usual:
            return max((total - self.done) / rate - since, 0.0)
        slower = (self.done - before + usual) / (worked - first + since)  # as if the next one came now
        return max((total - self.done - usual) / slower, 0.0)

    def _worked(self, now: float) -> float:
        return now - self._began - (_activity.seconds() - self._idle)


class _Watched:
    """A stream whose texts are told of before they are written."""

    def __init__(self, stream: Any, tell: Callable[[str], None]) -> None:
        """Stand in for a stream."""
        self.stream, self._tell = stream, tell

    def write(self, text: str) -> int:
        """Tell of a text and write it."""
        if text:
            self._tell(text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self.stream, name)


def _terminal(stream: TextIO) -> Any:
    """A console where a bar can be drawn, or None."""
    if not stream.isatty() or os.environ.get("TERM", "") in ("dumb", "unknown"):
        return None
    from rich.console import Console

    console = Console(file=stream)
    return console if console.is_terminal else None


def _bar(console: Any, render: Callable[[], Any]) -> Any:
    from rich.live import Live

    return Live(
        console=console,
        get_renderable=render,
        refresh_per_second=REFRESHES,
        transient=True,
        redirect_stdout=False,  # rich would break long lines
        redirect_stderr=False,
    )


def clock(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def number(value: float) -> str:
    """A number with three digits that matter, at least."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def say(text: str, quiet: bool = False) -> None:
    """Print a line for the person who runs the command."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)

"""What a person sees of a long command: a bar in a terminal, a line now and then in a file, nothing of short phases."""

import contextlib
import io
import os
import re
import select
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import hfac
from hfac import _activity, _progress
from hfac._activity import activity
from hfac._progress import Phase, progress, say, waiting
from support.commands import TIMEOUT, command, environment

with contextlib.suppress(ImportError):
    import fcntl
    import pty
    import termios


class Clock:
    """Seconds that a test moves on."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    """Something that takes itself for a terminal, and what was written to it without control sequences."""

    def isatty(self):
        return True

    @property
    def text(self):
        return plain(self.getvalue())


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return Terminal()


def lines_of(clock, stream, seconds, every=0.5, rate=10.0, total=1e9):
    """A phase of so many seconds at a rate; its lines and when they came."""
    found = []
    with Phase("running 4 runs", False, total, "steps", stream=stream, now=clock) as bar:
        began = clock.now
        while clock.now - began < seconds:
            clock.now += every
            bar.update((clock.now - began) * rate)
            if len(stream.getvalue().splitlines()) > len(found):
                found.append(clock.now - began)
    return found, stream.getvalue().splitlines()


def test_a_line_now_and_then_and_some_tens_in_an_hour(clock):
    stream = io.StringIO()
    times, lines = lines_of(clock, stream, 3_600)
    assert times[0] <= 10 and 20 <= len(lines) <= 60
    assert np.all(np.diff(times) >= 9.5) and np.all(np.diff(times) <= 600)


def test_a_line_says_everything_by_itself(clock):
    stream = io.StringIO()
    _, lines = lines_of(clock, stream, 20, rate=250.0, total=10_000)
    assert lines[0] == "running 4 runs: 12%, 1,250 of 10,000 steps, 250 steps/s, 5.0 s so far, 35 s left"
    assert lines[1] == "running 4 runs: 38%, 3,750 of 10,000 steps, 250 steps/s, 15 s so far, 25 s left"


def test_nothing_is_said_of_a_short_phase_nor_when_quiet(clock, terminal):
    for stream in (io.StringIO(), terminal):
        assert lines_of(clock, stream, 1.5)[1] == []
        with Phase("running", True, 10, "steps", stream=stream, now=clock) as bar:
            clock.now += 1_000
            bar.update(5)
            bar.show()
        assert stream.getvalue() == "" and bar.seconds == 1_000
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_what_was_done_before_and_compilation_do_not_count_as_speed(clock, monkeypatch):
    stream, compiled = io.StringIO(), [0.0]
    monkeypatch.setattr(_activity, "seconds", lambda: compiled[0])
    with Phase("running", False, 1_000, "steps", done=900, stream=stream, now=clock) as bar:
        clock.now += 60
        compiled[0] += 60
        bar.show()
        clock.now += 20
        bar.update(920)
    assert stream.getvalue().splitlines() == [
        "running: 90%, 900 of 1,000 steps, 1 min 00 s so far",
        "running: 92%, 920 of 1,000 steps, 1 steps/s, 1 min 20 s so far, 1 min 20 s left",
    ]


def test_time_left_falls_between_two_reports(clock):
    stream = io.StringIO()
    with Phase("pretraining", False, None, "epochs", stream=stream, now=clock) as bar:
        bar.update(0, 4)
        clock.now += 20
        bar.update(1, 4)
        clock.now += 12
        bar.show()
    assert [line.partition("epochs, ")[2] for line in stream.getvalue().splitlines()] == [
        "20 s each, 20 s so far, 1 min 00 s left",
        "20 s each, 32 s so far, 48 s left",
    ]


def test_a_phase_that_goes_on_under_another_name_has_its_own_speed(clock):
    stream = io.StringIO()
    with Phase("rung 1", False, None, "run-steps", stream=stream, now=clock) as bar:
        bar.update(5_000, 10_000)
        bar.go_on("rung 2")
        clock.now += 50
        bar.update(6_000, 10_000)
    assert stream.getvalue() == "rung 2: 60%, 6,000 of 10,000 run-steps, 20 run-steps/s, 50 s so far, 3 min 20 s left\n"


def test_a_wait_without_an_end_says_what_it_does_and_for_how_long(clock):
    stream = io.StringIO()
    with Phase("judging", stream=stream, now=clock) as bar, activity("compiling"), activity("compiling"):
        for _ in range(20):
            clock.now += 1
            bar.show()
    assert stream.getvalue() == "judging, compiling: 5.0 s so far\njudging, compiling: 15 s so far\n"
    assert _activity.current() == ""


def test_an_activity_takes_its_time_once():
    before, began = _activity.seconds(), time.perf_counter()
    with activity("compiling"), activity("compiling"):
        time.sleep(0.01)
    assert 0.01 <= _activity.seconds() - before <= time.perf_counter() - began


def test_the_innermost_phase_is_shown_and_the_one_around_it_comes_back(clock):
    stream = io.StringIO()
    with Phase("working", stream=stream, now=clock) as outer:
        with Phase("judging", stream=stream, now=clock) as inner:
            clock.now += 6
            outer.show()
            inner.show()
        outer.show()
        clock.now += 6
        outer.show()
        with Phase("saying nothing", quiet=True, stream=stream, now=clock):
            clock.now += 60
            outer.show()
    assert stream.getvalue() == "judging: 6.0 s so far\nworking: 12 s so far\n"


def test_a_bar_is_drawn_after_two_seconds_and_gone_after_an_exception(clock, terminal):
    with (
        pytest.raises(KeyboardInterrupt),
        Phase("running 4 runs", False, 10_000, "steps", stream=terminal, now=clock) as bar,
    ):
        clock.now += 4
        bar.update(2_000, along=(2.5, "samples"))
        raise KeyboardInterrupt
    assert "running 4 runs ━" in terminal.text
    assert "20%, 2,000 of 10,000 steps, 500 steps/s, 1,250 samples/s, 4.0 s so far, 16 s left" in terminal.text
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1
    assert terminal.getvalue().endswith("\x1b[2K") and not _progress._phases
    assert not isinstance(sys.stderr, _progress._Watched)


def test_a_narrow_terminal_gets_two_lines(clock, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    with Phase("running 4 runs", False, 10_000, "steps", stream=terminal, now=clock) as bar:
        clock.now += 4
        bar.update(2_000, along=(2.5, "samples"))
    assert re.search(r"running 4 runs [━╸╺]+ 20%, 4.0 s so far, 16 s left", terminal.text)
    assert "  2,000 of 10,000 steps, 500 steps/s, 1,250 samples/s" in terminal.text
    assert max(map(len, re.split(r"[\r\n]+", terminal.text))) <= 60


def test_lines_and_warnings_come_above_the_bar(clock, terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal)
    with Phase("judging", False, 10, "runs", now=clock) as bar:
        clock.now += 4
        bar.update(2)
        assert sys.stderr is not terminal
        say("a note [with brackets] " + 30 * "that is long ")
        print("UserWarning: careful", file=sys.stderr)
        say("not said", quiet=True)
        above = len(terminal.getvalue())
        bar.update(3)
        assert len(terminal.getvalue()) == above
        clock.now += 1
        bar.show()
        assert "judging" in plain(terminal.getvalue()[above:])
        print("a question? ", end="", file=sys.stderr)
        asked = len(terminal.getvalue())
        clock.now += 9
        bar.show()
        assert len(terminal.getvalue()) == asked  # whoever answers is not drawn over
    assert sys.stderr is terminal
    rows = re.split(r"[\r\n]+", terminal.text)
    assert ("a note [with brackets] " + 30 * "that is long ").rstrip() in [row.rstrip() for row in rows]
    assert any("UserWarning: careful" in row and "judging" not in row for row in rows)
    assert "not said" not in terminal.text


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("TTY_COMPATIBLE", "0")])
def test_a_terminal_that_cannot_draw_gets_lines(clock, terminal, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with Phase("judging", False, 10, "runs", stream=terminal, now=clock) as bar:
        clock.now += 6
        bar.update(3)
    assert terminal.getvalue() == "judging: 30%, 3 of 10 runs, 0.5 runs/s, 6.0 s so far, 14 s left\n"


def test_no_color_where_none_is_wanted(clock, terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    with Phase("judging", False, 10, "runs", stream=terminal, now=clock) as bar:
        clock.now += 6
        bar.update(3)
    assert "30%" in terminal.text and not re.search(r"\x1b\[[0-9;]*[34]\d(;\d+)*m", terminal.getvalue())


def test_a_stream_that_nobody_reads_ends_nothing(clock, monkeypatch):
    class Closed(io.StringIO):
        tries = 0

        def write(self, text: str) -> int:
            self.tries += 1
            raise BrokenPipeError

    stream = Closed()
    with Phase("judging", stream=stream, now=clock) as phase:
        for _ in range(3):  # the thread tries to print, and goes on trying
            clock.now += 1_000
            before, until = stream.tries, time.monotonic() + 10
            while stream.tries == before and time.monotonic() < until:
                time.sleep(0.02)
            assert stream.tries > before
    assert phase.seconds == 3_000


def test_a_thread_shows_what_says_nothing(monkeypatch):
    monkeypatch.setattr(_progress, "PATIENCE", 0.1)
    monkeypatch.setattr(_progress, "FIRST_LINE", 0.1)
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream), waiting("thinking"):
        time.sleep(1.0)
    assert re.fullmatch(r"thinking: 0\.\d s so far\n", stream.getvalue())


def test_progress_writes_to_the_stderr_of_its_time(monkeypatch):
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    monkeypatch.setattr(_progress, "FIRST_LINE", 0.0)
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream), progress("judging", 4, "runs") as bar:
        bar.update(1)
    assert stream.getvalue().startswith("judging: 25%, 1 of 4 runs")


def test_a_sweep_in_pieces_has_the_numbers_of_one_in_a_call():
    algorithm = hfac.algorithms.hfac(
        hfac.problems.goal_placement(size=4, landmark=(3, 3), hazard_rows=(1, 2), hazard_columns=(1, 2))
    )
    reports = []
    rates, points = hfac.schedules.attenuating(), [0, 7, 40]
    whole, ends = hfac.sweep(algorithm, rates, 3, 50, record_at=points, return_state=True)
    pieces, last = hfac.sweep(
        algorithm, rates, 3, 50, record_at=points, return_state=True, progress=lambda *now: reports.append(now)
    )
    assert whole.drop_attrs().identical(pieces.drop_attrs())
    np.testing.assert_array_equal(ends.x, last.x)
    assert reports[-1] == (50, 50) and [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_quiet_commands_print_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    monkeypatch.setattr(_progress, "FIRST_LINE", 0.0)
    size = ("--steps", "20", "--seeds", "2", "--no-figures")
    done = command("sweep", "goal_placement", *size, "--quiet", "--out", str(tmp_path / "run"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


SHOW_AT_ONCE = """
import sys
from hfac import _progress
_progress.PATIENCE, _progress.LEAST_WORK, _progress.REFRESHES = 0.0, 1e-3, 30
from hfac.cli import main
main(sys.argv[1:])
"""


@pytest.mark.skipif("pty" not in globals(), reason="this system has no pseudo-terminals")
def test_a_terminal_shows_every_phase_of_a_sweep(tmp_path):
    size = ("--steps", "40000", "--seeds", "4", "--judge", "0.1", "--no-cache", "--no-figures")
    args = ["-c", SHOW_AT_ONCE, "sweep", "goal_placement", *size, "--out", str(tmp_path / "run")]
    more = environment(TERM="xterm-256color", COLUMNS="130", PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 130, 0, 0))
    running = subprocess.Popen([sys.executable, *args], stdin=inside, stdout=inside, stderr=inside, env=more)
    os.close(inside)
    raw, end = b"", time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                raw += os.read(terminal, 65_536)
            except OSError:  # it is over
                break
    os.close(terminal)
    text = plain(raw.decode(errors="replace"))
    assert running.wait(TIMEOUT) == 0, text
    phases = ("working", "running 4 runs, compiling", "running 4 runs", "judging", "descending the exact objective")
    for phase in phases:
        assert re.search(rf"{phase} [━╸╺]+", text), f"{phase}: {text[-3_000:]}"
    assert re.search(
        r"running 4 runs [━╸╺]+ \d+%, [\d,]+ of 40,000 steps, [\d,.]+ steps/s, [\d,]+ samples/s, .* s so far, .* left",
        text,
    )
    assert re.search(r"judging [━╸╺]+ \d+%, \d of 4 runs, [\d.,]+ runs/s, .* left", text), text[-3_000:]
    assert raw.count(b"\x1b[?25l") == raw.count(b"\x1b[?25h") > 0  # the cursor is hidden and comes back
    assert not [row for row in re.split(r"[\r\n]+", text) if "ran in" in row and "━" in row]

"""Several processes at one sweep: who they are, when all may begin, and whether they are still at work.

Runs do not talk to each other, so the processes share a folder and nothing else: each moves parts of its own. They
learn who they are through `jax.distributed`; from then on each leaves a sign of life beside the results.
"""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hfac import _files
from hfac.cli import InputError, Stopped
from hfac.cli._folder import ALIVE
from hfac.cli._request import Processes
from hfac.cli._settings import Distribution

PATIENCE = 120.0  # seconds without a sign of life
LOOK_AGAIN = 0.5  # seconds
MEET = """
import json, sys, jax
jax.distributed.initialize(*json.loads(sys.argv[1]))
print(jax.process_index(), jax.process_count())
jax.distributed.shutdown()
"""  # in a process of its own: here every run is computed alone, and one that is lost takes no other along


def join(settings: Distribution) -> Processes:
    """Meet the other processes; on SLURM, Kubernetes and TPU pods --distributed finds them by itself.

    Raises:
      InputError: if they cannot be met.
    """
    if not settings.distributed and settings.coordinator is None:
        return Processes()
    given = [settings.coordinator, settings.num_processes, settings.process_id]
    done = subprocess.run([sys.executable, "-c", MEET, json.dumps(given)], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    if done.returncode or len(words) < 2:
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise InputError(f"--distributed: the processes did not meet: {why[:200]}")
    return Processes(int(words[-2]), int(words[-1]))


def wait_for_the_first(folder: Path, processes: Processes, patience: float = PATIENCE) -> None:
    """Wait until the first process has made everybody's parts.

    Raises:
      InputError: if it could not begin, or is not heard of.
    """
    token, began = secrets.token_hex(8), time.monotonic()
    _write(folder / ALIVE / f"hello-{processes.index}", token)
    while True:
        answer = _read(folder / ALIVE / f"answer-{processes.index}")
        if answer == f"{token} go":
            return
        if answer == f"{token} stop":
            raise InputError("the first process could not begin; its message says why")
        if time.monotonic() - began > patience:
            raise InputError(f"the first process has not answered for {patience:.0f} s; do all see {folder}?")
        time.sleep(LOOK_AGAIN)


def answer(folder: Path, processes: Processes, word: str) -> None:
    """Tell the processes that said hello: "go" or "stop"."""
    for i in range(1, processes.count):
        token = _read(folder / ALIVE / f"hello-{i}")
        if token and _read(folder / ALIVE / f"answer-{i}") != f"{token} {word}":
            _write(folder / ALIVE / f"answer-{i}", f"{token} {word}")


def sign(folder: Path, processes: Processes) -> None:
    """Leave a sign of life; the first process answers those that came late."""
    if processes.count > 1:
        _write(folder / ALIVE / str(processes.index), f"{time.time_ns()}")
        if processes.is_first:
            answer(folder, processes, "go")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _files.replace(path, text)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def wait(
    folder: Path,
    processes: Processes,
    unfinished: Callable[[], Sequence[str]],
    is_asked: Callable[[], bool],
    patience: float = PATIENCE,
) -> None:
    """Wait until nothing is unfinished.

    Args:
      folder: of the run.
      processes: all of them.
      unfinished: what is not finished, in words.
      is_asked: whether somebody asked to stop.
      patience: seconds without a sign of life of any other process.

    Raises:
      Stopped: if somebody asked to, or the others are gone.
    """

    def signs() -> list[str]:
        return [_read(folder / ALIVE / str(i)) for i in range(processes.count)]

    seen, since = signs(), [time.monotonic()] * processes.count
    while left := unfinished():
        time.sleep(LOOK_AGAIN)
        answer(folder, processes, "go")
        now = signs()
        since = [time.monotonic() if a != b else t for a, b, t in zip(seen, now, since, strict=True)]
        seen = now
        silent = time.monotonic() - max(since)
        if is_asked() or silent > patience:
            why = "asked to stop" if is_asked() else f"no other process has been heard of for {silent:.0f} s"
            raise Stopped(f"{why}; not finished: {', '.join(left)}; `hfac resume {folder}` goes on from there")

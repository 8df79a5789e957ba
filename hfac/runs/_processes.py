"""Several processes at one sweep: who they are, when all may begin, and whether they are still at work.

Runs do not talk to each other, so the processes share a folder and nothing else: each moves parts of its own. They
learn who they are through `jax.distributed`; from then on each leaves a sign of life beside the results.
"""

import dataclasses
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hfac import _files
from hfac._errors import InputError, Stopped

ALIVE = "alive"  # folder of the signs of life
PATIENCE = 120.0  # seconds without a sign of life
POLL_SECONDS = 0.5
RENDEZVOUS = """
import json, sys, jax
jax.distributed.initialize(*json.loads(sys.argv[1]))
print(jax.process_index(), jax.process_count())
jax.distributed.shutdown()
"""  # in a process of its own: here every run is computed alone, and one that is lost takes no other along


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process among those at work on one sweep."""

    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it plans, and reports at the end."""
        return self.index == 0

    def tell(self, folder: Path, word: str) -> None:
        """Tell the processes that said hello: "go" or "stop"."""
        for i in range(1, self.count):
            token = _read(folder / ALIVE / f"hello-{i}")
            if token and _read(folder / ALIVE / f"answer-{i}") != f"{token} {word}":
                _write(folder / ALIVE / f"answer-{i}", f"{token} {word}")

    def sign_of_life(self, folder: Path) -> None:
        """Leave one; the first process answers those that came late."""
        if self.count > 1:
            _write(folder / ALIVE / str(self.index), f"{time.time_ns()}")
            if self.is_first:
                self.tell(folder, "go")

    def await_first(self, folder: Path, patience: float = PATIENCE) -> None:
        """Wait until the first process has made everybody's parts.

        Raises:
          InputError: if it could not begin, or is not heard of.
        """
        token, began = secrets.token_hex(8), time.monotonic()
        _write(folder / ALIVE / f"hello-{self.index}", token)
        while True:
            answer = _read(folder / ALIVE / f"answer-{self.index}")
            if answer == f"{token} go":
                return
            if answer == f"{token} stop":
                raise InputError("the first process could not begin; its message says why")
            if time.monotonic() - began > patience:
                raise InputError(f"the first process has not answered for {patience:.0f} s; do all see {folder}?")
            time.sleep(POLL_SECONDS)

    def await_all(
        self,
        folder: Path,
        unfinished: Callable[[], Sequence[str]],
        is_asked: Callable[[], bool],
        patience: float = PATIENCE,
    ) -> None:
        """Wait until nothing is unfinished.

        Args:
          folder: of the run.
          unfinished: what is not finished, in words.
          is_asked: whether somebody asked to stop.
          patience: seconds without a sign of life of any other process.

        Raises:
          Stopped: if somebody asked to, or the others are gone.
        """

        def signs() -> list[str]:
            return [_read(folder / ALIVE / str(i)) for i in range(self.count)]

        seen, since = signs(), [time.monotonic()] * self.count
        while left := unfinished():
            time.sleep(POLL_SECONDS)
            self.tell(folder, "go")
            now = signs()
            since = [time.monotonic() if a != b else t for a, b, t in zip(seen, now, since, strict=True)]
            seen = now
            silent = time.monotonic() - max(since)
            if is_asked() or silent > patience:
                why = "asked to stop" if is_asked() else f"no other process has been heard of for {silent:.0f} s"
                raise Stopped(f"{why}; not finished: {', '.join(left)}; `hfac resume {folder}` goes on from there")


ALONE = Processes()


def rendezvous(coordinator: str | None, count: int | None, index: int | None) -> Processes:
    """Meet the other processes; on SLURM, Kubernetes and TPU pods nothing need be given.

    Raises:
      InputError: if they cannot be met.
    """
    given = json.dumps([coordinator, count, index])
    done = subprocess.run([sys.executable, "-c", RENDEZVOUS, given], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    if done.returncode or len(words) < 2:
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise InputError(f"--distributed: the processes did not meet: {why[:200]}")
    return Processes(int(words[-2]), int(words[-1]))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _files.replace(path, text)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""

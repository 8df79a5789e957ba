"""The command line as tests use it: in this process, or in one of its own where that is what is tested."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import jax
import pytest

from hfac.cli import main
from support import compilation

TIMEOUT = 240  # seconds; a hang is a failure


class Done(NamedTuple):
    """What a command said, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def command(*args: str, cwd: Path | None = None) -> Done:
    """``hfac ARGS`` in this process, with its devices and precision, under jax's own rules of promotion."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        contextlib.chdir(cwd or Path.cwd()),
        mock.patch("hfac.runs.configure"),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        try:
            main(args)
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, stdout.getvalue(), stderr.getvalue())


def environment(**more: str) -> dict[str, str]:
    """Of a process that compiles as the tests do, keeps its programs where they keep theirs, and is else a user's."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    kept = {name: value for name, value in os.environ.items() if name.startswith("JAX_") and "CACHE" in name}
    return plain | {"XLA_FLAGS": compilation.FLAGS} | kept | more


def start(*args: str, cwd: Path | None = None, **more: str) -> subprocess.Popen:
    """``hfac ARGS`` in a process of its own that runs beside this one."""
    line = [sys.executable, "-m", "hfac", *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stderr=pipe, stdout=pipe, text=True, cwd=cwd, env=environment(**more))


def refused(capsys, *args: str) -> str:
    """What a command says that ends with exit code 2, in one line."""
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    said = capsys.readouterr()
    assert stop.value.code == 2 and said.out == "" and said.err.count("\n") == 1 and "Traceback" not in said.err
    return said.err

"""The folder of a run: new or taken over, one process at a time, its configuration first."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from hfac import _checks, _files
from hfac._errors import InputError, Stopped, as_input_error
from hfac.runs._own import agree
from hfac.runs._processes import ALIVE, ALONE, Processes
from hfac.settings import OWN, RATE_SETTINGS, TABLES, only_in_python

CONFIG, LOCK = "config.json", ".lock"
RESULTS, CHECKPOINTS = "results.zarr", "checkpoints"
BY_CONTENT = (
    "corpus",
    "ratings",
    "pretrained",
    "run",
    "model",
    "prompts",
    "preferences",
    "adapter",
)  # paths: what they hold counts, not where they lie
UNSAID: tuple[Any, ...] = (None, [], False, 0, "keep")  # values of settings that a configuration need not name
UNIMPORTANT = (  # change no number
    *("devices", "cache", "figures", "quiet", "checkpoint_minutes"),
    *("shard", "distributed", "coordinator", "num_processes", "process_id"),
)

Numbers = tuple[float, ...]
Table = dict[str, Any]
NEEDED = ("problem", "algorithm", "steps", "seeds", "first_seed")
HINTS: dict[str, Any] = {  # types of what a sweep's configuration holds beside the numbers of its schedules
    **{"problem": str, "algorithm": str, "steps": int, "seeds": int, "first_seed": int},
    **{"judge": Numbers | None, "record": Literal["x", "tables", "policies"] | None, "zip": tuple[str, ...] | None},
    **{"preset": Literal["recommended", "attenuating", "fixed"] | None, "shard": str | None},
    **{"block_width": int | None, "on_divergence": Literal["keep", "stop"] | None},
    **dict.fromkeys(TABLES, Table | None),
    **dict.fromkeys(OWN.values(), Table | bool | None),
}
LONGEST_STEM = 80  # letters of a problem's name in the name of a folder
MEASURED = tuple(f"{mark}." for mark in OWN.values())
OPTIONS_OF_TWEETS = (  # that version 0.1 kept beside the settings of a sweep
    *("corpus", "ratings", "pretrained", "leader", "pairs", "rater", "ridge", "vocabulary", "length", "layers"),
    *("width", "heads", "epochs", "model_seed"),
)


def way_on(folder: Path, configuration: Mapping[str, Any]) -> str:
    """What goes on with a run: a command, or Python where the problem or the method is a person's own."""
    own = [f"{kind}=..." for kind in only_in_python(configuration)]
    return f"hfac.runs.resume('{folder}', {', '.join(own)})" if own else f"`hfac resume {folder}`"


def check_new(out: Path | None, configuration: Mapping[str, Any]) -> None:
    """Raise `InputError` unless the folder is new or empty; says what differs if it holds a run.

    Args:
      out: the folder, or None for one that will be made.
      configuration: that is about to run.
    """
    if out is None or is_free(out):
        return
    start = f"--out {out} already holds something; nothing is overwritten"
    if not (out / CONFIG).is_file():
        raise InputError(f"{start}, choose another folder")
    differ = differences(read_config(out), configuration)
    if differ:
        raise InputError(f"{start}: it differs in {', '.join(differ)}; choose another folder, or see `hfac extend`")
    raise InputError(f"{start}: it holds this very run; {way_on(out, configuration)} goes on with it")


def is_free(out: Path) -> bool:
    """Whether a folder is new or holds nothing but what a run leaves that ended before it began.

    Raises:
      InputError: if it cannot be looked at.
    """
    unimportant = (ALIVE, LOCK, f"{CONFIG}.new")  # of a run that ended before it began
    try:
        return not out.exists() or (out.is_dir() and all(child.name in unimportant for child in out.iterdir()))
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Settings of two configurations that differ, as "steps (100, not 200)"."""

    def flat(content: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in json.loads(json.dumps(dict(content), default=str)).items():
            if isinstance(value, dict):
                found |= {f"{key}.{inner}": each for inner, each in value.items()}
            elif key not in (*UNIMPORTANT, "version"):
                found[key] = value
        return found

    first, second = flat(old), flat(new)

    def differs(key: str) -> bool:
        if key in first and key in second:
            is_measured = key.startswith(MEASURED)
            return not agree(first[key], second[key]) if is_measured else bool(first[key] != second[key])
        return first.get(key, second.get(key)) not in UNSAID

    keys = [key for key in {**first, **second} if differs(key)]
    return [f"{key} ({first.get(key)}, not {second.get(key)})" for key in keys]


def read_config(folder: str | Path) -> dict[str, Any]:
    """The configuration that a run was started with, as this version writes it.

    Raises:
      InputError: if there is none, or it cannot be read.
    """
    with as_input_error():
        folder = _files.place(folder)
    path = folder / CONFIG
    try:
        if not path.is_file():
            raise InputError(f"{folder} holds no run: {CONFIG} is missing")
        content = json.loads(path.read_text(encoding="utf-8"))
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}; restore it from a copy") from None
    if not isinstance(content, dict) or not isinstance(content.get("command"), str):
        raise InputError(f"{path} is no configuration of a run: it names no command")
    found = upgraded(content)
    if found["command"] == "sweep":
        _check_sweep(path, found)
    return found


def _check_sweep(path: Path, content: Mapping[str, Any]) -> None:
    """Raise `InputError` unless a sweep's configuration holds what it must, and values of the right types."""
    rates = [name.key for name in RATE_SETTINGS]
    hints = HINTS | dict.fromkeys((*rates, "offset"), Numbers | None)
    for name, hint in hints.items():
        value = content.get(name)
        is_known = name in content or name not in NEEDED
        if not (is_known and _checks.fits(value, hint)):
            got = f"it is {value!r}" if name in content else "it is missing"
            raise InputError(f"{path} is damaged: {name} must be {_checks.words(hint)}, {got}; restore it from a copy")


def upgraded(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration, or the identity of a checkpoint, as this version writes it, whichever version wrote it."""
    found = dict(configuration)
    if found.get("problem") != "tweets" or TABLES[0] in found:
        return found
    moved = {name: found.pop(name) for name in OPTIONS_OF_TWEETS if name in found}
    if "command" in found:
        found["command"] = "sweep"
        found["preset"] = None
    else:  # an identity knows paths by what they hold
        found.pop("preset", None)
        moved = {name: value for name, value in moved.items() if name not in BY_CONTENT}
    return found | {TABLES[0]: moved}


def make(out: Path | None, stem: str) -> Path:
    """The folder to write to, made now: the one asked for, or the next free runs/STEM-NNN.

    Raises:
      InputError: if it cannot be made or written to.
    """
    if out is not None:
        folder = out
    else:
        taken, safe = 1, re.sub(r"[^\w-]+", "_", stem).strip("_")[:LONGEST_STEM] or "run"
        with as_input_error():
            runs = _files.place("runs")
        while (folder := runs / f"{safe}-{taken:03d}").exists():
            taken += 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"--out {folder}: is not writable")
    return folder


def write_config(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the resolved configuration, whole or not at all; ``hfac COMMAND --config`` reproduces the run from it."""
    _files.replace(folder / CONFIG, json.dumps(dict(content), indent=2, default=str) + "\n")


@contextlib.contextmanager
def open_folder(
    configuration: Mapping[str, Any],
    out: Path | None,
    stem: str,
    can_resume: bool = True,
    is_new: bool = True,
    processes: Processes = ALONE,
) -> Iterator[Path]:
    """The folder that a command writes to, its own until the end, with the configuration in it.

    Args:
      configuration: of the run, with every default filled in.
      out: the folder, or None for a new one.
      stem: of the folder's name where none is given.
      can_resume: whether a run of this kind can go on after it was stopped.
      is_new: whether the folder must hold nothing yet.
      processes: at work on it; the first one makes it.

    Raises:
      InputError: if the folder cannot be had or holds something else.
      Stopped: if somebody interrupts a run that can go on.
    """
    if not processes.is_first:
        assert out is not None
        with reported(out, True):
            yield out
        return
    with contextlib.ExitStack() as stack:
        try:
            if is_new:
                check_new(out, configuration)
            folder = make(out, stem)
            stack.enter_context(reported(folder, can_resume))
            stack.enter_context(locked(folder))
            if not (folder / CONFIG).exists():
                write_config(folder, configuration)
        except (InputError, OSError):
            if processes.count > 1 and out is not None and out.is_dir():
                processes.tell(out, "stop")
            raise
        try:
            yield folder
        except KeyboardInterrupt as stop:
            if str(stop) or not can_resume:
                raise
            raise Stopped(f"interrupted; {way_on(folder, configuration)} goes on from there") from None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; a process that is killed lets it go.

    Raises:
      InputError: if another process is at work in it, or the lock cannot be written.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(f"{folder / LOCK} cannot be written: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            number = os.pread(handle, 64, 0).decode(errors="replace").strip()
            owner = f"process {number}" if number else "another process"  # which has not said its number yet
            raise InputError(f"{folder} is in use by {owner}; wait for it, or choose another folder") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def reported(folder: Path, can_resume: bool) -> Iterator[None]:
    """What cannot be written in a folder, as on a full disk, is one clear line.

    Args:
      folder: of a run.
      can_resume: whether `hfac resume` takes it.

    Raises:
      InputError: if something cannot be written.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = f", `hfac resume {folder}` goes on from there" if can_resume else ""
        raise InputError(
            f"cannot write to {folder}: {where}{error.strerror or error}; what was written before is whole{remedy}"
        ) from None

"""``hfac replay DIR --seed N``: one run of a stored sweep again, and what went wrong in it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from hfac.cli import InputError, _config, _folder, _resume, parse
from hfac.cli._settings import ALIASES, FIELDS, RATES, setting_name
from hfac.cli._values import Count

DESCRIPTION = (
    "Repeat one run of a stored sweep. Where the sweep crossed lists, name the run by their flags: --tau 0.01 --seed 3."
)


@dataclasses.dataclass(frozen=True)
class Replay:
    """Settings of a replay."""

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder of a sweep."""
    seed: Count
    """Which run."""
    debug: bool = True
    """Run the bad step without compilation, under checkify, and name the first number that is not finite."""


def main(args: Sequence[str]) -> None:
    """Run the command."""
    rest, wanted = list(args), {}
    if not any(arg in ("-h", "--help") for arg in rest):
        own = [arg.partition("=")[0].removeprefix("--") for arg in rest if arg.startswith("--algorithm.")]
        for flag in (*_flags(), *own):
            value, rest = _config.take(rest, f"--{flag}")
            if value is not None:
                wanted[_coordinate(flag)] = (flag, _number(flag, value))
    settings = parse(Replay, rest, "hfac replay", DESCRIPTION)
    stored = _folder.read_config(settings.dir)
    if stored["command"] not in ("sweep", "rates"):
        raise InputError(f"{settings.dir} holds a run of `hfac {stored['command']}`; replay takes a sweep's or rates'")
    request = _resume.request_of(stored)
    import jax

    from hfac import engine
    from hfac._trees import named_leaves
    from hfac.cli import _sweep_run

    job = _sweep_run.prepare(request, is_run=False)
    data = _sweep_run.load(job, settings.dir)
    place, words = _find(job, wanted, settings.seed)
    own = jax.tree.map(lambda leaf: float(leaf[place // len(job.seeds)]), job.grid[0])
    found = engine.replay(job.algorithm, engine.run_key(settings.seed), own, request.settings.steps, settings.debug)
    end = f"at step {found.failed_at:,}: " if found.failed_at >= 0 else ""
    print(f"{words}: {end}{found.status.meaning}")
    for line in found.findings:
        print(f"  {line}")
    stored_at = int(_of_run(data["failed_at"], place)[-1])
    if stored_at != found.failed_at:
        print(f"  the stored run {f'failed at {stored_at:,}' if stored_at >= 0 else 'is healthy'}")
    elif stored_at >= 0:
        print("  as in the stored run")
    else:
        x = named_leaves({"x": job.algorithm.solution(found.state).x})
        gap = max(_gap(_of_run(data[name], place)[-1], leaf) for name, leaf in x.items())
        close = "x is the same" if gap == 0 else f"x agrees to {gap:.1g} of its norm"
        print(f"  the stored run is healthy too; at its last record {close}")


def _of_run(values: Any, place: int) -> Any:
    """One run's records [P, ...] of what was stored with an axis for every swept quantity, seeds and steps."""
    at = list(values.dims).index("step")
    return values.values.reshape(-1, *values.shape[at:])[place]


def _gap(stored: Any, again: Any) -> float:
    """Euclidean distance, relative to what was stored."""
    import numpy as np

    distance, size = np.linalg.norm(np.asarray(again) - stored), np.linalg.norm(stored)
    return float(distance / size) if size > 0 else float(distance)


def _flags() -> list[str]:
    return [stem if field == "scale" else f"{stem}-{field}" for stem in (*RATES, *ALIASES) for field in FIELDS]


def _coordinate(flag: str) -> str:
    if flag.startswith("algorithm."):
        return flag.replace("-", "_")
    stem, _, field = setting_name(flag).partition("_")
    return f"{stem}.{field or 'scale'}"


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--{flag}: '{text}' is not a number") from None


def _find(job: Any, wanted: dict[str, tuple[str, float]], seed: int) -> tuple[int, str]:
    """Place of the run on the flat axis, and the run in words.

    Raises:
      InputError: if no run, or more than one, is meant.
    """
    import numpy as np

    from hfac import results

    table = results.run_table(job.grid[1], job.seeds)
    chosen = table.labels["seed"] == seed
    if not chosen.any():
        raise InputError(f"--seed {seed}: the sweep has {job.seeds[0]} to {job.seeds[-1]}")
    for name, (flag, value) in wanted.items():
        if name not in table.labels:
            raise InputError(f"--{flag}: the sweep has no list of these; its runs differ in {', '.join(table.labels)}")
        near = np.isclose(table.labels[name], value, rtol=1e-3, atol=0)
        if not near.any():
            held = ", ".join(f"{v:.6g}" for v in dict.fromkeys(table.labels[name].tolist()))
            raise InputError(f"--{flag} {value:g}: the sweep has {held}")
        chosen &= near
    places = np.flatnonzero(chosen)
    if len(places) != 1:
        others = sorted(set(table.labels) - {"seed", *wanted})
        raise InputError(f"{len(places)} runs have seed {seed}; say which, by {', '.join(others)}")
    words = [f"{name} {values[places[0]]:.6g}" for name, values in table.labels.items()]
    return int(places[0]), ", ".join(words)

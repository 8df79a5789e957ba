"""Which of a sweep's runs a person means."""

from collections.abc import Iterator, Mapping

import numpy as np

from hfac import _checks
from hfac._errors import InputError, as_input_error
from hfac.runs._job import Job
from hfac.settings import find


def one_run(job: Job, which: Mapping[str, float], seed: int) -> tuple[int, str]:
    """Place of the run in the job's table, and the run in words.

    Raises:
      InputError: if none or more than one is meant.
    """
    table = job.table
    chosen = table.labels["seed"] == seed
    if not chosen.any():
        raise InputError(f"--seed {seed}: the sweep has {job.seeds[0]} to {job.seeds[-1]}")
    for _, near in named(table.labels, which):
        chosen &= near
    places = np.flatnonzero(chosen)
    if len(places) != 1:
        meant = {setting.path for setting in map(find, which) if setting is not None}
        others = sorted(set(table.labels) - {"seed"} - meant)
        raise InputError(f"{len(places)} runs have seed {seed}; say which, by {', '.join(others)}")
    words = [f"{name} {values[places[0]]:.6g}" for name, values in table.labels.items()]
    return int(places[0]), ", ".join(words)


def named(labels: Mapping[str, np.ndarray], which: Mapping[str, float]) -> Iterator[tuple[str, np.ndarray]]:
    """Of every list that somebody names, its path and where its labels have the value.

    Args:
      labels: of lists, by path.
      which: values by the names of lists.

    Raises:
      InputError: if there is no such list, or it has no such value.
    """
    if not (isinstance(which, Mapping) and all(isinstance(word, str) for word in which)):
        raise InputError(f"which must be values by the names of lists, got {which!r}")
    for word, value in which.items():
        with as_input_error():
            _checks.number(f"--{word}", value)
        setting = find(word)
        path = word if setting is None else setting.path
        if path not in labels:
            there_are = f"; its runs differ in {', '.join(labels)}" if labels else ""
            raise InputError(f"--{word}: the sweep has no list of these{there_are}")
        near = np.isclose(labels[path], value, rtol=1e-3, atol=0)
        if not near.any():
            held = ", ".join(f"{v:.6g}" for v in dict.fromkeys(labels[path].tolist()))
            raise InputError(f"--{word} {value:g}: the sweep has {held}")
        yield path, near

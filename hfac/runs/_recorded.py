"""What a stored run holds at a record point, as trees."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hfac import _files
from hfac._errors import InputError, as_input_error
from hfac.runs import _folder, _work
from hfac.runs._build import as_paths, build
from hfac.runs._find import one_run
from hfac.runs._policies import trees
from hfac.types import Algorithm, PyTree


def recorded(
    folder: str | Path,
    seed: int,
    which: Mapping[str, float] | None = None,
    step: int | None = None,
    problem: Any = None,
    algorithm: Callable[..., Algorithm] | None = None,
) -> dict[str, PyTree]:
    """What a stored run holds at a record point, as the trees that its problem and its networks take.

    Args:
      folder: of a sweep.
      seed: of the run.
      which: values of the lists that the sweep crossed, by name, such as ``{"entropy": 0.01}``.
      step: a recorded one; the last that was reached unless given.
      problem: that the sweep is about, where that is your own.
      algorithm: builder of the method, where that is your own.

    Returns:
      ``x``, and from a sweep with ``record="policies"`` also ``theta``, which answers it, and ``theta_pen`` where the
      method tracks a penalised policy: logits [S, A] of a table, parameters of a network.

    Raises:
      ValueError: if no run, or more than one, is meant, or the step was not recorded.
    """
    with as_input_error():
        place = _files.place(folder)
    stored = as_paths(_folder.read_config(place))
    if stored["command"] != "sweep":
        raise InputError(f"{place} holds a run of `hfac {stored['command']}`; records are read of sweeps")
    job = build(stored, problem, algorithm, place)
    data = _work.ordered(job, place)
    index, _ = one_run(job, which or {}, seed)
    steps = data["step"].values.tolist()
    if step is not None and step not in steps:
        raise InputError(f"step {step} was not recorded; the sweep has {', '.join(map(str, steps))}")
    at = -1 if step is None else steps.index(step)
    variant, own = divmod(index, job.runs_per_variant)
    *dims, _ = data["status"].dims
    where = np.unravel_index(index, [data.sizes[dim] for dim in dims])
    run = data.isel(dict(zip(dims, map(int, where), strict=True)) | {"step": at})
    return trees(job.variants[variant].algorithm, job.grid.one(own // len(job.seeds)), run)

"""``hfac compare PROBLEM``: methods tuned alike, on the same seeds and samples; one table, curves."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hfac import _files
from hfac._errors import InputError
from hfac._registry import find
from hfac.algorithms import REGISTRY as ALGORITHMS
from hfac.cli import _config, _sweep, _tune
from hfac.cli._request import Request
from hfac.cli._settings import FROM_PROBLEM
from hfac.cli._values import Count, Real
from hfac.settings import LEAST_JUDGED


@dataclasses.dataclass(frozen=True)
class Compare:
    """Settings of a comparison; every method gets the same search, seeds and samples."""

    algorithms: tuple[str, ...] = ("hfac", "nested", "partial", "zeroth_order")
    """Methods of `hfac.algorithms.REGISTRY`; hfac is always among them, as what the others are compared to."""
    samples: Count = 1_000_000
    """Environment samples of every run. A run ends at its last record point not above it."""
    model_steps: Count = 0
    """Steps of methods that use no samples; 0 stands for the number that hfac does."""
    seeds: Count = 16
    """Seeds of every method, the same for all."""
    first_seed: Count = 0
    """The first of them; the others follow."""
    settings: tuple[Path, ...] = ()
    """Files best.json of `hfac tune`; the methods they name are not tuned again."""
    budget: Count = 0
    """Samples of every method's search; 0 stands for 100 times --samples. Steps where no samples are counted. A
    comparison keeps it: a method that comes later is tuned as the others were."""
    tuning_seeds: Count = 2
    """Seeds of every candidate in a search's first round, from 1,000,000 on: they are never reported."""
    design: Literal["random", "grid"] = "random"
    """Candidates, as in `hfac tune`."""
    rounds: Count = 4
    """Rounds of every search, as in `hfac tune`."""
    search: tuple[str, ...] = ()
    """Axes of the searches, as in `hfac tune`; an option goes to the methods that have it."""
    rungs: Count = 2
    """Stages of halving in a round."""
    reduction: Count = 4
    """Factor by which candidates fall and steps rise from rung to rung, >= 2."""
    search_seed: Count = 0
    """Seed of the random candidates, the same for every method."""
    judge: Annotated[Real | None, tyro.conf.arg(help_behavior_hint=FROM_PROBLEM)] = None
    """Entropy weight tau at which x is judged, > 0."""
    target: Real | None = None
    """Objective whose first crossing is timed; 90 % of the way from the start to the exact descent unless given."""
    out: Path | None = None
    """Folder to write to; it must not hold anything. A new one under runs/ unless given."""
    devices: Count = 0
    """Devices to use; 0 takes all. On CPUs a device is a core."""
    cache: bool = True
    """Keep compiled programs in the user's cache folder."""
    figures: bool = True
    """Draw the figures."""
    quiet: bool = False
    """Print errors and the tables only."""


GROWS = ("samples", "model_steps", "seeds", "first_seed", "algorithms", "target", "judge", "settings")


def request(args: Sequence[str], stored: Mapping[str, Any] | None = None) -> Request | None:
    """The command's request, or None after the general help; flags override what is stored."""
    return _sweep.resolve(list(args), "compare", Compare, check, stored)


def check_growth(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise `InputError` unless a comparison keeps what it has: seeds, samples and methods can grow."""
    from hfac import runs

    changed = {words.partition(" ")[0] for words in runs.differences(old, new)} - {"version", *GROWS}
    if changed:
        raise InputError(f"a comparison keeps its {', '.join(sorted(changed))}; seeds, samples and methods can grow")
    for name in ("samples", "seeds", "model_steps"):
        if new[name] < old[name]:
            raise InputError(f"--{name} can only grow: the comparison has {old[name]:,}, got {new[name]:,}")
    ends = [(each["first_seed"], each["first_seed"] + each["seeds"]) for each in (old, new)]
    if ends[1][0] > ends[0][0] or ends[1][1] < ends[0][1]:
        have, got = (f"{first} to {end - 1}" for first, end in ends)
        raise InputError(f"--seeds can only grow: the comparison has {have}, got {got}")
    lost = [name for name in old["algorithms"] if name not in new["algorithms"]]
    if lost:
        raise InputError(f"--algorithms must hold what it held: {', '.join(old['algorithms'])}")


def check(settings: Compare) -> None:
    """Raise `InputError` unless the settings are in range."""
    at_least = {"samples": 1, "model_steps": 0, "seeds": 2, "first_seed": 0, "budget": 0, "tuning_seeds": 1}
    for name, least in {**at_least, "rounds": 1, "rungs": 1, "reduction": 2, "devices": 0}.items():
        if getattr(settings, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(settings, name)}")
    if settings.first_seed + settings.seeds > _tune.Tune.first_seed:
        raise InputError(
            f"--first-seed and --seeds must stay below {_tune.Tune.first_seed:,}, where tuning seeds begin"
        )
    _tune.check_rounds(settings.rounds)
    if settings.judge is not None and not settings.judge >= LEAST_JUDGED[True]:
        raise InputError(f"--judge must be at least {LEAST_JUDGED[True]:g}, got {settings.judge:g}")
    if not settings.algorithms:
        raise InputError("--algorithms is empty; name at least one method")
    for name in settings.algorithms:
        find(ALGORITHMS, name, "algorithm")
        if settings.algorithms.count(name) > 1:
            raise InputError(f"--algorithms lists '{name}' twice")
    for path in settings.settings:
        _config.read_file(_files.shown(path), "--settings")
    _tune.axes(settings.search)

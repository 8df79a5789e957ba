"""Groups of settings; a command composes those that it honours, and has no others."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hfac.cli._values import Count, Numbers, Real
from hfac.settings import JUDGE

FROM_PRESET = "(default: the preset's)"
FROM_PROBLEM = f"(default: {JUDGE}, or what the problem is meant for)"
FromProblem = Annotated[Numbers, tyro.conf.arg(help_behavior_hint=FROM_PROBLEM)]
FromPreset = Annotated[Numbers, tyro.conf.arg(help_behavior_hint=FROM_PRESET)]


@dataclasses.dataclass(frozen=True)
class Lists:
    """Numbers of the schedules; lists are crossed."""

    zip: tuple[str, ...] = ()
    """Groups of lists to pair instead of crossing them: --zip entropy,actor-power (no blanks); may be repeated."""
    upper: FromPreset = ()
    """Scale of the upper step zeta."""
    upper_power: FromPreset = ()
    """Its power."""
    upper_offset: FromPreset = ()
    """Steps before it decays."""
    upper_floor: FromPreset = ()
    """Its smallest value."""
    actor: FromPreset = ()
    """Scale of the actor step alpha."""
    actor_power: FromPreset = ()
    """Its power."""
    actor_offset: FromPreset = ()
    """Steps before it decays."""
    actor_floor: FromPreset = ()
    """Its smallest value."""
    critic: FromPreset = ()
    """Scale of the critic step beta."""
    critic_power: FromPreset = ()
    """Its power."""
    critic_offset: FromPreset = ()
    """Steps before it decays."""
    critic_floor: FromPreset = ()
    """Its smallest value."""
    penalty: FromPreset = ()
    """Scale of the penalty parameter w; small is strong."""
    penalty_power: FromPreset = ()
    """Its power."""
    penalty_offset: FromPreset = ()
    """Steps before it decays."""
    penalty_floor: FromPreset = ()
    """Its smallest value."""
    entropy: Annotated[Numbers, tyro.conf.arg(help_behavior_hint=FROM_PRESET, aliases=["--tau"])] = ()
    """Scale of the entropy weight tau."""
    entropy_power: Annotated[Numbers, tyro.conf.arg(help_behavior_hint=FROM_PRESET, aliases=["--tau-power"])] = ()
    """Its power; 0 keeps tau fixed."""
    entropy_offset: Annotated[Numbers, tyro.conf.arg(help_behavior_hint=FROM_PRESET, aliases=["--tau-offset"])] = ()
    """Steps before it decays."""
    entropy_floor: Annotated[Numbers, tyro.conf.arg(help_behavior_hint=FROM_PRESET, aliases=["--tau-floor"])] = ()
    """Its smallest value."""
    offset: FromPreset = ()
    """Offset of all five rates."""


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a machine runs it."""

    devices: Count = 0
    """Devices to use; 0 takes all. On CPUs a device is a core."""
    block_width: Count = 0
    """Runs side by side in one block of a device; 0 chooses. The last bits of a run's numbers depend on it."""
    deterministic: bool = False
    """On a GPU, add up in a fixed order: the same bits every time, more slowly. On CPUs they always are."""
    cache: bool = True
    """Keep compiled programs in the user's cache folder, so that the next process starts at once."""


@dataclasses.dataclass(frozen=True)
class Checkpointing:
    """When states are kept, and what ends a sweep early."""

    checkpoint_minutes: Real = 5.0
    """Longest time between checkpoints, > 0; there is one at record points too."""
    on_divergence: Literal["keep", "stop"] = "keep"
    """When a run diverges or is stopped: keep the others going, or stop the sweep at the next record point."""


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Which part of it this process runs."""

    shard: str | None = None
    """I/N: only the I-th of N equal shares of the runs, I from 1 to N; `hfac merge` puts the shares together."""
    distributed: bool = False
    """One of several processes that share --out, found by themselves on SLURM, Kubernetes and TPU pods."""
    coordinator: str | None = None
    """HOST:PORT of the first process, where they are not found by themselves."""
    num_processes: Count | None = None
    """How many there are."""
    process_id: Count | None = None
    """Which one this is, from 0."""


@dataclasses.dataclass(frozen=True)
class Output:
    """Where it goes, and what is shown."""

    out: Path | None = None
    """Folder to write to; it must not hold anything. A new one under runs/ unless given."""
    figures: bool = True
    """Draw the figures."""
    quiet: bool = False
    """Print errors, and of tune, compare, rates and diagnose what they found."""

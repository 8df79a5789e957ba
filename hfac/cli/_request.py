"""What a person asked for: a parsed command line, and which process of several this is."""

import dataclasses
from typing import Any, NamedTuple


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process among those at work on one sweep."""

    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it plans, and reports at the end."""
        return self.index == 0


class Request(NamedTuple):
    """A parsed command line."""

    problem: str
    settings: Any  # the command's own dataclass
    problem_options: Any
    algorithm_options: Any = None  # None where a command takes several methods
    command: str = "sweep"
    resumed: bool = False  # whether the folder holds this run already
    processes: Processes = Processes()

    @property
    def shard(self) -> str | None:
        """I/N, where only a share of the runs is meant."""
        return getattr(self.settings, "shard", None)

"""What a person asked for: a parsed command line."""

from typing import Any, NamedTuple


class Request(NamedTuple):
    """A parsed command line."""

    problem: str
    settings: Any  # the command's own dataclass
    problem_options: Any
    algorithm_options: Any = None  # None where a command takes several methods
    command: str = "sweep"
    is_resumed: bool = False  # whether the folder holds this run already

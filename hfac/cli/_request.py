"""What a person asked for: a parsed command line."""

from typing import Any, NamedTuple

from hfac._places import short


class Request(NamedTuple):
    """A parsed command line."""

    problem: str  # its name, or where a person's own is
    settings: Any  # the command's own dataclass
    problem_options: Any
    algorithm_options: Any = None  # None where a command takes several methods
    command: str = "sweep"
    is_resumed: bool = False  # whether the folder holds this run already

    @property
    def name(self) -> str:
        """The problem's, for titles and folders."""
        return short(self.problem)

    @property
    def method(self) -> str:
        """The method's, for titles, of a command that has one."""
        return short(self.settings.algorithm)

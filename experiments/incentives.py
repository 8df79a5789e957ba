"""Incentives: the leader pays a neural follower for going where it likes, its profit judged exactly.

    python -m experiments.incentives --out runs/incentives    # some two minutes on two cores

It is `control_exact` on this problem alone: hfac, partial, and the end of an exact descent.
"""

import dataclasses
from pathlib import Path

from experiments import control_exact, shown


@dataclasses.dataclass(frozen=True)
class Study(control_exact.Study):
    """What to run."""

    out: Path = Path("runs/incentives")
    """Folder to write to; must not exist."""
    steps: tuple[int, ...] = (10_000,)
    """Of its runs."""
    problems: tuple[str, ...] = ("incentives",)
    """The table, alone."""


def main(study: Study) -> None:
    """Run both methods on the grid."""
    control_exact.main(study, "incentives")


if __name__ == "__main__":
    shown.run(main, Study)

"""Preferences over pairs of segments: hfac and partial, on a policy's own pairs, on anchored pairs, by win rate.

    python -m experiments.preferences --out runs/preferences                          # fifteen minutes on two cores
    python -m experiments.preferences --environment pendulum --out runs/preferences_pendulum

The follower never sees the environment's reward; `true_reward` is the same follower that does.
"""

import dataclasses
from pathlib import Path

from experiments import returns, shown
from experiments.returns import Arm
from hfac.problems import preferences

ANCHORED = {"pairs": "anchored"}
ARMS = {
    "partial": Arm(preferences, "partial", 3e-3),
    "partial, anchored": Arm(preferences, "partial", 3e-3, problem_options=ANCHORED),
    "hfac": Arm(preferences, "hfac", 3e-3, 10.0),
    "hfac, anchored": Arm(preferences, "hfac", 3e-3, 10.0, ANCHORED),
    "hfac, win rate": Arm(preferences, "hfac", 1e-3, 30.0, ANCHORED | {"leader": "win_rate"}),
    "partial, win rate": Arm(preferences, "partial", 1e-3, 1.0, ANCHORED | {"leader": "win_rate"}),
    "true reward": Arm(preferences, "true_reward", 1e-3),
}


@dataclasses.dataclass(frozen=True)
class Study(returns.Study):
    """What to run."""

    out: Path = Path("runs/preferences")
    """Folder to write to; must not exist."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Which methods and problems."""


def main(study: Study) -> None:
    """Run the arms."""
    returns.main("preferences", study, ARMS)


if __name__ == "__main__":
    shown.run(main, Study)

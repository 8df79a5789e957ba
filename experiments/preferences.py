"""Preferences over pairs of segments: hfac and partial, on a policy's own pairs, on anchored pairs, by win rate.

    python -m experiments.preferences --out runs/preferences                          # fifteen minutes on two cores
    python -m experiments.preferences --environment acrobot --arms partial "true reward" --out runs/acrobot
    python -m experiments.preferences --environment pendulum --arms partial "true reward" --out runs/pendulum

The follower never sees the environment's reward; `true_reward` is the same follower that does.
"""

import dataclasses
from pathlib import Path
from typing import Any

from experiments import returns, shown
from experiments.returns import PAIRED, Arm
from hfac import problems
from hfac.control import ControlProblem

SEGMENTS = {"acrobot": 32, "mountain_car": 32}  # steps, where an episode's end is seldom seen; 16 elsewhere


def preferences(environment: str, **options: Any) -> ControlProblem:
    """`hfac.problems.preferences` with segments that suit the environment."""
    return problems.preferences(environment, **{"segment": SEGMENTS.get(environment, 16), **options})


LABELS = {"actor": 1e-2, "critic": 1e-2, "entropy": 0.03, "entropy_power": 0.5, "offset": 30.0}
SETTINGS = {**returns.SETTINGS, "cartpole": returns.SETTINGS["cartpole"]._replace(rates=LABELS)}
ANCHORED = {"pairs": "anchored"}
WIN_RATE = {"pairs": "anchored", "leader": "win_rate", "segment": 64}
SLOW = {"actor": 3e-3, "entropy": 0.01, "entropy_power": 0.0, "offset": 100.0}
ARMS = {
    "partial": Arm(preferences, "partial", 3e-3),
    "partial, anchored": Arm(preferences, "partial", 3e-3, 1.0, ANCHORED),
    "hfac": Arm(preferences, "hfac", 3e-3, 10.0),
    "hfac, anchored": Arm(preferences, "hfac", 3e-3, 100.0, {**ANCHORED, "segment": 32}, PAIRED, SLOW),
    "hfac, win rate": Arm(preferences, "hfac", 1e-3, 100.0, WIN_RATE, PAIRED, SLOW),
    "partial, win rate": Arm(preferences, "partial", 1e-3, 1.0, WIN_RATE, PAIRED, SLOW),
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
    returns.main("preferences", study, ARMS, "partial", SETTINGS)


if __name__ == "__main__":
    shown.run(main, Study)

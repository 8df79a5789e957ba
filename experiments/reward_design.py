"""Reward design: the leader is judged by the hidden return, the follower learns from what the leader pays.

    python -m experiments.reward_design --out runs/reward_design                      # some three minutes on two cores
    python -m experiments.reward_design --environment acrobot --out runs/reward_design_acrobot
    python -m experiments.reward_design --environment mountain_car --steps 800 --out runs/reward_design_mountain_car

`no bi-level term` is the same follower on rewards that nobody moves: f depends on x through the policy alone.
"""

import dataclasses
from pathlib import Path

from experiments import returns, shown
from experiments.returns import Arm
from hfac.problems import reward_design

ARMS = {
    "hfac": Arm(reward_design, "hfac", 1e-3, 100.0),
    "no bi-level term": Arm(reward_design, "partial", 1e-3),
    "true reward": Arm(reward_design, "true_reward", 1e-3),
}


@dataclasses.dataclass(frozen=True)
class Study(returns.Study):
    """What to run."""

    out: Path = Path("runs/reward_design")
    """Folder to write to; must not exist."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Which methods and problems."""


def main(study: Study) -> None:
    """Run the arms."""
    returns.main("reward_design", study, ARMS, "no bi-level term")


if __name__ == "__main__":
    shown.run(main, Study)

"""The problem catalogue: one builder per file, named in `REGISTRY`.

A new problem is one file and one line here.
"""

from typing import Any

from hfac._registry import names, resolve

REGISTRY: dict[str, Any] = {
    "beacon": "hfac.problems._beacon:beacon",
    "beacon_control": "hfac.control.problems._tables:beacon_control",
    "demonstration": "hfac.problems._demonstration:demonstration",
    "finetune": "hfac.language.finetuning:finetune",
    "four_rooms": "hfac.problems._four_rooms:four_rooms",
    "four_rooms_control": "hfac.control.problems._tables:four_rooms_control",
    "goal_placement": "hfac.problems._goal_placement:goal_placement",
    "goal_placement_control": "hfac.control.problems._tables:goal_placement_control",
    "incentives": "hfac.problems._incentives:incentives",
    "incentives_control": "hfac.control.problems._tables:incentives_control",
    "linear_reward": "hfac.problems._linear_reward:linear_reward",
    "preferences": "hfac.control.problems._preferences:preferences",
    "random_mdp": "hfac.problems._random_mdp:random_mdp",
    "reward_design": "hfac.control.problems._reward_design:reward_design",
    "reward_shaping": "hfac.problems._reward_shaping:reward_shaping",
    "slippery_grid": "hfac.problems._slippery_grid:slippery_grid",
    "tweets": "hfac.tweets._setup:tweets",
}


def __getattr__(name: str) -> Any:
    return resolve(REGISTRY, name, "problem")


def __dir__() -> list[str]:
    return names(REGISTRY)

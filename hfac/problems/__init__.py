"""The problem catalogue: one builder per file, named in `REGISTRY`.

A new problem is one file and one line here.
"""

from typing import Any

from hfac._registry import names, resolve

REGISTRY: dict[str, Any] = {
    "beacon": "hfac.problems._beacon:beacon",
    "demonstration": "hfac.problems._demonstration:demonstration",
    "four_rooms": "hfac.problems._four_rooms:four_rooms",
    "goal_placement": "hfac.problems._goal_placement:goal_placement",
    "linear_reward": "hfac.problems._linear_reward:linear_reward",
    "random_mdp": "hfac.problems._random_mdp:random_mdp",
    "reward_shaping": "hfac.problems._reward_shaping:reward_shaping",
    "slippery_grid": "hfac.problems._slippery_grid:slippery_grid",
    "tweets": "hfac.tweets._setup:tweets",
}


def __getattr__(name: str) -> Any:
    return resolve(REGISTRY, name, "problem")


def __dir__() -> list[str]:
    return names(REGISTRY)

"""Environments by name: one builder per file, named in `REGISTRY`."""

from typing import Any

from hfac._registry import names, resolve

REGISTRY: dict[str, Any] = {
    "acrobot": "hfac.control.environments._acrobot:acrobot",
    "cartpole": "hfac.control.environments._cartpole:cartpole",
    "mountain_car": "hfac.control.environments._mountain_car:mountain_car",
    "pendulum": "hfac.control.environments._pendulum:pendulum",
}


def __getattr__(name: str) -> Any:
    return resolve(REGISTRY, name, "environment")


def __dir__() -> list[str]:
    return names(REGISTRY)

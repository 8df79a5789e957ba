"""Environments by name: one builder per file, named in `REGISTRY`; `make` also finds those of other packages."""

from typing import Any

from hfac import _registry
from hfac._errors import InputError, nearest
from hfac.control import adapters

REGISTRY: dict[str, Any] = {
    "acrobot": "hfac.control.environments._acrobot:acrobot",
    "cartpole": "hfac.control.environments._cartpole:cartpole",
    "mountain_car": "hfac.control.environments._mountain_car:mountain_car",
    "pendulum": "hfac.control.environments._pendulum:pendulum",
}


def make(name: str) -> Any:
    """The `hfac.control.Environment` of a name.

    Args:
      name: of `REGISTRY`, or of another package, ``PACKAGE:NAME``, with a package of `hfac.control.adapters.REGISTRY`.

    Raises:
      InputError: if there is none, or the package is not installed.
    """
    package, is_of_package, own = name.partition(":")
    if is_of_package:
        return _registry.find(adapters.REGISTRY, package, "package of environments")(own)
    if name not in REGISTRY:
        known = [*REGISTRY, *(f"{package}:NAME" for package in adapters.REGISTRY)]
        raise InputError(f"unknown environment '{name}'{nearest(name, known)}")
    return _registry.load(REGISTRY[name])()


def __getattr__(name: str) -> Any:
    return _registry.resolve(REGISTRY, name, "environment")


def __dir__() -> list[str]:
    return _registry.names(REGISTRY)

"""Environments by name: one builder per file, named in `REGISTRY`; `make` also finds those of other packages."""

from typing import Any

from hfac import _places, _registry
from hfac._errors import InputError, nearest
from hfac.control import adapters
from hfac.control.environment import Environment

REGISTRY: dict[str, Any] = {
    "acrobot": "hfac.control.environments._acrobot:acrobot",
    "cartpole": "hfac.control.environments._cartpole:cartpole",
    "mountain_car": "hfac.control.environments._mountain_car:mountain_car",
    "pendulum": "hfac.control.environments._pendulum:pendulum",
}


def make(name: str) -> Any:
    """The `hfac.control.Environment` of a name.

    Args:
      name: of `REGISTRY`, or of another package, ``PACKAGE:NAME``, with a package of `hfac.control.adapters.REGISTRY`,
        or your own: ``FILE.py:BUILDER``.

    Raises:
      InputError: if there is none, or the package is not installed.
    """
    package, is_elsewhere, own = name.partition(":")
    if package not in adapters.REGISTRY and _places.is_place(name):
        return _own(name)
    if is_elsewhere:
        return _registry.find(adapters.REGISTRY, package, "package of environments")(own)
    if name not in REGISTRY:
        known = [*REGISTRY, *(f"{package}:NAME" for package in adapters.REGISTRY)]
        raise InputError(f"unknown environment '{name}'{nearest(name, known)}")
    return _registry.load(REGISTRY[name])()


def _own(name: str) -> Environment:
    """An environment of a person's own file.

    Raises:
      InputError: if it is none.
    """
    made = _places.builder(name, "environment", adapters.REGISTRY)()
    if not isinstance(made, Environment):
        raise InputError(f"environment {name}: it must be an hfac.control.Environment, got a {type(made).__name__}")
    return made


def __getattr__(name: str) -> Any:
    return _registry.resolve(REGISTRY, name, "environment")


def __dir__() -> list[str]:
    return _registry.names(REGISTRY)

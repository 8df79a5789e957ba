"""``hfac rates PROBLEM``: measured convergence rates, their intervals over seeds, and what the theory says."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import tyro

from hfac._errors import InputError
from hfac.cli import _sweep
from hfac.cli._request import Request
from hfac.cli._values import Count, Numbers

DECADES = 2  # of the default window


@dataclasses.dataclass(frozen=True)
class Rates(_sweep.Sweep):
    """Settings of a rate measurement: those of a sweep, and the window of the fit."""

    steps: Count = 10_000_000
    """Iterations of every run, >= 1; two decades of the theory's power laws need many."""
    preset: Literal["recommended", "attenuating", "fixed"] | None = "attenuating"
    """Schedules to start from: attenuating (theory: -1/10, for the original problem), fixed (-1/3, for the
    regularised one), or recommended (found by search, where there are any)."""
    window: Annotated[Numbers, tyro.conf.arg(help_behavior_hint="(default: the last two decades)")] = ()
    """First and last step of the fit."""
    record: Annotated[Literal["x", "tables"], tyro.conf.Suppress] = "tables"
    """Residuals compare all tables."""

    @property
    def fitted(self) -> tuple[float, float]:
        """The window."""
        return (self.window[0], self.window[1]) if self.window else (self.steps / 10**DECADES, float(self.steps))


def request(args: Sequence[str], stored: Mapping[str, Any] | None = None) -> Request | None:
    """The command's request, or None after the general help; flags override what is stored."""
    return _sweep.resolve(list(args), "rates", Rates, check, stored)


def check(settings: Rates) -> None:
    """Raise `InputError` unless the settings are in range."""
    _sweep.check_sweep(settings)
    if len(settings.judge) > 1:
        raise InputError(f"--judge takes one entropy weight here, got {len(settings.judge)}")
    if settings.seeds < 2:
        raise InputError(f"--seeds must be at least 2, got {settings.seeds}: an interval needs them")
    if settings.window and (len(settings.window) != 2 or not 1 <= settings.window[0] < settings.window[1]):
        raise InputError(f"--window takes the first and the last step of the fit, got {settings.window}")
    if settings.fitted[1] > settings.steps:
        raise InputError(
            f"--window must end at --steps {settings.steps:,} at the latest, got {settings.fitted[1]:,.0f}"
        )

"""Step sizes, penalty and entropy weights as functions of the step; presets; grids of schedules.

Every rate is a `PowerDecay`; five of them make a `Schedules`, a pytree of numbers, so that a whole
grid of schedules is one vmapped axis. zeta, alpha, beta, w, tau of the paper are ``upper``,
``actor``, ``critic``, ``penalty``, ``entropy``.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac import _checks
from hfac.settings import FIELDS as FIELDS
from hfac.settings import METHOD, RATE_SETTINGS
from hfac.settings import RATES as RATES

MAX_CONFIGURATIONS = 10_000_000  # of one grid
# Theory's exponents, balancing the error terms of the convergence analysis (Zeng et al. [2601.16399]).
ATTENUATING_POWERS = {"upper": 9 / 10, "actor": 1 / 2, "critic": 1 / 2, "penalty": 3 / 20, "entropy": 1 / 20}
FIXED_POWERS = {"upper": 2 / 3, "actor": 2 / 3, "critic": 2 / 3, "penalty": 1 / 6, "entropy": 0.0}


def _as_tree(cls: type) -> type:
    """Register a dataclass as a pytree whose leaves may be anything: only what a person builds is checked."""
    names = [field.name for field in dataclasses.fields(cls)]

    def flatten(node: Any) -> tuple[list[tuple[Any, Any]], None]:
        return [(jax.tree_util.GetAttrKey(name), getattr(node, name)) for name in names], None

    def unflatten(_: None, leaves: Iterable[Any]) -> Any:
        node: Any = object.__new__(cls)
        for name, leaf in zip(names, leaves, strict=True):
            object.__setattr__(node, name, leaf)
        return node

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
    return cls


@_as_tree
@dataclasses.dataclass(frozen=True)
class PowerDecay:
    """A power-law rate: ``max(floor, scale * (1 + k / offset) ** -power)`` at step k.

    Args:
      scale: value at step 0, > 0.
      power: exponent, >= 0; 0 is constant.
      offset: steps before the decay sets in, > 0.
      floor: smallest value, in [0, scale].

    Raises:
      ValueError: if what is no tracer is no number, or out of range.
    """

    scale: Any
    power: Any = 0.0
    offset: Any = 1.0
    floor: Any = 0.0

    def __post_init__(self) -> None:
        """Check every number that is no tracer."""
        for name in FIELDS:
            is_strict = name in ("scale", "offset")
            rule = f"be finite and {'>' if is_strict else '>='} 0"
            _checks.number(f"schedule {name}", getattr(self, name), rule, 0, is_strict)
            _check_single(name, getattr(self, name))
        pair = (self.floor, self.scale)
        if not _checks.is_traced(pair) and np.any(np.asarray(self.floor) > np.asarray(self.scale)):
            low, high = map(_checks.show, pair)
            raise ValueError(f"schedule floor must not exceed its scale {high}, got {low}")

    def __call__(self, step: jax.Array | int) -> jax.Array:
        """The rate at an iteration."""
        scale, power, offset, floor = map(_as_float, (self.scale, self.power, self.offset, self.floor))
        return jnp.maximum(floor, scale * jnp.exp(-power * jnp.log1p(jnp.asarray(step).astype(scale.dtype) / offset)))

    def __str__(self) -> str:
        """As ``0.01 (1+k/1,000)^-0.5 >= 0.001``; what is zero is left out."""
        decay = f" (1+k/{self.offset:,.6g})^-{self.power:.3g}" if self.power else ""
        return f"{self.scale:.4g}{decay}" + (f" >= {self.floor:.3g}" if self.floor else "")


def _check_single(name: str, value: Any) -> None:
    """Raise `ValueError` if a number is none in single precision, in which runs are made."""
    if _checks.is_traced(value):
        return
    with np.errstate(over="ignore", under="ignore"):
        wide, single = np.asarray(value, float), np.asarray(value, float).astype(np.float32)
    if np.any((wide > 0) & (single == 0)) or not np.all(np.isfinite(single)):
        raise ValueError(f"schedule {name} must be a number of single precision, got {_checks.show(value)}")


def _as_float(leaf: Any) -> jax.Array:
    array = jnp.asarray(leaf)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


class Rates(NamedTuple):
    """The five rates at one step."""

    upper: jax.Array  # zeta
    actor: jax.Array  # alpha
    critic: jax.Array  # beta
    penalty: jax.Array  # w
    entropy: jax.Array  # tau


@_as_tree
@dataclasses.dataclass(frozen=True)
class Schedules:
    """The five rates of a single-loop penalty method, each a `PowerDecay`, and what else differs between runs."""

    upper: PowerDecay
    actor: PowerDecay
    critic: PowerDecay
    penalty: PowerDecay
    entropy: PowerDecay
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # numbers of the method that differ by run

    def option(self, name: str, default: Any, dtype: Any = jnp.float32) -> jax.Array:
        """A number of the method in this run: the builder's own unless the run has another."""
        return jnp.asarray(self.options.get(name, default), dtype)

    def at(self, step: jax.Array, dtype: Any = jnp.float32) -> Rates:
        """All five rates at an iteration, as scalars of one dtype."""
        cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), self)
        return Rates(*(getattr(cast, name)(step) for name in RATES))

    def __str__(self) -> str:
        """All five rates, and the method's own numbers, on one line."""
        rates = [f"{name} {getattr(self, name)}" for name in RATES]
        return ", ".join(rates + [f"{name} {value:.4g}" for name, value in self.options.items()])

    def review(self, num_steps: int | None = None) -> list[str]:
        """Plain sentences on what the theory would question; nothing is refused.

        Args:
          num_steps: horizon at which w/tau is judged, or None for step 0 only.
        """
        return [remark.words for remark in self.remarks(num_steps)]

    def remarks(self, num_steps: int | None = None) -> list["Remark"]:
        """The same, each with the settings that it is about."""
        return _remarks(self, num_steps)


class Remark(NamedTuple):
    """What the theory would question."""

    words: str
    about: tuple[str, ...]  # settings, such as "actor.power"


def _remarks(schedules: Schedules, num_steps: int | None) -> list[Remark]:
    remarks = []
    power = {name: np.asarray(getattr(schedules, name).power, float) for name in RATES}
    if np.any(power["upper"] < power["actor"]):
        words = "upper step decays slower than the actor's: the policies may fall behind x"
        remarks.append(Remark(words, ("upper.power", "actor.power")))
    if np.any(power["actor"] < power["critic"]):
        words = "actor step decays slower than the critic's: the theory asks for the opposite order"
        remarks.append(Remark(words, ("actor.power", "critic.power")))
    for step in [0] if num_steps is None else [0, num_steps]:
        w, tau = (_value(getattr(schedules, name), step) for name in ("penalty", "entropy"))
        ratio = float(np.max(w / tau))
        if ratio > 10:
            words = f"w/tau = {ratio:.3g} at step {step}: the penalty's relative bias grows like w/tau, up to 10 is "
            words += "usual; lower the penalty or raise the entropy weight"
            about = tuple(f"{rate}.{field}" for rate in ("penalty", "entropy") for field in FIELDS if field != "offset")
            remarks.append(Remark(words, about))
    return remarks


def _value(decay: PowerDecay, step: int) -> np.ndarray:
    scale, power, offset, floor = (np.asarray(leaf, float) for leaf in dataclasses.astuple(decay))
    return np.maximum(floor, scale * (1 + step / offset) ** -power)


class Balance(NamedTuple):
    """Exponents of k of the error terms in the convergence analysis; the largest is the rate."""

    travel: float  # 1 / (k zeta): how far x can have come
    tracking: float  # alpha / (tau w)^2: the policies' residual, as the hyper-gradient sees it
    penalty: float  # (w / tau^2)^2: bias of a finite w
    regularization: float | None  # tau^2: bias of a finite tau; None where tau stays and is part of the problem

    @property
    def rate(self) -> float:
        """Exponent of the slowest term: E|grad Phi|^2 = O~(k^rate)."""
        return max(term for term in self if term is not None)

    def __str__(self) -> str:
        """The terms and the rate on one line."""
        terms = {
            "1/(k zeta)": self.travel,
            "alpha/(tau w)^2": self.tracking,
            "(w/tau^2)^2": self.penalty,
            "tau^2": self.regularization,
        }
        shown = ", ".join(f"{name} {value:+.3g}" for name, value in terms.items() if value is not None)
        return f"{shown}: rate k^{self.rate:+.3g}"


def balance(schedules: Schedules) -> Balance:
    """What the analysis predicts for schedules, term by term (Zeng et al. [2601.16399]; constants are left out).

    A rate with a floor ends constant and has exponent 0. Where tau ends constant, the problem is the regularised one
    and has no bias of tau.
    """
    zeta, alpha, _, w, tau = (
        0.0 if float(decay.floor) > 0 else float(decay.power) for decay in (getattr(schedules, name) for name in RATES)
    )
    regularization = -2 * tau if tau > 0 else None
    return Balance(zeta - 1, -alpha + 2 * tau + 2 * w, -2 * w + 4 * tau, regularization)


def make(scales: Mapping[str, Any], powers: Mapping[str, Any], offset: Any, overrides: Mapping[str, Any]) -> Schedules:
    """Assemble schedules from per-rate scales and powers; `overrides` are ``<rate>_<field>`` numbers."""
    settings = {name: {"scale": scales[name], "power": powers[name], "offset": offset} for name in RATES}
    for key, value in overrides.items():
        rate, _, field = key.partition("_")
        if rate not in RATES or field not in FIELDS:
            raise ValueError(
                f"unknown schedule option '{key}'; options are <rate>_<field>, rates {RATES}, fields {FIELDS}"
            )
        settings[rate][field] = value
    decays: dict[str, Any] = {name: PowerDecay(**fields) for name, fields in settings.items()}
    return Schedules(**decays)


def attenuating(
    upper: Any = 0.0045,
    actor: Any = 3.5,
    critic: Any = 0.86,
    penalty: Any = 6.7,
    entropy: Any = 0.0142,
    offset: Any = 17_200.0,
    **overrides: Any,
) -> Schedules:
    """Attenuating entropy: the powers of the theory for the unregularised problem, O(K^-1/10).

    Args:
      upper: scale of the upper step zeta.
      actor: scale of the actor step alpha.
      critic: scale of the critic step beta.
      penalty: scale of the penalty parameter w.
      entropy: scale of the entropy weight tau.
      offset: steps before the decay sets in, all five rates.
      **overrides: single numbers, such as ``entropy_power=0.1`` or ``actor_floor=1e-3``.
    """
    scales = dict(zip(RATES, (upper, actor, critic, penalty, entropy), strict=True))
    return make(scales, ATTENUATING_POWERS, offset, overrides)


def fixed(
    upper: Any = 0.0045,
    actor: Any = 3.5,
    critic: Any = 0.86,
    penalty: Any = 2.0,
    entropy: Any = 0.03,
    offset: Any = 17_200.0,
    **overrides: Any,
) -> Schedules:
    """Constant entropy: the powers of the theory for the regularised problem, O(K^-1/3).

    Arguments are those of `attenuating`.
    """
    scales = dict(zip(RATES, (upper, actor, critic, penalty, entropy), strict=True))
    return make(scales, FIXED_POWERS, offset, overrides)


def replace(base: Schedules, settings: Mapping[str, Any]) -> Schedules:
    """The same schedules with other numbers, named as in ``{"entropy.scale": 0.01}``.

    Raises:
      ValueError: if a name is unknown or a number out of range.
    """
    for key, value in settings.items():
        _check_setting(key)
        rate, _, field = key.partition(".")
        if rate == METHOD:
            _checks.number(key, value)
            base = dataclasses.replace(base, options={**base.options, field: value})
            continue
        decay = dataclasses.replace(getattr(base, rate), **{field: value})
        base = dataclasses.replace(base, **{rate: decay})
    return base


def _check_setting(key: str) -> None:
    rate, _, field = key.partition(".")
    if rate == METHOD and field:
        return
    if rate not in RATES or field not in FIELDS:
        rate = {"tau": "entropy", "w": "penalty", "zeta": "upper"}.get(rate, rate)
        remedy = f"did you mean '{rate}.scale'?" if rate in RATES and not field else "settings are <rate>.<field>"
        raise ValueError(f"unknown schedule setting '{key}'; {remedy}; rates {RATES}, fields {FIELDS}")


class Coordinates(NamedTuple):
    """Labels of a grid: every dimension in order, each with one or more named value lists."""

    dims: tuple[str, ...]
    values: dict[str, dict[str, np.ndarray]]  # dim -> {coordinate name: values [size of dim]}

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(len(next(iter(self.values[dim].values()))) for dim in self.dims)


class Grid(NamedTuple):
    """Schedules side by side, and what they are called."""

    schedules: Schedules  # leaves [M]
    coordinates: Coordinates

    @property
    def size(self) -> int:
        """M, the product of the dimensions' sizes."""
        return math.prod(self.coordinates.shape)

    def one(self, index: int) -> Schedules:
        """The schedules of one configuration, plain numbers."""
        return jax.tree.map(lambda leaf: float(np.broadcast_to(leaf, (self.size,))[index]), self.schedules)


def single(schedules: Schedules) -> Grid:
    """A grid of one configuration without a name."""
    return Grid(jax.tree.map(lambda leaf: np.full(1, leaf, float), schedules), Coordinates((), {}))


def grid(base: Schedules, axes: Mapping[str | tuple[str, ...], Sequence[Any]]) -> Grid:
    """Cross lists of settings into one batch of schedules.

    Args:
      base: schedules that give every number not listed.
      axes: ``"entropy.scale": [values]``; a tuple of names pairs their values: ``("actor.scale",
        "critic.scale"): [(a, b), ...]``. ``"algorithm.pen_rate"`` is a number of the method. Each entry is one
        dimension.

    Returns:
      Schedules whose every leaf is [M], M the product of the list lengths, the last axis fastest;
      and the coordinates of the dimensions: a `Grid`.

    Raises:
      ValueError: if a name is unknown, a list is empty, or a pair has the wrong length.
    """
    for key, rows in axes.items():
        if isinstance(rows, str) or not hasattr(rows, "__len__"):
            raise ValueError(f"the list for {key} must be a list of numbers, got {rows!r}")
    names = [key if isinstance(key, tuple) else (key,) for key in axes]
    lists = [[tuple(v) if isinstance(key, tuple) else (v,) for v in vals] for key, vals in axes.items()]
    _check_axes(names, lists)
    values = {
        keys[0]: {key: np.asarray([row[i] for row in rows], float) for i, key in enumerate(keys)}
        for keys, rows in zip(names, lists, strict=True)
    }
    coordinates = Coordinates(tuple(keys[0] for keys in names), values)
    size = math.prod(coordinates.shape)
    if size > MAX_CONFIGURATIONS:
        lengths = " x ".join(f"{n:,}" for n in coordinates.shape)
        raise ValueError(
            f"lists of {lengths} values cross to {size:,}; at most {MAX_CONFIGURATIONS:,} may be run at once"
        )
    leaves = {name.path: np.full(size, getattr(getattr(base, name.owner), name.field), float) for name in RATE_SETTINGS}
    leaves |= {f"{METHOD}.{name}": np.full(size, value, float) for name, value in base.options.items()}
    before, after = 1, size
    for keys, rows in zip(names, lists, strict=True):
        after //= len(rows)
        for i, key in enumerate(keys):
            leaves[key] = np.tile(np.repeat(np.asarray([row[i] for row in rows], float), after), before)
        before *= len(rows)
    decays = {rate: PowerDecay(**{field: leaves[f"{rate}.{field}"] for field in FIELDS}) for rate in RATES}
    options = {key.partition(".")[2]: leaf for key, leaf in leaves.items() if key.startswith(f"{METHOD}.")}
    return Grid(Schedules(**decays, options=options), coordinates)


def _check_axes(names: list[tuple[str, ...]], lists: list[list[tuple[Any, ...]]]) -> None:
    flat = [key for keys in names for key in keys]
    for key in flat:
        _check_setting(key)
        if flat.count(key) > 1:
            raise ValueError(f"schedule setting '{key}' is listed twice; list it once")
    for keys, rows in zip(names, lists, strict=True):
        if not rows:
            raise ValueError(f"the list for {', '.join(keys)} is empty; give at least one value")
        if any(len(row) != len(keys) for row in rows):
            raise ValueError(f"every entry for {', '.join(keys)} must have {len(keys)} values")
        for key, value in ((key, value) for row in rows for key, value in zip(keys, row, strict=True)):
            _checks.number(key, value)
            if np.ndim(value):
                raise ValueError(f"{key} must be one number, got {_checks.show(value)}")

"""A bi-level problem on an environment: the leader's reward, its objective, and how it is judged."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac import _checks
from hfac._compiler import random
from hfac._registry import load
from hfac.control import networks
from hfac.control.environment import Discrete, Environment, any_action, check, reached, strong
from hfac.control.networks import Distribution, Network
from hfac.control.rollouts import Sampler
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Key, PyTree

SMALL = 0.01  # factor of the last layer of an actor: first policies are nearly uniform, or nearly centred


class Segment(NamedTuple):
    """Consecutive steps of one episode, the first of which a label is about."""

    obs: jax.Array  # [L, d]
    action: jax.Array  # [L, ...]
    next_obs: jax.Array  # [L, d]
    weight: jax.Array  # [L], 1 up to the end of the episode, 0 from there on
    hidden: jax.Array  # [], the environment's own rewards, summed over the steps of weight 1


class Preferences(NamedTuple):
    """What a leader knows who sees pairs of segments, and labels of which is better."""

    loss: Callable[..., jax.Array]  # (x, segment, other, label) -> [], label 1.0 where the first is better
    num_pairs: int = 64  # labels of a step
    length: int = 16  # L, steps of a segment
    rationality: float = 1.0  # log-odds of a label per unit of the environment's own reward
    anchors: Segment | None = None  # segments to compare with, leaves [N, ...]; the policy's own unless given


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ControlProblem:
    """A bi-level problem ``min_x f(x, pi*(x))`` whose follower acts in an environment.

        J_tau(x, pi) = E[ sum_t gamma^t (r_x - tau log pi) ],   f(x, pi) = h(x) + (1 - gamma) E[ sum_t gamma^t c ] + l

    with l the mean loss of the leader's preferences over pairs of segments. Functions are of one step.

    Args:
      environment: the process; it is tried before anything is built on it.
      reward: ``(x, obs, action, next_obs) -> []``, r_x, differentiable in x.
      init_x: ``key -> x``, any tree: a table, prices, parameters of a network.
      h: ``x -> []``.
      cost: ``(x, obs, action, next_obs, hidden) -> []``, running cost c; hidden is the environment's own reward.
      preferences: pairs of segments that the leader has labels of.
      discount: gamma in (0, 1).
      actor: network of the policy; dense layers unless given.
      critic: network of every value, with one output; dense layers unless given.
      hidden: widths of the hidden layers of networks that are not given.
      squashed: squash continuous actions by tanh instead of clipping them.
      table: the tabular problem that the environment walks through, by which x is judged exactly.
      fixed_tau: the entropy weight that the problem is meant for.
      name: for messages and titles.

    Raises:
      ValueError: if a part is missing, out of range, or does not fit the environment.
    """

    environment: Environment
    reward: Callable[..., jax.Array]
    init_x: Callable[[Key], PyTree]
    h: Callable[[PyTree], jax.Array] | None = None
    cost: Callable[..., jax.Array] | None = None
    preferences: Preferences | None = None
    discount: float = 0.99
    actor: Network | None = None
    critic: Network | None = None
    hidden: tuple[int, ...] = (32, 32)
    squashed: bool = True
    table: Problem | None = None
    fixed_tau: float | None = None
    name: str = "control"
    kind: ClassVar[str] = "control"  # of the lower level, one of `hfac.options.KINDS`
    is_long: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parts against each other before anything is compiled."""
        check(self.environment)
        _checks.number("discount", self.discount)
        if not 0 < self.discount < 1:
            raise ValueError(f"discount must lie strictly between 0 and 1, got {self.discount}")
        if self.h is None and self.cost is None and self.preferences is None:
            raise ValueError("the upper objective is empty; give at least one of h, cost, preferences")
        for width in self.hidden:
            _checks.count("hidden", width)
        if self.preferences is not None:
            _check_preferences(self.preferences)
        takes = {"init_x": "key", "reward": "x, obs, action, next_obs", "h": "x"}
        takes["cost"] = f"{takes['reward']}, hidden"
        _checks.functions(self, takes, optional=("h", "cost"))
        _check_functions(self)

    @property
    def lower(self) -> Callable[..., Any]:
        """Builds the lower level, an `hfac.lower.Lower`; options are those of `hfac.control.lower`."""
        return functools.partial(load("hfac.control.lower:lower"), self)

    @property
    def judge(self) -> Callable[..., Any]:
        """Says how x is judged, an `hfac.judging.Judge`: by the oracle of the table, or by fresh episodes."""
        if self.table is not None:
            return self.table.judge
        return functools.partial(load("hfac.control.judging:judge"), self)

    @property
    def record(self) -> Callable[..., Any] | None:
        """What is kept at every record point beside x: what fresh episodes of the policies earn; None with a table."""
        return None if self.table is not None else load("hfac.control.judging:record")(self)

    def method_options(self, method: str) -> dict[str, Any]:
        """Options that commands give every method here: Adam on clipped directions."""
        return load("hfac.control.judging:method_options")(self, method)

    def finish(self, algorithm: Algorithm, *, epochs: int = 1, **options: Any) -> Algorithm:
        """A method that was built with these options, going over each draw as often as they say."""
        del options
        return algorithm if epochs == 1 else load("hfac.epochs:repeated")(algorithm, epochs)

    def sampler(self, **options: Any) -> Sampler:
        """Rollouts of its policies; options are those of `hfac.control.rollouts.Sampler`."""
        return Sampler(
            environment=self.environment,
            actor=self.policy,
            distribution=self.distribution,
            features=self.features,
            discount=self.discount,
            **options,
        )

    @functools.cached_property
    def distribution(self) -> Distribution:
        """What the actor's outputs say of actions."""
        space = self.environment.actions
        if isinstance(space, Discrete):
            return networks.categorical(space)
        return networks.tanh_gaussian(space) if self.squashed else networks.gaussian(space)

    @functools.cached_property
    def policy(self) -> Network:
        """Network of every policy."""
        return self.actor or networks.mlp(self.distribution.num_outputs, self.hidden, SMALL)

    @functools.cached_property
    def value(self) -> Network:
        """Network of every critic."""
        return self.critic or networks.mlp(1, self.hidden)

    def features(self, obs: jax.Array) -> jax.Array:
        """What networks see of observations [..., d]."""
        scale = self.environment.scale  # frozen: a running one would change what r_x means
        return obs if scale is None else obs / jnp.asarray(scale, obs.dtype)


def _check_preferences(preferences: Preferences) -> None:
    for name in ("num_pairs", "length"):
        _checks.count(f"preferences: {name}", getattr(preferences, name))
    _checks.number("preferences: rationality", preferences.rationality, "be >= 0", 0)
    anchors = preferences.anchors
    if anchors is not None and anchors.weight.shape[1:] != (preferences.length,):
        raise ValueError(f"anchors must be segments of length {preferences.length}, got weights {anchors.weight.shape}")


def _check_functions(problem: ControlProblem) -> None:
    """Raise `ValueError` unless every function returns a real scalar for the first x and a step of the environment."""
    environment = problem.environment

    def values(key: Key) -> dict[str, Any]:
        x = problem.init_x(key)
        obs, state = strong(environment.reset(key), jnp.float32)
        action = any_action(key, environment.actions)
        step = environment.step(key, state, action)
        found: dict[str, Any] = {"reward": problem.reward(x, obs, action, reached(step))}
        if problem.h is not None:
            found["h"] = problem.h(x)
        if problem.cost is not None:
            found["cost"] = problem.cost(x, obs, action, reached(step), jnp.asarray(step.reward, obs.dtype))
        return found

    with _checks.explained("a function of the problem"):
        shapes = jax.eval_shape(values, random.key(0))
    for name, found in shapes.items():
        if not isinstance(found, jax.ShapeDtypeStruct) or found.shape != () or found.dtype.kind != "f":
            got = f"shape {found.shape}, {found.dtype}" if hasattr(found, "shape") else type(found).__name__
            of = "x" if name == "h" else "one step"
            raise ValueError(f"{name} must return a real number for {of}, got {got}")
    for name, found in jax.device_get(jax.jit(values)(random.key(0))).items():
        if not np.isfinite(found):
            raise ValueError(f"{name} must be finite for the first x, got {found}")

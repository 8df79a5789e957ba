"""The lower level of a problem on an environment: neural policies, generalised advantages, TD(lambda) critics."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac import _checks
from hfac.control import pairs
from hfac.control.problem import ControlProblem
from hfac.control.rollouts import Batch, Sampler, Starts, advantages, each
from hfac.epochs import check_epochs, clipped, keeping
from hfac.lower import Draw, First, Lower
from hfac.options import Number
from hfac.types import Key, PyTree, Status, apply_updates, cast

TINY = 1e-8  # standard deviation, or weight, below which nothing was seen


class Seen(NamedTuple):
    """Steps of a policy, what it says of their actions now, and the map that pulls weights of that back to it."""

    batch: Batch
    log_prob: jax.Array  # [T, B]
    pull: Any  # [T, B] -> (direction,)
    gae_lambda: Any  # of the generalised advantages


def lower(
    problem: ControlProblem,
    *,
    num_envs: int = 16,
    num_steps: int = 32,
    starts: Starts = "restarts",
    coupled: bool = True,
    gae_lambda: Number = 0.95,
    normalize: bool = True,
    epochs: int = 1,
    clip: float = 0.2,
    num_policies: int = 2,
    dtype: Any = jnp.float32,
) -> Lower:
    """The lower level of a problem on an environment.

    Args:
      problem: a bi-level problem on an environment.
      num_envs: B, copies of the environment for every policy.
      num_steps: T, steps of each copy in one step of a method.
      starts: restarts (an episode goes on with probability gamma, Algorithm 1) or paired (episodes of all policies
        start together once all have ended).
      coupled: all policies use the same random numbers: the same law for each, a quieter difference.
      gae_lambda: of the generalised advantages and of the critics, in [0, 1]; 1 is unbiased with any critic.
      normalize: centre the actor's advantages and divide them by their standard deviation.
      epochs: passes of policies and critics over each draw; x moves in the first. Above 1 the actors ascend a clipped
        surrogate and a method is no single loop any more.
      clip: largest change of an action's probability ratio that later passes still reward, in (0, 1).
      num_policies: P, that are tracked.
      dtype: of every float in a step.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    for name, count in (("num_envs", num_envs), ("num_steps", num_steps)):
        _checks.count(name, count)
    _checks.number("gae_lambda", gae_lambda)
    if not 0 <= gae_lambda <= 1:
        raise ValueError(f"gae_lambda must lie in [0, 1], got {gae_lambda}")
    check_epochs(epochs, clip)
    if starts not in ("restarts", "paired"):
        raise ValueError(f"starts must be 'restarts' or 'paired', got '{starts}'")
    source = problem.sampler(
        num_envs=num_envs,
        num_steps=num_steps,
        num_policies=num_policies,
        starts=starts,
        coupled=coupled,
        dtype=dtype,
    )
    compare = None if problem.preferences is None else pairs.build(problem, num_envs, num_steps)
    level = _Level(
        problem, source, compare, (num_steps, num_envs), gae_lambda, normalize, clip if epochs > 1 else None, dtype
    )
    return Lower(
        init=level.init,
        draw=level.draw if epochs == 1 else keeping(level.draw),
        see=level.see,
        advantage=level.advantage,
        leader_advantage=level.leader_advantage,
        actor=level.actor,
        critic=level.semi_gradient,
        hypergradient=functools.partial(level.penalised_gradient, is_central=False),
        central_hypergradient=None if compare else functools.partial(level.penalised_gradient, is_central=True),
        upper_gradient=lambda x, seen: jax.grad(level.objective)(x, seen.batch),
        mean=lambda seen, advantage: jnp.sum(seen.batch.weight * advantage),
        look=level.look,
        watch=level.watch,
        bounds=lambda schedules: {},
        project=apply_updates,
        true_advantage=level.true_advantage,
    )


@dataclasses.dataclass(frozen=True)
class _Level:
    """The functions of a `Lower`, over steps [T, B]."""

    problem: ControlProblem
    source: Sampler
    compare: pairs.Compare | None
    shape: tuple[int, int]  # T, B
    gae_lambda: float
    normalize: bool
    clip: float | None  # of importance weights, where a batch is gone over more than once
    dtype: Any

    @property
    def gamma(self) -> jax.Array:
        return jnp.asarray(self.problem.discount, self.dtype)

    def init(self, key: Key) -> First:
        keys = [jax.random.fold_in(key, i) for i in range(4)]
        like = jnp.zeros(np.shape(self.problem.environment.observations.low), self.dtype)
        x = cast(self.problem.init_x(keys[2]), self.dtype)
        theta, value = self.problem.policy.init(keys[0], like), self.problem.value.init(keys[1], like)
        return First(x, cast(theta, self.dtype), cast(value, self.dtype), self.source.init(keys[3]), ())

    def draw(self, key: Key, chains: Any, *thetas: PyTree) -> Draw:
        (*others, last), chains = self.source.draw(key, chains, *thetas)
        if self.compare is not None:
            last = last._replace(pairs=self.compare.draw(jax.random.fold_in(key, 0), last))
        batches = (*others, last)
        num_samples = sum(jnp.sum(batch.is_alive, dtype=jnp.int32) for batch in batches)
        return Draw(batches, chains, jnp.asarray(num_samples))

    def see(self, theta: PyTree, batch: Batch, options: Mapping[str, Any]) -> Seen:
        actor, distribution = self.problem.policy, self.problem.distribution

        def says(theta: PyTree) -> jax.Array:
            def one(obs: jax.Array, kept: jax.Array) -> jax.Array:
                return distribution.log_prob(actor.apply(theta, self.problem.features(obs)), kept)

            return each(one, self.shape)(batch.obs, batch.kept)

        return Seen(batch, *jax.vjp(says, theta), options.get("gae_lambda", self.gae_lambda))

    def values(self, v: PyTree, obs: jax.Array) -> jax.Array:
        """Of a critic. [T, B]."""
        value = self.problem.value
        return each(lambda obs: value.apply(v, self.problem.features(obs)).reshape(()), self.shape)(obs)

    def along(self, seen: Seen, v: PyTree, reward: jax.Array) -> jax.Array:
        """Generalised advantages of a reward [T, B]."""
        batch = seen.batch
        delta = reward + batch.discount * self.values(v, batch.next_obs) - self.values(v, batch.obs)
        return advantages(delta, jnp.asarray(seen.gae_lambda, self.dtype) * batch.trace)

    def rewards(self, x: PyTree, batch: Batch) -> jax.Array:
        """r_x of every step. [T, B]."""
        reward = functools.partial(self.problem.reward, x)
        return each(reward, self.shape)(batch.obs, batch.action, batch.next_obs)

    def costs(self, x: PyTree, batch: Batch) -> jax.Array:
        """The leader's running cost. [T, B]."""
        cost: Any = self.problem.cost
        return each(functools.partial(cost, x), self.shape)(batch.obs, batch.action, batch.next_obs, batch.hidden)

    def advantage(self, x: PyTree, seen: Seen, v: PyTree, tau: jax.Array) -> jax.Array:
        return self.along(seen, v, self.rewards(x, seen.batch) - tau * seen.log_prob)

    def true_advantage(self, x: PyTree, seen: Seen, v: PyTree, tau: jax.Array) -> jax.Array:
        """Of the environment's own reward; of minus the leader's cost where a table gives none."""
        own = seen.batch.hidden if self.problem.table is None else -self.costs(x, seen.batch)
        return self.along(seen, v, own - tau * seen.log_prob)

    def leader_advantage(self, x: PyTree, seen: Seen, u: PyTree) -> jax.Array:
        """Of (1 - gamma) f; of pairs, u is a baseline and the loss weighs every action of both segments."""
        if self.problem.cost is not None:
            found = self.along(seen, u, (1 - self.gamma) * self.costs(x, seen.batch))
        else:
            found = -self.values(u, seen.batch.obs)
        return found if self.compare is None else found + (1 - self.gamma) * self.compare.weigh(x, seen.batch)

    def actor(self, x: PyTree, seen: Seen, advantage: jax.Array, tau: jax.Array, w: jax.Array | None = None) -> PyTree:
        del x, tau, w  # their pull is in the advantage
        weight = seen.batch.weight
        if self.normalize:
            total = jnp.maximum(jnp.sum(weight), jnp.asarray(TINY, self.dtype))  # all may wait
            advantage = advantage - jnp.sum(weight * advantage) / total
            deviation = jnp.sqrt(jnp.sum(weight * advantage**2) / total)
            advantage = advantage / (deviation + jnp.asarray(TINY, self.dtype))
        if self.clip is not None:
            advantage = clipped(advantage, seen.log_prob - seen.batch.log_prob, self.clip)
        return seen.pull(weight * advantage)[0]

    def semi_gradient(self, v: PyTree, seen: Seen, advantage: jax.Array) -> PyTree:
        return jax.vjp(lambda v: self.values(v, seen.batch.obs), v)[1](seen.batch.weight * advantage)[0]

    def earned(self, x: PyTree, batch: Batch) -> jax.Array:
        """(1 - gamma) times the discounted sum of r_x. []."""
        return jnp.sum(batch.weight * self.rewards(x, batch))

    def objective(self, x: PyTree, batch: Batch) -> jax.Array:
        """An estimate of f at a fixed policy, from its batch. []."""
        found = jnp.zeros((), self.dtype)
        if self.problem.h is not None:
            found += self.problem.h(x)
        if self.problem.cost is not None:
            found += jnp.sum(batch.weight * self.costs(x, batch))
        return found if self.compare is None or batch.pairs is None else found + self.compare.loss(x, batch)

    def penalised_gradient(self, x: PyTree, seen: Seen, seen_pen: Seen, w: jax.Array, is_central: bool) -> PyTree:
        def penalised(x: PyTree) -> jax.Array:
            gap = (self.earned(x, seen.batch) - self.earned(x, seen_pen.batch)) / (w * (1 - self.gamma))
            if is_central:
                return (self.objective(x, seen.batch) + self.objective(x, seen_pen.batch) + gap) / 2
            return self.objective(x, seen_pen.batch) + gap

        return jax.grad(penalised)(x)

    def watch(self, vitals: tuple[()], seen: Seen) -> tuple[tuple[()], jax.Array]:
        """Whether the environment gave numbers, as what it rewards may be seen by nobody but a judge."""
        batch, alive = seen.batch, seen.batch.is_alive
        numbers = jnp.isfinite(batch.hidden) & jnp.all(jnp.isfinite(batch.next_obs), -1)
        is_sound = jnp.all(numbers | ~alive)
        return vitals, jnp.where(is_sound, jnp.int32(Status.OK), jnp.int32(Status.ENVIRONMENT_NON_FINITE))

    def look(self, x: PyTree, *seen: Seen) -> dict[str, jax.Array]:
        first = seen[0].batch
        share = jnp.maximum(jnp.sum(first.weight), jnp.asarray(TINY, self.dtype))
        compared = {} if self.compare is None else {"pair_accuracy": self.compare.accuracy(x, seen[-1].batch)}
        return compared | {
            "reward": self.earned(x, first) / share,
            "hidden_reward": jnp.sum(first.weight * first.hidden) / share,
            "entropy": -jnp.sum(first.weight * seen[0].log_prob) / share,
            "objective": self.objective(x, seen[-1].batch),
        }

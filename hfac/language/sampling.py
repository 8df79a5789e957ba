"""Where completions come from: policies write them and a rater scores them, or all that can be written are listed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac.language.estimators import Batch
from hfac.language.problem import CompletionProblem, Written
from hfac.lower import Draw
from hfac.types import Key, PyTree


class Control(NamedTuple):
    """Keeps the divergence below a bound by the weight of the divergence."""

    tau_factor: jax.Array  # [], >= 1
    pressure: jax.Array  # [], its logarithm where the divergence is at the bound and stays there, >= 0
    divergence: jax.Array  # [], of the last step, nats
    slope: jax.Array  # [], running average of its change in a step


class Rated(NamedTuple):
    """What carries a step's completions into it where the host rates them."""

    control: Control
    written: tuple[Written, ...]  # of every policy
    scores: tuple[jax.Array, ...]  # [G, N] of each


class UnratedError(Exception):
    """A step was begun whose completions nobody has rated yet; whoever parts steps in two takes them from here."""

    def __init__(self, written: tuple[Written, ...]) -> None:
        """Keep what was written, traced as it is."""
        super().__init__("completions are rated on the host, between two parts of a step: use hfac.run or hfac.sweep")
        self.written = written


class Source(NamedTuple):
    """Where completions come from."""

    write: Callable[..., tuple[Written, ...]]  # (key, *thetas) -> of every policy
    weigh: Callable[[PyTree, Written], tuple[jax.Array, jax.Array]]  # -> weights [G, N], and of peers [G, N, N]
    num_samples: int  # of every policy


def source_of(
    problem: CompletionProblem, num_prompts: int, completions: int, coupled: bool, every: Any, dtype: Any
) -> Source:
    """Completions that the policies write, or all there are."""
    if every is not None:
        return _listed(problem, every, dtype)
    return _sampled(problem, num_prompts, completions, coupled, dtype)


def draw(
    problem: CompletionProblem,
    source: Source,
    is_repeated: bool,
    dtype: Any,
    key: Key,
    chains: Control | Rated,
    *thetas: PyTree,
) -> Draw:
    """A batch of every policy's completions.

    Args:
      problem: over completions.
      source: where they come from.
      is_repeated: whether they are gone over more than once: what their policies say of them is kept.
      dtype: of features and scores.
      key: of the random numbers.
      chains: what is carried, or completions that the host has rated.
      *thetas: of the policies.

    Raises:
      UnratedError: if the host is to rate them.
    """
    written, scores, control = _written(problem, source, key, chains, thetas)
    batches = tuple(
        _batch(problem, source, theta, own, score, control.tau_factor, is_repeated, dtype)
        for theta, own, score in zip(thetas, written, scores, strict=True)
    )
    return Draw(batches, control, jnp.int32(len(thetas) * source.num_samples))


def _written(
    problem: CompletionProblem, source: Source, key: Key, chains: Control | Rated, thetas: tuple[PyTree, ...]
) -> tuple[tuple[Written, ...], tuple[jax.Array, ...], Control]:
    """Completions of every policy and their scores: written and rated now, or carried into the step.

    Raises:
      UnratedError: if the host is to rate them.
    """
    if isinstance(chains, Rated):
        return chains.written, chains.scores, chains.control
    written = source.write(key, *thetas)
    if problem.rate is None:
        raise UnratedError(written)
    return written, tuple(jax.lax.stop_gradient(problem.rate(each)) for each in written), chains


def _batch(
    problem: CompletionProblem,
    source: Source,
    theta: PyTree,
    written: Written,
    score: jax.Array,
    tau_factor: jax.Array,
    is_repeated: bool,
    dtype: Any,
) -> Batch:
    """Completions with what R_x sees of them and what the rater says."""
    features = jax.tree.map(lambda leaf: _stopped(leaf, dtype), problem.features(written))
    log_prob = problem.policy.say(theta, written).log_prob if is_repeated else None
    weights = source.weigh(theta, written)
    return Batch(written, *weights, features, score.astype(dtype), tau_factor, log_prob)


def _stopped(leaf: jax.Array, dtype: Any) -> jax.Array:
    """No gradient; numbers that are not whole in one dtype."""
    return jax.lax.stop_gradient(leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf)


def _sampled(problem: CompletionProblem, prompts: int, completions: int, coupled: bool, dtype: Any) -> Source:
    """Completions that the policies write, all of the same prompts."""
    weight = jnp.full((prompts, completions), 1 / (prompts * completions), dtype)
    others = (1 - jnp.eye(completions, dtype=dtype)) / (completions - 1)
    peers = jnp.broadcast_to(others, (prompts, completions, completions))

    def write(key: Key, *thetas: PyTree) -> tuple[Written, ...]:
        every = jnp.arange(problem.policy.num_prompts, dtype=jnp.int32)
        chosen = jax.random.choice(jax.random.fold_in(key, 0), every, (prompts,), replace=False)
        keys = [jax.random.fold_in(key, 1 if coupled else 1 + i) for i in range(len(thetas))]
        return tuple(
            problem.policy.write(own, theta, chosen, completions) for own, theta in zip(keys, thetas, strict=True)
        )

    return Source(write, lambda theta, written: (weight, peers), prompts * completions)


def _listed(problem: CompletionProblem, every: Any, dtype: Any) -> Source:
    """All completions of all prompts with their probabilities: expectations in place of samples."""
    prompts = problem.policy.num_prompts
    tokens = jnp.broadcast_to(jnp.asarray(every), (prompts, *jnp.shape(every)))
    written = problem.policy.listed(jnp.arange(prompts, dtype=jnp.int32), tokens)

    def weigh(theta: PyTree, written: Written) -> tuple[jax.Array, jax.Array]:
        mass = jnp.exp(jnp.sum(problem.policy.say(theta, written).log_prob, -1)).astype(dtype)
        return mass / prompts, jnp.broadcast_to(mass[:, None], (*mass.shape, mass.shape[-1]))

    return Source(lambda key, *thetas: (written,) * len(thetas), weigh, 0)

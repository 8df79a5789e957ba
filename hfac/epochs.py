"""Several updates of policies and critics from the same steps, with clipped importance weights.

Proximal policy optimisation (Schulman et al. [arXiv 1707.06347]) inside any method: its step draws once, moves
everything, and then moves all but the upper variable again on what was drawn. It is no single loop any more.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hfac import _checks
from hfac.lower import Draw
from hfac.types import Algorithm, Key, PyTree, core, with_core


class Kept(NamedTuple):
    """Where sampling stands, and the batches that the next epoch goes over again."""

    chains: Any
    batches: tuple[Any, ...]


def keeping(draw: Callable[..., Draw]) -> Callable[..., Draw]:
    """The same draw, which keeps what it drew; asked again with that, it draws nothing."""

    def again(key: Key, chains: Any, *thetas: PyTree) -> Draw:
        if isinstance(chains, Kept):
            return Draw(chains.batches, chains, jnp.int32(0))
        drawn = draw(key, chains, *thetas)
        return drawn._replace(chains=Kept(drawn.chains, drawn.batches))

    return again


def repeated(algorithm: Algorithm, epochs: int) -> Algorithm:
    """The same method with so many passes of policies and critics over each draw; x moves in the first.

    Args:
      algorithm: on a lower level whose draws are `keeping`.
      epochs: passes, at least two.
    """

    def step(key: Key, state: Any, schedules: Any) -> tuple[Any, Any]:
        first, info = algorithm.step(key, state, schedules)
        if not isinstance(core(first).chains, Kept):  # the method stands on another one that is repeated already
            return first, info

        def again(moved: Any, key: Key) -> tuple[Any, None]:
            at = with_core(moved, core(moved)._replace(step=core(state).step))
            return _at_rest(algorithm.step(key, at, schedules)[0], first), None

        last, _ = jax.lax.scan(again, first, jax.random.split(jax.random.fold_in(key, epochs), epochs - 1))
        chains = core(first).chains.chains
        return with_core(last, core(last)._replace(chains=chains)), info

    return algorithm._replace(step=step)


def check_epochs(epochs: int, clip: float) -> None:
    """Raise `ValueError` unless passes and the largest rewarded change of a probability ratio are in range."""
    _checks.count("epochs", epochs)
    _checks.number("clip", clip)
    if not 0 < clip < 1:
        raise ValueError(f"clip must lie strictly between 0 and 1, got {clip}")


def clipped(advantage: jax.Array, log_ratio: jax.Array, clip: float) -> jax.Array:
    """The advantage times the importance weight, 0 where the clipped surrogate does not grow.

    Args:
      advantage: of an action, [...].
      log_ratio: log pi_theta(a|s) - log pi(a|s) when the action was taken, the same shape.
      clip: largest change of the weight that is still rewarded.
    """
    ratio = jnp.exp(log_ratio)
    grows = jnp.where(advantage > 0, log_ratio <= jnp.log1p(clip), log_ratio >= jnp.log1p(-clip))
    return jnp.where(grows, ratio * advantage, 0)


def _at_rest(moved: Any, first: Any) -> Any:
    """The moved state with the upper variable, its moments and its average as they were."""
    inner, was = core(moved), core(first)
    kept = {name: moments for name, moments in was.optimizers.items() if name == "x"}
    found = with_core(moved, inner._replace(x=was.x, optimizers={**inner.optimizers, **kept}))
    return found._replace(average=first.average) if hasattr(first, "average") else found

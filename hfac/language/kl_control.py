"""Keeps the divergence of policies below a bound: the weight of the divergence grows while it is above, and falls back.

An adaptive weight as in Ziegler et al. [1909.08593], never below the tau of the schedules, and with a part
that follows the divergence at once: with the slow part alone policies leave and come back in turns.
"""

from typing import Any

import jax
import jax.numpy as jnp

from hfac.language.lower import Control
from hfac.types import Algorithm, Key, core, with_core

FAST = 1.0  # logarithm of the weight per relative excess over the bound, at once
SLOW = 0.02  # the same, added up in every step; momentum answers ten steps late, so that more of either swings
LARGEST_ERROR = 1.0  # relative excess that counts, in either direction
LARGEST_PRESSURE = 7.0


def controlled(algorithm: Algorithm, max_kl: float) -> Algorithm:
    """The same method with tau raised while the divergence of a policy that it tracks is above a bound.

    Args:
      algorithm: on completions.
      max_kl: nats per completion, > 0.
    """

    def step(key: Key, state: Any, schedules: Any) -> tuple[Any, Any]:
        moved, info = algorithm.step(key, state, schedules)
        inner = core(moved)
        each = [value for name, value in info.look.items() if name.startswith("divergence_")]
        after = _pushed(inner.chains, jnp.max(jnp.stack(each)), max_kl)
        return with_core(moved, inner._replace(chains=after)), info

    return algorithm._replace(step=step)


def _pushed(old: Control, divergence: jax.Array, bound: float) -> Control:
    """The weight in the next step; a divergence that is not finite changes nothing."""
    error = jnp.clip(divergence.astype(old.pressure.dtype) / bound - 1, -LARGEST_ERROR, LARGEST_ERROR)
    pressure = jnp.clip(old.pressure + SLOW * error, 0, LARGEST_PRESSURE)
    new = Control(jnp.exp(jnp.maximum(pressure + FAST * error, 0)), pressure)
    return jax.tree.map(lambda after, before: jnp.where(jnp.isfinite(error), after, before), new, old)

"""Keeps the divergence of policies below a bound: the weight of the divergence grows where it is going to be above.

An adaptive weight as in Ziegler et al. [1909.08593], never below the tau of the schedules. Policies answer late, by
the memory of their optimisers: what counts is the divergence some steps ahead, by its slope. With the present one alone
they leave and come back in turns.
"""

from typing import Any

import jax
import jax.numpy as jnp

from hfac.language.sampling import Control
from hfac.types import Algorithm, Key, core, with_core

AHEAD = 2.0  # steps
SMOOTHING = 0.5  # weight of the last change in the running slope
FAST = 1.5  # logarithm of the weight per relative excess over the bound, at once
SLOW = 0.03  # the same, added up in every step
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
    now = divergence.astype(old.pressure.dtype)
    slope = old.slope + SMOOTHING * (now - old.divergence - old.slope)
    error = jnp.clip((now + AHEAD * slope) / bound - 1, -LARGEST_ERROR, LARGEST_ERROR)
    pressure = jnp.clip(old.pressure + SLOW * error, 0, LARGEST_PRESSURE)
    new = Control(jnp.exp(jnp.maximum(pressure + FAST * error, 0)), pressure, now, slope)
    return jax.tree.map(lambda after, before: jnp.where(jnp.isfinite(now), after, before), new, old)

"""Keeps the divergence of policies below a bound: the weight of the divergence grows while it is above, and falls back.

An adaptive weight in the manner of Ziegler et al. [1909.08593], with a floor: never below the tau of the schedules.
"""

from typing import Any

import jax.numpy as jnp

from hfac.types import Algorithm, Key, core, with_core

GAIN = 0.2  # change of the weight's logarithm per step and relative excess
LARGEST_ERROR = 1.0  # relative excess that counts, in either direction
LARGEST_FACTOR = 1e3


def controlled(algorithm: Algorithm, max_kl: float) -> Algorithm:
    """The same method with tau raised while the divergence of a policy that it tracks is above a bound.

    Args:
      algorithm: on completions.
      max_kl: nats per completion, > 0.
    """

    def step(key: Key, state: Any, schedules: Any) -> tuple[Any, Any]:
        moved, info = algorithm.step(key, state, schedules)
        inner = core(moved)
        factor = inner.chains.tau_factor
        each = [value for name, value in info.look.items() if name.startswith("divergence_")]
        error = jnp.max(jnp.stack(each)).astype(factor.dtype) / max_kl - 1
        pushed = factor * jnp.exp(GAIN * jnp.clip(error, -LARGEST_ERROR, LARGEST_ERROR))
        after = jnp.where(jnp.isfinite(pushed), jnp.clip(pushed, 1, LARGEST_FACTOR), factor)
        chains = inner.chains._replace(tau_factor=after)
        return with_core(moved, inner._replace(chains=chains)), info

    return algorithm._replace(step=step)

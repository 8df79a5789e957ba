"""The nested loop over whole sequences: N lower steps for every upper step, with the single-loop estimators."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax

from hfac.algorithms import _common, _episodic
from hfac.algorithms._hfac_episodic import hfac_episodic
from hfac.problem import EpisodicProblem
from hfac.types import Algorithm, Needs

NEEDS = Needs(nested=True, penalty=True)


def nested_episodic(
    problem: EpisodicProblem,
    *,
    inner_steps: int = 10,
    batch_size: int = 32,
    num_opponents: int = 8,
    coupled: bool = False,
    every: Any = None,
    gae_lambda: float = 1.0,
    pen_rate: float = 1.0,
    limits: _episodic.Limits | None = None,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build `hfac_episodic` with x moved at every `inner_steps`-th step only, a baseline of Zeng et al. [2601.16399].

    Args:
      problem: an episodic bi-level problem.
      inner_steps: N, lower steps per upper step; 1 is `hfac_episodic` itself.
      batch_size: as in `hfac_episodic`, like everything below.
      num_opponents: others that each sequence is compared with.
      coupled: both policies use the same random numbers.
      every: all sequences of a small language.
      gae_lambda: of the generalised advantages.
      pen_rate: rate of theta_pen's actor as a multiple of theta's.
      limits: past which theta counts as having hacked its reward.
      optimizers: variable name -> optax optimiser.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`, with the states of `hfac_episodic`.

    Raises:
      ValueError: if an option is out of range.
    """
    single = hfac_episodic(
        problem,
        batch_size=batch_size,
        num_opponents=num_opponents,
        coupled=coupled,
        every=every,
        gae_lambda=gae_lambda,
        pen_rate=pen_rate,
        limits=limits,
        optimizers=optimizers,
        dtype=dtype,
    )
    return _common.rescheduled(single, inner_steps=inner_steps)

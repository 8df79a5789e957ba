"""Decoupled RLHF: the reward is fitted once, to what the reference writes, and the policy trained on it after."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax

from hfac.algorithms import _common, _episodic
from hfac.algorithms._partial_episodic import State, partial_episodic
from hfac.problem import EpisodicProblem
from hfac.schedules import Schedules
from hfac.types import Algorithm, Key, Needs

NEEDS = Needs()


def decoupled_episodic(
    problem: EpisodicProblem,
    *,
    fit_steps: int = 300,
    batch_size: int = 64,
    num_opponents: int = 8,
    every: Any = None,
    gae_lambda: float = 1.0,
    limits: _episodic.Limits | None = None,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build the two stages of ordinary RLHF (Ouyang et al. [2203.02155]) as one run.

    For `fit_steps` steps x descends f(x, pi_ref) and the policy rests; then the policy ascends J_tau(x, .) and x rests.

    Args:
      problem: an episodic bi-level problem.
      fit_steps: of the first stage, >= 1.
      batch_size: as in `partial_episodic`, like everything below.
      num_opponents: others that each sequence is compared with.
      every: all sequences of a small language.
      gae_lambda: of the generalised advantages.
      limits: past which theta counts as having hacked its reward.
      optimizers: variable name -> optax optimiser.
      dtype: of every float in a step.

    Returns:
      An `Algorithm`, with the states of `partial_episodic`.

    Raises:
      ValueError: if an option is out of range.
    """
    _common.check_count("fit_steps", fit_steps)
    together = partial_episodic(
        problem,
        batch_size=batch_size,
        num_opponents=num_opponents,
        every=every,
        gae_lambda=gae_lambda,
        limits=limits,
        optimizers=optimizers,
        dtype=dtype,
    )

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Any]:
        is_fitting = state.step < jnp.int32(fit_steps)
        staged = _common.only_if(is_fitting, schedules, "upper")
        return together.step(key, state, _common.only_if(~is_fitting, staged, "actor", "critic"))

    return together._replace(step=step)

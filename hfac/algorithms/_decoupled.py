"""Decoupled RLHF: the reward is fitted once, to what the first policy does, and the policy trained on it after."""

from typing import Any

import jax.numpy as jnp

from hfac.algorithms import _common
from hfac.algorithms._partial import State, partial
from hfac.schedules import Schedules
from hfac.types import Algorithm, Key, Needs

NEEDS = Needs()


@_common.method
@_common.variant_of(partial, "optimizers", "dtype")
def decoupled(problem: Any, *, fit_steps: int = 300, **options: Any) -> Algorithm:
    """Build the two stages of ordinary RLHF (Ouyang et al. [arXiv 2203.02155]) as one run.

    For `fit_steps` steps x descends f(x, pi) of the first policy, which rests; then the policy ascends J_tau(x, .) and
    x rests.

    Args:
      problem: a bi-level problem.
      fit_steps: of the first stage, >= 1.
      **options: optimizers and dtype of `partial`, and those of the problem's kind.

    Returns:
      An `Algorithm`, with the states of `partial`.

    Raises:
      ValueError: if an option is out of range.
    """
    _common.check_count("fit_steps", fit_steps)
    together = partial(problem, **options)

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Any]:
        is_fitting = state.step < jnp.int32(fit_steps)
        staged = _common.gated_by(is_fitting, schedules, "upper")
        return together.step(key, state, _common.gated_by(~is_fitting, staged, "actor", "critic"))

    return together._replace(step=step)

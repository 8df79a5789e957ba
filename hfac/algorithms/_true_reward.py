"""The follower alone, told what the leader wants: the yardstick of what a follower can do. x rests.

First order, single loop, model-free; no bi-level method.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax

from hfac import lower as _lower
from hfac.algorithms import _common
from hfac.algorithms._partial import Info, State, partial
from hfac.schedules import Schedules
from hfac.types import Algorithm, Key, Needs

NEEDS = Needs()


@_common.method
def true_reward(
    problem: Any,
    *,
    optimizers: Mapping[str, optax.GradientTransformation] | None = None,
    dtype: Any = jnp.float32,
    **lower_options: Any,
) -> Algorithm:
    """Build the follower's actor-critic (Sutton et al., 2000) on the leader's own reward.

        theta <- theta + alpha delta grad log pi_theta(a|s),   delta of -c (of the hidden reward) - tau log pi

    What it reaches is what the follower can do with these samples and rates, whatever reward a leader gives it; x does
    not move, so that judging x says nothing of it.

    Args:
      problem: a bi-level problem whose leader has a running cost, a score or a hidden reward.
      optimizers: variable name -> optax optimiser at unit rate, in place of plain stochastic approximation.
      dtype: of every float in a step.
      **lower_options: of the problem's kind, such as batch_size; see `problem.lower`.

    Returns:
      An `Algorithm` with the state of `partial`.

    Raises:
      ValueError: if the leader wants nothing of single steps, or an option is out of range.
    """
    lower = _lower.build(problem, "true_reward", 1, dtype, lower_options)
    true_advantage = lower.true_advantage
    if true_advantage is None:
        name = getattr(problem, "name", type(problem).__name__)
        raise ValueError(f"true_reward needs a leader whom single steps cost something; in {name} none do; use hfac")
    optimizers = dict(optimizers or {})
    alone = partial(problem, optimizers=optimizers, dtype=dtype, **lower_options)

    def step(key: Key, state: State, schedules: Schedules) -> tuple[State, Info]:
        _, alpha, beta, _, tau = schedules.at(state.step, dtype)
        batches, chains, num_samples = lower.draw(key, state.chains, state.theta)
        (seen,) = _common.see(lower, schedules, (state.theta,), batches)
        delta = true_advantage(state.x, seen, state.value, tau)
        move = {
            "theta": (alpha, lower.actor(state.x, seen, delta, tau)),
            "value": (beta, lower.critic(state.value, seen, delta)),
        }
        bounds = {name: bound for name, bound in lower.bounds(schedules).items() if name != "value"}
        moved = _common.move(state._replace(chains=chains), move, optimizers, bounds, lower.project)
        moved = _common.watched(moved, state, lower, seen)
        return moved, Info(num_samples, lower.mean(seen, delta), lower.look(state.x, seen))

    return alone._replace(step=step)

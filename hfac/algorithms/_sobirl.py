"""Model-free SoBiRL: the leader follows the one-step part of how the policy answers to x.

First order, model-free, nested; fixed tau. One policy, one chain.
"""

from typing import Any

import jax.numpy as jnp

from hfac.algorithms import _common
from hfac.algorithms._advantage import one_policy
from hfac.tabular import sampling
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Needs

NEEDS = Needs(nested=True, fixed_tau=True)


@_common.tabular
def sobirl(
    problem: Problem,
    *,
    inner_steps: int = 10,
    baseline: bool = False,
    sampler: sampling.SamplerName = "markov",
    batch_size: int = 1,
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build the model-free method of Yang et al. (SoBiRL, AISTATS 2025) with the surrogate of its released code.

    grad_x log pi(a|s) is the advantage of grad r over tau; the surrogate keeps its first step. N steps of the policy
    and the critics, then one of x, tau constant:

        grad log pi(a|s) ~ ( grad r_x(s,a) - sum_a' pi(a'|s) grad r_x(s,a') ) / tau
        x <- x - zeta ( d_x h + d_x c + Q_U(s,a) ( grad r_x(s,a,s') - m(s) ) / ((1-gamma) tau) )
        m(s) <- m(s) + beta ( grad r_x(s,a,s') - m(s) )

    Rewards at later states move the best response too, so the direction is not grad Phi_tau, even with true critics,
    unless every episode is one action long; `advantage` keeps them. The penalty schedule is not used, the entropy
    schedule gives tau by its scale. A step is one lower step, so that steps and samples are comparable with `hfac`.

    Departures. The leader's loss of whole trajectories is here the discounted cost from (s, a) on, an action-value
    critic Q_U learned as in `advantage`, since f is a running cost; one sampled return would share s' with
    grad r_x(s,a,s') and be correlated with it. The code subtracts no baseline, nor does the default. The mean over
    actions cannot be taken at one sample where r depends on s', so m, a vector critic of grad r (features of the
    state), learns it. Fixed tau where the code tunes it, an actor-critic step where it takes one of soft
    actor-critic from a replay buffer, and no first phase in which the surrogate is off.

    Args:
      problem: a tabular bi-level problem without a policy term g.
      inner_steps: N >= 1, lower steps for every upper step.
      baseline: subtract the leader's state value, so that Q_U becomes A_U: the same mean once m has converged.
      sampler: markov, iid, or exact (expectations; needs the model).
      batch_size: chains, >= 1.
      dtype: of every float in a step.

    Returns:
      An `Algorithm` with the state of `advantage`.

    Raises:
      ValueError: if the problem has a policy term, or an option is out of range or does not go with another.
    """
    _common.refuse_policy_term(problem, "sobirl")
    single = one_policy(problem, sampler, batch_size, None, dtype, is_one_step=True, has_baseline=baseline)
    return _common.with_held_rates(single, "entropy", inner_steps=inner_steps)

"""The lower level of a tabular problem: Markov chains, i.i.d. draws or expectations; tables or any policy."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from hfac.lower import First, Lower
from hfac.schedules import Schedules
from hfac.tabular import critics, estimators, policies, sampling
from hfac.tabular.problem import Problem, on_batch
from hfac.types import Key, PyTree, Transition, add_updates, cast


class Seen(NamedTuple):
    """A policy and the transitions drawn from it."""

    theta: PyTree
    batch: Transition


def lower(
    problem: Problem,
    *,
    sampler: sampling.SamplerName = "markov",
    batch_size: int = 1,
    coupled: bool = False,
    projection: Literal["box", "ball"] = "box",
    policy: policies.Policy | None = None,
    num_policies: int = 2,
    dtype: Any = jnp.float32,
) -> Lower:
    """The lower level of a tabular problem.

    Args:
      problem: a tabular bi-level problem.
      sampler: markov (Algorithm 1), iid (Algorithm 2), or exact (expectations; needs the model).
      batch_size: chains of every policy, >= 1.
      coupled: the chains of all policies use the same random numbers: the same law for each, a quieter difference.
      projection: box clips touched critic entries, ball is the paper's Euclidean projection.
      policy: over the problem's states; tabular softmax unless given.
      num_policies: that are tracked.
      dtype: of every float in a step; float64 is for noiseless studies.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    mdp = problem.mdp.astype(dtype)
    policy = policy or policies.tabular_softmax(mdp.num_states, mdp.num_actions, dtype)
    critic = critics.table(mdp.num_states, dtype)
    source = sampling.build(sampler, mdp, policy, batch_size, coupled, num_policies)

    def init(key: Key) -> First:
        keys = [jax.random.fold_in(key, i) for i in range(4)]
        theta, value = policy.init(keys[0]), critic.init(keys[1])
        return First(cast(problem.init_x(keys[2]), dtype), theta, value, source.init(keys[3]), ())

    def advantage(x: PyTree, seen: Seen, v: PyTree, tau: jax.Array) -> jax.Array:
        reward = estimators.soft_reward(problem, policy, x, seen.theta, seen.batch, tau)
        return estimators.temporal_difference(critic, v, seen.batch, reward)

    def leader_advantage(x: PyTree, seen: Seen, u: PyTree) -> jax.Array:
        return estimators.temporal_difference(critic, u, seen.batch, estimators.leader_cost(problem, x, seen.batch))

    def actor(x: PyTree, seen: Seen, advantage: jax.Array, tau: jax.Array, w: jax.Array | None = None) -> PyTree:
        del tau  # its pull is in the advantage
        return estimators.actor(problem, policy, x, seen.theta, seen.batch, advantage, w)

    def true_advantage(x: PyTree, seen: Seen, v: PyTree, tau: jax.Array) -> jax.Array:
        bonus = -tau * estimators.log_prob(policy, seen.theta, seen.batch)
        reward = bonus - on_batch(problem.cost, x, seen.batch, bonus.dtype)  # type: ignore[arg-type]
        return estimators.temporal_difference(critic, v, seen.batch, reward)

    def contrast(hypergradient: Any) -> Any:
        def direction(x: PyTree, seen: Seen, seen_pen: Seen, w: jax.Array) -> PyTree:
            pis = (estimators.policy_if_needed(problem, policy, each.theta) for each in (seen, seen_pen))
            return hypergradient(problem, x, seen.batch, seen_pen.batch, *pis, w)

        return direction

    def upper_gradient(x: PyTree, seen: Seen) -> PyTree:
        return add_updates(
            x,
            estimators.h_gradient(problem, x),
            estimators.g_gradient(problem, x, estimators.policy_if_needed(problem, policy, seen.theta)),
            estimators.cost_gradient(problem, x, seen.batch),
        )

    def bounds(schedules: Schedules) -> dict[str, jax.Array]:
        return estimators.critic_bounds(problem, schedules, dtype)

    return Lower(
        init=init,
        draw=source.draw,
        see=lambda theta, batch, options: Seen(theta, batch),
        advantage=advantage,
        leader_advantage=leader_advantage,
        actor=actor,
        critic=lambda v, seen, advantage: estimators.semi_gradient(critic, v, seen.batch, advantage),
        hypergradient=contrast(estimators.penalty_hypergradient),
        central_hypergradient=contrast(estimators.central_hypergradient),
        upper_gradient=upper_gradient,
        mean=lambda seen, advantage: jnp.sum(seen.batch.weight * advantage),
        look=lambda x, *seen: {},
        watch=lambda vitals, seen: (vitals, None),
        bounds=bounds,
        project=critics.projection(projection),
        true_advantage=None if problem.cost is None else true_advantage,
    )

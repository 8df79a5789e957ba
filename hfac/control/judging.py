"""What policies earn: fresh episodes of the environment's own reward, at every record point."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hfac import algorithms, options
from hfac._compiler import random
from hfac.control.environment import reached, strong
from hfac.control.problem import ControlProblem
from hfac.judging import OBJECTIVE, Judge, Metric, check_taus
from hfac.types import Key, PyTree, cast

NUM_EPISODES = 32  # at every record point, from the same random numbers everywhere
LONGEST = 500  # steps of an episode without a time limit
SHOWN = ("entropy", "pair_accuracy")  # of what the lower level shows along its last draw; nan before the first
SAME_NUMBERS = 7  # key of all recorded episodes: they differ by the policy alone
MAX_GRADIENT = 1.0  # Euclidean norm that every direction is clipped to


def episodes(problem: ControlProblem, key: Key, theta: PyTree, num_episodes: int = NUM_EPISODES) -> Any:
    """Return and length of fresh episodes, [E] each: undiscounted sums of the environment's own reward.

    Args:
      problem: gives environment and policy.
      key: consumed.
      theta: parameters of the policy; not a list of them.
      num_episodes: E.
    """
    environment, distribution, dtype = problem.environment, problem.distribution, jnp.float32
    limit = environment.limit or LONGEST
    theta = cast(theta, dtype)

    def one(key: Key) -> tuple[jax.Array, jax.Array]:
        def step(carry: Any, now: Key) -> tuple[Any, None]:
            obs, state, is_over, total, length = carry
            act, move = jax.random.split(now)
            kept = distribution.act(problem.policy.apply(theta, problem.features(obs)), distribution.noise(act, dtype))
            found = environment.step(move, state, distribution.action(kept))
            after = strong((reached(found), found.state), dtype)
            counts = ~is_over
            after = jax.tree.map(lambda a, b: jnp.where(counts, a, b), after, (obs, state))
            total += jnp.where(counts, jnp.asarray(found.reward, dtype), 0)
            is_over |= jnp.asarray(found.terminated) | jnp.asarray(found.truncated)
            return (*after, is_over, total, length + counts.astype(jnp.int32)), None

        start, run = jax.random.split(key)
        obs, state = strong(environment.reset(start), dtype)
        first = (obs, state, jnp.array(False), jnp.zeros((), dtype), jnp.int32(0))
        *_, total, length = jax.lax.scan(step, first, jax.random.split(run, limit))[0]
        return total, length

    return jax.vmap(one)(jax.random.split(key, num_episodes))


@functools.lru_cache(maxsize=32)
def record(problem: ControlProblem) -> Callable[[Any, Any, Any], dict[str, Any]]:
    """Record function: x, and what fresh episodes of the tracked policies earn."""

    def keep(state: Any, info: Any, schedules: Any) -> dict[str, Any]:
        del schedules
        inner = getattr(state, "inner", state)
        found = {"x": getattr(state, "average", inner.x), "status": inner.status, "failed_at": inner.failed_at}
        for name, field in (("return", "theta"), ("return_pen", "theta_pen")):
            if hasattr(inner, field):
                total, length = episodes(problem, random.key(SAME_NUMBERS), getattr(inner, field))
                found |= {name: jnp.mean(total), f"{name}_deviation": jnp.std(total)}
                found |= {"episode_length": jnp.mean(length.astype(total.dtype))} if field == "theta" else {}
        shown = {name: info.look[name] for name in SHOWN if name in info.look}
        return found | {name: jnp.where(inner.step > 0, value, jnp.nan) for name, value in shown.items()}

    return keep


def judge(problem: ControlProblem, taus: float | Sequence[float]) -> Judge:
    """How a problem without a table is judged: minus the mean return of fresh episodes of theta.

    Raises:
      ValueError: if a tau is not positive.
    """
    each = check_taus(taus)

    def function(carry: Any, record: Mapping[str, Any]) -> tuple[Any, dict[str, jax.Array]]:
        return carry, {OBJECTIVE: jnp.full(len(each), -record["return"], record["return"].dtype)}

    like = {"x": jax.eval_shape(problem.init_x, random.key(0))}
    return Judge(Metric(function, (), "judged_tau", each, (OBJECTIVE,), like), None)


def method_options(problem: ControlProblem, method: str) -> dict[str, Any]:
    """Adam on clipped directions for everything that a method moves; x of a table moves as on the table."""
    if method not in algorithms.REGISTRY or "optimizers" not in options.of(getattr(algorithms, method), problem.kind):
        return {}
    variables = ["theta", "value"]
    if algorithms.needs(method).penalty:
        variables += ["theta_pen", "value_pen", "leader_value"]
    if problem.table is None:
        variables.append("x")
    return {"optimizers": adam(*variables)}


def adam(*variables: str) -> dict[str, optax.GradientTransformation]:
    """Adam on clipped directions for these variables of a method, as its option `optimizers`."""
    one = optax.chain(optax.clip_by_global_norm(MAX_GRADIENT), optax.adam(1.0))
    return dict.fromkeys(variables, one)

"""Fresh episodes at every record point: what policies earn of the environment's own reward, and the objective."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hfac import algorithms, options
from hfac._compiler import random
from hfac.control.environment import Environment, reached, strong
from hfac.control.problem import ControlProblem
from hfac.judging import OBJECTIVE, Judge, Metric, check_taus
from hfac.types import Key, PyTree, cast, core

NUM_EPISODES = 32  # at every record point, from the same random numbers everywhere
LONGEST = 500  # steps of an episode without a time limit
SHOWN = ("entropy", "pair_accuracy")  # of what the lower level shows along its last draw; nan before the first
PLAYED = "played_objective"  # where it is recorded
SAME_NUMBERS = 7  # key of all recorded episodes: they differ by the policy alone
MAX_GRADIENT = 1.0  # Euclidean norm that every direction is clipped to


class Path(NamedTuple):
    """Where one episode of a policy went; after its end everything rests and nothing counts."""

    obs: jax.Array  # [T + 1, d]
    states: PyTree  # leaves [T + 1, ...]
    action: jax.Array  # [T, ...]
    reward: jax.Array  # [T], the environment's own
    is_alive: jax.Array  # bool [T], before the step


def walk(
    environment: Environment,
    act: Callable[[Key, jax.Array], jax.Array],
    key: Key,
    limit: int,
    num_steps: int | None = None,
    dtype: Any = jnp.float32,
) -> Path:
    """One episode.

    Args:
      environment: checked.
      act: ``(key, obs) -> action``.
      key: consumed.
      limit: steps of the longest episode; random numbers are those of an episode of this length.
      num_steps: T <= limit, the first steps only; all unless given.
      dtype: of every float.
    """
    start, run = jax.random.split(key)
    first = strong(environment.reset(start), dtype)

    def step(carry: Any, now: Key) -> tuple[Any, Any]:
        obs, state, is_over = carry
        choose, move = jax.random.split(now)
        action = act(choose, obs)
        found = environment.step(move, state, action)
        ends = jnp.asarray(found.terminated) | jnp.asarray(found.truncated)
        rests = is_over if found.final_obs is None else is_over | ends  # one that resets itself stays where it ended
        after = strong((reached(found), found.state), dtype)
        obs, state = jax.tree.map(lambda a, b: jnp.where(rests, b, a), after, (obs, state))
        return (obs, state, is_over | ends), (obs, state, action, jnp.asarray(found.reward, dtype), ~is_over)

    keys = jax.random.split(run, limit)[:num_steps]
    obs, states, action, reward, is_alive = jax.lax.scan(step, (*first, jnp.array(False)), keys)[1]
    obs, states = jax.tree.map(lambda one, rest: jnp.concatenate([one[None], rest]), first, (obs, states))
    return Path(obs, states, action, reward, is_alive)


def acting(problem: ControlProblem, theta: PyTree, dtype: Any = jnp.float32) -> Callable[[Key, jax.Array], jax.Array]:
    """``(key, obs) -> action`` of a policy."""

    def act(key: Key, obs: jax.Array) -> jax.Array:
        outputs = problem.policy.apply(theta, problem.features(obs))
        return problem.distribution.action(problem.distribution.act(outputs, problem.distribution.noise(key, dtype)))

    return act


def paths(problem: ControlProblem, key: Key, theta: PyTree, num_episodes: int = NUM_EPISODES) -> Path:
    """Fresh episodes of a policy, leaves [E, ...].

    Args:
      problem: gives environment and policy.
      key: consumed.
      theta: parameters of the policy; not a list of them.
      num_episodes: E.
    """
    act = acting(problem, cast(theta, jnp.float32))
    limit = problem.environment.limit or LONGEST
    return jax.vmap(lambda key: walk(problem.environment, act, key, limit))(jax.random.split(key, num_episodes))


def episodes(problem: ControlProblem, key: Key, theta: PyTree, num_episodes: int = NUM_EPISODES) -> Any:
    """Return and length of fresh episodes, [E] each: undiscounted sums of the environment's own reward.

    Arguments are those of `paths`.
    """
    return earned(paths(problem, key, theta, num_episodes))


def earned(path: Path) -> tuple[jax.Array, jax.Array]:
    """Return and length of episodes, leaves [E, ...]. [E] each."""
    return jnp.sum(jnp.where(path.is_alive, path.reward, 0), -1), jnp.sum(path.is_alive, -1, dtype=jnp.int32)


def objective(problem: ControlProblem, x: PyTree, path: Path) -> jax.Array:
    """f(x, pi) less what pairs say: h, and (1 - gamma) times the discounted costs of episodes of pi. []."""
    found = jnp.zeros((), path.reward.dtype) if problem.h is None else problem.h(x)
    if problem.cost is None:
        return found
    cost = jax.vmap(jax.vmap(functools.partial(problem.cost, x)))
    costs = cost(path.obs[:, :-1], path.action, path.obs[:, 1:], path.reward)
    gamma = jnp.asarray(problem.discount, costs.dtype)
    weights = (1 - gamma) * gamma ** jnp.arange(costs.shape[1], dtype=costs.dtype)
    return found + jnp.sum(weights * jnp.mean(jnp.where(path.is_alive, costs, 0), 0))


@functools.lru_cache(maxsize=32)
def record(problem: ControlProblem) -> Callable[[Any, Any, Any], dict[str, Any]]:
    """Record function: x, what fresh episodes of the tracked policies earn, and the objective of those of theta."""

    def keep(state: Any, info: Any, schedules: Any) -> dict[str, Any]:
        del schedules
        inner = core(state)
        found = {"x": getattr(state, "average", inner.x), "status": inner.status, "failed_at": inner.failed_at}
        for name, field in (("return", "theta"), ("return_pen", "theta_pen")):
            if hasattr(inner, field):
                path = paths(problem, random.key(SAME_NUMBERS), getattr(inner, field))
                total, length = earned(path)
                found |= {name: jnp.mean(total), f"{name}_deviation": jnp.std(total)}
                found |= {"episode_length": jnp.mean(length.astype(total.dtype))} if field == "theta" else {}
                if field == "theta" and problem.preferences is None:
                    found |= {PLAYED: objective(problem, found["x"], path)}
        shown = {name: info.look[name] for name in SHOWN if name in info.look}
        return found | {name: jnp.where(inner.step > 0, value, jnp.nan) for name, value in shown.items()}

    return keep


def judge(problem: ControlProblem, taus: float | Sequence[float]) -> Judge:
    """How a problem without a table is judged, by fresh episodes of theta: its objective, or minus the mean return.

    The return stands for the objective where the leader compares pairs: it is what their labels are about.

    Raises:
      ValueError: if a tau is not positive.
    """
    each = check_taus(taus)

    def function(carry: Any, record: Mapping[str, Any]) -> tuple[Any, dict[str, jax.Array]]:
        value = record[PLAYED] if PLAYED in record else -record["return"]
        return carry, {OBJECTIVE: jnp.full(len(each), value, value.dtype)}

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

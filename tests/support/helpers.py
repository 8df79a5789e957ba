"""Small bi-level problems shared by the tests.

Every function of x follows x's dtype, because dtype promotion is strict in the tests.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import Problem, TabularMDP
from hfac.tabular.mdp import disjoint_union, from_dense

SIZE_X = 4
FLOAT = jnp.result_type(float)  # float64 where x64 is on
ROUNDING = 50 * float(jnp.finfo(FLOAT).eps)  # a few dozen operations on numbers near 1
needs_x64 = pytest.mark.skipif(jnp.float64 != FLOAT, reason="judged in float64")


def random_kernel(rng: np.random.Generator, num_states: int, num_actions: int, num_successors: int) -> np.ndarray:
    """A kernel [S, A, S] with `num_successors` possible successors of every state and action."""
    kernel = np.zeros((num_states, num_actions, num_states))
    for s, a in np.ndindex(num_states, num_actions):
        kernel[s, a, rng.choice(num_states, num_successors, replace=False)] = rng.dirichlet(np.ones(num_successors))
    return kernel


def random_mdp(
    seed: int,
    num_states: int = 6,
    num_actions: int = 3,
    num_successors: int = 3,
    discount: float = 0.9,
    ends: Any = None,
) -> TabularMDP:
    """Random dynamics with a random start."""
    rng = np.random.default_rng(seed)
    kernel = random_kernel(rng, num_states, num_actions, num_successors)
    return from_dense(kernel, rng.dirichlet(np.ones(num_states)), discount, ends)


def on_mdp(mdp: TabularMDP, seed: int, has_policy_term: bool = False, name: str = "small") -> Problem:
    """A problem with x in R^4 on given dynamics: r linear in x, c and h nonlinear, all of them dense.

    With a policy term, g(x, pi) = 0.1 sum (pi - tanh(x_0) target)^2, convex in pi.
    """
    rng = np.random.default_rng([seed, 1])
    shape = (mdp.num_states, mdp.num_actions, mdp.num_states)
    base, slope = rng.uniform(-1, 1, shape), rng.normal(size=(*shape, SIZE_X)) / 2
    cost_base, cost_slope = rng.uniform(-1, 1, shape), rng.normal(size=(*shape, SIZE_X)) / 2
    target = rng.uniform(size=shape[:2])

    def init_x(key: jax.Array) -> jax.Array:
        return jax.random.normal(key, (SIZE_X,))

    def reward(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        where = (s, a, s_next)
        return jnp.asarray(base, x.dtype)[where] + jnp.dot(jnp.asarray(slope, x.dtype)[where], x)

    def cost(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        where = (s, a, s_next)
        return jnp.asarray(cost_base, x.dtype)[where] + jnp.dot(jnp.asarray(cost_slope, x.dtype)[where], jnp.sin(x))

    def h(x: jax.Array) -> jax.Array:
        return 0.05 * jnp.sum(x**2) + 0.1 * jnp.cos(x[0] - x[1])

    def g(x: jax.Array, pi: jax.Array) -> jax.Array:
        return 0.1 * jnp.sum((pi - jnp.tanh(x[0]) * jnp.asarray(target, pi.dtype)) ** 2)

    return Problem(
        mdp=mdp, reward=reward, init_x=init_x, h=h, cost=cost, g=g if has_policy_term else None, name=f"{name}_{seed}"
    )


def small_random(seed: int, num_states: int = 6, num_actions: int = 3, g: bool = False, **options: Any) -> Problem:
    """A random problem; `options` are those of `random_mdp`."""
    return on_mdp(random_mdp(seed, num_states, num_actions, **options), seed, g, "random")


def with_ends(seed: int, num_states: int = 6, num_actions: int = 3, g: bool = False, **options: Any) -> Problem:
    """The same with two states whose action ends the episode."""
    ends = np.zeros(num_states, bool)
    ends[np.random.default_rng([seed, 2]).choice(num_states, 2, replace=False)] = True
    return on_mdp(random_mdp(seed, num_states, num_actions, ends=ends, **options), seed, g, "ends")


UNION_WEIGHTS = (0.3, 0.7)


def union_parts(seed: int) -> list[TabularMDP]:
    """Two MDPs of unequal size and list length, the second with an end."""
    return [
        random_mdp(seed, num_states=3, num_successors=2),
        random_mdp(seed + 1, num_states=4, num_successors=3, ends=np.array([False, True, False, False])),
    ]


def union(seed: int, g: bool = False) -> Problem:
    """A problem on the disjoint union of two MDPs."""
    return on_mdp(disjoint_union(union_parts(seed), UNION_WEIGHTS), seed, g, "union")


def point(problem: Problem, seed: int = 0) -> jax.Array:
    """A point x away from the start, in the default float type."""
    size = problem.init_x(jax.random.key(0)).size
    return jnp.asarray(np.random.default_rng([seed, 3]).normal(size=size), FLOAT)


def random_policy(problem: Problem, seed: int = 0) -> np.ndarray:
    """A policy table [S, A] whose every action has probability."""
    logits = np.random.default_rng([seed, 4]).normal(size=(problem.mdp.num_states, problem.mdp.num_actions))
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

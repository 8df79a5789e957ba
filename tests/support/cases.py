"""Small problems and states that the tests of the moving parts share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

import hfac
from hfac import exact, options, problems, schedules
from hfac.problems._synthetic import random_dynamics
from hfac.tabular import mdp
from hfac.tabular.problem import Problem
from hfac.tabular.sampling import Chain

TABULAR = [name for name in problems.REGISTRY if options.kind_of(getattr(problems, name)) == "tabular"]
NEEDS_X64 = "float64 oracles"


@functools.cache
def goal(discount: float = 0.8, **options) -> Problem:
    """Goal placement on 4 x 4 cells."""
    options = {"size": 4, "landmark": (3, 3), "hazard_rows": (1, 2), "hazard_columns": (1, 2)} | options
    return problems.goal_placement(discount=discount, **options)


def unbounded(problem: Problem) -> Problem:
    """The same problem with critics that are not projected."""
    return dataclasses.replace(problem, reward_bound=None, cost_bound=None)


def dynamics(
    seed: int = 0, num_states: int = 5, num_actions: int = 3, width: int = 3, discount: float = 0.8, ends=None
):
    """Random successor lists."""
    rng = np.random.default_rng(seed)
    next_states = rng.integers(num_states, size=(num_states, num_actions, width))
    probs = rng.dirichlet(np.ones(width), size=(num_states, num_actions))
    return mdp.from_successors(next_states, probs, rng.dirichlet(np.ones(num_states)), discount, ends)


def random_problem(dynamics: mdp.TabularMDP, seed: int = 0, has_cost: bool = True, has_g: bool = False) -> Problem:
    """Reward and cost that depend on x and on the whole transition; x [4]."""
    rng = np.random.default_rng(100 + seed)
    num_states, num_actions = dynamics.num_states, dynamics.num_actions
    on_action = rng.normal(size=(num_states, num_actions, 4))
    on_next = rng.normal(size=(num_states, 4))
    on_cost = rng.normal(size=(num_states, num_actions, 4))
    start, target = rng.normal(size=4), rng.dirichlet(np.ones(num_actions), size=num_states)

    def at(table, x, *where):
        return jnp.asarray(table, x.dtype)[where]

    def reward(x, s, a, s_next):
        return jnp.tanh(jnp.sum(x * at(on_action, x, s, a))) + 0.5 * jnp.sin(jnp.sum(x * at(on_next, x, s_next)))

    def cost(x, s, a, s_next):
        return jnp.sin(jnp.sum(x * at(on_cost, x, s, a))) + 0.5 * jnp.sum(x**2 * at(on_next, x, s_next))

    def g(x, pi):
        return 0.1 * (1 + 0.5 * jnp.sin(x[0])) * jnp.sum((pi - at(target, x)) ** 2)

    return Problem(
        mdp=dynamics,
        reward=reward,
        init_x=lambda key: jnp.asarray(start, jnp.float32),
        h=lambda x: 0.1 * jnp.sum(x**2),
        cost=cost if has_cost else None,
        g=g if has_g else None,
    )


@functools.cache
def ending() -> Problem:
    """A random problem with two states that end the episode."""
    return random_problem(dynamics(1, ends=np.array([False, True, False, False, True])), 1)


@functools.cache
def union() -> Problem:
    """Two contexts, one of which can end, that share x."""
    parts = [dynamics(2, 4), dynamics(3, 3, ends=np.array([True, False, False]))]
    return random_problem(mdp.disjoint_union(parts, [0.3, 0.7]), 2)


PROBLEMS = {
    "goal": functools.cache(lambda: unbounded(goal())),
    "ends": ending,
    "union": union,
    "policy_term": functools.cache(lambda: random_problem(dynamics(4), 4, has_g=True)),
}


def bandit(**parts) -> Problem:
    """One state, two actions: r_x = x for action 1, discount 1/2."""
    loop = mdp.from_successors(np.zeros((1, 2, 1), int), np.ones((1, 2, 1)), [1.0], 0.5)
    parts = {"reward": lambda x, s, a, s_next: jnp.where(a == 1, x, 0 * x), "init_x": lambda key: jnp.ones(()), **parts}
    return Problem(mdp=loop, **parts)


def constant(upper=1e-30, actor=1e-30, critic=1e-30, penalty=0.5, entropy=0.3) -> schedules.Schedules:
    """Constant rates; a rate not given is too small to move anything."""
    return schedules.make(
        dict(zip(schedules.RATES, (upper, actor, critic, penalty, entropy), strict=True)),
        dict.fromkeys(schedules.RATES, 0.0),
        1.0,
        {},
    )


def gentle(**scales) -> schedules.Schedules:
    """Attenuating schedules under which 1e4 float32 steps on a small problem stay healthy."""
    scales = {"upper": 0.01, "actor": 0.5, "critic": 0.3, "penalty": 1.0, "entropy": 0.1} | scales
    return schedules.attenuating(**scales, offset=1000.0)


def frozen_state(algorithm, problem: Problem, rates, seed: int = 0, dtype=jnp.float64):
    """A state with arbitrary x, policies and critics."""
    state = algorithm.init(jax.random.key(seed), rates)
    rng = np.random.default_rng(seed)

    def arbitrary(leaf):
        return jnp.asarray(rng.normal(size=leaf.shape), dtype)

    names = ("x", "theta", "theta_pen", "value", "value_pen", "leader_value", "leader_value_neg")
    return state._replace(**{n: jax.tree.map(arbitrary, getattr(state, n)) for n in names})


def variables(state) -> dict:
    """Everything a step moves, by name."""
    names = ("x", "theta", "theta_pen", "value", "value_pen", "leader_value", "leader_value_neg")
    return {name: getattr(state, name) for name in names if getattr(state, name) is not None}


def differences(new, old) -> dict:
    """What one step added to every variable."""
    return jax.tree.map(lambda a, b: a - b, variables(new), variables(old))


def policies(state) -> tuple[jax.Array, jax.Array]:
    """Both policy tables [S, A]."""
    return jax.nn.softmax(state.theta), jax.nn.softmax(state.theta_pen)


def run(algorithm, key, rates, num_steps: int, **options):
    """`hfac.run` inside a compiled function: an ordinary program, which compiles in half the time of a native one."""
    return jax.jit(lambda key, rates: hfac.run(algorithm, key, rates, num_steps, **options))(key, rates)


def visits(problem: Problem, state) -> tuple[jax.Array, jax.Array]:
    """Exact visitation of both policies, [S]."""
    return jax.jit(lambda *pis: tuple(jax.lax.map(lambda pi: exact.visitation(problem, pi), jnp.stack(pis))))(
        *policies(state)
    )


def stationary_chains(key, visitation, batch_size: int, has_ends: bool) -> tuple[Chain, Chain]:
    """Chains as a long run leaves them: states ~ d^pi, over with the probability that d^pi lacks."""
    uniforms = jax.random.uniform(key, (2, batch_size, 1), visitation[0].dtype)

    def one(d, u):
        drawn = jnp.sum(u >= jnp.cumsum(d)[None], axis=-1, dtype=jnp.int32)
        is_over = (drawn == d.size) if has_ends else None
        return Chain(jnp.minimum(drawn, d.size - 1), is_over)

    return tuple(one(d, u) for d, u in zip(visitation, uniforms, strict=True))


def published(discount):
    """The published instance RandomState(3): the problem and a point."""
    problem = problems.random_mdp(seed=3, discount=discount)
    rng = np.random.RandomState(3)
    random_dynamics(rng, 10, 5, discount)
    rng.rand(10, 5), rng.rand(10, 5), rng.randn(100, 100)
    return problem, jnp.asarray(0.15 * rng.randn(100))

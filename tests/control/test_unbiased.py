"""Sampled directions on an environment that is a table, against exact expectations of the same table."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import control
from hfac.control import networks
from hfac.exact import penalty_response as exact_policies
from hfac.types import densify
from support import cases
from support.slow import few

NUM_ENVS, NUM_STEPS, NUM_DRAWS, BURN_IN = 64, 16, 600, 60
W, TAU = (np.asarray(number) for number in (0.5, 0.3))


def chain():
    """Six states in a row, two actions, a slip: where one policy leads, the other hardly goes."""
    cells = np.arange(6)
    moves = np.stack([np.maximum(cells - 1, 0), np.minimum(cells + 1, 5)], 1)
    next_states = np.stack([moves, moves[:, ::-1]], -1)
    from hfac.tabular import mdp

    made = mdp.from_successors(next_states, np.full((6, 2, 2), [0.9, 0.1]), np.eye(6)[2], 0.9)
    return cases.random_problem(made, 3)


PROBLEMS = {"goal": lambda: cases.unbounded(cases.goal()), "ends": cases.ending, "chain": chain}


@functools.cache
def setting(name):
    """A problem, an upper variable, two policies and three critics that nothing moves."""
    problem = PROBLEMS[name]()
    rng = np.random.default_rng(1)
    shape = problem.mdp.next_states.shape[:2]
    x = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), problem.init_x(jax.random.key(0)))
    thetas = tuple(jnp.asarray(rng.normal(size=shape)) for _ in range(2))
    critics = tuple(jnp.asarray(rng.normal(size=shape[0])) for _ in range(3))
    return problem, x, thetas, critics


def directions(lower, x, thetas, seen, critics):
    """Every direction of a step of hfac, as named arrays."""
    v, v_pen, u = critics
    delta, delta_pen = lower.advantage(x, seen[0], v, TAU), lower.advantage(x, seen[1], v_pen, TAU)
    delta_u = lower.leader_advantage(x, seen[1], u)
    found = {
        "x": (x, lower.hypergradient(x, *seen, W)),
        "theta": (thetas[0], lower.actor(x, seen[0], delta, TAU)),
        "theta_pen": (thetas[1], lower.actor(x, seen[1], delta_pen - W * delta_u, TAU, W)),
        "value": (v, lower.critic(v, seen[0], delta)),
        "leader_value": (u, lower.critic(u, seen[1], delta_u)),
    }
    return {name: densify(like, update) for name, (like, update) in found.items()}


def exact(name, gae_lambda):
    """Expectations of the same directions; traces are those of steps at every place of a draw."""
    problem, x, thetas, critics = setting(name)
    lower = problem.lower(sampler="exact", dtype=jnp.float64)
    batches = lower.draw(jax.random.key(0), lower.init(jax.random.key(0)).chains, *thetas).batches
    seen = [lower.see(theta, batch, {}) for theta, batch in zip(thetas, batches, strict=True)]
    if gae_lambda == 0:
        return directions(lower, x, thetas, seen, critics)
    return directions(with_traces(problem, lower, thetas, gae_lambda), x, thetas, seen, critics)


def with_traces(problem, lower, thetas, gae_lambda):
    """The exact lower level with lambda-advantages, cut at the end of a draw, in the place of errors of one step."""
    mdp = problem.mdp

    def later(theta, state_errors):
        """E[ sum_{l >= 1} (gamma lambda)^l delta_{t+l} | s' ], averaged over places t of a draw, for every s'."""
        pi = jax.nn.softmax(theta)
        kernel = np.zeros((mdp.num_states,) * 2)
        goes_on = np.ones(mdp.num_states) if mdp.ends is None else 1.0 - mdp.ends
        for (s, a, k), p in np.ndenumerate(mdp.probs):
            kernel[s, mdp.next_states[s, a, k]] += goes_on[s] * float(pi[s, a]) * p
        total, power = np.zeros(mdp.num_states), np.asarray(state_errors)
        decay = float(mdp.discount) * gae_lambda
        for length in range(1, NUM_STEPS):
            total += decay**length * power * (NUM_STEPS - length) / NUM_STEPS
            power = kernel @ power
        return total

    def traced(advantage):
        def found(x, seen, *rest):
            delta = advantage(x, seen, *rest)
            batch = seen.batch
            mass = jnp.zeros(mdp.num_states).at[batch.state].add(batch.weight)
            means = jnp.zeros(mdp.num_states).at[batch.state].add(batch.weight * delta) / mass
            onward = jnp.asarray(later(seen.theta, means))[batch.next_state]
            return delta + jnp.where(batch.discount > 0, onward, 0)

        return found

    return lower._replace(advantage=traced(lower.advantage), leader_advantage=traced(lower.leader_advantage))


@functools.cache
def sampled(name, starts, coupled, gae_lambda):
    """Mean and standard error of every direction over many draws."""
    problem, x, thetas, critics = setting(name)
    num_actions = problem.mdp.num_actions
    walked = control.tabular(problem, "one_hot", actor=networks.linear(num_actions), critic=networks.linear(1))
    lower = walked.lower(
        num_envs=NUM_ENVS, num_steps=NUM_STEPS, starts=starts, coupled=coupled, gae_lambda=gae_lambda, normalize=False,
        dtype=jnp.float64,
    )  # fmt: skip
    columns = tuple(critic[:, None] for critic in critics)

    @jax.jit
    def run(key):
        def one(chains, key):
            batches, chains, _ = lower.draw(key, chains, *thetas)
            seen = [lower.see(theta, batch, {}) for theta, batch in zip(thetas, batches, strict=True)]
            return chains, directions(lower, x, thetas, seen, columns)

        keys = jax.random.split(key, NUM_DRAWS + BURN_IN)
        found = jax.lax.scan(one, lower.init(key).chains, keys)[1]
        found = jax.tree.map(lambda leaf: leaf[BURN_IN:], found)
        return jax.tree.map(lambda leaf: (leaf.mean(0), leaf.std(0) / np.sqrt(NUM_DRAWS)), found)

    return jax.device_get(run(jax.random.key(7)))


@pytest.mark.parametrize(
    "name, starts, coupled, gae_lambda",
    few(
        [
            ("goal", "restarts", True, 0.0),
            ("ends", "restarts", True, 0.9),
            ("ends", "restarts", False, 0.0),
            ("chain", "restarts", True, 0.9),
            ("ends", "paired", True, 0.0),
            ("chain", "paired", False, 0.0),
        ],
        ("ends", "restarts", True, 0.9),
        ("chain", "paired", False, 0.0),
    ),
)
def test_sampled_directions_have_the_exact_mean(name, starts, coupled, gae_lambda):
    found, expected = sampled(name, starts, coupled, gae_lambda), exact(name, gae_lambda)
    for variable, (mean, error) in found.items():
        truth = np.asarray(expected[variable]).reshape(mean.shape)
        distance = np.abs(mean - truth)
        assert np.all(distance <= 5 * error + 1e-12), (variable, np.max(distance / error))
        assert np.linalg.norm(error) <= 0.05 * np.linalg.norm(truth), (
            variable,
            np.linalg.norm(error) / np.linalg.norm(truth),
        )


def test_numbers_in_common_quieten_the_contrast():
    """Of the best response and the penalised policy at a small w: the standard deviation falls by more than eight."""
    problem, x, *_ = setting("chain")
    w, tau = np.asarray(0.1), np.asarray(0.3)
    thetas = tuple(map(jnp.log, jax.jit(lambda: exact_policies(problem, x, w, tau))()))

    def spread(coupled):
        walked = control.tabular(problem, "one_hot", actor=networks.linear(2), critic=networks.linear(1))
        lower = walked.lower(num_envs=NUM_ENVS, num_steps=32, coupled=coupled, dtype=jnp.float64)

        def one(chains, key):
            batches, chains, _ = lower.draw(key, chains, *thetas)
            seen = [lower.see(theta, batch, {}) for theta, batch in zip(thetas, batches, strict=True)]
            return chains, lower.hypergradient(x, *seen, w)

        run = jax.jit(lambda key: jax.lax.scan(one, lower.init(key).chains, jax.random.split(key, 300))[1])
        return np.linalg.norm(run(jax.random.key(3))[BURN_IN:].std(0))

    assert spread(coupled=False) > 8 * spread(coupled=True)

"""A kind of lower level that the library does not know, in sixty lines: methods run on it, swept and resumed."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfac
from hfac import algorithms, engine, metrics, results, schedules
from hfac.engine import Checkpoints, advance_part, first_shapes
from hfac.lower import Draw, First, Lower
from hfac.types import apply_updates, cast
from support.slow import few

NUM_CONTEXTS, NUM_ACTIONS = 3, 4
WANTED = jnp.array([1, 3, 0], jnp.int32)  # what the leader likes, by context
WAGE = jnp.eye(NUM_ACTIONS)[jnp.array([0, 1, 2])]  # what the follower likes


class Choices(NamedTuple):
    context: jax.Array  # int32 [B]
    action: jax.Array  # int32 [B]
    weight: jax.Array  # [B]


class Seen(NamedTuple):
    theta: jax.Array
    batch: Choices
    log_pi: jax.Array  # [B]


def reward(x, context, action):
    return jnp.asarray(WAGE, x.dtype)[context, action] + jnp.tanh(x[context, action])


class Bandit(NamedTuple):
    """Contexts come, the follower picks an action; the leader pays bonuses so that it picks what the leader wants."""

    ridge: float = 0.02

    def init_x(self, key):
        return jnp.zeros((NUM_CONTEXTS, NUM_ACTIONS))

    def objective(self, x, pi):
        """f(x, pi) = -P(wanted action) + ridge |x|^2, exactly."""
        return -jnp.mean(jnp.take_along_axis(pi, WANTED[:, None], 1)) + self.ridge * jnp.sum(x**2)

    def lower(self, *, batch_size: int | None = None, num_policies: int = 2, dtype: Any = jnp.float32) -> Lower:
        """All choices with their probabilities, or `batch_size` of them."""

        def log_probs(theta):
            return jax.nn.log_softmax(theta)

        def one(key, theta):
            if batch_size is None:
                context, action = (grid.ravel() for grid in jnp.indices((NUM_CONTEXTS, NUM_ACTIONS), jnp.int32))
                return Choices(context, action, jnp.exp(log_probs(theta))[context, action] / NUM_CONTEXTS)
            context = jax.random.randint(key, (batch_size,), 0, NUM_CONTEXTS)
            action = jax.random.categorical(jax.random.fold_in(key, 1), theta[context]).astype(jnp.int32)
            return Choices(context, action, jnp.full(batch_size, 1 / batch_size, dtype))

        def draw(key, chains, *thetas):
            batches = tuple(one(key, theta) for theta in thetas)  # the same key: coupled
            return Draw(batches, chains, jnp.int32(len(thetas) * (batch_size or 0)))

        def actor(x, seen, advantage, tau, w=None):
            return jax.grad(lambda theta: jnp.sum(seen.batch.weight * advantage * log_at(theta, seen.batch)))(
                seen.theta
            )

        def weigh(values, seen):
            return jnp.sum(seen.batch.weight * values)

        def log_at(theta, batch):
            return log_probs(theta)[batch.context, batch.action]

        def mean_reward(x, seen):
            return weigh(reward(x, seen.batch.context, seen.batch.action), seen)

        def critic(v, seen, advantage):
            return jnp.zeros_like(v).at[seen.batch.context].add(seen.batch.weight * advantage)

        def upper_gradient(x, seen):
            return 2 * self.ridge * x

        return Lower(
            init=lambda key: First(cast(self.init_x(key), dtype), jnp.zeros((NUM_CONTEXTS, NUM_ACTIONS), dtype),
                                   jnp.zeros(NUM_CONTEXTS, dtype), (), ()),
            draw=draw,
            see=lambda theta, batch, options: Seen(theta, batch, log_at(theta, batch)),
            advantage=lambda x, seen, v, tau: reward(x, seen.batch.context, seen.batch.action) - tau * seen.log_pi
            - v[seen.batch.context],
            leader_advantage=lambda x, seen, u: -(seen.batch.action == WANTED[seen.batch.context]).astype(dtype)
            - u[seen.batch.context],
            actor=actor,
            critic=critic,
            hypergradient=lambda x, seen, seen_pen, w: upper_gradient(x, seen_pen)
            + jax.grad(lambda x: (mean_reward(x, seen) - mean_reward(x, seen_pen)) / w)(x),
            central_hypergradient=None,
            upper_gradient=upper_gradient,
            mean=lambda seen, advantage: weigh(advantage, seen),
            look=lambda x, *seen: {},
            watch=lambda vitals, seen: (vitals, None),
            bounds=lambda schedules: {},
            project=apply_updates,
        )  # fmt: skip


TAU = 0.3
RATES = schedules.attenuating(
    upper=0.3, actor=1.0, critic=0.3, penalty=0.3, entropy=TAU, offset=500.0, upper_power=0.5, entropy_power=0.0,
    actor_power=0.0, critic_power=0.0,
)  # fmt: skip


def hyper_objective(problem, x, tau=TAU):
    """Phi_tau(x) in closed form: the best response is a softmax of the rewards."""
    context, action = jnp.indices((NUM_CONTEXTS, NUM_ACTIONS), jnp.int32)
    return problem.objective(x, jax.nn.softmax(reward(x, context, action) / tau))


def judge(problem):
    return metrics.Metric(
        lambda carry, record: (carry, {"worth": hyper_objective(problem, record["x"])}), (), "none", np.array([]), ()
    )


def test_its_direction_is_the_exact_one_up_to_the_penalty():
    problem, x = Bandit(), jnp.linspace(-1, 1, 12, dtype=jnp.float64).reshape(3, 4)
    lower = problem.lower(dtype=jnp.float64)
    exact = jax.grad(lambda x: hyper_objective(problem, x))(x)
    context, action = jnp.indices((NUM_CONTEXTS, NUM_ACTIONS), jnp.int32)
    errors = []
    for w in (0.02, 0.01):
        thetas = [
            (reward(x, context, action) + pull) / TAU for pull in (0, w * (action == WANTED[:, None]).astype(float))
        ]
        seen = [lower.see(theta, lower.draw(None, (), theta).batches[0], {}) for theta in thetas]
        errors.append(float(jnp.linalg.norm(lower.hypergradient(x, *seen, w) - exact)))
    assert errors[1] < 0.02 * float(jnp.linalg.norm(exact)) and errors[1] == pytest.approx(errors[0] / 2, rel=0.1)


@pytest.mark.parametrize("batch_size", few([None, 64], 64))
def test_methods_run_on_it_and_the_bilevel_ones_find_what_partial_cannot(batch_size):
    problem = Bandit()
    ends = {}
    for name in ("hfac", "nested", "partial"):
        algorithm = getattr(algorithms, name)(problem, batch_size=batch_size)
        data = hfac.judge(hfac.sweep(algorithm, RATES, seeds=3, num_steps=2_000, record_at=[0, 2_000]), judge(problem))
        assert np.all(data["status"] == 0)
        assert np.all(data["samples"].isel(step=-1) == 2_000 * (batch_size or 0) * (1 if name == "partial" else 2))
        ends[name] = data["worth"].isel(step=[0, -1]).transpose("step", "seed").values
    start = float(hyper_objective(problem, problem.init_x(None)))
    np.testing.assert_allclose(ends["partial"], start, atol=1e-6)
    best = minimum(problem)
    for name in ("hfac", "nested"):
        assert np.all(ends[name][1] < start + 0.9 * (best - start)), (name, ends[name], best)


@functools.cache
def minimum(problem):
    slope = jax.grad(lambda x: hyper_objective(problem, x))
    x = jax.jit(lambda x: jax.lax.fori_loop(0, 3_000, lambda _, x: x - 0.5 * slope(x), x))(problem.init_x(None))
    return float(hyper_objective(problem, x))


def test_a_sweep_of_it_is_cut_and_goes_on_to_the_same_numbers(tmp_path):
    algorithm, points = algorithms.hfac(Bandit(), batch_size=8), np.array([0, 40, 100])
    layout = engine.lay_out(algorithm, RATES, 3)
    store = results.Store.create(tmp_path / "r.zarr", {})
    part = store.add(layout.table, layout.record_shapes, points, layout.program.plan.width)
    stops = iter([True, False, False, False, False, False])
    for _ in range(2):
        checkpoints = Checkpoints(tmp_path / "c", {})
        start, refused = checkpoints.latest(first_shapes(layout))
        assert not refused
        advance_part(layout, part, checkpoints, start, lambda *_: next(stops), 1e9)
    whole = hfac.sweep(algorithm, RATES, 3, 100, record_at=points, width=layout.program.plan.width)
    found = results.load(tmp_path / "r.zarr")
    np.testing.assert_allclose(found["x"], whole["x"], rtol=0, atol=1e-6)
    assert np.array_equal(found["samples"], whole["samples"])


def test_an_option_that_it_does_not_have_is_refused():
    with pytest.raises(ValueError, match="hfac has no option 'batch_sise' on Bandit; did you mean 'batch_size'"):
        algorithms.hfac(Bandit(), batch_sise=3)

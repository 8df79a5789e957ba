"""What a leader learns from pairs of segments, against sums over all pairs of a bandit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac import control, problems
from hfac.control import networks, pairs
from support.slow import few

PAYS = np.array([0.0, 1.0, -0.5])  # hidden, by action
SLOPE, GAMMA, NUM_DRAWS = 2.0, 0.8, 4_000
X = jnp.array([0.3, -0.2, 0.5])
THETA = jnp.array([[0.4, 0.0, -0.3]])


def reward(x, obs, action, next_obs):
    return x[action] + 0 * jnp.sum(obs).astype(x.dtype)


def bandit(loss=None, **changed):
    """One observation, three actions; a segment is one step."""

    def reset(key):
        return jnp.ones(1), jnp.int32(0)

    def step(key, state, action):
        return control.Step(jnp.ones(1), state, jnp.asarray(PAYS)[action], jnp.array(False), jnp.array(False))

    environment = control.Environment(reset, step, control.Box([-2.0], [2.0]), control.Discrete(3), name="bandit")
    loss = loss or control.logistic_loss(reward)
    preferences = control.Preferences(loss, num_pairs=64, length=1, rationality=SLOPE, **changed)
    return control.ControlProblem(
        environment=environment, reward=reward, init_x=lambda key: jnp.zeros(3), preferences=preferences,
        discount=GAMMA, actor=networks.linear(3), critic=networks.linear(1),
    )  # fmt: skip


def expected_loss(x, theta, others=None):
    """f(x, pi) over all pairs of actions; the second from `others` where they are given."""
    pi = jax.nn.softmax(theta[0])
    second = pi if others is None else others
    gap = x[:, None] - x[None]
    chance = jax.nn.sigmoid(SLOPE * (PAYS[:, None] - PAYS[None]))
    return jnp.sum(pi[:, None] * second[None] * (jax.nn.softplus(-gap) + (1 - chance) * gap))


def sampled(problem, function):
    """Mean and standard error of a function of what is seen, over many draws."""
    lower = problem.lower(num_envs=16, num_steps=16, normalize=False, num_policies=1, dtype=jnp.float64)

    @jax.jit
    def run(key):
        def one(chains, key):
            (batch,), chains, _ = lower.draw(key, chains, THETA)
            return chains, function(lower, lower.see(THETA, batch, {}))

        found = jax.lax.scan(one, lower.init(key).chains, jax.random.split(key, NUM_DRAWS))[1]
        return found.mean(0), found.std(0) / np.sqrt(NUM_DRAWS)

    return jax.device_get(run(jax.random.key(5)))


def of_policy(lower, seen):
    critic = jnp.full((1, 1), (1 - GAMMA) * expected_loss(X, THETA))  # a baseline
    return lower.actor(X, seen, lower.leader_advantage(X, seen, critic), 0.0) / (1 - GAMMA)


def of_x(lower, seen):
    return lower.upper_gradient(X, seen)


def anchors():
    """Three segments that took action 1, and one that took action 2."""
    taken = jnp.array([[1], [1], [1], [2]], jnp.int32)
    ones = jnp.ones((4, 1, 1))
    return control.Segment(ones, taken, ones, jnp.ones((4, 1)), jnp.asarray(PAYS)[taken[:, 0]])


@pytest.mark.parametrize(
    ("of", "argument", "with_anchors"),
    few(
        [(of_policy, 1, False), (of_policy, 1, True), (of_x, 0, False), (of_x, 0, True)],
        (of_policy, 1, False),
        (of_x, 0, True),
    ),
)
def test_directions_are_those_of_the_expected_loss(of, argument, with_anchors):
    """Pairs of the same segment are left out, which one of 256 would be."""
    problem = bandit(anchors=anchors()) if with_anchors else bandit()
    mean, error = sampled(problem, of)
    others = jnp.array([0.0, 0.75, 0.25]) if with_anchors else None
    truth = np.asarray(jax.grad(expected_loss, argument)(X, THETA, others))
    assert np.all(np.abs(mean - truth) <= 5 * error)
    assert np.linalg.norm(error) <= 0.05 * np.linalg.norm(truth)


def test_the_win_rate_against_anchors_moves_the_policy_alone():
    mean, error = sampled(bandit(pairs.lost, anchors=anchors()), of_policy)
    others = jnp.array([0.0, 0.75, 0.25])
    chance = jax.nn.sigmoid(SLOPE * (PAYS[:, None] - PAYS[None]))
    truth = jax.grad(lambda theta: jax.nn.softmax(theta[0]) @ (1 - chance) @ others)(THETA)
    assert np.all(np.abs(mean - truth) <= 5 * error)
    assert np.linalg.norm(error) <= 0.05 * np.linalg.norm(truth)


def test_random_anchors_are_whole_at_their_start():
    found = pairs.random_segments(problems.preferences(), 40, 8)
    assert found.weight.shape == (40, 8)
    assert np.all(found.weight[:, 0] == 1)
    assert np.array_equal(found.hidden, found.weight.sum(1))  # CartPole pays 1 a step
    assert 1 < found.hidden.mean() < 8  # some fall within


def test_a_win_rate_needs_anchors():
    with pytest.raises(ValueError, match="wins half of the pairs with itself"):
        problems.preferences(leader="win_rate")


def test_what_follows_an_end_is_not_compared():
    """A walk to the right that ends after two steps: segments hold what came before the end."""

    def reset(key):
        return jnp.zeros(1), jnp.zeros(())

    def step(key, state, action):
        after = state + 1.0
        return control.Step(after[None], after, jnp.ones(()), after >= 2, jnp.array(False))

    environment = control.Environment(reset, step, control.Box([-9.0], [9.0]), control.Discrete(2), name="walk")

    def loss(x, segment, other, label):
        return x * jnp.sum(segment.weight) + 0 * label

    problem = control.ControlProblem(
        environment=environment, reward=lambda x, *step: x, init_x=lambda key: jnp.zeros(()), discount=0.999,
        preferences=control.Preferences(loss, num_pairs=256, length=4),
    )  # fmt: skip
    lower = problem.lower(num_envs=8, num_steps=8, num_policies=1)
    state = lower.init(jax.random.key(0))
    (batch,), _, num_samples = lower.draw(jax.random.key(1), state.chains, state.theta)
    assert int(num_samples) == int(batch.is_alive.sum()) < 8 * 8
    assert float(lower.upper_gradient(jnp.float32(1.0), lower.see(state.theta, batch, {}))) == pytest.approx(2, abs=0.2)

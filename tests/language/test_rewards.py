"""The first reward: what it minimises, and where it comes from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac.language import rewards
from hfac.language.problem import Anchors

SLOPE, RIDGE = 2.0, 0.05


class Policy:
    """Of a width; a linear reward asks for nothing else."""

    class architecture:  # noqa: N801
        width = 6


def anchors() -> Anchors:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3, 5, 6))
    return Anchors(jnp.asarray(features, jnp.float32), jnp.asarray(features[..., 0] > 0, jnp.float32))


def test_the_first_reward_minimises_the_log_loss_of_preferences_among_anchors():
    """Its gradient, written out in float64, is zero; it likes what the score likes."""
    given = anchors()
    head = np.asarray(rewards.fitted(rewards.Linear(Policy()), given, SLOPE, RIDGE), float)
    features, score = np.asarray(given.features, float), np.asarray(given.score, float)
    gap = features[:, :, None] - features[:, None]
    wanted = 1 / (1 + np.exp(-SLOPE * (score[:, :, None] - score[:, None])))
    said = 1 / (1 + np.exp(-(gap @ head)))
    gradient = np.mean((said - wanted)[..., None] * gap, (0, 1, 2)) + RIDGE * head
    assert np.abs(gradient).max() < 1e-5 and head[0] > np.abs(head[1:]).max()


@pytest.mark.parametrize("ridge", [0.0, 10.0])
def test_a_large_ridge_makes_a_small_reward(ridge):
    """Finite without one."""
    head = rewards.fitted(rewards.Linear(Policy()), anchors(), SLOPE, ridge)
    size = float(jnp.linalg.norm(head))
    assert np.isfinite(size) and (size < 0.1) == (ridge == 10.0)


def test_x_of_a_linear_reward_begins_at_zero():
    """Where nothing is known."""
    assert not np.asarray(rewards.Linear(Policy()).init(jax.random.key(0))).any()

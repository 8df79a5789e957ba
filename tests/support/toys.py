"""A small language with a rater, and bi-level problems over it: everything can be listed."""

import jax
import jax.numpy as jnp
import numpy as np

from hfac.exact import sequences
from hfac.sequences import policies
from hfac.sequences.problem import EpisodicProblem

NUM_TOKENS, LENGTH = 4, 3
LEADERS = ("score", "pairs", "anchored")
POLICY = policies.tabular_prefixes(NUM_TOKENS, LENGTH, jnp.float64)
EVERY = jnp.array(sequences.enumerate_sequences(NUM_TOKENS, LENGTH))
ANCHORS = EVERY[::5]  # here: a slice that is taken inside a traced function is a part of its trace
SLOPE = 2.5
RIDGE = 0.03  # keeps the best x finite
_rng = np.random.default_rng(7)
WORTH = jnp.array([0.0, *_rng.normal(size=NUM_TOKENS - 1)])  # of a token, as the rater sees it
START = jnp.array(_rng.normal(size=(NUM_TOKENS + 1,)) * 0.5)
DIRECTIONS = jnp.array(_rng.normal(size=(20, len(EVERY))))
REFERENCE = jnp.array(_rng.normal(size=POLICY.init(jax.random.key(0)).shape) * 0.7)


def rating(y):
    return jnp.sum(jnp.where(policies.written(y, 0), WORTH[y], 0))


def reward(x, y):
    """One number a token, and one for two different tokens at the start: not linear in the rating."""
    return jnp.sum(jnp.where(policies.written(y, 0), x[y], 0)) + x[-1] * jnp.where(y[0] == y[1], 0, jnp.tanh(x[-1]))


def disagreement(x, y, worth, other, worth_other):
    """Expected Bradley-Terry loss of R_x on the rater's answer."""
    preferred = jax.nn.sigmoid(SLOPE * (worth - worth_other))
    gap = reward(x, y) - reward(x, other)
    return -preferred * jax.nn.log_sigmoid(gap) - (1 - preferred) * jax.nn.log_sigmoid(-gap)


def toy(leader):
    parts = {
        "score": {"cost": lambda x, y, worth: -worth},
        "pairs": {"pair_loss": disagreement},
        "anchored": {"pair_loss": disagreement, "anchors": ANCHORS},
    }
    ridge = {"h": lambda x: RIDGE * jnp.sum(x**2)}
    return EpisodicProblem(POLICY, REFERENCE, reward, lambda key: START, rating=rating, **ridge, **parts[leader])

"""What the methods that plan with the model share."""

import jax
import jax.numpy as jnp
import numpy as np

from hfac.algorithms import _common
from hfac.tabular.dynamics import Model, backup
from hfac.types import PyTree, Solution


def check_positive(name: str, value: float) -> None:
    """Raise `ValueError` unless an option is a finite number above zero."""
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and > 0, got {value}")


def solution(state: _common.Planned) -> Solution:
    """The upper variable and the policy that answers it."""
    return Solution(state.x, state.theta)


def greedy_logits(at: Model, value: jax.Array, tau: jax.Array) -> jax.Array:
    """Log-probabilities of the soft-greedy policy softmax(Q / tau), Q = r + gamma P V. [S, A]."""
    return jax.nn.log_softmax(backup(at.mdp, at.reward, value) / tau)


def soft_bellman(at: Model, value: jax.Array, tau: jax.Array) -> jax.Array:
    """One sweep of soft value iteration, V <- tau log sum exp(Q / tau). [S]."""
    return tau * jax.nn.logsumexp(backup(at.mdp, at.reward, value) / tau, axis=-1)


def add(first: PyTree, second: PyTree, weight: jax.Array | float = 1.0) -> PyTree:
    """``first + weight * second`` of two trees."""
    return jax.tree.map(lambda a, b: a + jnp.asarray(weight, b.dtype) * b, first, second)

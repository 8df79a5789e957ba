"""A random MDP that tells methods apart: a method that ignores the policy's answer ends worse than it starts."""

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler.reduce import dot
from hfac.problems._synthetic import TAU, check_sizes, random_dynamics, soft_optimal
from hfac.tabular.problem import Problem
from hfac.types import Key


def linear_reward(
    num_states: int = 10, num_actions: int = 5, dimension: int = 100, discount: float = 0.5, seed: int = 0
) -> Problem:
    """Make a hidden policy optimal with a reward that is linear in x, close to an anchor; judged at tau = 1.

        r_x(s, a) = phi(s, a)'x,   f(x, pi) = |x - x_ref|^2 / (2 dimension) + |pi - pi*_1(3 x_t)|^2 / 2

    Args:
      num_states: S >= 2.
      num_actions: A >= 1.
      dimension: entries of x, >= 1.
      discount: gamma in (0, 0.99].
      seed: of the instance, >= 0.

    Returns:
      A problem with x [dimension], zero at the start. Its reward is unbounded.

    Raises:
      ValueError: if a number is out of range.
    """
    check_sizes(num_states, num_actions, dimension)
    if discount > 0.99:
        raise ValueError(f"discount must be at most 0.99 for the hidden policy to be found, got {discount}")
    rng = np.random.RandomState(seed)
    mdp = random_dynamics(rng, num_states, num_actions, discount)
    features = rng.randn(num_states, num_actions, dimension) / np.sqrt(dimension)
    anchor, hidden = rng.randn(dimension), rng.randn(dimension)
    wanted = soft_optimal(mdp, features @ (3 * hidden))

    def init_x(key: Key) -> jax.Array:
        del key
        return jnp.zeros(dimension)

    def reward(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del s_next
        return dot(jnp.asarray(features, x.dtype)[s, a], x)

    def reward_grad(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del s_next
        return jnp.asarray(features, x.dtype)[s, a]

    def h(x: jax.Array) -> jax.Array:
        return 0.5 * jnp.mean((x - jnp.asarray(anchor, x.dtype)) ** 2)

    def g(x: jax.Array, pi: jax.Array) -> jax.Array:
        del x
        return 0.5 * jnp.sum((pi - jnp.asarray(wanted, pi.dtype)) ** 2)

    return Problem(
        mdp=mdp, reward=reward, init_x=init_x, h=h, g=g, reward_grad=reward_grad, fixed_tau=TAU, name="linear_reward"
    )

"""A random MDP whose best upper variable is known: zero, where every policy is equally good."""

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler.reduce import dot
from hfac.problems._synthetic import TAU, check_sizes, random_dynamics
from hfac.tabular.problem import Problem
from hfac.types import Key


def random_mdp(
    num_states: int = 10, num_actions: int = 5, dimension: int = 100, discount: float = 0.5, seed: int = 0
) -> Problem:
    """The synthetic problem of Yang et al. (SoBiRL, AISTATS 2025), judged at tau = 1.

        r_x(s, a) = C(s, a) x'Bx,   f(x, pi) = |x|^2 / 2 + sum_{s,a} pi(a|s)^2 / 2

    x acts through one number, so this problem cannot tell methods apart; f* = S / (2 A) at x = 0 anchors them.

    Args:
      num_states: S >= 2.
      num_actions: A >= 1.
      dimension: entries of x, >= 1.
      discount: gamma in (0, 1).
      seed: of the instance, >= 0.

    Returns:
      A problem with x [dimension], standard normal at the start. Its reward is unbounded.

    Raises:
      ValueError: if a number is out of range.
    """
    check_sizes(num_states, num_actions, dimension)
    rng = np.random.RandomState(seed)
    mdp = random_dynamics(rng, num_states, num_actions, discount)
    coefficients = rng.rand(num_states, num_actions) * rng.rand(num_states, num_actions)
    form = rng.randn(dimension, dimension)
    symmetric = 0.5 * (form + form.T)  # the same reward, whose value and gradient share one product

    def init_x(key: Key) -> jax.Array:
        return jax.random.normal(key, (dimension,))

    def reward(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del s_next
        return jnp.asarray(coefficients, x.dtype)[s, a] * dot(x, dot(jnp.asarray(symmetric, x.dtype), x))

    def reward_grad(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del s_next
        return 2 * jnp.asarray(coefficients, x.dtype)[s, a] * dot(jnp.asarray(symmetric, x.dtype), x)

    def h(x: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum(x**2)

    def g(x: jax.Array, pi: jax.Array) -> jax.Array:
        del x
        return 0.5 * jnp.sum(pi**2)

    return Problem(
        mdp=mdp, reward=reward, reward_grad=reward_grad, init_x=init_x, h=h, g=g, fixed_tau=TAU, name="random_mdp"
    )

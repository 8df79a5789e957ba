"""Maximum-entropy inverse reinforcement learning: a reward under which an expert's policy is the follower's answer."""

import jax
import jax.numpy as jnp
import numpy as np

from hfac.problems._grid import MOVES, check_grid, corner_start, grid_world
from hfac.problems._synthetic import TAU, soft_optimal
from hfac.tabular.mdp import TabularMDP
from hfac.tabular.problem import GridLayout, Problem
from hfac.types import Key, Rows


def demonstration(
    size: int = 5,
    slip: float = 0.1,
    discount: float = 0.9,
    start_mass: float = 0.0,
    strength: float = 1.0,
    regularization: float = 0.0,
    seed: int = 0,
) -> Problem:
    """Learn rewards from an expert on a grid, at tau = 1 only (Ziebart et al., AAAI 2008).

        r_x(s, a, s') = x[s'],   f(x, pi) = -sum_s d_E(s) sum_a pi_E(a|s) log pi(a|s) + regularization / 2 |x|^2

    The expert pi_E is soft-optimal for a hidden reward, standard normal times `strength`, and d_E is its visitation.
    Without regularization Phi_1 is convex, its gradient is E_{d^pi}[1[s']] - E_{d_E}[1[s']], and its minimum is the
    expert's own entropy, where pi = pi_E. The same policy answers many rewards: x itself is not identified.

    As tau -> 0 the follower leaves actions of the expert and the cross-entropy has no bound: that limit is refused.

    Args:
      size: rows and columns of the grid.
      slip: probability in [0, 1] that a move is redrawn uniformly.
      discount: gamma in (0, 0.99].
      start_mass: probability in [0, 1] of starting in state 0; the rest is uniform.
      strength: scale > 0 of the hidden reward.
      regularization: weight lambda >= 0 of |x|^2 / 2.
      seed: of the hidden reward, >= 0.

    Returns:
      A problem with x [S], zero at the start. Its reward is unbounded.

    Raises:
      ValueError: if a number is out of range.
    """
    check_grid(size, slip, start_mass, regularization)
    if discount > 0.99:
        raise ValueError(f"discount must be at most 0.99 for the expert to be found, got {discount}")
    if not (np.isfinite(strength) and strength > 0):
        raise ValueError(f"strength must be positive and finite, got {strength}")
    num_states = size * size
    mdp = grid_world(size, slip, discount, corner_start(size, start_mass))
    hidden = strength * np.random.RandomState(seed).randn(num_states)
    expert = soft_optimal(mdp, np.sum(mdp.probs * hidden[mdp.next_states], -1))
    weights = _visitation(mdp, expert)[:, None] * expert

    def init_x(key: Key) -> jax.Array:
        del key
        return jnp.zeros(num_states)

    def reward(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del s, a
        return x[s_next]

    def reward_grad(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> Rows:
        del s, a
        return Rows(s_next, jnp.ones((), x.dtype))

    def h(x: jax.Array) -> jax.Array:
        return 0.5 * regularization * jnp.sum(x**2)

    def g(x: jax.Array, pi: jax.Array) -> jax.Array:
        del x
        return -jnp.sum(jnp.asarray(weights, pi.dtype) * jnp.log(pi))

    return Problem(
        mdp=mdp,
        reward=reward,
        init_x=init_x,
        h=h if regularization else None,
        g=g,
        reward_grad=reward_grad,
        fixed_tau=TAU,
        layout=GridLayout(
            shape=(size, size),
            moves=MOVES,
            marks={},
            field=lambda x: np.exp(np.asarray(x)),
            field_label="exp of the reward",
        ),
        name="demonstration",
    )


def _visitation(mdp: TabularMDP, pi: np.ndarray) -> np.ndarray:
    """Normalised visitation of a policy where no state ends the episode. [S]."""
    kernel = np.zeros((mdp.num_states, mdp.num_states))
    np.add.at(kernel, (np.arange(mdp.num_states)[:, None, None], mdp.next_states), pi[..., None] * mdp.probs)
    gamma = float(mdp.discount)
    return np.linalg.solve(np.eye(mdp.num_states) - gamma * kernel.T, (1 - gamma) * mdp.initial)

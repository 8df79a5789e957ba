"""A beacon on a corridor: the leader's objective has several hills, and plateaus where the follower does not answer."""

import jax
import jax.numpy as jnp
import numpy as np

from hfac.tabular.mdp import from_successors
from hfac.tabular.problem import GridLayout, Problem
from hfac.types import Key

MOVES = ((0, -1), (0, 0), (0, 1))  # left, stay, right


def beacon(
    size: int = 21,
    width: float = 2.0,
    hills: tuple[float, ...] = (0.5, 0.75, 1.0),
    slip: float = 0.1,
    discount: float = 0.95,
) -> Problem:
    """Place a beacon on a corridor whose follower stands where it shines: several local optima for the leader.

        r_x(s, a, s') = exp(-(s' - x)^2 / (2 width^2)),   f(x, pi) = -E_{d^pi}[u(s)]

    u has one hill per entry of `hills`, equally spaced and of that height, and is zero between them. The follower
    stands in the cell nearest to the beacon, so Phi_tau has a local minimum at every hill, the lower the higher the
    hill. As tau -> 0 it becomes a staircase: each cell's interval of x is a plateau whose gradient vanishes, and the
    plateaus of the hills are separate local minima, by default at Phi = -0.449, -0.644, -0.788.

    It strains the analysis of Zeng et al. [arXiv 2601.16399] twice. Convergence of |grad Phi| says nothing about which
    minimum a run ends in; and in the lower level's special Polyak-Lojasiewicz condition
    |grad J_tau|^2 >= C tau (J_tau(pi*) - J_tau(pi)) the constant C shrinks with the visitation of the cells that a
    policy standing elsewhere hardly reaches: at tau = 0.03 and x = 3 it is 11 for the uniform policy and 0.009 for
    the best response to x = 17.

    Args:
      size: cells of the corridor, at least 4 per hill.
      width: of the beacon's light in cells, > 0.
      hills: the leader's utility at the top of each hill, left to right; at least one, all positive.
      slip: probability in [0, 1] that a move is redrawn uniformly.
      discount: gamma in (0, 1).

    Returns:
      A problem with x [], the beacon's place in cells, uniform over the corridor at the start.

    Raises:
      ValueError: if a number is out of range.
    """
    tops = np.asarray(hills, float)
    if tops.ndim != 1 or tops.size == 0 or not np.all(np.isfinite(tops) & (tops > 0)):
        raise ValueError(f"hills must be one or more positive numbers, got {hills}")
    if size < 4 * tops.size:
        raise ValueError(f"size must be at least 4 cells per hill, {4 * tops.size} here, got {size}")
    if not (np.isfinite(width) and width > 0):
        raise ValueError(f"width must be positive and finite, got {width}")
    if not 0 <= slip <= 1:
        raise ValueError(f"slip must lie in [0, 1], got {slip}")
    cells = np.arange(size)
    spacing = size / tops.size
    centres = np.floor(spacing * (np.arange(tops.size) + 0.5))
    slopes = np.maximum(0, 1 - np.abs(cells[:, None] - centres) / (0.5 * spacing))
    utility = np.max(tops * slopes, -1)

    targets = np.stack([np.clip(cells + step, 0, size - 1) for _, step in MOVES], -1)
    next_states = np.repeat(targets[:, None], len(MOVES), 1)
    probs = np.broadcast_to(slip / len(MOVES) + (1 - slip) * np.eye(len(MOVES)), next_states.shape)
    mdp = from_successors(next_states, probs, np.full(size, 1 / size), discount)

    def init_x(key: Key) -> jax.Array:
        return jax.random.uniform(key, (), minval=0.0, maxval=size - 1.0)

    def light(x: jax.Array, s: jax.Array) -> jax.Array:
        return jnp.exp(-0.5 * ((s.astype(x.dtype) - x) / width) ** 2)

    def reward(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del s, a
        return light(x, s_next)

    def reward_grad(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del s, a
        return light(x, s_next) * (s_next.astype(x.dtype) - x) / width**2

    def cost(x: jax.Array, s: jax.Array, a: jax.Array, s_next: jax.Array) -> jax.Array:
        del a, s_next
        return jnp.asarray(-utility, x.dtype)[s]

    return Problem(
        mdp=mdp,
        reward=reward,
        init_x=init_x,
        cost=cost,
        reward_grad=reward_grad,
        reward_bound=1.0,
        cost_bound=float(tops.max()),
        layout=GridLayout(
            shape=(1, size),
            moves=MOVES,
            marks={"hill": tuple(int(c) for c in centres)},
            field=lambda x: np.exp(-0.5 * ((cells - float(x)) / width) ** 2),
            field_label="light of the beacon",
        ),
        name="beacon",
    )

"""Linear systems of a policy's Markov chain, solved with one factorisation.

Both systems share the matrix I - P_gamma, P_gamma(s, s') = sum_a pi(a|s) gamma(s) P(s'|s, a), where gamma(s)
is 0 in states that end the episode. One factorisation serves every right-hand side: a compiled program must
never hold two independent batched factorisations.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import lu_factor, lu_solve

from hfac.mdp import TabularMDP


class Chain(NamedTuple):
    """The factorised Markov chain of one policy."""

    lu: jax.Array  # [S, S]
    pivots: jax.Array  # int32 [S]


def discounted_kernel(mdp: TabularMDP, pi: jax.Array) -> jax.Array:
    """P_gamma as a dense matrix [S, S]."""
    weights = pi[..., None] * mdp.probs * mdp.continuation()[:, None, None]
    rows = jnp.broadcast_to(jnp.arange(mdp.num_states)[:, None, None], weights.shape)
    return jnp.zeros((mdp.num_states,) * 2, pi.dtype).at[rows, mdp.next_states].add(weights)


def factorize(mdp: TabularMDP, pi: jax.Array) -> Chain:
    """Factorise I - P_gamma of a policy table [S, A]."""
    return Chain(*lu_factor(jnp.eye(mdp.num_states, dtype=pi.dtype) - discounted_kernel(mdp, pi)))


def evaluate(chain: Chain, rewards: jax.Array) -> jax.Array:
    """Values v = (I - P_gamma)^-1 rewards, [S]."""
    return lu_solve(chain, rewards)


def accumulate(chain: Chain, sources: jax.Array) -> jax.Array:
    """Expected discounted visits d = (I - P_gamma)^-T sources, [S]."""
    return lu_solve(chain, sources, trans=1)

"""Linear systems of a policy's Markov chain: one dense factorisation, or sweeps where the chain is large.

Both systems share the matrix I - P_gamma, P_gamma(s, s') = sum_a pi(a|s) gamma(s) P(s'|s, a), where gamma(s)
is 0 in states that end the episode. One factorisation serves every right-hand side: a compiled program must
never hold two independent batched factorisations. Sweeps contract by gamma each and stop by a rule.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import lu_factor, lu_solve

from hfac.tabular.mdp import TabularMDP

DENSE_LIMIT = 256  # states up to which a factorisation is the faster way; at 400 it is ten times slower
MAX_SWEEPS = 100_000
SWEEPS_PER_CHECK = 8
TINY = 1e-30


class Dense(NamedTuple):
    """The factorised matrix of one policy's chain."""

    lu: jax.Array  # [S, S]
    pivots: jax.Array  # int32 [S]


class Sparse(NamedTuple):
    """P_gamma of one policy's chain as successor lists."""

    successors: jax.Array  # int32 [S, L]
    weights: jax.Array  # [S, L], discount included


Chain = Dense | Sparse


def discounted_kernel(mdp: TabularMDP, pi: jax.Array) -> jax.Array:
    """P_gamma as a dense matrix [S, S]."""
    weights = pi[..., None] * mdp.probs * mdp.continuation()[:, None, None]
    rows = jnp.broadcast_to(jnp.arange(mdp.num_states)[:, None, None], weights.shape)
    return jnp.zeros((mdp.num_states,) * 2, pi.dtype).at[rows, mdp.next_states].add(weights)


def factorize(mdp: TabularMDP, pi: jax.Array) -> Chain:
    """Prepare the systems of a policy table [S, A]."""
    if mdp.num_states <= DENSE_LIMIT:
        return Dense(*lu_factor(jnp.eye(mdp.num_states, dtype=pi.dtype) - discounted_kernel(mdp, pi)))
    return sparse(mdp, pi)


def sparse(mdp: TabularMDP, pi: jax.Array) -> Sparse:
    """P_gamma of a policy table [S, A] as successor lists."""
    weights = jnp.einsum("sa,sal->sl", pi, mdp.joint_probs) * mdp.continuation()[:, None]
    return Sparse(mdp.joint_successors, weights)


def evaluate(chain: Chain, rewards: jax.Array) -> jax.Array:
    """Values v = (I - P_gamma)^-1 rewards, [S]."""
    if isinstance(chain, Dense):
        return lu_solve(chain, rewards)
    return _sweep(lambda v: rewards + backward(chain, v), rewards)


def accumulate(chain: Chain, sources: jax.Array) -> jax.Array:
    """Expected discounted visits d = (I - P_gamma)^-T sources, [S]."""
    if isinstance(chain, Dense):
        return lu_solve(chain, sources, trans=1)

    def forward(d: jax.Array) -> jax.Array:
        return sources.at[chain.successors].add(chain.weights * d[:, None])

    return _sweep(forward, sources)


def backward(chain: Sparse, v: jax.Array) -> jax.Array:
    """One application of P_gamma to values, [S]."""
    return jnp.sum(chain.weights * v[chain.successors], axis=-1)


def repeat(function: Callable[[Any], Any], start: Any, count: int) -> Any:
    """Apply a function `count` times, in a loop: unrolled, sweeps are fused and inner ones computed many times."""
    return jax.lax.fori_loop(0, count, lambda _, value: function(value), start)


def tolerance(dtype: Any) -> float:
    """Relative change of a sweep at which rounding takes over; the fixed point is then known to it / (1 - gamma)."""
    return 20 * float(jnp.finfo(dtype).eps)


def _sweep(contract: Callable[[jax.Array], jax.Array], start: jax.Array) -> jax.Array:
    """Fixed point of a contraction; NaN where it is not reached."""

    def is_open(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        return (carry[1] > tolerance(start.dtype)) & (carry[2] < MAX_SWEEPS)

    def improve(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        old, _, count = carry
        old, new = repeat(lambda pair: (pair[1], contract(pair[1])), (old, contract(old)), SWEEPS_PER_CHECK - 1)
        return new, jnp.max(jnp.abs(new - old)) / (jnp.max(jnp.abs(new)) + TINY), count + SWEEPS_PER_CHECK

    first = (start, jnp.full((), jnp.inf, start.dtype), jnp.int32(0))
    fixed, change, _ = jax.lax.while_loop(is_open, improve, first)
    return jnp.where(change <= tolerance(start.dtype), fixed, jnp.nan)

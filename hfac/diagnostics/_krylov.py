"""Extreme eigenvalues of a symmetric map by Lanczos iterations with full reorthogonalisation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from hfac._compiler import random

BREAKDOWN = 1e-10  # of a new direction, relative to the map: nothing new is left in the Krylov space


def lanczos(
    product: Callable[[jax.Array], jax.Array], start: jax.Array, size: int, project: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """Ritz values of a symmetric map, ascending; the outer ones converge to its extreme eigenvalues first.

    Where the Krylov space is exhausted the iteration goes on in a random direction orthogonal to it, so that `size`
    equal to the dimension gives all eigenvalues.

    Args:
      product: the map, [n] -> [n].
      start: first direction [n], not zero.
      size: number of iterations, at most the dimension of the subspace.
      project: onto the subspace that the map leaves invariant, [n] -> [n]; identity for the whole space.

    Returns:
      [size].
    """
    key = random.key(0)

    def unit(v: jax.Array) -> jax.Array:
        return v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)

    def cleared(basis: jax.Array, v: jax.Array) -> jax.Array:
        """A vector less its part in the basis, twice, as rounding asks."""
        for _ in range(2):
            v = project(v - basis.T @ (basis @ v))
        return v

    def extend(i: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        basis, diagonal, off, scale = carry
        image = project(product(basis[i]))
        alpha = jnp.vdot(basis[i], image)
        rest = cleared(basis, image)
        beta, scale = jnp.linalg.norm(rest), jnp.maximum(scale, jnp.linalg.norm(image))
        is_new = beta > BREAKDOWN * scale
        other = cleared(basis, project(jax.random.normal(jax.random.fold_in(key, i), start.shape, start.dtype)))
        following = jnp.where(is_new, unit(rest), unit(other))
        return (
            basis.at[i + 1].set(following, mode="drop"),
            diagonal.at[i].set(alpha),
            off.at[i].set(jnp.where(is_new, beta, 0)),
            scale,
        )

    empty = jnp.zeros((size, start.size), start.dtype).at[0].set(unit(project(start)))
    zeros = jnp.zeros(size, start.dtype)
    _, diagonal, off, _ = jax.lax.fori_loop(0, size, extend, (empty, zeros, zeros, jnp.zeros((), start.dtype)))
    return jnp.linalg.eigvalsh(jnp.diag(diagonal) + jnp.diag(off[:-1], 1) + jnp.diag(off[:-1], -1))

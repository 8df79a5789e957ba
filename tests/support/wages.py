"""A problem of five cells, and a method whose upper variable is any tree and moves at random."""

import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np

import hfac


def chain() -> hfac.TabularMDP:
    """Five cells in a row, two moves."""
    cells = np.arange(5)
    moves = np.stack([np.maximum(cells - 1, 0), np.minimum(cells + 1, 4)], 1)
    return hfac.mdp.from_successors(moves[:, :, None], np.ones((5, 2, 1)), np.eye(5)[0], 0.9)


@functools.cache
def plain() -> hfac.Problem:
    """The problem with nothing changed."""
    return problem()


def problem(**parts) -> hfac.Problem:
    """Wages on the cells of a chain; the leader pays them."""
    given = {
        "reward": lambda x, s, a, s_next: jnp.tanh(x[s_next]),
        "cost": lambda x, s, a, s_next: x[s_next] ** 2 - (s_next == 4),
        "init_x": lambda key: jnp.zeros(5),
    }
    return hfac.Problem(mdp=parts.pop("mdp", None) or chain(), **given | parts)


class Count(typing.NamedTuple):
    """All that a method must hold whose upper variable moves at random."""

    step: typing.Any
    status: typing.Any
    x: typing.Any


class Samples(typing.NamedTuple):
    """All that it must say of a step."""

    num_samples: typing.Any


def wandering(tree: typing.Any, on_step: typing.Callable | None = None) -> hfac.types.Algorithm:
    """A method whose upper variable moves at random; every step hands its number through a function if one is given."""

    def init(key, rates):
        return Count(jnp.int32(0), jnp.int32(0), jax.tree.map(jnp.asarray, tree))

    def step(key, state, rates):
        leaves, layout = jax.tree.flatten(state.x)
        moved = [
            leaf + jax.random.normal(jax.random.fold_in(key, i), leaf.shape, leaf.dtype)
            for i, leaf in enumerate(leaves)
        ]
        number = state.step + 1
        if on_step is not None:
            number = jax.pure_callback(on_step, jax.ShapeDtypeStruct((), jnp.int32), number, vmap_method="sequential")
        return Count(number, state.status, jax.tree.unflatten(layout, moved)), Samples(jnp.int32(1))

    return hfac.types.Algorithm(init, step, lambda state: hfac.types.Solution(state.x, ()))

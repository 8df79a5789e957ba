"""Completions of any prompts: in buckets of equal length, a batch at a time, base and adapters side by side."""

import functools
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac import _checks
from hfac._compiler import random
from hfac.language import adapters, decoder, generation, prompts
from hfac.language.architecture import Architecture
from hfac.language.folders import Model
from hfac.language.generation import Prompts
from hfac.language.prompts import Prompt
from hfac.language.tokens import Tokenizer
from hfac.types import PyTree

SIDE_BY_SIDE = 64  # completions that are written at once, unless one prompt has more


class Options(NamedTuple):
    """How is written."""

    samples: int = 1  # completions of every prompt
    length: int = 64  # tokens of a completion, at most
    temperature: float = 1.0  # 0 takes the likeliest token
    seed: int = 0


DEFAULTS = Options()


def complete(
    model: Model,
    tokenizer: Tokenizer,
    beginnings: Sequence[Prompt],
    trees: Sequence[PyTree] = (),
    scale: float = 1.0,
    options: Options = DEFAULTS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[list[str]]]:
    """Write completions, all policies from the same random numbers.

    Those of a sample follow from its prompt's tokens, its number among the samples, and the seed: whatever stands
    beside it, it is the same up to rounding, which moves a token now and then.

    Args:
      model: the base.
      tokenizer: its.
      beginnings: what is completed.
      trees: adapters of equal shapes that write side by side; the base alone unless given.
      scale: of what adapters add.
      options: how.
      progress: called with (completions done, in all).

    Returns:
      Texts by policy, prompt and sample.

    Raises:
      ValueError: if a number is out of range.
    """
    for name in ("samples", "length"):
        _checks.count(name, getattr(options, name))
    _checks.number("temperature", options.temperature, "be at least 0", 0)
    policies = max(len(trees), 1)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) if trees else ()
    found: list[list[list[str]]] = [[[] for _ in beginnings] for _ in range(policies)]
    done, total = 0, policies * len(beginnings) * options.samples
    marks = _marks(beginnings)
    for rows, length in batches(beginnings, options.samples):
        padded = prompts.padded([beginnings[row] for row in rows], length)
        numbers = _uniforms(jnp.asarray(marks[rows]), options.seed, options.samples, options.length)
        tokens = np.asarray(
            _write(
                model.architecture,
                tokenizer.ends,
                options.temperature,
                model.params,
                stacked,
                scale,
                padded,
                numbers,
            )
        )
        for policy in range(policies):
            for place, row in enumerate(rows):
                if not found[policy][row]:
                    found[policy][row] = [tokenizer.decode(ids) for ids in tokens[policy, place]]
                    done += options.samples
        progress(done, total)
    return found


def batches(beginnings: Sequence[Prompt], samples: int) -> Iterator[tuple[list[int], int]]:
    """Prompts that are completed at once, and the length that they are padded to; the last of a bucket repeat one."""
    buckets: dict[int, list[int]] = {}
    for row, each in enumerate(beginnings):
        buckets.setdefault(prompts.bucket(len(each.ids)), []).append(row)
    for length, rows in sorted(buckets.items()):
        size = min(max(SIDE_BY_SIDE // samples, 1), len(rows))
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield part + part[:1] * (size - len(part)), length


def _marks(beginnings: Sequence[Prompt]) -> np.ndarray:
    """A number for every prompt that follows from its tokens, and from how often they came before, int32 [P, 2]."""
    found, seen = [], Counter[tuple[int, ...]]()
    for each in beginnings:
        ids = tuple(each.ids)
        found.append((zlib.crc32(np.asarray(ids, np.int32).tobytes()) >> 1, seen[ids]))
        seen[ids] += 1
    return np.asarray(found, np.int32)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _uniforms(marks: jax.Array, seed: int, samples: int, length: int) -> jax.Array:
    """Random numbers of prompts by their marks [G, 2], float32 [G, N, T]."""
    keys = jax.vmap(lambda own: random.fold_in(random.fold_in(random.key(seed), own[0]), own[1]))(marks)
    each = jax.vmap(lambda key: jax.vmap(lambda member: random.fold_in(key, member))(jnp.arange(samples)))(keys)
    return jax.vmap(jax.vmap(lambda key: generation.uniforms(key, 1, 1, length)[0, 0]))(each)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _write(
    architecture: Architecture,
    ends: tuple[int, ...],
    temperature: float,
    params: PyTree,
    trees: PyTree,
    scale: Any,
    padded: Prompts,
    numbers: jax.Array,
) -> jax.Array:
    """Tokens of every policy, int32 [policies, G, N, T]."""

    def one(tree: PyTree) -> jax.Array:
        each = adapters.by_layer(architecture, tree, scale) if tree else decoder.no_adapters(architecture)
        first = adapters.first_layer(tree) if tree else architecture.layers
        return generation.write(architecture, params, each, padded, numbers, ends, temperature, first).tokens

    return jax.vmap(one)(trees) if trees else one(())[None]

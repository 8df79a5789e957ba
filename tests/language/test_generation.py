"""Completions with a cache against the plain forward pass, token by token; draws against the softmax."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac.language import adapters, decoder, generation
from hfac.language.generation import Prompts
from support import models as tiny
from support.slow import few

MEMBERS, LENGTH = 2, 6
NEVER = (1_000,)  # an end that no token is


def prompts() -> Prompts:
    tokens, is_token = tiny.texts()
    return Prompts(jnp.asarray(tokens), jnp.asarray(is_token))


def adapted(family: str, layers=(1,)):
    """A model, and adapters that change what it says."""
    made = tiny.model(family)
    lora = adapters.Lora(2, 4.0, ("q", "k", "gate", "down"), layers)
    tree = tiny.trained(adapters.init(made.architecture, lora, jax.random.key(0)))
    return made, adapters.by_layer(made.architecture, tree, lora.scale), min(layers)


@functools.partial(jax.jit, static_argnums=(0, 5, 6, 7))
def write(architecture, params, each, beginnings, uniforms, ends=NEVER, temperature=1.0, first=0):
    return generation.write(architecture, params, each, beginnings, uniforms, ends, temperature, first)


def by_hand(made, each, uniforms: np.ndarray, temperature: float) -> np.ndarray:
    """Every token from a forward pass over the whole texts so far, [G, N, T]."""
    tokens, is_token = tiny.texts()
    texts = [list(tokens[group][is_token[group]]) for group in range(len(tokens)) for _ in range(uniforms.shape[1])]
    room = max(map(len, texts)) + uniforms.shape[2]
    read = jax.jit(decoder.read, static_argnums=0)
    found = []
    for place in range(uniforms.shape[2]):
        rows = np.zeros((len(texts), room), np.int32)
        is_read = np.zeros(rows.shape, bool)
        for row, text in enumerate(texts):
            rows[row, room - len(text) :], is_read[row, room - len(text) :] = text, True
        said = read(made.architecture, made.params, each, rows, is_read)[:, -1]
        drawn = np.asarray(generation.draw(said, jnp.asarray(uniforms[..., place].ravel()), temperature))
        texts = [[*text, token] for text, token in zip(texts, drawn, strict=True)]
        found.append(drawn.reshape(uniforms.shape[:2]))
    return np.stack(found, -1)


@pytest.mark.parametrize(
    "family, temperature", few(itertools.product(tiny.FAMILIES, (0, 0.7)), ("llama", 0.7), ("qwen3", 0))
)
def test_cached_writing_is_uncached_writing(family, temperature):
    """Drawn and likeliest, prompts of several lengths, adapters in the upper layer."""
    made, each, first = adapted(family)
    uniforms = generation.uniforms(jax.random.key(1), 3, MEMBERS, LENGTH)
    found = write(made.architecture, made.params, each, prompts(), uniforms, NEVER, temperature, first)
    assert np.array_equal(found.tokens, by_hand(made, each, np.asarray(uniforms), temperature))
    assert len(np.unique(found.tokens)) > 8


@pytest.mark.parametrize("first", few((0, 1), 1))
def test_hidden_states_are_those_where_the_adapters_begin(first):
    """Of every token that was written, the last one too."""
    made, each, _ = adapted("llama", tuple(range(first, 2)))
    found = write(
        made.architecture,
        made.params,
        each,
        prompts(),
        generation.uniforms(jax.random.key(2), 3, 2, 5),
        NEVER,
        1.0,
        first,
    )
    tokens, is_token = tiny.texts()
    for group in range(3):
        text = np.concatenate([tokens[group][is_token[group]], found.tokens[group, 1]])[None]
        h = decoder.embed(made.params, jnp.asarray(text))[:, None]
        places = decoder.prompt_places(jnp.ones(text.shape, bool))
        h, _ = decoder.blocks(made.architecture, made.params["layers"][:first], each[:first], h, places)
        assert np.allclose(h[0, 0, -5:], found.hidden[group, 1], atol=1e-5)


def test_nothing_is_written_after_an_end():
    """Several tokens may end a text; the end is repeated."""
    made, each, first = adapted("qwen2")
    uniforms = generation.uniforms(jax.random.key(3), 3, 8, 12)
    free = np.asarray(write(made.architecture, made.params, each, prompts(), uniforms, NEVER, 1.0, first).tokens)
    ends = tuple(int(token) for token in np.unique(free)[:12])
    found = np.asarray(write(made.architecture, made.params, each, prompts(), uniforms, ends, 1.0, first).tokens)
    is_written = np.asarray(generation.is_written(jnp.asarray(found), ends))
    assert 0 < is_written.mean() < 1
    assert np.array_equal(found[is_written], free[is_written])
    for row, own in zip(found.reshape(-1, 12), is_written.reshape(-1, 12), strict=True):
        last = row[own][-1]
        assert own.all() or last in ends
        assert (row[~own] == last).all()


def test_policies_side_by_side_write_what_each_writes_alone():
    """Adapters are mapped over, the base is not; the same random numbers for all."""
    made, _, _ = adapted("llama")
    lora = adapters.Lora(2, 4.0, ("q", "v"), (1,))
    first = adapters.init(made.architecture, lora, jax.random.key(0))
    trees = [first, tiny.trained(first)]
    uniforms = generation.uniforms(jax.random.key(4), 3, MEMBERS, LENGTH)

    def one(tree):
        each = adapters.by_layer(made.architecture, tree, lora.scale)
        return write(made.architecture, made.params, each, prompts(), uniforms, NEVER, 1.0, 1).tokens

    both = jax.vmap(one)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees))
    alone = [one(tree) for tree in trees]
    assert np.array_equal(both, jnp.stack(alone))
    assert not np.array_equal(*alone)


def test_draws_are_the_softmax():
    """A grid of numbers falls on every token as often as it says, across blocks of the vocabulary."""
    count = 20_000
    logits = 2 * jax.random.normal(jax.random.key(0), (2 * generation.BLOCK + 40,), jnp.float32)
    uniform = (jnp.arange(count, dtype=jnp.float32) + 0.5) / count
    found = jax.jit(jax.vmap(lambda u: generation.draw(logits, u, 0.8)))(uniform)
    share = np.bincount(np.asarray(found), minlength=len(logits)) / count
    assert np.abs(share - np.asarray(jax.nn.softmax(logits / 0.8))).max() < 3 / count + 1e-6
    assert share[-40:].sum() > 0 and len(share) == len(logits)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_the_ends_of_the_line_are_tokens_that_can_be(uniform):
    """Rounding draws no token without probability."""
    logits = jnp.full(1_000, -jnp.inf, jnp.float32).at[jnp.array([3, 300, 700])].set(jnp.float32([0.1, 0.3, 0.2]))
    assert int(generation.draw(logits, jnp.float32(uniform), 1.0)) in (3, 300, 700)

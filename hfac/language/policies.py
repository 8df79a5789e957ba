"""Policies that complete prompts: a table of a small language, and adapters on a pretrained decoder."""

import dataclasses

import jax
import jax.numpy as jnp

from hfac.language import adapters, decoder, generation, vocabulary
from hfac.language.adapters import Lora
from hfac.language.architecture import Architecture
from hfac.language.generation import Begun, Prompts
from hfac.language.problem import Said, Written
from hfac.types import Key, PyTree

PART = 384  # tokens of completions that are read at once


@dataclasses.dataclass(frozen=True, eq=False)
class Tabular:
    """Softmax over a table of logits [prompts, prefixes, V]: for small languages. Token 0 ends a completion."""

    reference: jax.Array  # [P, prefixes, V], the empty prefix first, then by length
    length: int  # tokens of a completion

    @property
    def num_prompts(self) -> int:
        """How many prompts there are."""
        return self.reference.shape[0]

    @property
    def arrays(self) -> PyTree:
        """The reference's table."""
        return self.reference

    def over(self, arrays: PyTree) -> "Tabular":
        """The same policy over another reference."""
        return dataclasses.replace(self, reference=arrays)

    def listed(self, prompt: jax.Array, tokens: jax.Array) -> Written:
        """Given completions [G, N, T] of prompts."""
        return Written(prompt, tokens, generation.is_written(tokens, (0,)), ())

    def write(self, key: Key, theta: PyTree, prompt: jax.Array, members: int) -> Written:
        """So many completions of each prompt."""
        vocabulary = theta.shape[-1]
        uniforms = jnp.moveaxis(generation.uniforms(key, len(prompt), members, self.length), -1, 0)
        tables = theta[prompt]

        def step(prefix: jax.Array, uniform: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = jnp.take_along_axis(tables, prefix[..., None], axis=1)
            token = generation.draw(logits, uniform, 1.0)
            return jnp.minimum(prefix * vocabulary + 1 + token, theta.shape[1] - 1), token

        first = jnp.zeros((len(prompt), members), jnp.int32)
        tokens = jnp.moveaxis(jax.lax.scan(step, first, uniforms)[1], 0, -1)
        return self.listed(prompt, jnp.where(generation.is_written(tokens, (0,)), tokens, 0))

    def say(self, theta: PyTree, written: Written) -> Said:
        """What the policy says along completions."""
        vocabulary = theta.shape[-1]

        def extend(prefix: jax.Array, token: jax.Array) -> tuple[jax.Array, jax.Array]:
            return prefix * vocabulary + 1 + token, prefix

        first = jnp.zeros(written.tokens.shape[:2], jnp.int32)
        prefix = jnp.moveaxis(jax.lax.scan(extend, first, jnp.moveaxis(written.tokens, -1, 0))[1], 0, -1)
        row = written.prompt[:, None, None]
        own, reference = (
            jax.nn.log_softmax(table[row, prefix]) for table in (theta, self.reference.astype(theta.dtype))
        )
        return along(own, reference, written)


def along(own: jax.Array, reference: jax.Array, written: Written) -> Said:
    """What two policies' log-probabilities [G, N, T, V] say of completions."""
    chosen = jnp.take_along_axis(own, written.tokens[..., None], axis=-1)[..., 0]
    divergence = jnp.sum(jnp.exp(own) * (own - reference), -1)
    return Said(*(jnp.where(written.is_written, each, 0) for each in (chosen, divergence)))


@dataclasses.dataclass(frozen=True, eq=False)
class Adapted:
    """Adapters on a pretrained decoder; its weights are the same for all policies and never move."""

    architecture: Architecture
    params: PyTree  # of the base
    prompts: Prompts  # all of them, padded to one length
    ends: tuple[int, ...]  # tokens that end a completion
    length: int  # tokens of a completion
    lora: Lora
    reference: PyTree  # adapters of the reference policy
    temperature: float = 1.0
    block: int = vocabulary.BLOCK  # tokens of the vocabulary at a time

    @property
    def num_prompts(self) -> int:
        """How many prompts there are."""
        return self.prompts.tokens.shape[0]

    @property
    def arrays(self) -> PyTree:
        """Weights, prompts and the reference's adapters."""
        return (self.params, self.prompts, self.reference)

    def over(self, arrays: PyTree) -> "Adapted":
        """The same policy over other weights, prompts and reference."""
        params, prompts, reference = arrays
        return dataclasses.replace(self, params=params, prompts=prompts, reference=reference)

    @property
    def first_adapted(self) -> int:
        """The lowest layer with an adapter; what is below is the same for all policies."""
        return adapters.first_layer(self.reference)

    def write(self, key: Key, theta: PyTree, prompt: jax.Array, members: int) -> Written:
        """So many completions of each prompt."""
        uniforms = generation.uniforms(key, len(prompt), members, self.length)
        found = generation.write(
            self.architecture,
            self.params,
            adapters.by_layer(self.architecture, theta, self.lora.scale),
            self._chosen(prompt),
            uniforms,
            self.ends,
            self.temperature,
            self.first_adapted,
        )
        is_written = generation.is_written(found.tokens, self.ends)
        return Written(prompt, found.tokens, is_written, found.hidden)

    def reading(self, prompt: jax.Array, tokens: jax.Array) -> Written:
        """Given completions [G, N, T] of prompts, with what is kept of those that are written."""
        prompts, first, shape = self._chosen(prompt), self.first_adapted, self.architecture
        lower, none = self.params["layers"][:first], decoder.no_adapters(shape)[:first]
        below = self._below(prompts)
        places = decoder.completion_places(prompts.lengths, tokens.shape[-1])
        hidden, _ = decoder.blocks(shape, lower, none, decoder.embed(self.params, tokens), places, below.prefixes)
        return Written(prompt, tokens, generation.is_written(tokens, self.ends), hidden)

    def read(self, tree: PyTree, prompt: jax.Array, hidden: jax.Array) -> jax.Array:
        """What the last layer gives of each token of completions, from where adapters begin, [G, N, T, d]."""
        prompts, first, shape = self._chosen(prompt), self.first_adapted, self.architecture
        upper = self.params["layers"][first:]
        each = adapters.by_layer(shape, tree, self.lora.scale)[first:]
        begun = generation.begin(shape, upper, each, self._below(prompts).hidden, prompts)
        places = decoder.completion_places(prompts.lengths, hidden.shape[2])
        return decoder.blocks(shape, upper, each, hidden, places, begun.prefixes)[0]

    def _below(self, prompts: Prompts) -> Begun:
        """Prompts, read through the layers below the adapters."""
        first, shape = self.first_adapted, self.architecture
        none = decoder.no_adapters(shape)[:first]
        embedded = decoder.embed(self.params, prompts.tokens)
        return generation.begin(shape, self.params["layers"][:first], none, embedded, prompts)

    def say(self, theta: PyTree, written: Written) -> Said:
        """What the policy says along completions; layers below the adapters are not run again."""
        prompts = self._chosen(written.prompt)
        start = jax.tree.map(jax.lax.stop_gradient, (self._below(prompts).hidden, written.memory))
        own, reference = (self._above(tree, prompts, *start) for tree in (theta, self.reference))
        return self._said(own, jax.lax.stop_gradient(reference), written)

    def _above(self, tree: PyTree, prompts: Prompts, before: jax.Array, hidden: jax.Array) -> jax.Array:
        """What the last layer gives before each token of completions, [G, N, T, d].

        Some groups at a time, which a gradient reads again: what all layers hold of a whole batch is never kept.
        """
        parts = _num_parts(hidden.shape[0], hidden.size // hidden.shape[-1])
        if parts == 1:
            return self._last(tree, prompts, before, hidden)
        split = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), (prompts, before, hidden))
        found = jax.lax.map(jax.checkpoint(lambda part: self._last(tree, *part)), split)
        return found.reshape(hidden.shape)

    def _last(self, tree: PyTree, prompts: Prompts, before: jax.Array, hidden: jax.Array) -> jax.Array:
        """The same of some groups at once."""
        first, shape = self.first_adapted, self.architecture
        upper = self.params["layers"][first:]
        each = adapters.by_layer(shape, tree, self.lora.scale)[first:]
        begun = generation.begin(shape, upper, each, before, prompts)
        members, length = hidden.shape[1:3]
        last = jnp.broadcast_to(begun.hidden[:, None, -1:], (hidden.shape[0], members, 1, hidden.shape[-1]))
        if length == 1:
            return last
        places = decoder.completion_places(prompts.lengths, length - 1)
        after, _ = decoder.blocks(shape, upper, each, hidden[:, :, :-1], places, begun.prefixes)
        return jnp.concatenate([last, after], axis=2)

    def _said(self, own: jax.Array, reference: jax.Array, written: Written) -> Said:
        """Log-probabilities and exact divergences over the whole vocabulary."""
        scale, epsilon = self.params["norm"], self.architecture.norm_epsilon
        flat = [decoder.rms_norm(h, scale, epsilon).reshape(-1, h.shape[-1]) for h in (own, reference)]
        head, tokens = decoder.head(self.params), written.tokens.ravel()
        found = vocabulary.said(head, *flat, tokens, self.temperature, self.block)
        return Said(*(jnp.where(written.is_written, each.reshape(written.tokens.shape), 0) for each in found))

    def _chosen(self, prompt: jax.Array) -> Prompts:
        return Prompts(self.prompts.tokens[prompt], self.prompts.is_token[prompt])


def _num_parts(groups: int, tokens: int) -> int:
    """Of equally many groups, each of `PART` tokens at least, or one."""
    return max(parts for parts in range(1, groups + 1) if groups % parts == 0 and parts <= max(tokens // PART, 1))


def pooled(hidden: jax.Array, is_written: jax.Array) -> jax.Array:
    """Mean over the tokens of completions, bool [G, N, T], of hidden states [G, N, T, d], float32 [G, N, d]."""
    weight = is_written.astype(jnp.float32)
    total = jnp.einsum("gnt,gntd->gnd", weight, hidden.astype(jnp.float32))
    return total / jnp.sum(weight, -1, keepdims=True)

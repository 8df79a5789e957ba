"""Fitting the decoder to a corpus, until held-out tweets surprise it least; and files that hold what was fitted."""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hfac import _files
from hfac._activity import activity
from hfac._compiler import random
from hfac._trees import named_leaves, restored
from hfac.sequences.policies import written
from hfac.tweets import _model
from hfac.tweets._tokenizer import EOS
from hfac.types import Key, PyTree

FORMAT = "hfac language model 1"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a decoder is fitted.

    Raises:
      ValueError: if a number is out of range.
    """

    epochs: int = 9
    """Passes over the corpus; the best one on held-out tweets is kept."""
    batch_size: int = 64
    """Tweets of a step."""
    learning_rate: float = 3e-3
    """Peak of a half cosine, of AdamW."""
    dropout: float = 0.1
    """Share of features left out while fitting."""
    held_out: float = 0.1
    """Share of the corpus that is not fitted."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs and batch_size must be at least 1, got {self.epochs} and {self.batch_size}")
        if not (0 <= self.dropout < 1 and 0 < self.held_out < 1 and self.learning_rate > 0):
            raise ValueError(
                "dropout must lie in [0, 1), held_out in (0, 1) and learning_rate be positive, "
                f"got {self.dropout}, {self.held_out} and {self.learning_rate}"
            )


class Fitted(NamedTuple):
    """A decoder and how well it does."""

    params: PyTree
    perplexity: float  # per token of the held-out tweets, <unk> counted as a word and <eos> too
    unigram: float  # the same of the corpus's token frequencies
    history: tuple[float, ...]  # held-out perplexity after every epoch


def surprise(logits: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Summed negative log-likelihood of one tweet [L] under logits [L, V], and its number of tokens."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, None], axis=-1)[:, 0]
    is_written = written(tokens, EOS)
    return -jnp.sum(jnp.where(is_written, chosen, 0)), jnp.sum(is_written)


def pretrain(
    size: _model.Size,
    tokens: np.ndarray,
    key: Key,
    recipe: Recipe = Recipe(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Fitted:
    """Fit a decoder to tweets by AdamW on next-token log-likelihood.

    Args:
      size: of the decoder.
      tokens: the corpus, int32 [N, L], from `Tokenizer.encode_all`.
      key: of the start, the order of tweets and which are held out.
      recipe: how.
      progress: called with (epochs done, epochs in all).

    Raises:
      ValueError: if the corpus is too small to hold tweets out.
    """
    num_held_out = round(len(tokens) * recipe.held_out)
    if num_held_out < 1 or len(tokens) - num_held_out < 1:
        raise ValueError(f"a corpus must have tweets to fit and tweets to hold out, got {len(tokens)} in all")
    keys = jax.random.split(key, 3)
    order = np.asarray(jax.random.permutation(keys[0], len(tokens)))
    held, fitted = jnp.asarray(tokens[order[:num_held_out]]), jnp.asarray(tokens[order[num_held_out:]])
    batch_size = min(recipe.batch_size, len(fitted))
    steps = len(fitted) // batch_size
    optimizer = optax.adamw(optax.cosine_decay_schedule(recipe.learning_rate, recipe.epochs * steps), weight_decay=0.01)
    model, quiet = _model.Decoder(size, recipe.dropout), _model.Decoder(size)

    def loss(params: PyTree, batch: jax.Array, key: Key) -> jax.Array:
        def one(row: jax.Array, key: Key) -> tuple[jax.Array, jax.Array]:
            at = (_model.shifted(row), _model.empty_cache(size), jnp.int32(0), True)
            return surprise(model.apply({"params": params}, *at, rngs={"dropout": key})[0], row)

        total, count = jax.vmap(one)(batch, jax.random.split(key, len(batch)))
        return jnp.sum(total) / jnp.sum(count).astype(total.dtype)

    @jax.jit
    def epoch(params: PyTree, moments: Any, key: Key) -> tuple[PyTree, Any]:
        rows = jax.random.permutation(jax.random.fold_in(key, 0), fitted)[: steps * batch_size]

        def step(carry: tuple[PyTree, Any], now: tuple[jax.Array, jax.Array]) -> tuple[tuple[PyTree, Any], None]:
            params, moments = carry
            batch, i = now
            grad = jax.grad(loss)(params, batch, jax.random.fold_in(jax.random.fold_in(key, 1), i))
            with jax.numpy_dtype_promotion("standard"):
                update, moments = optimizer.update(grad, moments, params)
            return (jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, update), moments), None

        batches = rows.reshape(steps, batch_size, -1)
        return jax.lax.scan(step, (params, moments), (batches, jnp.arange(steps)))[0]

    @jax.jit
    def perplexity(params: PyTree) -> jax.Array:
        def one(row: jax.Array) -> tuple[jax.Array, jax.Array]:
            at = (_model.shifted(row), _model.empty_cache(size), jnp.int32(0))
            return surprise(quiet.apply({"params": params}, *at)[0], row)

        total, count = jax.lax.map(one, held, batch_size=batch_size)
        return jnp.exp(jnp.sum(total) / jnp.sum(count).astype(total.dtype))

    params = _model.init(size, keys[1])
    moments = optimizer.init(params)
    best, history = params, []
    for i in range(recipe.epochs):
        progress(i, recipe.epochs)
        with activity("compiling") if i == 0 else contextlib.nullcontext():  # where it is called; it works elsewhere
            params, moments = epoch(params, moments, jax.random.fold_in(keys[2], i))
        history.append(float(perplexity(params)))
        if history[-1] == min(history):
            best = params
    progress(recipe.epochs, recipe.epochs)
    return Fitted(best, min(history), _unigram(np.asarray(fitted), np.asarray(held), size.vocabulary), tuple(history))


def _unigram(fitted: np.ndarray, held: np.ndarray, vocabulary: int) -> float:
    """Held-out perplexity of token frequencies, each counted once more."""

    def count(tokens: np.ndarray) -> np.ndarray:
        is_written = np.asarray(jax.vmap(written, (0, None))(jnp.asarray(tokens), EOS))
        return np.bincount(tokens[is_written], minlength=vocabulary).astype(float)

    seen, new = count(fitted) + 1, count(held)
    return float(np.exp(-(new @ np.log(seen / seen.sum())) / new.sum()))


def save_model(path: Path, size: _model.Size, params: PyTree) -> None:
    """Write a decoder as safetensors to a file that must not exist.

    Raises:
      FileExistsError: if it does.
    """
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(leaf) for name, leaf in named_leaves(params).items()}
    blob = save(tensors, {"format": FORMAT, "size": json.dumps(dataclasses.asdict(size))})
    if Path(path).exists():
        raise FileExistsError(f"{path} exists; nothing is overwritten")
    _files.replace(Path(path), blob)


def load_model(path: Path) -> tuple[_model.Size, PyTree]:
    """Read a decoder that `save_model` wrote.

    Raises:
      ValueError: if the file is missing or is none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            meta = file.metadata() or {}
            if meta.get("format") != FORMAT:
                raise ValueError(f"{path} is no language model: its header must name the format '{FORMAT}'")
            size = _model.Size(**json.loads(meta["size"]))
            tensors = {name: jnp.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no language model: {error}") from None
    expected = jax.eval_shape(lambda: _model.init(size, random.key(0)))
    shapes = {name: leaf.shape for name, leaf in named_leaves(expected).items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise ValueError(f"{path} is no language model: its tensors do not have the shapes of {size}")
    return size, restored(tensors, expected)

"""From files and options to a problem that can be run: corpus, tokenizer, pretrained decoder, rater, leader, method."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from hfac import _random, algorithms
from hfac.sequences.lower import Limits
from hfac.sequences.problem import EpisodicProblem
from hfac.tweets import _grammar, _model, _people, _pretrain, _problem
from hfac.tweets._corpus import Tweet, read_corpus, read_ratings
from hfac.tweets._reward import reward
from hfac.tweets._sentiment import compound, lexicon
from hfac.tweets._tokenizer import Tokenizer, build, load
from hfac.tweets.options import METHODS, TWO_POLICIES, Options
from hfac.types import Algorithm

MODEL_FILE, TOKENIZER_FILE = "model.safetensors", "tokenizer.json"
MAX_GRADIENT = 1.0  # Euclidean norm that every direction is clipped to
MOMENTS = (0.9, 0.99)  # of Adam


class Setup(NamedTuple):
    """Everything that stays fixed while the two levels learn."""

    problem: EpisodicProblem
    tokenizer: Tokenizer
    size: _model.Size
    fitted: _pretrain.Fitted  # the pretrained decoder; perplexities are nan where it was taken over
    rater: Callable[[jax.Array], jax.Array]
    judges: tuple[Tweet, ...]  # held-out rated tweets; none without ratings


def prepare(options: Options, progress: Callable[[int, int], None] = lambda done, total: None) -> Setup:
    """Read, tokenize, pretrain, and build the problem.

    Args:
      options: what and from what.
      progress: called with (epochs done, epochs in all) of pretraining.

    Raises:
      ValueError: if a file is not what it should be, or options do not go together.
    """
    rated = [] if options.ratings is None else read_ratings(options.ratings)
    known = [tweet for tweet in rated if not _people.is_held_out(tweet)]
    if options.rater == "people" and len(known) < 2:
        raise ValueError("--rater people needs --ratings with at least two tweets that are not held out")
    texts = _texts(options, known)
    tokenizer, size, fitted = _pretrained(options, texts, progress)
    tokens = tokenizer.encode_all(texts, size.length)
    rater, slope = _rater(options, tokenizer, texts, known)
    problem = _problem.problem(
        _model.policy(size),
        fitted.params,
        rater,
        tokenizer.size,
        leader=options.leader,
        pairs=options.pairs,
        anchors=tokens,
        slope=slope,
        ridge=options.ridge,
    )
    judges = tuple(tweet for tweet in rated if _people.is_held_out(tweet))
    return Setup(problem, tokenizer, size, fitted, rater, judges)


def _texts(options: Options, rated: Sequence[Tweet]) -> list[str]:
    if options.corpus is not None:
        return read_corpus(options.corpus)
    return [tweet.text for tweet in rated] if rated else _grammar.corpus()


def _pretrained(
    options: Options, texts: list[str], progress: Callable[[int, int], None]
) -> tuple[Tokenizer, _model.Size, _pretrain.Fitted]:
    if options.pretrained is not None:
        tokenizer = load(options.pretrained / TOKENIZER_FILE)
        size, params = _pretrain.load_model(options.pretrained / MODEL_FILE)
        if size.vocabulary != tokenizer.size:
            raise ValueError(
                f"{options.pretrained} holds a tokenizer of {tokenizer.size} and a model of {size.vocabulary} tokens"
            )
        return tokenizer, size, _pretrain.Fitted(params, np.nan, np.nan, ())
    tokenizer = build(texts, options.vocabulary)
    size = _model.Size(tokenizer.size, options.length, options.layers, options.width, options.heads)
    tokens = tokenizer.encode_all(texts, size.length)
    recipe = _pretrain.Recipe(epochs=options.epochs)
    return tokenizer, size, _pretrain.pretrain(size, tokens, _random.key(options.model_seed), recipe, progress)


def _rater(
    options: Options, tokenizer: Tokenizer, texts: list[str], rated: list[Tweet]
) -> tuple[Callable[[jax.Array], jax.Array], float]:
    """The score of a tweet, and the log-odds of a preference per unit of it."""
    if options.rater == "vader":
        return functools.partial(compound, lexicon(tokenizer)), _problem.SLOPE
    whole = Tokenizer((*tokenizer.words, *_unseen(tokenizer, [*texts, *(tweet.text for tweet in rated)])))
    x = _people.fit(rated, whole, jax.random.fold_in(_random.key(options.model_seed), 1))
    return functools.partial(reward, x), 1.0


def _unseen(tokenizer: Tokenizer, texts: list[str]) -> list[str]:
    """Words that the vocabulary leaves out: people's rater knows them too."""
    return [word for word in build(texts, 1_000_000).words if word not in tokenizer.index]


def method(setup: Setup, name: str, **options: Any) -> Algorithm:
    """Build a method with the optimisers of the experiment, Adam on clipped directions, and limits on hacking.

    Args:
      setup: from `prepare`.
      name: hfac, nested, partial or decoupled.
      **options: of the method's builder.

    Raises:
      ValueError: if there is no such method, or it refuses an option.
    """
    if name not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got '{name}'")
    variables = ["x", "theta", "value"]
    if name in TWO_POLICIES:
        variables += ["theta_pen", "value_pen", "leader_value"]
    adam = optax.chain(optax.clip_by_global_norm(MAX_GRADIENT), optax.adam(1.0, *MOMENTS))
    fixed = {"limits": Limits(), "optimizers": dict.fromkeys(variables, adam)}
    return getattr(algorithms, name)(setup.problem, **fixed | options)


def save(setup: Setup, folder: Path) -> None:
    """Write tokenizer and decoder to a folder without a decoder.

    The tokenizer may be there already, left by a save that was stopped between the two.

    Raises:
      FileExistsError: if there is a decoder or another tokenizer.
      ValueError: if the file in the tokenizer's place is none.
    """
    path = folder / TOKENIZER_FILE
    if not (path.is_file() and load(path) == setup.tokenizer):
        setup.tokenizer.save(path)
    _pretrain.save_model(folder / MODEL_FILE, setup.size, setup.fitted.params)


def write(setup: Setup, count: int, seed: int = 0) -> np.ndarray:
    """Tweets of the pretrained decoder, int32 [count, L]."""
    sample: Any = jax.jit(setup.problem.policy.sample, static_argnums=2)
    return np.asarray(sample(_random.key(seed), setup.problem.reference, count))

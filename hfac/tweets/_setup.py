"""From files and options to a problem that can be run: corpus, tokenizer, pretrained decoder, rater, leader, method."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
import optax
from jax.tree_util import Partial

from hfac import algorithms
from hfac._compiler import random
from hfac.engine import SharedRecord
from hfac.schedules import Schedules
from hfac.sequences.lower import Limits
from hfac.sequences.problem import EpisodicProblem
from hfac.tweets import _grammar, _judge, _model, _people, _pretrain, _problem
from hfac.tweets._corpus import Tweet, read_corpus, read_ratings
from hfac.tweets._reward import reward
from hfac.tweets._sentiment import compound, lexicon
from hfac.tweets._tokenizer import Tokenizer, build, load
from hfac.tweets.options import DEFAULTS, METHODS, TWO_POLICIES, Options, check
from hfac.types import Algorithm, Key, PyTree, Shared

MODEL_FILE, TOKENIZER_FILE = "model.safetensors", "tokenizer.json"
MAX_GRADIENT = 1.0  # Euclidean norm that every direction is clipped to
MOMENTS = (0.9, 0.99)  # of Adam


@dataclasses.dataclass(frozen=True, eq=False)
class Setup:
    """Everything that stays fixed while the two levels learn."""

    problem: EpisodicProblem
    tokenizer: Tokenizer
    size: _model.Size
    fitted: _pretrain.Fitted  # the pretrained decoder; perplexities are nan where it was taken over
    rater: Callable[[jax.Array], jax.Array]
    judges: tuple[Tweet, ...]  # held-out rated tweets; none without ratings

    name: ClassVar[str] = "tweets"
    kind: ClassVar[str] = "sequences"  # of the lower level
    reported_as: ClassVar[str] = "tweets"
    is_long: ClassVar[bool] = True

    @property
    def lower(self) -> Callable[..., Any]:
        """Builds the lower level; options are those of `hfac.sequences.lower`."""
        return self.problem.lower

    @property
    def judge(self) -> Callable[..., Any]:
        """Says how rewards are judged."""
        return self.problem.judge

    @property
    def record(self) -> SharedRecord:
        """What is kept at every record point: rewards, and what the policy writes."""
        return SharedRecord(lambda tree: _judge.record(self.problem.with_shared(tree)))

    @property
    def shared(self) -> Shared:
        """Decoder, anchors, ratings and what the rater knows of words."""
        return self.problem.shared

    def with_shared(self, tree: PyTree) -> "Setup":
        """The same experiment over other arrays."""
        return dataclasses.replace(self, problem=self.problem.with_shared(tree))

    @property
    def init_x(self) -> Callable[[Key], PyTree]:
        """First reward."""
        return self.problem.init_x

    def method_options(self, name: str) -> dict[str, Any]:
        """Options that every method is given here: Adam on clipped directions, and limits on hacking."""
        variables = ["x", "theta", "value"]
        if name in TWO_POLICIES:
            variables += ["theta_pen", "value_pen", "leader_value"]
        adam = optax.chain(optax.clip_by_global_norm(MAX_GRADIENT), optax.adam(1.0, *MOMENTS))
        return {"limits": Limits(), "optimizers": dict.fromkeys(variables, adam)}

    def judged_at(self, schedules: Schedules, num_steps: int) -> float:
        """The weight of the divergence at which rewards are judged unless another is asked for: the last."""
        return float(np.min(schedules.entropy(num_steps)))

    def save(self, folder: Path) -> None:
        """Keep tokenizer and decoder in the folder of a run, unless they are there."""
        if not (folder / MODEL_FILE).is_file():
            save(self, folder)

    def notes(self) -> list[str]:
        """What is worth knowing of the pretrained decoder."""
        if not self.fitted.history:
            return []
        words = f"perplexity {self.fitted.perplexity:.1f} on held-out tweets, {self.fitted.unigram:.1f} by word counts"
        return [f"pretrained: {words}"]


def tweets(progress: Callable[[int, int], None] = lambda done, total: None, **options: Any) -> Setup:
    """Happy tweets as a problem, from the fields of `hfac.tweets.Options`.

    Args:
      progress: called with (epochs done, epochs in all) of pretraining.
      **options: corpus, decoder, rater and leader.

    Raises:
      ValueError: if a file is not what it should be, or options do not go together.
    """
    return prepare(Options(**options), progress)


def kept(folder: Path) -> dict[str, Any]:
    """Options that take over what a run keeps in its folder."""
    return {"pretrained": folder} if (folder / MODEL_FILE).is_file() else {}


tweets.options, tweets.kind, tweets.kept = Options, "sequences", kept  # type: ignore[attr-defined]
tweets.waits_for = ("pretraining", "epochs")  # type: ignore[attr-defined]
tweets.shared_from = "pretrained"  # type: ignore[attr-defined]
tweets.defaults = DEFAULTS  # type: ignore[attr-defined]


def prepare(options: Options, progress: Callable[[int, int], None] = lambda done, total: None) -> Setup:
    """Read, tokenize, pretrain, and build the problem.

    Args:
      options: what and from what.
      progress: called with (epochs done, epochs in all) of pretraining.

    Raises:
      ValueError: if a file is not what it should be, or options do not go together.
    """
    check(options)
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
    return tokenizer, size, _pretrain.pretrain(size, tokens, random.key(options.model_seed), recipe, progress)


def _rater(
    options: Options, tokenizer: Tokenizer, texts: list[str], rated: list[Tweet]
) -> tuple[Callable[[jax.Array], jax.Array], float]:
    """The score of a tweet, and the log-odds of a preference per unit of it."""
    if options.rater == "vader":
        return Partial(compound, lexicon(tokenizer)), _problem.SLOPE
    whole = Tokenizer((*tokenizer.words, *_unseen(tokenizer, [*texts, *(tweet.text for tweet in rated)])))
    x = _people.fit(rated, whole, jax.random.fold_in(random.key(options.model_seed), 1))
    return Partial(reward, x), 1.0


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
    return getattr(algorithms, name)(setup, **setup.method_options(name) | options)


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
    return np.asarray(sample(random.key(seed), setup.problem.reference, count))

"""What is to be learned, and from what: readable without jax."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from hfac import _files

METHODS = ("hfac", "partial", "decoupled", "nested")
TWO_POLICIES = ("hfac", "nested")  # methods that track a penalised policy too
Method = Literal["hfac", "partial", "decoupled", "nested"]
Leader = Literal["score", "preference"]
Pairs = Literal["policy", "anchored"]
Rater = Literal["vader", "people"]


@dataclasses.dataclass(frozen=True)
class Options:
    """Corpus, decoder, rater and leader."""

    corpus: Path | None = None
    """Text file, one tweet a line, to pretrain on; a small grammar's tweets unless given."""
    ratings: Path | None = None
    """Tab-separated file of rated tweets (id, ratings, text). Its texts are the corpus unless one is given; tweets
    with id % 10 == 7 are kept for judging."""
    pretrained: Path | None = None
    """Folder of an earlier run whose tokenizer and decoder are taken over."""
    leader: Leader = "preference"
    """score: the leader wants high scores; preference: it wants its reward to predict preferences."""
    pairs: Pairs = "anchored"
    """What preferences compare a tweet with: another of the policy (the paper), or one of the corpus."""
    rater: Rater = "vader"
    """Who judges: VADER's rules, or a reward fitted to people's ratings (needs --ratings)."""
    ridge: float = 0.0
    """Weight of |x|^2 / 2 in the upper objective."""
    vocabulary: int = 1_536
    """Largest number of tokens."""
    length: int = 24
    """Longest tweet, tokens."""
    layers: int = 4
    """Of the decoder."""
    width: int = 64
    """Of its layers."""
    heads: int = 4
    """Of its attention."""
    epochs: int = 9
    """Passes of pretraining over the corpus."""
    model_seed: int = 0
    """Of pretraining."""


DEFAULTS = {"steps": 1_500, "seeds": 1}  # of a sweep; a step writes 64 tweets
PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "large": {"vocabulary": 8_192, "length": 40, "width": 256, "heads": 8, "epochs": 12},
}


def check(options: Options) -> None:
    """Raise `ValueError` unless options are in range, go together, and name files that are there."""
    if options.rater == "people" and options.ratings is None:
        raise ValueError("--rater people needs --ratings: people's preferences are learned from them")
    for name in ("vocabulary", "length", "layers", "width", "heads", "epochs"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(options, name)}")
    if options.width % options.heads:
        raise ValueError(f"--width must be a multiple of --heads = {options.heads}, got {options.width}")
    if options.ridge < 0:
        raise ValueError(f"--ridge must be at least 0, got {options.ridge:g}")
    for name in ("corpus", "ratings"):
        path: Path | None = getattr(options, name)
        if path is not None and not path.is_file():
            raise ValueError(f"--{name} {_files.shown(path)}: there is no such file")

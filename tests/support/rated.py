"""Rated tweets: made up here, or people's own where `HFAC_RATED_TWEETS` names a file of them."""

import functools
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from hfac import tweets

RATERS = 30


@functools.cache
def made_up(count: int = 1_000) -> tuple[tweets.Tweet, ...]:
    """Tweets of the shipped grammar, rated by people who follow VADER's rules and err by one step each."""
    texts = tweets.grammar()[:count]
    words = tweets.build_tokenizer(texts, 2_000)
    scores = np.asarray(jax.jit(tweets.compound)(tweets.lexicon(words), words.encode_all(texts, 40)))
    opinions = 4 * scores[:, None] + np.random.default_rng(0).normal(size=(count, RATERS))
    ratings = np.clip(np.rint(opinions), -4, 4).astype(int)
    return tuple(tweets.Tweet(i, row, text) for i, (row, text) in enumerate(zip(ratings, texts, strict=True)))


@functools.cache
def by_people() -> tuple[tweets.Tweet, ...]:
    """The tweets and ratings of the named file."""
    path = Path(os.environ.get("HFAC_RATED_TWEETS", ""))
    if not path.is_file():
        pytest.skip("HFAC_RATED_TWEETS names no file of rated tweets (columns id, ratings, text)")
    return tuple(tweets.read_ratings(path))


SOURCES = [pytest.param(made_up, id="made up"), pytest.param(by_people, id="by people", marks=pytest.mark.slow)]

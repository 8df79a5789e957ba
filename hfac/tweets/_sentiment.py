"""VADER's rules (Hutto & Gilbert, ICWSM 2014) over token integers, inside the compiled step.

The words' valences and the rules' word lists are read from the `vaderSentiment` package. Its words are the pieces of a
text between spaces without the punctuation at their ends, so the score of a tweet is that of its decoded text.
Left out: capitals, which the tokenizer does not keep, and emoji, which it spells as words of their own.
"""

import string
from typing import NamedTuple

import jax
import jax.numpy as jnp

from hfac.sequences.policies import written
from hfac.tweets._tokenizer import EOS, UNK, Kind, Tokenizer

NEGATED = -0.74  # factor of a negated word
EMPHASIZED = 1.25  # of one after "never so"
DAMPING = (1.0, 0.95, 0.9)  # of a booster one, two, three words before
NORMALIZATION = 15.0  # score = s / sqrt(s^2 + 15)
_FLAGS = ("no", "or", "nor", "least", "at", "very", "never", "so", "this", "without", "doubt", "but", "kind", "of")


class Lexicon(NamedTuple):
    """What the rules know of every token, as arrays: a pytree."""

    kinds: jax.Array  # int32 [V], `Kind`
    is_short: jax.Array  # bool [V], at most two letters: no word of VADER's once a mark is written to it
    valence: jax.Array  # [V]
    is_known: jax.Array  # bool [V], in VADER's lexicon
    booster: jax.Array  # [V], what it adds to a happy word after it
    is_negation: jax.Array  # bool [V]
    flags: dict[str, jax.Array]  # bool [V] each, the words that single rules name
    marks: jax.Array  # int32 [V, 2], exclamation and question marks in the token
    idioms: jax.Array  # int32 [I, 3], tokens, -1 where it has fewer
    idiom_valence: jax.Array  # [I]
    bigrams: jax.Array  # int32 [G, 2], boosters of two words
    bigram_booster: jax.Array  # [G]


def lexicon(tokenizer: Tokenizer) -> Lexicon:
    """VADER's tables for a vocabulary."""
    from vaderSentiment.vaderSentiment import BOOSTER_DICT, SPECIAL_CASES, SentimentIntensityAnalyzer, negated

    known = SentimentIntensityAnalyzer().lexicon
    stripped = [word.strip(string.punctuation) for word in tokenizer.words]
    words = [bare if len(bare) > 2 else word for word, bare in zip(tokenizer.words, stripped, strict=True)]
    place = {word: i for i, word in reversed(list(enumerate(words)))}

    def rows(table: dict[str, float], width: int) -> tuple[jax.Array, jax.Array]:
        """Entries of several words, all in the vocabulary, padded with -1."""
        found = {
            tuple(place[word] for word in entry.split()): value
            for entry, value in table.items()
            if " " in entry and all(word in place for word in entry.split())
        }
        padded = [row + (-1,) * (width - len(row)) for row in found]
        return jnp.array(padded, jnp.int32).reshape(-1, width), jnp.array(list(found.values()), jnp.float32)

    def column(values: list[float]) -> jax.Array:
        return jnp.array(values, jnp.float32)

    return Lexicon(
        jnp.array(tokenizer.kinds),
        jnp.array([len(bare) <= 2 for bare in stripped]),
        column([known.get(word, 0.0) for word in words]),
        jnp.array([word in known for word in words]),
        column([BOOSTER_DICT.get(word, 0.0) for word in words]),
        jnp.array([negated([word]) for word in words]),
        {flag: jnp.array([word == flag for word in words]) for flag in _FLAGS},
        jnp.array([[word.count("!"), word.count("?")] for word in tokenizer.words], jnp.int32),
        *rows(SPECIAL_CASES, 3),
        *rows(BOOSTER_DICT, 2),
    )


def compound(table: Lexicon, tokens: jax.Array) -> jax.Array:
    """VADER's compound score in (-1, 1) of every tweet.

    Args:
      table: of the vocabulary.
      tokens: int32 [..., L], read up to the first <eos>.

    Returns:
      float32 [...].
    """
    flat = tokens.reshape(-1, tokens.shape[-1])
    return jax.vmap(lambda row: _compound(table, row))(flat).reshape(tokens.shape[:-1])


def _attached(kinds: jax.Array) -> jax.Array:
    """`attached` of the tokenizer, for one row of kinds, bool [L]."""

    def advance(before: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
        begins = (now == Kind.WORD) | (now == Kind.OPENING)
        follows_mark = (now == Kind.CLOSING) & ((before == Kind.CLOSING) | (before == Kind.STOP))
        closes = (now != Kind.ALONE) & ((before == Kind.WORD) | follows_mark)
        is_attached = jnp.where(begins, before == Kind.OPENING, closes)
        after = jnp.where(begins | (closes & (now != Kind.COLON)), now, jnp.int32(Kind.ALONE))
        return after, is_attached

    return jax.lax.scan(advance, jnp.int32(Kind.ALONE), kinds)[1]


def _words(table: Lexicon, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
    """VADER's words of a tweet: their tokens in order, <unk> for what it would not recognise, and which are there."""
    is_inside = written(tokens, EOS) & (tokens != EOS)
    kinds = jnp.where(is_inside, table.kinds[tokens], jnp.int32(Kind.ALONE))
    is_attached = _attached(kinds)
    is_followed = jnp.append(is_attached[1:], False)
    carries = (kinds == Kind.WORD) | (kinds == Kind.ALONE)  # the token that a piece of text is named by
    is_word = is_inside & (carries | jnp.where(kinds == Kind.OPENING, ~is_followed, ~is_attached))
    is_lost = table.is_short[tokens] & (is_attached | is_followed)
    order = jnp.argsort(~is_word, stable=True)
    return jnp.where(is_lost, jnp.int32(UNK), tokens)[order], is_word[order]


def _before(values: jax.Array, distance: int, fill: bool | int | float) -> jax.Array:
    """The value so many words before, `fill` where there is none."""
    return jnp.concatenate([jnp.full((distance,), fill, values.dtype), values[: values.shape[0] - distance]])


def _after(values: jax.Array, distance: int, fill: bool | int | float) -> jax.Array:
    return jnp.concatenate([values[distance:], jnp.full((distance,), fill, values.dtype)])


def _compound(table: Lexicon, tokens: jax.Array) -> jax.Array:
    word, is_word = _words(table, tokens)
    named = {flag: column[word] & is_word for flag, column in table.flags.items()}
    is_known = table.is_known[word] & is_word
    booster = jnp.where(is_word, table.booster[word], 0)
    is_negation = table.is_negation[word] & is_word
    place = jnp.arange(word.shape[0])

    def at(flag: str, distance: int) -> jax.Array:
        return _before(named[flag], distance, False)

    own = table.valence[word]
    valence = jnp.where(named["no"] & _after(is_known, 1, False), 0, own)
    after_no = at("no", 1) | at("no", 2) | (at("no", 3) & (at("or", 1) | at("nor", 1)))
    valence = jnp.where(after_no, own * NEGATED, valence)
    never_so = {d: at("never", d) & (at("so", d - 1) | at("this", d - 1)) for d in (2, 3)}
    is_emphasized = {1: never_so[2] & False, 2: never_so[2], 3: never_so[3] | at("so", 1) | at("this", 1)}
    is_spared = {
        1: never_so[2] & False,
        2: at("without", 2) & at("doubt", 1),
        3: at("without", 3) & (at("doubt", 2) | at("doubt", 1)),
    }
    for distance in (1, 2, 3):
        counts = (place >= distance) & ~_before(is_known, distance, False)
        boost = _before(booster, distance, 0) * DAMPING[distance - 1]
        boosted = valence + jnp.where(valence < 0, -boost, boost)
        negated = jnp.where(_before(is_negation, distance, False) & ~is_spared[distance], NEGATED, 1.0)
        factor = jnp.where(is_emphasized[distance], EMPHASIZED, negated).astype(valence.dtype)
        changed = boosted * factor
        if distance == 3:
            changed = _with_idioms(table, word, is_word, changed)
        valence = jnp.where(counts, changed, valence)
    after_least = at("least", 1) & ~_before(is_known, 1, False) & ~(at("at", 2) | at("very", 2))
    valence = jnp.where(after_least, valence * NEGATED, valence)

    is_kind_of = named["kind"] & _after(named["of"], 1, False)
    valence = jnp.where(is_known & (booster == 0) & ~is_kind_of, valence, 0)
    has_but, first_but = named["but"].any(), jnp.argmax(named["but"])
    contrast = jnp.where(place < first_but, 0.5, jnp.where(place > first_but, 1.5, 1.0)).astype(valence.dtype)
    total = jnp.sum(jnp.where(has_but, valence * contrast, valence))

    exclamations, questions = jnp.sum(jnp.where(written(tokens, EOS)[:, None], table.marks[tokens], 0), axis=0)
    asked = jnp.where(questions > 3, 0.96, jnp.where(questions > 1, 0.18 * questions.astype(total.dtype), 0))
    emphasis = 0.292 * jnp.minimum(exclamations, 4).astype(total.dtype) + asked.astype(total.dtype)
    total = total + jnp.sign(total) * emphasis
    return total / jnp.sqrt(total**2 + NORMALIZATION)


def _with_idioms(table: Lexicon, word: jax.Array, is_word: jax.Array, valence: jax.Array) -> jax.Array:
    """Valences with set phrases around a word in place of its own, and boosters of two words before it."""
    word = jnp.where(is_word, word, -2)

    def matches(phrase: jax.Array, first: int) -> jax.Array:
        """Whether a phrase stands `first` words before every word (behind it if negative). bool [L]."""
        found = jnp.full(word.shape, True)
        for i in range(phrase.shape[0]):
            offset = first - i
            beside = _before(word, offset, -2) if offset >= 0 else _after(word, -offset, -2)
            found &= (beside == phrase[i]) | (phrase[i] < 0)
        return found

    def size(phrase: jax.Array) -> jax.Array:
        return jnp.sum(phrase >= 0)

    # VADER's order: the first phrase that ends at the word or before it, then one that begins with it
    spots = ((1, 2), (2, 3), (2, 2), (3, 3), (3, 2))
    taken = jnp.full(word.shape, False)
    for first, length in (*spots, (0, 2), (0, 3)):
        for i in range(table.idioms.shape[0]):
            phrase = table.idioms[i]
            hit = matches(phrase, first) & (size(phrase) == length) & ~(taken & (first > 0))
            valence = jnp.where(hit, table.idiom_valence[i], valence)
            taken = taken | (hit & (first > 0))
    for first in (3, 2):
        for i in range(table.bigrams.shape[0]):
            valence = valence + jnp.where(matches(table.bigrams[i], first), table.bigram_booster[i], 0)
    return valence

"""Words, emoticons and punctuation marks as integers, and back."""

import dataclasses
import enum
import functools
import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hfac import _files

PAD, BOS, EOS, UNK = range(4)
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
FORMAT = "hfac tokenizer 1"

_TOKEN = re.compile(
    r"""
    <unk>
    | https?://\S+
    | (?<![^\W_]) (?: [<>]?[:;=8x]['-]?[()\[\]dpo/\\|*3]+ | </?3 | \^_+\^ | -_+- | o_o | [()d]['-]?[:;=] ) (?![^\W_])
    | \d+ (?: [.,:]\d+ )+
    | @? [^\W_]+ (?: ['_-] [^\W_]+ )*
    | \.{2,}
    | \S
    """,
    re.VERBOSE,
)


class Kind(enum.IntEnum):
    """How a token is written beside its neighbours."""

    ALONE = 0  # emoticons, links, dashes: always between spaces
    WORD = 1
    OPENING = 2  # written to what follows
    CLOSING = 3  # written to a word and the marks after it
    STOP = 4  # written to a word only, and closing marks may follow
    COLON = 5  # written to a word only, and nothing follows: the next mark would make it an emoticon


_KINDS = {
    **dict.fromkeys("([{#$", Kind.OPENING),
    **dict.fromkeys(",!?)]}%'", Kind.CLOSING),
    **dict.fromkeys((".", "..."), Kind.STOP),
    **dict.fromkeys(":;", Kind.COLON),
}
_HALF_EMOTICONS = frozenset("x8d")  # words that a mark beside them turns into an emoticon


def kind(word: str) -> Kind:
    """How a token is written beside its neighbours."""
    if word in _KINDS:
        return _KINDS[word]
    is_word = re.fullmatch(r"<unk>|\d+(?:[.,:]\d+)+|@?[^\W_]+(?:['_-][^\W_]+)*", word) is not None
    return Kind.WORD if is_word and word not in _HALF_EMOTICONS else Kind.ALONE


def attached(kinds: Sequence[int] | np.ndarray) -> list[bool]:
    """Which tokens are written without a space before them."""
    found, before = [], Kind.ALONE
    for now in map(Kind, kinds):
        if now in (Kind.WORD, Kind.OPENING):
            found.append(before == Kind.OPENING)
            before = now
        else:
            is_open = before == Kind.WORD or (now == Kind.CLOSING and before in (Kind.CLOSING, Kind.STOP))
            found.append(now != Kind.ALONE and is_open)
            before = now if found[-1] and now != Kind.COLON else Kind.ALONE
    return found


def normalize(text: str) -> str:
    """Lower case, composed accents, straight apostrophes, HTML entities resolved, single spaces, three dots a row."""
    plain = (
        unicodedata.normalize("NFC", html.unescape(html.unescape(text)).lower())
        .replace("\u2019", "'")
        .replace("\u2026", "...")
    )
    return " ".join(re.sub(r"\.{2,}", "...", plain).split())


def split(text: str) -> list[str]:
    """Tokens of a text: words with what is inside them (don't, well-known, @name), emoticons, links, single marks."""
    return _TOKEN.findall(normalize(text))


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A vocabulary; the token's integer is its place in `words`, which begins with `SPECIAL`.

    Raises:
      ValueError: if the special tokens are not first, a word is repeated, or a word is not one token.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the vocabulary."""
        if self.words[: len(SPECIAL)] != SPECIAL:
            raise ValueError(f"a vocabulary begins with {', '.join(SPECIAL)}, got {self.words[: len(SPECIAL)]}")
        repeated = [word for word, count in Counter(self.words).items() if count > 1]
        if repeated:
            raise ValueError(f"a vocabulary names every word once, got '{repeated[0]}' again")
        broken = [word for word in self.words[len(SPECIAL) :] if split(word) != [word]]
        if broken:
            raise ValueError(f"every word must be one token as `split` makes them, got '{broken[0]}'")

    @property
    def size(self) -> int:
        """Number of tokens, the special ones included."""
        return len(self.words)

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """Integer of every word."""
        return {word: i for i, word in enumerate(self.words)}

    @functools.cached_property
    def kinds(self) -> np.ndarray:
        """`Kind` of every token, int32 [V]."""
        return np.array([kind(word) for word in self.words], np.int32)

    def encode(self, text: str, length: int) -> np.ndarray:
        """A text as int32 [length]: its tokens and <eos>, cut at `length`, then <pad>.

        Raises:
          ValueError: if the length is not positive.
        """
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        ids = [self.index.get(word, UNK) for word in split(text)] + [EOS]
        return np.array(ids[:length] + [PAD] * (length - len(ids)), np.int32)

    def encode_all(self, texts: Iterable[str], length: int) -> np.ndarray:
        """Texts as int32 [N, length]."""
        return np.stack([self.encode(text, length) for text in texts])

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of token integers up to the first <eos>; `split` finds the same tokens in it again.

        Raises:
          ValueError: if an integer is not in the vocabulary.
        """
        kept: list[int] = []
        for i in map(int, ids):
            if not 0 <= i < self.size:
                raise ValueError(f"token {i} is not in a vocabulary of {self.size}")
            if i == EOS:
                break
            if i not in (PAD, BOS):
                kept.append(i)
        spaces = ["" if is_attached else " " for is_attached in attached(self.kinds[kept])]
        return "".join(space + self.words[i] for space, i in zip(spaces, kept, strict=True)).strip()

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON to a file that must not exist.

        Raises:
          FileExistsError: if it does.
        """
        if Path(path).exists():
            raise FileExistsError(f"{path} exists; nothing is overwritten")
        content = {"format": FORMAT, "words": self.words}
        _files.replace(Path(path), json.dumps(content, ensure_ascii=False, indent=0))


def build(texts: Iterable[str], size: int) -> Tokenizer:
    """The vocabulary of the most frequent tokens of a corpus; among equals the alphabet decides.

    Args:
      texts: the corpus.
      size: largest number of tokens, special ones included, > 4.

    Raises:
      ValueError: if the size leaves no room or the corpus has no token.
    """
    if size <= len(SPECIAL):
        raise ValueError(f"a vocabulary needs more than the {len(SPECIAL)} special tokens, got size {size}")
    counts = Counter(word for text in texts for word in split(text) if word not in SPECIAL)
    if not counts:
        raise ValueError("the corpus has no token; give a file with text")
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return Tokenizer((*SPECIAL, *ordered[: size - len(SPECIAL)]))


def load(path: Path) -> Tokenizer:
    """Read a vocabulary that `Tokenizer.save` wrote.

    Raises:
      ValueError: if the file is missing or is none.
    """
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no tokenizer: {error}") from None
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise ValueError(f'{path} is no tokenizer: it must say "format": "{FORMAT}"')
    words = stored.get("words")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f'{path} is no tokenizer: "words" must be a list of texts')
    try:
        return Tokenizer(tuple(words))
    except ValueError as error:
        raise ValueError(f"{path} is no tokenizer: {error}") from None

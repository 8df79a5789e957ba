"""Tokenizer and files of the language-model experiment: nothing is lost on the way to integers and back."""

import json
from pathlib import Path

import numpy as np
import pytest

from hfac import tweets

RATED = Path(__file__).parents[2] / "shared" / "data" / "rated_tweets.tsv"
TEXTS = [
    "Yay!! I don't know, but it's GOOD :-) <3",
    "so-so day... (again) &amp; no coffee :'(",
    '@someone said "10.5 or 5,000?" see http://a.b/c #monday',
    "you\u2019re great; really great: 100% :D",
]


def rated_tweets() -> list[tweets.Tweet]:
    if not RATED.exists():
        pytest.skip(f"no rated tweets at {RATED}")
    return tweets.read_ratings(RATED)


def tokenizer(size: int = 100) -> tweets.Tokenizer:
    return tweets.build_tokenizer(TEXTS, size)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I don't know...", ["i", "don't", "know", "..."]),
        ("well-known :-) fact:D", ["well-known", ":-)", "fact", ":", "d"]),
        ("great!!!", ["great", "!", "!", "!"]),
        ("#happy @you 10.5", ["#", "happy", "@you", "10.5"]),
        ("AT&amp;T \u2026 isn\u2019t", ["at", "&", "t", "...", "isn't"]),
        ("8pm xp <3", ["8pm", "xp", "<3"]),
    ],
)
def test_a_text_is_split_into_words_emoticons_and_marks(text, tokens):
    assert tweets.split(text) == tokens


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_survives_the_way_to_integers_and_back(text):
    found = tokenizer().decode(tokenizer().encode(text, 40))
    assert tweets.split(found) == tweets.split(text)
    assert " ," not in found and "( " not in found


def test_every_sequence_of_tokens_survives_the_way_to_text_and_back():
    vocabulary = tweets.build_tokenizer([*TEXTS, ": ) ( d ' - . ; 3 < _ $ } ="], 100)
    rng = np.random.default_rng(0)
    for _ in range(2_000):
        ids = rng.integers(3, vocabulary.size, size=12)
        text = vocabulary.decode(ids)
        assert tweets.split(text) == [vocabulary.words[i] for i in ids], text
        np.testing.assert_array_equal(vocabulary.encode(text, 12), ids)


def test_an_encoded_text_ends_is_padded_and_is_cut():
    words = tokenizer()
    ids = words.encode("great day", 5)
    assert [words.words[i] for i in ids] == ["great", "day", "<eos>", "<pad>", "<pad>"]
    assert "<eos>" not in [words.words[i] for i in words.encode("great day great", 3)]
    assert words.encode("never-seen-word", 2)[0] == words.index["<unk>"]
    assert words.encode_all(TEXTS, 9).shape == (4, 9)


def test_the_vocabulary_holds_the_most_frequent_tokens():
    words = tweets.build_tokenizer(["b b b a a c", "c a d"], 7).words
    assert words == ("<pad>", "<bos>", "<eos>", "<unk>", "a", "b", "c")


def test_a_saved_tokenizer_comes_back_and_is_not_overwritten(tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer().save(path)
    assert tweets.load_tokenizer(path) == tokenizer()
    with pytest.raises(FileExistsError):
        tokenizer(8).save(path)
    assert tweets.load_tokenizer(path) == tokenizer()


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["a", "b"], "begins with <pad>"),
        ([*tweets.build_tokenizer(["a"], 5).words, "a"], "got 'a' again"),
        ([*tweets.build_tokenizer(["a"], 5).words, "b c"], "one token as `split` makes them, got 'b c'"),
        ("a", "must be a list of texts"),
    ],
)
def test_a_wrong_vocabulary_is_refused(tmp_path, words, rule):
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"format": "hfac tokenizer 1", "words": words}))
    with pytest.raises(ValueError, match=rule) as error:
        tweets.load_tokenizer(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_corpus_is_one_tweet_a_line(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes("\ufeffgood day\r\n\r\nbad d\u00e4y\n".encode())
    assert tweets.read_corpus(path) == ["good day", "bad d\u00e4y"]


HEADER = b"id\tratings\ttext\n"


@pytest.mark.parametrize(
    ("read", "content", "rule"),
    [
        (tweets.read_corpus, b"", "is empty; preferences need at least 2"),
        (tweets.read_corpus, b"\n \n", "is empty"),
        (tweets.read_corpus, b"one\n", "has one tweet"),
        (tweets.read_corpus, b"one\ntw\xff\n", "line 2: the file must be UTF-8"),
        (tweets.read_corpus, None, "cannot be read: No such file"),
        (tweets.read_ratings, b"", "line 1: the header must be id, ratings, text"),
        (tweets.read_ratings, HEADER, "is empty"),
        (tweets.read_ratings, HEADER + b"1\t2\tgood\n", "has one tweet"),
        (tweets.read_ratings, HEADER + b"1\t2\n", "line 2: a line has 3 cells parted by tabs, got 2"),
        (
            tweets.read_ratings,
            HEADER + b"1\t2 x\tgood\n",
            "line 2: id and ratings must be whole numbers, got '1' and '2 x'",
        ),
        (tweets.read_ratings, HEADER + b"1\t2 7\tgood\n", r"line 2: ratings lie in -4 \.\. 4, at least one, got '2 7'"),
        (tweets.read_ratings, HEADER + b"1\t\tgood\n", r"line 2: ratings lie in -4 \.\. 4, at least one, got ''"),
        (tweets.read_ratings, HEADER + b"1\t2\t \n", "line 2: the tweet has no text"),
        (tweets.read_ratings, HEADER + b"1\t2\tgood\n1\t2\tbad\n", "every id stands once, got 1 again"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path, read, content, rule):
    path = tmp_path / "tweets.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rule) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_rated_tweets_are_read_and_survive_the_tokenizer():
    rated = rated_tweets()
    assert len(rated) == 3_360 and all(20 <= tweet.ratings.size <= 99 for tweet in rated)
    words = tweets.build_tokenizer([tweet.text for tweet in rated], 10_000)
    for tweet in rated:
        assert tweets.split(words.decode(words.encode(tweet.text, 80))) == tweets.split(tweet.text)

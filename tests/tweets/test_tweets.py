"""Tokenizer and files of the language-model experiment: nothing is lost on the way to integers and back."""

import functools
import json

import jax
import numpy as np
import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from hfac import tweets
from support.rated import SOURCES, made_up

TEXTS = [
    "Yay!! I don't know, but it's GOOD :-) <3",
    "so-so day... (again) &amp; no coffee :'(",
    '@someone said "10.5 or 5,000?" see http://a.b/c #monday',
    "you\u2019re great; really great: 100% :D",
]


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
    assert [path] == list(tmp_path.iterdir())


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


def test_rated_tweets_are_read_as_they_were_written(tmp_path):
    written = made_up(50)
    lines = [f"{tweet.id}\t{' '.join(map(str, tweet.ratings))}\t{tweet.text}\n" for tweet in written]
    (tmp_path / "rated.tsv").write_bytes(HEADER + "".join(lines).encode())
    found = tweets.read_ratings(tmp_path / "rated.tsv")
    for tweet, own in zip(found, written, strict=True):
        assert (tweet.id, tweet.text) == (own.id, own.text)
        np.testing.assert_array_equal(tweet.ratings, own.ratings)


@pytest.mark.parametrize("source", SOURCES)
def test_rated_tweets_survive_the_tokenizer(source):
    rated = source()
    words = tweets.build_tokenizer([tweet.text for tweet in rated], 10_000)
    for tweet in rated:
        assert tweets.split(words.decode(words.encode(tweet.text, 80))) == tweets.split(tweet.text)


compound = jax.jit(tweets.compound)


def scored(texts: list[str], words: tweets.Tokenizer, length: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Our scores of texts as the tokenizer sees them, and the package's of the same texts decoded."""
    tokens = words.encode_all(texts, length)
    package = SentimentIntensityAnalyzer()
    expected = [package.polarity_scores(words.decode(row))["compound"] for row in tokens]
    return np.asarray(compound(tweets.lexicon(words), tokens)), np.array(expected)


RULES = {
    "valence": "a good day and a bad night",
    "nothing": "the table is here",
    "boosters, damped with distance": "very good, really so very good, extremely the most good, hardly a good one",
    "boosters of sad words": "very bad and slightly sad",
    "negation": "not good, not very good, isn't at all good, never good",
    "never so": "never so good and never this good, so so bad",
    "without doubt": "without a doubt great, without doubt the great one",
    "but": "good food, great place, but the service was terrible",
    "exclamation": "good!!! yes! good!!!",
    "questions": "good? really? sure?",
    "many questions": "bad? really? sure? what?",
    "no": "no good, no or great fun, no problem and no",
    "least": "least good, at least good, very least good, the least great",
    "kind of": "kind of good, a kind man, sort of bad, just enough good",
    "idioms": "that is the bomb, yeah right, to die for, the bus stop was bad ass good",
    "emoticons": "hello :) there :( <3 :-d bye",
    "a mark after a short word": 'no, ok! so. good (no) "no"',
    "brackets": "(good) [bad] (very good!), {great}",
    "links and names": "@good see http://good.great/ and #happy 100% good $5 love",
    "hyphens": "well-done good-looking kind-of good",
}


def parts(text: str) -> list[str]:
    return [text, *text.split(","), " ".join(reversed(text.split()))]


@functools.cache
def rule_scores() -> dict[str, tuple[float, float]]:
    texts = [part for text in RULES.values() for part in parts(text)]
    mine, expected = scored(texts, tweets.build_tokenizer(RULES.values(), 400))
    return dict(zip(texts, zip(mine.tolist(), expected.tolist(), strict=True), strict=True))


@pytest.mark.parametrize("text", RULES.values(), ids=list(RULES))
def test_every_rule_of_the_rater_agrees_with_the_package(text):
    for part in parts(text):
        mine, expected = rule_scores()[part]
        assert mine == pytest.approx(expected, abs=1e-3), part


def test_the_rater_agrees_with_the_package_on_any_sequence_of_tokens():
    words = tweets.build_tokenizer([*RULES.values(), *TEXTS], 400)
    ids = np.random.default_rng(1).integers(3, words.size, size=(2_000, 16))
    mine, expected = scored([words.decode(row) for row in ids], words, 16)
    assert np.mean(np.abs(mine - expected) < 1e-3) > 0.97  # the package scales equal valences around "but" twice
    without_but = ~np.any(ids == words.index["but"], axis=1)
    np.testing.assert_allclose(mine[without_but], expected[without_but], atol=1e-3)


def test_the_rater_reads_up_to_the_end_and_keeps_the_batch_shape():
    words = tweets.build_tokenizer(RULES.values(), 400)
    table = tweets.lexicon(words)
    row = words.encode("a good day", 8)
    behind = row.copy()
    behind[4:] = words.index["bad"]
    scores = compound(table, np.stack([[row, behind]] * 3))
    assert scores.shape == (3, 2)
    np.testing.assert_allclose(scores, np.full((3, 2), scores[0, 0]))
    assert scores[0, 0] > 0.4


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("size", [300, 1_536, 10_000])
def test_the_rater_agrees_with_the_package_on_tweets(source, size):
    """Of people's 3,360 one differs: the package scales a word around "but" twice where two valences are equal."""
    rated = source()
    words = tweets.build_tokenizer([tweet.text for tweet in rated], size)
    mine, expected = scored([tweet.text for tweet in rated], words, 64)
    differs = np.abs(mine - expected) >= 1e-3
    assert differs.mean() <= 0.001
    assert np.corrcoef(mine, expected)[0, 1] > 0.999
    if size > 300:  # words enough for what people go by
        assert np.corrcoef(mine, [tweet.mean for tweet in rated])[0, 1] > 0.83

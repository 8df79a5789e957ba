"""Happy tweets: the language-model experiment of Zeng et al. [2601.16399].

Here so far: reading tweets and people's ratings of them, the tokenizer, and the rule-based rater.
"""

from typing import Any

from hfac._registry import names, resolve

REGISTRY = {
    "Lexicon": "hfac.tweets._sentiment:Lexicon",
    "Tokenizer": "hfac.tweets._tokenizer:Tokenizer",
    "Tweet": "hfac.tweets._corpus:Tweet",
    "build_tokenizer": "hfac.tweets._tokenizer:build",
    "compound": "hfac.tweets._sentiment:compound",
    "lexicon": "hfac.tweets._sentiment:lexicon",
    "load_tokenizer": "hfac.tweets._tokenizer:load",
    "read_corpus": "hfac.tweets._corpus:read_corpus",
    "read_ratings": "hfac.tweets._corpus:read_ratings",
    "split": "hfac.tweets._tokenizer:split",
}


def __getattr__(name: str) -> Any:
    return resolve(REGISTRY, name, "part of hfac.tweets")


def __dir__() -> list[str]:
    return names(REGISTRY)

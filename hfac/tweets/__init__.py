"""Happy tweets: the language-model experiment of Zeng et al. [2601.16399].

A decoder is pretrained on a corpus, a rater judges what it writes, and the leader designs the reward it is trained on.
"""

from typing import Any

from hfac._registry import names, resolve

REGISTRY = {
    "Decoder": "hfac.tweets._model:Decoder",
    "Fitted": "hfac.tweets._pretrain:Fitted",
    "Lexicon": "hfac.tweets._sentiment:Lexicon",
    "METHODS": "hfac.tweets.options:METHODS",
    "MIN_EFFECTIVE": "hfac.tweets._judge:MIN_EFFECTIVE",
    "MODEL_FILE": "hfac.tweets._setup:MODEL_FILE",
    "NUM_REFERENCE": "hfac.tweets._report:NUM_REFERENCE",
    "Options": "hfac.tweets.options:Options",
    "Recipe": "hfac.tweets._pretrain:Recipe",
    "Setup": "hfac.tweets._setup:Setup",
    "Size": "hfac.tweets._model:Size",
    "TOKENIZER_FILE": "hfac.tweets._setup:TOKENIZER_FILE",
    "Tokenizer": "hfac.tweets._tokenizer:Tokenizer",
    "Tweet": "hfac.tweets._corpus:Tweet",
    "agreement": "hfac.tweets._people:agreement",
    "build_tokenizer": "hfac.tweets._tokenizer:build",
    "compound": "hfac.tweets._sentiment:compound",
    "decoder_policy": "hfac.tweets._model:policy",
    "empty_cache": "hfac.tweets._model:empty_cache",
    "fit_people": "hfac.tweets._people:fit",
    "from_apply": "hfac.tweets._model:from_apply",
    "frontier": "hfac.tweets._judge:frontier",
    "grammar": "hfac.tweets._grammar:corpus",
    "init_reward": "hfac.tweets._reward:init_reward",
    "is_held_out": "hfac.tweets._people:is_held_out",
    "judge": "hfac.tweets._report:judge",
    "lines": "hfac.tweets._report:lines",
    "lexicon": "hfac.tweets._sentiment:lexicon",
    "load_model": "hfac.tweets._pretrain:load_model",
    "load_tokenizer": "hfac.tweets._tokenizer:load",
    "method": "hfac.tweets._setup:method",
    "prepare": "hfac.tweets._setup:prepare",
    "pretrain": "hfac.tweets._pretrain:pretrain",
    "problem": "hfac.tweets._problem:problem",
    "read_corpus": "hfac.tweets._corpus:read_corpus",
    "read_ratings": "hfac.tweets._corpus:read_ratings",
    "record": "hfac.tweets._judge:record",
    "response": "hfac.tweets._judge:response",
    "reward": "hfac.tweets._reward:reward",
    "samples": "hfac.tweets._report:samples",
    "save": "hfac.tweets._setup:save",
    "save_model": "hfac.tweets._pretrain:save_model",
    "split": "hfac.tweets._tokenizer:split",
    "summary": "hfac.tweets._report:summary",
    "tweets": "hfac.tweets._setup:tweets",
    "write": "hfac.tweets._setup:write",
    "writing": "hfac.tweets._judge:writing",
}


def __getattr__(name: str) -> Any:
    return resolve(REGISTRY, name, "part of hfac.tweets")


def __dir__() -> list[str]:
    return names(REGISTRY)

"""Prompts and preferences of files, and all that can be wrong with them."""

import json
from pathlib import Path

import numpy as np
import pytest

from hfac.language import prompts, tokens
from support import models as tiny

pytest.importorskip("tokenizers")
MESSAGES = [{"role": "user", "content": "Hi"}]
CHAT = "<s><|user|>Hi</s><|assistant|>"


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "model").mkdir()
    tiny.save_tokenizer(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(tiny.config("llama")))
    return tokens.load(tmp_path / "model")


def lines(path: Path, *rows) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_texts_and_messages_are_prompts(tokenizer, tmp_path):
    """Further fields are kept; empty lines are none."""
    path = lines(
        tmp_path / "p.jsonl",
        {"prompt": "The soup", "topic": 7},
        "",
        {"messages": MESSAGES},
        {"prompt": [*MESSAGES, *MESSAGES]},
    )
    found = prompts.read_prompts(path, tokenizer, 100)
    assert [each.text for each in found][:2] == ["The soup", CHAT]
    assert found[0].record["topic"] == 7 and tokenizer.decode(found[0].ids) == "The soup"
    plain = prompts.read_prompts(lines(tmp_path / "p.txt", "The soup", " two "), tokenizer, 100)
    assert [each.text for each in plain] == ["The soup", " two "]


def test_a_line_ends_where_files_end_lines(tokenizer, tmp_path):
    """Not at other characters that a text may hold."""
    path = tmp_path / "p.jsonl"
    path.write_bytes('{"prompt": "a\u2028b"}\r\n{"prompt": "c\x85d"}\r\n'.encode())
    assert [each.text for each in prompts.read_prompts(path, tokenizer, 100)] == ["a\u2028b", "c\x85d"]


WRONG = {
    "no JSON": ("p.jsonl", ['{"prompt": "a"}', "{"], "p.jsonl, line 2: is no JSON: "),
    "no object": ("p.jsonl", ["[1]"], "p.jsonl, line 1: is no JSON object; write"),
    "no prompt": ("p.jsonl", [{"text": "a"}], "p.jsonl, line 1: has no prompt; write"),
    "blank": ("p.jsonl", [{"prompt": "  "}], "p.jsonl, line 1: has no prompt"),
    "no messages": ("p.jsonl", [{"messages": []}], "line 1: has no prompt"),
    "no role": ("p.jsonl", [{"messages": [{"content": "a"}]}], "a message has a role and a content, both texts"),
    "refused": ("p.jsonl", [{"messages": [{"role": "tool", "content": "a"}]}], "line 1: the chat template refuses the"),
    "twice": ("p.txt", ["a", "b", "a"], "p.txt, line 3: the same prompt stands in p.txt, line 1; keep one of them"),
    "too long": ("p.txt", ["ab" * 40], "p.txt, line 1: the prompt has 80 tokens, at most 20 fit"),
    "empty": ("p.txt", ["", " "], "p.txt is empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_line_that_is_no_prompt_is_named(tokenizer, tmp_path, monkeypatch, case):
    """File, line and rule, in one line."""
    monkeypatch.chdir(tmp_path)
    name, rows, words = WRONG[case]
    with pytest.raises(ValueError) as found:
        prompts.read_prompts(lines(tmp_path / name, *rows), tokenizer, 20)
    assert words in str(found.value) and "\n" not in str(found.value)


def test_files_that_cannot_be_read_are_one_line(tokenizer, tmp_path):
    """Missing ones, folders, other encodings."""
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    for name, words in (("none", "No such file"), (".", "Is a directory"), ("latin", "is not UTF-8 text")):
        with pytest.raises(ValueError, match=words):
            prompts.read_prompts(tmp_path / name, tokenizer, 20)


ANSWER = [{"role": "assistant", "content": "good"}]
WORSE = [{"role": "assistant", "content": "bad"}]
PREFERENCES = {
    "texts": ({"prompt": "It was", "chosen": " good", "rejected": " bad"}, "It was", " good", " bad"),
    "texts that share": ({"chosen": "It was good", "rejected": "It was bad"}, "It was", " good", " bad"),
    "messages": ({"prompt": MESSAGES, "chosen": ANSWER, "rejected": WORSE}, CHAT, "good", "bad"),
    "messages that share": ({"chosen": MESSAGES + ANSWER, "rejected": MESSAGES + WORSE}, CHAT, "good", "bad"),
}


@pytest.mark.parametrize("case", PREFERENCES)
def test_both_forms_of_preferences_are_read(tokenizer, tmp_path, case):
    """The prompt apart, or what both completions begin with."""
    record, prompt, chosen, rejected = PREFERENCES[case]
    (found,) = prompts.read_preferences(lines(tmp_path / "p.jsonl", record), tokenizer, 100)
    assert (found.prompt.text, found.chosen, found.rejected) == (prompt, chosen, rejected)


NO_PREFERENCES = {
    "one side": ({"prompt": "a", "chosen": "b"}, "a preference has chosen and rejected, got prompt, chosen"),
    "the same": ({"prompt": "a", "chosen": "b", "rejected": "b"}, "chosen and rejected are the same"),
    "mixed": ({"chosen": "b", "rejected": ANSWER}, "must both be texts, or both messages"),
    "nothing shared": ({"chosen": "b", "rejected": "c"}, "share no beginning; write the prompt apart"),
    "two answers": ({"prompt": "a", "chosen": ANSWER * 2, "rejected": WORSE}, "a completion is one message, got 2"),
    "empty": ({"prompt": "a", "chosen": " ", "rejected": "b"}, "a completion is empty"),
}


@pytest.mark.parametrize("case", NO_PREFERENCES)
def test_a_line_that_is_no_preference_is_named(tokenizer, tmp_path, case):
    """One line."""
    record, words = NO_PREFERENCES[case]
    with pytest.raises(ValueError) as found:
        prompts.read_preferences(lines(tmp_path / "p.jsonl", record), tokenizer, 100)
    assert words in str(found.value) and "p.jsonl, line 1" in str(found.value)


def test_prompts_are_padded_on_the_left_to_few_lengths(tokenizer):
    """Powers of two."""
    found = prompts.padded(prompts.of_texts(["zzzzzzzzzzz", "xyz"], tokenizer, 100))
    assert found.tokens.shape == (2, 16) and np.asarray(found.lengths).tolist() == [11, 3]
    assert tokenizer.decode(found.tokens[1, -3:]) == "xyz" and not found.is_token[1, :-3].any()
    assert [prompts.bucket(length) for length in (1, 8, 9, 16, 17, 100)] == [8, 8, 16, 16, 32, 128]

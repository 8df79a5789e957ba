"""Prompts and preferences from files: texts a line, or JSON a line, as text or as messages of a chat."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from hfac import _files
from hfac.language.generation import Prompts
from hfac.language.tokens import Tokenizer

JSONL = (".jsonl", ".json", ".ndjson")
LEAST_BUCKET = 8  # tokens that the shortest prompts are padded to; the others to the next power of two
FORM = 'write {"prompt": TEXT} or {"messages": [{"role": ..., "content": ...}, ...]}'


class Prompt(NamedTuple):
    """Something that is to be completed."""

    text: str  # as the model reads it
    ids: tuple[int, ...]  # its tokens
    record: Mapping[str, Any]  # the whole line, further fields too
    place: str  # file and line


class Preference(NamedTuple):
    """Two completions of a prompt, the first of which is preferred."""

    prompt: Prompt
    chosen: str
    rejected: str


def read_prompts(path: Path, tokenizer: Tokenizer, longest: int) -> list[Prompt]:
    """Prompts of a file.

    Args:
      path: JSON a line (.jsonl) with `prompt` or `messages`, or one text a line.
      tokenizer: the model's, whose chat template renders messages.
      longest: tokens that a prompt may have.

    Raises:
      ValueError: if a line is none, does not fit, or stands there twice; names file and line.
    """
    found: list[Prompt] = []
    for place, record in _records(path):
        found.append(_prompt(_start_of(record, place), record, place, tokenizer, longest))
    _check_distinct(found)
    return found


def of_texts(texts: Sequence[str], tokenizer: Tokenizer, longest: int) -> list[Prompt]:
    """Prompts that somebody wrote down elsewhere.

    Raises:
      ValueError: if one does not fit.
    """
    return [_prompt(text, {"prompt": text}, f"prompt {i + 1}", tokenizer, longest) for i, text in enumerate(texts)]


def read_preferences(path: Path, tokenizer: Tokenizer, longest: int) -> list[Preference]:
    """Preferences of a file: `prompt`, `chosen`, `rejected`, or the last two alone with what they share as prompt.

    Args:
      path: JSON a line, texts or messages.
      tokenizer: the model's.
      longest: tokens that a prompt may have.

    Raises:
      ValueError: if a line is none, or its prompt does not fit; names file and line.
    """
    found = []
    for place, record in _records(path):
        for name in ("chosen", "rejected"):
            if name not in record:
                raise ValueError(f"{place}: a preference has chosen and rejected, got {', '.join(record) or 'nothing'}")
        sides = [record["chosen"], record["rejected"]]
        is_chat = [isinstance(side, list) for side in sides]
        if is_chat[0] != is_chat[1] or not all(isinstance(side, str | list) for side in sides):
            raise ValueError(f"{place}: chosen and rejected must both be texts, or both messages")
        start = record.get("prompt", record.get("messages"))
        if start is None:
            start, sides = _parted(sides, place)
        chosen, rejected = (_answer(side, place) for side in sides)
        if chosen == rejected:
            raise ValueError(f"{place}: chosen and rejected are the same")
        prompt = _prompt(_start_of({"prompt": start}, place), record, place, tokenizer, longest)
        found.append(Preference(prompt, chosen, rejected))
    return found


def padded(prompts: Sequence[Prompt], length: int | None = None) -> Prompts:
    """Prompts as arrays, padded on the left to a length, or to that of their bucket."""
    length = bucket(max(len(each.ids) for each in prompts)) if length is None else length
    tokens = np.zeros((len(prompts), length), np.int32)
    is_token = np.zeros(tokens.shape, bool)
    for row, each in enumerate(prompts):
        tokens[row, length - len(each.ids) :] = each.ids
        is_token[row, length - len(each.ids) :] = True
    return Prompts(jnp.asarray(tokens), jnp.asarray(is_token))


def bucket(length: int) -> int:
    """Tokens that prompts of this length are padded to: a power of two, so that there are few programs."""
    return max(LEAST_BUCKET, 1 << (length - 1).bit_length())


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of every line that is not empty.

    Raises:
      ValueError: if the file cannot be read, is empty, or a line is no JSON object.
    """
    shown = _files.shown(path)
    try:
        lines = [line.rstrip("\r") for line in path.read_bytes().decode("utf-8-sig").split("\n")]
    except OSError as error:
        raise ValueError(f"{shown} cannot be read: {os.strerror(error.errno or 0)}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{shown} is not UTF-8 text") from None
    is_empty = True
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        is_empty = False
        place = f"{shown}, line {number}"
        if path.suffix.lower() not in JSONL:
            yield place, {"prompt": line}
            continue
        try:
            content = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{place}: is no JSON: {error}") from None
        if not isinstance(content, dict):
            raise ValueError(f"{place}: is no JSON object; {FORM}")
        yield place, content
    if is_empty:
        raise ValueError(f"{shown} is empty; {FORM}, one a line")


def _start_of(record: Mapping[str, Any], place: str) -> Any:
    """A text, or messages, of a line.

    Raises:
      ValueError: if it has neither.
    """
    start = record.get("prompt", record.get("messages"))
    if isinstance(start, list):
        for message in start:
            _check_message(message, place)
        if start:
            return start
    if not isinstance(start, str) or not start.strip():
        raise ValueError(f"{place}: has no prompt; {FORM}")
    return start


def _check_message(message: Any, place: str) -> None:
    if not isinstance(message, dict) or not all(isinstance(message.get(name), str) for name in ("role", "content")):
        raise ValueError(f"{place}: a message has a role and a content, both texts, got {json.dumps(message)[:80]}")


def _prompt(start: Any, record: Mapping[str, Any], place: str, tokenizer: Tokenizer, longest: int) -> Prompt:
    try:
        text = tokenizer.chat(start) if isinstance(start, list) else start
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    ids = tuple(tokenizer.encode(text))
    if len(ids) > longest:
        raise ValueError(f"{place}: the prompt has {len(ids)} tokens, at most {longest} fit; cut it, or allow more")
    return Prompt(text, ids, record, place)


def _check_distinct(prompts: Sequence[Prompt]) -> None:
    first: dict[str, str] = {}
    for each in prompts:
        if each.text in first:
            raise ValueError(f"{each.place}: the same prompt stands in {first[each.text]}; keep one of them")
        first[each.text] = each.place


def _parted(sides: Sequence[Any], place: str) -> tuple[Any, list[Any]]:
    """What two texts, or two chats, share at their beginning, and the rest of each.

    Raises:
      ValueError: if they share nothing.
    """
    shared = 0
    while shared < min(map(len, sides)) and sides[0][shared] == sides[1][shared]:
        shared += 1
    if isinstance(sides[0], str):  # whole words only: the rest begins with its space
        shared = sides[0][:shared].rfind(" ")
    if shared < 1:
        raise ValueError(f"{place}: chosen and rejected share no beginning; write the prompt apart")
    return sides[0][:shared], [side[shared:] for side in sides]


def _answer(side: Any, place: str) -> str:
    """A completion, as text.

    Raises:
      ValueError: if messages are not one answer.
    """
    if isinstance(side, str):
        found = side
    else:
        for message in side:
            _check_message(message, place)
        if len(side) != 1:
            raise ValueError(f"{place}: a completion is one message, got {len(side)}")
        found = side[0]["content"]
    if not found.strip():
        raise ValueError(f"{place}: a completion is empty")
    return found

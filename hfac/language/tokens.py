"""Texts as integers and back: a model's own tokenizer, its end tokens, and its chat template."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hfac import _files

TOKENIZER, SETTINGS, GENERATION = "tokenizer.json", "tokenizer_config.json", "generation_config.json"
TEMPLATE = "chat_template.jinja"
GGUF = "tokenizer.ggml."
TEXT_END = "<|endoftext|>"  # ends plain texts, also where a chat model's end is another
CONTROL = 3  # kind of a token in GGUF files that stands for no text

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS_AND_MARKS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{%s}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DIGITS = {"llama-bpe": "1,3", "qwen2": "1"}  # that stand in one piece, of kinds that split by this pattern
KINDS = ("gpt-2", "smollm", *DIGITS)


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A model's tokenizer."""

    core: Any  # a `tokenizers.Tokenizer`
    ends: tuple[int, ...]  # tokens that end a text, the first one when one is written by us
    begin: int | None = None  # token that the model wants before every text
    template: str | None = None  # Jinja, of chats
    special: Mapping[str, str] = dataclasses.field(default_factory=dict)  # bos_token and eos_token, for templates

    @property
    def size(self) -> int:
        """Number of tokens."""
        return int(self.core.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str, begins: bool = True) -> list[int]:
        """Tokens of a text, special ones that stand in it as such.

        Args:
          text: any.
          begins: whether it is the beginning, before which a model may want a token of its own.
        """
        found = list(self.core.encode(text, add_special_tokens=False).ids)
        return [self.begin, *found] if begins and self.begin is not None and found[:1] != [self.begin] else found

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens up to the first end; special ones are left out."""
        kept = []
        for each in map(int, ids):
            if each in self.ends:
                break
            kept.append(each)
        return str(self.core.decode(kept, skip_special_tokens=True))

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Messages as the model was trained to read them, ready for an answer.

        Raises:
          ValueError: if there is no template, or it refuses the messages.
        """
        if self.template is None:
            raise ValueError("messages need a chat template, and this model has none; write prompts as text")
        try:
            import jinja2.sandbox
        except ModuleNotFoundError:
            raise ValueError("chat templates need the package jinja2: pip install 'hfac[llm]'") from None

        def refuse(message: str) -> None:
            raise jinja2.TemplateError(message)

        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = refuse
        environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
        try:
            template = environment.from_string(self.template)
            return template.render(messages=list(messages), add_generation_prompt=True, **self.special)
        except jinja2.TemplateError as error:
            raise ValueError(f"the chat template refuses the messages: {error}") from None

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json to a folder that holds neither.

        Raises:
          FileExistsError: if it holds one.
        """
        for name in (TOKENIZER, SETTINGS):
            if (folder / name).exists():
                raise FileExistsError(f"{folder / name} exists; nothing is overwritten")
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": self.begin is not None,
            **self.special,
            **({} if self.template is None else {"chat_template": self.template}),
        }
        _files.replace(folder / TOKENIZER, self.core.to_str())
        _files.replace(folder / SETTINGS, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder.

    Raises:
      ValueError: if it is missing or damaged.
    """
    tokenizers = _library(folder)
    if not (folder / TOKENIZER).is_file():
        raise ValueError(f"{folder}: {TOKENIZER} is missing; save the model with its fast tokenizer")
    try:
        core = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # whatever the library raises: it has no type of its own
        raise ValueError(f"{folder / TOKENIZER} is no tokenizer: {error}") from None
    settings, config, generation = (
        _files.read_table(folder / name) if (folder / name).is_file() else {}
        for name in (SETTINGS, "config.json", GENERATION)
    )
    special = {name: _text(settings[name]) for name in ("bos_token", "eos_token") if settings.get(name)}
    stated = [generation.get("eos_token_id"), config.get("eos_token_id")]
    stated += [core.token_to_id(special["eos_token"])] if "eos_token" in special else []
    template = settings.get("chat_template")
    if (folder / TEMPLATE).is_file():
        template = (folder / TEMPLATE).read_text(encoding="utf-8")
    if isinstance(template, list):  # several by name
        template = next((each["template"] for each in template if each.get("name") == "default"), None)
    begin = core.token_to_id(special["bos_token"]) if settings.get("add_bos_token") and "bos_token" in special else None
    if begin is None and "bos_token" in special:  # others say it by what they put around a text
        first = core.encode("a").ids[:1]
        begin = first[0] if first == [core.token_to_id(special["bos_token"])] else None
    return Tokenizer(core, _ends(core, stated, str(folder)), begin, template, special)


def from_gguf(fields: Mapping[str, Any], where: str) -> Tokenizer:
    """The tokenizer that a GGUF file states.

    Raises:
      ValueError: if it is of a kind that is not supported.
    """
    tokenizers = _library(where)
    model, kind = fields.get(f"{GGUF}model"), fields.get(f"{GGUF}pre", "default")
    if model != "gpt2" or kind not in KINDS:
        raise ValueError(
            f"{where}: tokenizer {model}/{kind} is not supported; there are gpt2/{', gpt2/'.join(KINDS)}; "
            "give a folder with tokenizer.json"
        )
    words = fields[f"{GGUF}tokens"]
    merges = [tuple(each.split(" ", 1)) for each in fields.get(f"{GGUF}merges") or []]
    vocabulary = {word: i for i, word in enumerate(words)}
    core = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges, ignore_merges=kind == "llama-bpe"))
    core.pre_tokenizer = _splitter(tokenizers, kind)
    if kind == "qwen2":
        core.normalizer = tokenizers.normalizers.NFC()
    core.decoder = tokenizers.decoders.ByteLevel()
    kinds = fields.get(f"{GGUF}token_type") or [1] * len(words)
    special = [word for word, each in zip(words, kinds, strict=True) if each == CONTROL]
    core.add_special_tokens([tokenizers.AddedToken(word, special=True, normalized=False) for word in special])
    named = {name: fields.get(f"{GGUF}{name}_id") for name in ("bos_token", "eos_token")}
    return Tokenizer(
        core,
        _ends(core, ends_of(fields), where),
        named["bos_token"] if fields.get(f"{GGUF}add_bos_token", kind == "llama-bpe") else None,
        fields.get("tokenizer.chat_template"),
        {name: words[number] for name, number in named.items() if number is not None},
    )


def ends_of(fields: Mapping[str, Any]) -> tuple[int, ...]:
    """Tokens that a GGUF file says end a text."""
    found = [fields.get(f"{GGUF}{name}_token_id") for name in ("eos", "eot")]
    return tuple(dict.fromkeys(int(each) for each in found if each is not None))


def _splitter(tokenizers: Any, kind: str) -> Any:
    """What parts a text before pairs are merged."""
    parts = tokenizers.pre_tokenizers
    if kind in DIGITS:
        pattern = tokenizers.Regex(f"{_CONTRACTIONS}|{_LETTERS_AND_MARKS % DIGITS[kind]}")
        return parts.Sequence([parts.Split(pattern, "isolated"), parts.ByteLevel(False, use_regex=False)])
    plain = parts.ByteLevel(add_prefix_space=False)
    return plain if kind == "gpt-2" else parts.Sequence([parts.Digits(individual_digits=True), plain])


def _ends(core: Any, stated: Iterable[Any], where: str) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for each in stated:
        found |= dict.fromkeys(each if isinstance(each, list) else [] if each is None else [each])
    if not found:
        raise ValueError(f"{where}: nothing says which token ends a text; name it as eos_token_id in config.json")
    plain = core.token_to_id(TEXT_END)
    return tuple(found if plain is None else found | {plain: None})


def _library(where: Any) -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise ValueError(f"{where}: tokenizers need the package of this name: pip install 'hfac[llm]'") from None
    return tokenizers


def _text(token: Any) -> str:
    return str(token["content"] if isinstance(token, Mapping) else token)

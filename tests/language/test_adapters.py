"""Adapters: merged and apart, in PEFT's files, and files of others."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hfac.language import adapters, decoder
from support import models as tiny
from support.slow import few

REFERENCE = np.load(Path(__file__).parent / "reference.npz")  # of tests/support/record_logits.py
RECORDED = adapters.Lora(2, 3.0, ("q", "v", "down"), (1,))  # as there


def logits(made, params, each) -> np.ndarray:
    tokens, is_token = tiny.texts()
    found = decoder.read(made.architecture, params, each, tokens, jnp.asarray(is_token))
    return np.asarray(found)[is_token][::2]


def trained(made, lora):
    return tiny.trained(adapters.init(made.architecture, lora, jax.random.key(0)))


@pytest.mark.parametrize("family", few(tiny.FAMILIES, "qwen3"))
def test_an_adapted_model_says_what_peft_says(family):
    """And so does one whose adapters were merged into its weights."""
    made = tiny.model(family)
    tree = trained(made, RECORDED)
    apart = logits(made, made.params, adapters.by_layer(made.architecture, tree, RECORDED.scale))
    merged = logits(made, adapters.merged(made.params, tree, RECORDED.scale), decoder.no_adapters(made.architecture))
    wanted = REFERENCE[f"{family}_adapted"]
    assert np.abs(apart - wanted).max() < 1e-4
    assert np.abs(merged - wanted).max() < 1e-4
    assert np.abs(wanted - REFERENCE[family]).max() > 0.1


def test_new_adapters_add_nothing():
    """On every projection of every layer."""
    made = tiny.model("llama")
    lora = adapters.Lora(4, 8.0, decoder.PROJECTIONS)
    tree = adapters.init(made.architecture, lora, jax.random.key(0))
    assert sorted(tree) == ["0", "1"] and sorted(tree["0"]) == sorted(decoder.PROJECTIONS)
    own = logits(made, made.params, adapters.by_layer(made.architecture, tree, lora.scale))
    assert np.array_equal(own, logits(made, made.params, decoder.no_adapters(made.architecture)))


def test_files_come_back_bit_for_bit(tmp_path):
    """Under PEFT's names, with its settings."""
    made = tiny.model("qwen3")
    lora = adapters.Lora(3, 4.5, ("k", "up"), (0, 1))
    tree = trained(made, lora)
    adapters.save(tmp_path / "a", tree, lora, "somewhere/model", "123")
    again, found = adapters.load(tmp_path / "a", made.architecture, "123")
    assert found == lora
    assert jax.tree.all(jax.tree.map(np.array_equal, again, tree))
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["k_proj", "up_proj"] and config["r"] == 3 and config["lora_alpha"] == 4.5
    assert "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight" in load_file(tmp_path / "a" / adapters.WEIGHTS)
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        adapters.save(tmp_path / "a", tree, lora, "x")


def test_an_adapter_that_peft_saved_is_read(tmp_path):
    """Its own files, and what PEFT's model says with it."""
    for name in (adapters.CONFIG, adapters.WEIGHTS):
        (tmp_path / name).write_bytes(REFERENCE[name].tobytes())
    made = tiny.model("llama")
    tree, lora = adapters.load(tmp_path, made.architecture)
    assert lora == adapters.Lora(2, 5.0, ("k", "up"), (0, 1))
    found = logits(made, made.params, adapters.by_layer(made.architecture, tree, lora.scale))
    assert np.abs(found - REFERENCE["peft"]).max() < 1e-4
    assert np.abs(REFERENCE["peft"] - REFERENCE["llama"]).max() > 0.01


def test_an_adapter_of_another_rank_per_root_is_scaled_so(tmp_path):
    """PEFT's rslora: alpha over the root of the rank."""
    made = tiny.model("llama")
    lora = adapters.Lora(4, 8.0, ("q",), (1,))
    adapters.save(tmp_path / "a", trained(made, lora), lora, "x")
    path = tmp_path / "a" / adapters.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_rslora": True}))
    assert adapters.load(tmp_path / "a", made.architecture)[1].scale == pytest.approx(4.0)


Q = "base_model.model.model.layers.1.self_attn.q_proj."
WRONG = {
    "half of a pair": (lambda t: t.pop(Q + "lora_B.weight"), f"a weight is missing: {Q}lora_B.weight"),
    "a layer without": (
        lambda t: [t.pop(name) for name in [*t] if name.startswith(Q)],
        f"a weight is missing: {Q}lora_A.weight",
    ),
    "foreign": (
        lambda t: t.update({"base_model.model.lm_head.lora_A.weight": np.zeros((2, 32), np.float32)}),
        "holds a weight that no adapter of projections has: base_model.model.lm_head.lora_A.weight",
    ),
    "another width": (
        lambda t: t.update({Q + "lora_A.weight": np.zeros((2, 64), np.float32)}),
        f"is of another base model: {Q}lora_A.weight is [2, 64], not [2, 32]",
    ),
    "another depth": (
        lambda t: t.update({Q.replace("1", "9") + "lora_A.weight": np.zeros((2, 32), np.float32)}),
        "and this one has 2 layers",
    ),
    "nothing": (lambda t: t.clear(), "holds no adapter"),
}


@pytest.mark.parametrize("case", WRONG)
def test_keys_that_do_not_fit_are_named(tmp_path, case):
    """One line each."""
    made = tiny.model("llama")
    lora = adapters.Lora(2, 4.0, ("q", "v"), (0, 1))
    adapters.save(tmp_path / "a", trained(made, lora), lora, "x")
    change, words = WRONG[case]
    tensors = load_file(tmp_path / "a" / adapters.WEIGHTS)
    change(tensors)
    save_file(tensors, tmp_path / "a" / adapters.WEIGHTS)
    with pytest.raises(ValueError) as found:
        adapters.load(tmp_path / "a", made.architecture)
    assert words in str(found.value) and "\n" not in str(found.value)


SETTINGS = {
    "use_dora": (True, "use_dora True is not supported"),
    "bias": ("all", "bias 'all' is not supported"),
    "rank_pattern": ({"q_proj": 4}, "rank_pattern"),
    "peft_type": ("IA3", "adapters of type IA3 are not supported; there is LORA"),
    "r": (None, "r must be a positive number, got None"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_are_not_supported_are_named(tmp_path, name):
    """Nothing is left out silently."""
    made = tiny.model("llama")
    lora = adapters.Lora(2, 4.0, ("q",), (1,))
    adapters.save(tmp_path / "a", trained(made, lora), lora, "x")
    path = tmp_path / "a" / adapters.CONFIG
    value, words = SETTINGS[name]
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        adapters.load(tmp_path / "a", made.architecture)


def test_an_adapter_of_another_base_is_refused(tmp_path):
    """By the digest of the weights that it was trained on; files of others name none."""
    made = tiny.model("llama")
    lora = adapters.Lora(2, 4.0, ("q",), (1,))
    adapters.save(tmp_path / "a", trained(made, lora), lora, "x", digest="abc")
    with pytest.raises(ValueError, match="is an adapter of another base model: its digest is abc, this one's def"):
        adapters.load(tmp_path / "a", made.architecture, "def")
    adapters.load(tmp_path / "a", made.architecture, "abc")
    for name, words in ((adapters.WEIGHTS, f"{adapters.WEIGHTS} is missing"), (adapters.CONFIG, "is no adapter")):
        (tmp_path / "a" / name).unlink()
        with pytest.raises(ValueError, match=words):
            adapters.load(tmp_path / "a", made.architecture)


LAYERS = {"all": (0, 1), "last:1": (1,), "last:2": (0, 1), "0": (0,), "0-1": (0, 1), "1,0": (0, 1)}


def test_layers_are_named_in_few_words():
    """All, the last ones, numbers and ranges."""
    shape = tiny.model("llama").architecture
    for words, wanted in LAYERS.items():
        assert adapters.layers_of(words, shape) == wanted
    for words in ("last:0", "last:3", "first:1", "2", "1-", ""):
        with pytest.raises(ValueError, match="layers"):
            adapters.layers_of(words, shape)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"rank": 0}, "rank must be at least 1, got 0"),
        ({"alpha": 0.0}, "alpha must be positive"),
        ({"targets": ("x",)}, "targets are among q, k, v, o, gate, up, down, got 'x'"),
        ({"targets": ()}, "at least one"),
    ],
)
def test_wrong_places_are_one_line(options, words):
    """Before anything is built."""
    with pytest.raises(ValueError, match=words):
        adapters.Lora(**options)

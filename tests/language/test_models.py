"""Decoders of every family against transformers' logits; files that are damaged, foreign or not supported."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hfac.language import architecture, decoder, folders, gguf_files, models
from support import models as tiny

gguf = pytest.importorskip("gguf")
REFERENCE = np.load(Path(__file__).parent / "reference.npz")  # of tests/support/record_logits.py


def logits(model: folders.Model) -> np.ndarray:
    """Of every other token of the texts, [7, V]."""
    tokens, is_token = tiny.texts()
    found = decoder.read(
        model.architecture, model.params, decoder.no_adapters(model.architecture), tokens, jnp.asarray(is_token)
    )
    return np.asarray(found)[is_token][::2]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_logits_are_those_of_transformers(family, tmp_path):
    """Grouped heads, biases, norms of heads, tied and untied, every rope scaling, texts that are padded on the left."""
    found = logits(models.load(tiny.folder(family, tmp_path / "m")))
    assert np.abs(found - REFERENCE[family]).max() < 1e-4
    assert np.abs(REFERENCE[family]).max() > 1


def test_padding_changes_nothing():
    """A text alone, and the same beside a longer one."""
    model = tiny.model("llama")
    tokens, is_token = tiny.texts()
    alone = decoder.read(
        model.architecture,
        model.params,
        decoder.no_adapters(model.architecture),
        tokens[1:2, -tiny.LENGTHS[1] :],
        jnp.ones((1, tiny.LENGTHS[1]), bool),
    )
    whole = decoder.read(
        model.architecture, model.params, decoder.no_adapters(model.architecture), tokens, jnp.asarray(is_token)
    )
    assert np.allclose(alone[0], whole[1, -tiny.LENGTHS[1] :], atol=1e-5)


def test_shards_are_read_as_one_file(tmp_path):
    """With an index, as large models are stored."""
    whole = tiny.folder("qwen3", tmp_path / "whole")
    tensors = load_file(whole / folders.WEIGHTS)
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "config.json").write_bytes((whole / "config.json").read_bytes())
    places = {name: f"model-{i % 2 + 1:05d}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for shard in set(places.values()):
        save_file({name: tensors[name] for name in tensors if places[name] == shard}, parts / shard)
    (parts / folders.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert np.array_equal(logits(models.load(parts)), logits(models.load(whole)))
    (parts / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"a shard is missing: model-00002-of-00002\.safetensors, of 2"):
        models.load(parts)


def test_bfloat16_is_near(tmp_path):
    """Norms and softmax stay in float32."""
    found = models.load(tiny.folder("llama", tmp_path / "m"), jnp.bfloat16)
    assert found.params["embed"].dtype == jnp.bfloat16
    near = logits(found)
    assert near.dtype == np.float32
    assert 0 < np.abs(near - REFERENCE["llama"]).max() < 0.05 * np.abs(REFERENCE["llama"]).max()


REFUSED = {
    "architecture": (
        {"architectures": ["GPT2LMHeadModel"]},
        "architecture GPT2LMHeadModel is not supported; there are L",
    ),
    "none named": ({"architectures": None}, "architecture none is not supported"),
    "scaling": (
        {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
        "rope_scaling yarn is not supported; there are",
    ),
    "half a scaling": ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "low_freq_factor is missing"),
    "new words": ({"rope_parameters": {"rope_type": "longrope"}}, "rope_scaling longrope is not supported"),
    "window": ({"architectures": ["MistralForCausalLM"], "sliding_window": 512}, "sliding_window 512 is not supported"),
    "layers": ({"layer_types": ["sliding_attention"]}, "layer_types with sliding_attention are not supported"),
    "quantised": ({"quantization_config": {"quant_method": "gptq"}}, "quantised weights (gptq) are not supported"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act gelu is not supported; there is silu"),
    "partly turned": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is not supported"),
    "no number": ({"hidden_size": "32"}, "hidden_size must be a whole number >= 1, got '32'"),
    "heads": ({"num_key_value_heads": 3}, "4 attention heads do not share 3 key-value heads evenly"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_one_line(tmp_path, case):
    """Nothing is read as if it were something else."""
    change, words = REFUSED[case]
    folder = tiny.folder("llama", tmp_path / "m")
    content = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError) as found:
        models.load(folder)
    assert words in str(found.value) and "\n" not in str(found.value) and str(folder) in str(found.value)


def test_both_words_of_rotary_positions_are_read():
    """Newer configurations state theta and scaling in one table."""
    old = tiny.config("llama") | {"rope_theta": 5e5}
    new = {name: value for name, value in old.items() if not name.startswith("rope")}
    new["rope_parameters"] = {**old["rope_scaling"], "rope_theta": 5e5}
    assert architecture.from_config(new) == architecture.from_config(old)
    for family in tiny.FAMILIES:
        own = architecture.from_config(tiny.config(family))
        assert architecture.from_config(folders.to_config(own)) == own


def test_damage_is_one_line(tmp_path):
    """Missing files and weights, foreign ones, other shapes, files that are cut short."""
    folder = tiny.folder("qwen2", tmp_path / "m")
    tensors = load_file(folder / folders.WEIGHTS)

    def complaint(changed: dict) -> str:
        save_file(changed, folder / folders.WEIGHTS)
        with pytest.raises(ValueError) as found:
            models.load(folder)
        return str(found.value)

    name = "model.layers.1.self_attn.k_proj.bias"
    assert f"weights are missing: {name}" in complaint({k: v for k, v in tensors.items() if k != name})
    assert "does not have: model.layers.7.x and 1 more" in complaint(
        tensors | {"model.layers.7.x": np.zeros(1), "model.z": np.zeros(1)}
    )
    assert f"{name} must have the shape [16] of config.json, got [3]" in complaint(tensors | {name: np.zeros(3)})
    (folder / folders.WEIGHTS).write_bytes((folder / folders.WEIGHTS).read_bytes()[:200])
    with pytest.raises(ValueError, match="is no safetensors file, or is cut short"):
        models.load(folder)
    (folder / folders.WEIGHTS).unlink()
    with pytest.raises(ValueError, match=r"there is neither model\.safetensors nor"):
        models.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        models.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"is no model: config\.json is missing"):
        models.load(folder)


def test_a_tied_model_may_store_its_head_twice(tmp_path):
    """Older files do."""
    folder = tiny.folder("llama", tmp_path / "m")
    tensors = load_file(folder / folders.WEIGHTS)
    extra = {
        "lm_head.weight": tensors["model.embed_tokens.weight"],
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4),
    }
    save_file(tensors | extra, folder / folders.WEIGHTS)
    assert np.abs(logits(models.load(folder)) - REFERENCE["llama"]).max() < 1e-4


def written(family: str, path: Path, **more) -> Path:
    """A GGUF file of a tiny decoder: rows of queries and keys interleaved, as the format wants them."""
    made = tiny.model(family)
    shape = made.architecture
    kind = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}[shape.name]
    file = gguf.GGUFWriter(path, kind)
    file.add_block_count(shape.layers)
    file.add_embedding_length(shape.width)
    file.add_feed_forward_length(shape.inner_width)
    file.add_head_count(shape.heads)
    file.add_head_count_kv(shape.key_heads)
    file.add_key_length(shape.head_width)
    file.add_layer_norm_rms_eps(shape.norm_epsilon)
    file.add_rope_freq_base(shape.rope.theta)
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list([f"t{i}" for i in range(shape.vocabulary)])
    file.add_token_merges([])
    file.add_eos_token_id(2)
    for name, value in more.items():
        file.add_string(name.replace("__", "."), value)
    heads = {"q": shape.heads, "k": shape.key_heads}
    for part, name in gguf_files.OUTER.items():
        if part in made.params:
            file.add_tensor(name, np.array(made.params[part]))
    for i, layer in enumerate(made.params["layers"]):
        for part, values in layer.items():
            array = np.array(values)
            if kind == "llama" and part[0] in heads and part in ("q", "k", "q_bias", "k_bias"):
                array = array.reshape(heads[part[0]], 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
            file.add_tensor(f"blk.{i}.{gguf_files.INNER[part]}", array)
    if shape.rope.kind == "llama3":
        plain = architecture.Rope(shape.rope.theta).frequencies(shape.head_width)
        file.add_tensor(gguf_files.FREQUENCIES, plain / shape.rope.frequencies(shape.head_width))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_gguf_file_and_its_folder_give_the_same_logits(family, tmp_path, monkeypatch):
    """Read as it is, and converted; both are transformers' logits."""
    monkeypatch.setattr(gguf_files, "PRETRAINED_LENGTH", 16)
    path = written(family, tmp_path / "m.gguf")
    direct = models.load(path)
    models.export(path, tmp_path / "folder")
    again = models.load(tmp_path / "folder")
    assert np.array_equal(logits(direct), logits(again))
    assert np.abs(logits(direct) - REFERENCE[family]).max() < 1e-4
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        models.export(path, tmp_path / "folder")


def test_gguf_files_that_are_not_supported_are_one_line(tmp_path):
    """Foreign scalings and files that are none."""
    path = written("qwen2", tmp_path / "y.gguf", qwen2__rope__scaling__type="yarn")
    with pytest.raises(ValueError, match="rope scaling yarn is not supported"):
        models.load(path)
    with pytest.raises(ValueError, match="is not what llama3's scaling makes of 8192 positions"):
        models.load(written("llama", tmp_path / "l.gguf"))
    (tmp_path / "z.gguf").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(ValueError, match="is no GGUF file, or is cut short"):
        models.load(tmp_path / "z.gguf")
    with pytest.raises(ValueError, match="there is no such file"):
        models.load(tmp_path / "none.gguf")

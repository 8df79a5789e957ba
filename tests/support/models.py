"""Tiny decoders of every family, with weights that depend on their names alone."""

import json
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from hfac.language import architecture, folders

SMALL = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FAMILIES = {
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "rope_scaling": {**LLAMA3, "original_max_position_embeddings": 16},
        "rms_norm_eps": 1e-5,
    },
    "llama_biased": {
        "architectures": ["LlamaForCausalLM"],
        "num_key_value_heads": 4,
        "head_dim": 16,
        "attention_bias": True,
        "mlp_bias": True,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    },
    "mistral": {"architectures": ["MistralForCausalLM"], "num_key_value_heads": 1, "sliding_window": None},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "num_key_value_heads": 2, "head_dim": 16, "rope_theta": 1e6},
}
LENGTHS = (9, 5, 1)  # of the texts that logits are compared on


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEXTS = ["The soup was just perfect.", "ünïcode, naïve — 1234 + 56!", "  two  spaces\n\nand lines", ""]
NUM_WORDS = 300  # of the tokenizer


def config(family: str, **changes) -> dict:
    """A config.json."""
    kind = FAMILIES[family]["architectures"][0].removesuffix("ForCausalLM").lower()
    return {"model_type": kind, "eos_token_id": 2, "bos_token_id": 1, **SMALL, **FAMILIES[family], **changes}


def model(family: str, **changes) -> folders.Model:
    """A decoder; norms are near one, everything else is random."""
    stated = config(family, **changes)
    shape = architecture.from_config(stated)

    def read(name: str, path: tuple):
        def tensor():
            noise = np.random.default_rng(zlib.crc32(name.encode())).normal(size=folders.shape_of(shape, path))
            return (1 + 0.2 * noise if "norm" in name else 0.25 * noise).astype(np.float32)

        return tensor

    tensors = {name: read(name, path) for name, path in folders.file_names(shape).items()}
    return folders.Model(shape, folders.assembled(shape, tensors, family, jnp.float32), stated)


def folder(family: str, path: Path, **changes) -> Path:
    """A decoder's folder."""
    made = model(family, **changes)
    folders.save(path, made.architecture, made.params, made.config)
    return path


def tokenizer():
    """A byte-level tokenizer with few merges, of `NUM_WORDS` tokens."""
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=NUM_WORDS,
        special_tokens=["<|endoftext|>", "<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    return made


def save_tokenizer(path: Path) -> Path:
    """Its files, with a chat template, in a folder."""
    tokenizer().save(str(path / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": TEMPLATE}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def whole(path: Path, family: str = "llama") -> Path:
    """A folder of a decoder with its tokenizer."""
    return save_tokenizer(folder(family, path, vocab_size=NUM_WORDS))


def texts() -> tuple[np.ndarray, np.ndarray]:
    """Left-padded tokens, int32 [3, 9], and which of them are no padding."""
    is_token = np.arange(max(LENGTHS)) >= max(LENGTHS) - np.array(LENGTHS)[:, None]
    tokens = np.random.default_rng(0).integers(3, SMALL["vocab_size"], is_token.shape)
    return np.where(is_token, tokens, 0).astype(np.int32), is_token


def trained(tree: dict) -> dict:
    """Adapters as they are after training: nothing is zero."""

    def moved(layer: str, name: str, half: str, leaf) -> np.ndarray:
        noise = np.random.default_rng(zlib.crc32(f"{layer}.{name}.{half}".encode())).normal(size=leaf.shape)
        return jnp.asarray(0.3 * noise, jnp.float32)

    return {
        layer: {
            name: {half: moved(layer, name, half, leaf) for half, leaf in pair.items()} for name, pair in each.items()
        }
        for layer, each in tree.items()
    }

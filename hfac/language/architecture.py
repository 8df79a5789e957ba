"""The shape of a pretrained decoder, as its configuration states it; what is not supported is refused by name."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hfac import _files

FAMILIES: dict[str, dict[str, Any]] = {  # of Hugging Face's configurations -> what departs from Llama
    "LlamaForCausalLM": {},
    "MistralForCausalLM": {},
    "Qwen2ForCausalLM": {"has_bias": True},
    "Qwen3ForCausalLM": {"normalizes_heads": True, "head_width": 128},
}
HIGH, LOW = "high_freq_factor", "low_freq_factor"


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary positions (Su et al. [2104.09864]): angle of a pair of coordinates per position, and its scaling."""

    theta: float = 10_000.0
    kind: str = "default"  # or linear: all angles slower; llama3: slow angles slower
    factor: float = 1.0
    low_frequency: float = 1.0  # llama3: wavelengths above `original_length` / this are slowed by the whole factor
    high_frequency: float = 4.0  # llama3: those below `original_length` / this are left alone
    original_length: int = 8_192  # llama3: positions that the model was pretrained on

    def frequencies(self, width: int) -> np.ndarray:
        """Radians per position of every pair of coordinates of a head, float32 [width / 2]."""
        plain = 1 / self.theta ** (np.arange(0, width, 2, dtype=np.float64) / width)
        if self.kind == "linear":
            plain = plain / self.factor
        if self.kind == "llama3":
            turns = self.original_length * plain / (2 * np.pi)  # of a pair over the original length
            share = (turns - self.low_frequency) / (self.high_frequency - self.low_frequency)
            share = np.clip(share, 0, 1)
            plain = share * plain + (1 - share) * plain / self.factor
        return plain.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Shape of a decoder of the Llama family."""

    vocabulary: int
    width: int
    inner_width: int  # of the gated perceptron
    layers: int
    heads: int
    key_heads: int  # queries of heads / key_heads heads share one
    head_width: int
    rope: Rope = Rope()
    norm_epsilon: float = 1e-6
    is_tied: bool = False  # the embeddings are the output layer too
    has_bias: bool = False  # of queries, keys and values
    has_output_bias: bool = False  # of what attention adds
    has_inner_bias: bool = False  # of the perceptron
    normalizes_heads: bool = False  # queries and keys
    name: str = "LlamaForCausalLM"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every weight of a layer by its name here; matrices are [out, in]."""
        queries, keys = self.heads * self.head_width, self.key_heads * self.head_width
        found: dict[str, tuple[int, ...]] = {
            "attention_norm": (self.width,),
            "q": (queries, self.width),
            "k": (keys, self.width),
            "v": (keys, self.width),
            "o": (self.width, queries),
            "inner_norm": (self.width,),
            "gate": (self.inner_width, self.width),
            "up": (self.inner_width, self.width),
            "down": (self.width, self.inner_width),
        }
        biased = {"q": self.has_bias, "k": self.has_bias, "v": self.has_bias, "o": self.has_output_bias}
        biased |= dict.fromkeys(("gate", "up", "down"), self.has_inner_bias)
        found |= {f"{name}_bias": found[name][:1] for name, is_biased in biased.items() if is_biased}
        norms = ("q_norm", "k_norm") if self.normalizes_heads else ()
        return found | dict.fromkeys(norms, (self.head_width,))

    @property
    def num_weights(self) -> int:
        """How many numbers a model holds."""
        each = sum(int(np.prod(shape)) for shape in self.shapes.values())
        return self.layers * each + self.width * (1 + self.vocabulary * (1 if self.is_tied else 2))


def read(path: Path) -> tuple[Architecture, dict[str, Any]]:
    """The architecture that a config.json states, and the whole of the file.

    Raises:
      ValueError: if it cannot be read, or is not supported.
    """
    content = _files.read_table(
        path, f"{path.parent} is no model: config.json is missing; give a folder, names of a hub are not fetched"
    )
    try:
        return from_config(content), content
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]} is missing") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def from_config(config: Mapping[str, Any]) -> Architecture:
    """The architecture of a configuration of Hugging Face's.

    Raises:
      ValueError: if the architecture, or something that it asks for, is not supported.
    """
    named = list(config.get("architectures") or ["none"])
    if named[0] not in FAMILIES:
        raise ValueError(f"architecture {named[0]} is not supported; there are {', '.join(FAMILIES)}")
    _refuse_options(named[0], config)
    family = FAMILIES[named[0]]
    heads = _whole(config, "num_attention_heads")
    width = _whole(config, "hidden_size")
    has_biases = bool(config.get("attention_bias", False))
    found = Architecture(
        vocabulary=_whole(config, "vocab_size"),
        width=width,
        inner_width=_whole(config, "intermediate_size"),
        layers=_whole(config, "num_hidden_layers"),
        heads=heads,
        key_heads=_whole(config, "num_key_value_heads", heads),
        head_width=_whole(config, "head_dim", family.get("head_width", width // heads)),
        rope=_rope(config),
        norm_epsilon=float(config.get("rms_norm_eps", 1e-6)),
        is_tied=bool(config.get("tie_word_embeddings", False)),
        has_bias=bool(family.get("has_bias", has_biases)),
        has_output_bias=has_biases and "has_bias" not in family,
        has_inner_bias=bool(config.get("mlp_bias", False)),
        normalizes_heads=bool(family.get("normalizes_heads", False)),
        name=named[0],
    )
    if found.heads % found.key_heads:
        raise ValueError(f"{found.heads} attention heads do not share {found.key_heads} key-value heads evenly")
    if found.head_width % 2:
        raise ValueError(f"rotary positions need an even head_dim, got {found.head_width}")
    return found


def _refuse_options(name: str, config: Mapping[str, Any]) -> None:
    """Raise `ValueError` if a configuration asks for something that a forward pass here would leave out."""
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise ValueError(f"hidden_act {activation} is not supported; there is silu")
    window = config.get("sliding_window")
    if window is not None and config.get("use_sliding_window", name == "MistralForCausalLM"):
        raise ValueError(f"sliding_window {window} is not supported; there is attention to everything before")
    if "sliding_attention" in (config.get("layer_types") or ()):
        raise ValueError("layer_types with sliding_attention are not supported; there is full_attention")
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "unknown")
        raise ValueError(f"quantised weights ({method}) are not supported; there are float32, float16 and bfloat16")
    if config.get("partial_rotary_factor", 1) != 1:
        raise ValueError("partial_rotary_factor is not supported; rotary positions turn whole heads")


def _rope(config: Mapping[str, Any]) -> Rope:
    """Rotary positions of a configuration, in the words of either version of its format.

    Raises:
      ValueError: if their scaling is not supported.
    """
    stated = config.get("rope_parameters") or {}
    scaling = {**(config.get("rope_scaling") or {}), **stated}
    theta = float(stated.get("rope_theta", config.get("rope_theta", 10_000.0)))
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, kind, float(scaling["factor"]))
    if kind != "llama3":
        raise ValueError(f"rope_scaling {kind} is not supported; there are default, linear and llama3")
    factor, low, high = (float(scaling[name]) for name in ("factor", LOW, HIGH))
    return Rope(theta, kind, factor, low, high, int(scaling["original_max_position_embeddings"]))


def _whole(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")
    return value

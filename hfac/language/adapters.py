"""Low-rank adapters (Hu et al. [2106.09685]) on any projections of any layers, and their files in PEFT's format."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from hfac import _files
from hfac.language import folders
from hfac.language.architecture import Architecture
from hfac.language.decoder import PROJECTIONS
from hfac.types import Key, PyTree

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE = "base"  # in the header of the weights: digest of the model that they were trained on
KEY = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)_proj\.lora_([AB])\.weight")
HALVES = {"A": "down", "B": "up"}
REFUSED = {  # settings of PEFT -> the value that changes nothing
    "use_dora": False,
    "bias": "none",
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "fan_in_fan_out": False,
    "lora_bias": False,
    "trainable_token_indices": None,
    "layer_replication": None,
}


@dataclasses.dataclass(frozen=True)
class Lora:
    """Where adapters are, and how large.

    Raises:
      ValueError: if a number is out of range, or a projection is unknown.
    """

    rank: int = 8
    alpha: float = 16.0  # what an adapter adds is scaled by alpha / rank
    targets: tuple[str, ...] = ("q", "k", "v", "o")  # of `PROJECTIONS`
    layers: tuple[int, ...] = ()  # from 0; all unless given

    def __post_init__(self) -> None:
        """Check the numbers and names."""
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, got {self.rank}")
        if not self.alpha > 0:
            raise ValueError(f"alpha must be positive, got {self.alpha}")
        for name in self.targets:
            if name not in PROJECTIONS:
                raise ValueError(f"targets are among {', '.join(PROJECTIONS)}, got '{name}'")
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets name every projection once and at least one, got {self.targets}")

    @property
    def scale(self) -> float:
        """Factor of what an adapter adds."""
        return self.alpha / self.rank

    def places(self, architecture: Architecture) -> tuple[int, ...]:
        """Layers with adapters, in order.

        Raises:
          ValueError: if the model has no such layer.
        """
        found = tuple(sorted(set(self.layers or range(architecture.layers))))
        if found[0] < 0 or found[-1] >= architecture.layers:
            raise ValueError(f"layers lie in [0, {architecture.layers}) of this model, got {list(found)}")
        return found


def layers_of(words: str, architecture: Architecture) -> tuple[int, ...]:
    """Layers that a person names: all, last:N, or numbers from 0 and ranges such as 4,10-12.

    Raises:
      ValueError: if it reads as none of these, or the model has no such layer.
    """
    count = architecture.layers
    if words == "all":
        return tuple(range(count))
    if match := re.fullmatch(r"last:(\d+)", words):
        number = int(match.group(1))
        if not 1 <= number <= count:
            raise ValueError(f"last:N takes N in [1, {count}] of this model's layers, got {words}")
        return tuple(range(count - number, count))
    found: list[int] = []
    for part in words.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise ValueError(f"layers are all, last:N, or numbers and ranges such as 4,10-12, got '{words}'")
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        if last < first:
            raise ValueError(f"a range of layers goes up, such as 10-12, got '{part}'")
        found += range(first, last + 1)
    return Lora(layers=tuple(found)).places(architecture)


def init(architecture: Architecture, lora: Lora, key: Key, dtype: Any = jnp.float32) -> PyTree:
    """Adapters that add nothing yet: `down` random, `up` zero.

    Returns:
      Layer, such as "12" -> projection -> {"down": [r, in], "up": [out, r]}.
    """
    found: dict[str, dict[str, dict[str, jax.Array]]] = {}
    for layer in lora.places(architecture):
        found[str(layer)] = {}
        for name in lora.targets:
            key, own = jax.random.split(key)
            outer, inner = architecture.shapes[name]
            bound = inner**-0.5
            down = jax.random.uniform(own, (lora.rank, inner), dtype, -bound, bound)
            found[str(layer)][name] = {"down": down, "up": jnp.zeros((outer, lora.rank), dtype)}
    return found


def by_layer(architecture: Architecture, adapters: PyTree, scale: float) -> list[PyTree]:
    """Adapters as `decoder` takes them, one of every layer, their scale in `up`."""
    found: list[PyTree] = [{} for _ in range(architecture.layers)]
    for layer, each in adapters.items():
        found[int(layer)] = {
            name: (pair["down"], pair["up"] * jnp.asarray(scale, pair["up"].dtype)) for name, pair in each.items()
        }
    return found


def first_layer(adapters: PyTree) -> int:
    """The lowest layer with an adapter."""
    return min(map(int, adapters))


def merged(params: PyTree, adapters: PyTree, scale: float) -> PyTree:
    """Weights with adapters added into them."""
    layers = [dict(layer) for layer in params["layers"]]
    for layer, each in adapters.items():
        for name, pair in each.items():
            weight = layers[int(layer)][name]
            added = scale * jnp.matmul(pair["up"], pair["down"], precision=jax.lax.Precision.HIGHEST)
            layers[int(layer)][name] = (weight.astype(jnp.float32) + added.astype(jnp.float32)).astype(weight.dtype)
    return params | {"layers": layers}


def save(folder: Path, adapters: PyTree, lora: Lora, base: str, digest: str = "") -> None:
    """Write adapters as PEFT reads them, to a folder that holds none.

    Args:
      folder: made if it is not there.
      adapters: as `init` makes them.
      lora: their rank, scale and places.
      base: name or path of the model, for `base_model_name_or_path`.
      digest: of the model's weights, which `load` compares.

    Raises:
      FileExistsError: if the folder holds some.
    """
    from safetensors.flax import save as written

    for name in (CONFIG, WEIGHTS):
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} exists; nothing is overwritten")
    folder.mkdir(parents=True, exist_ok=True)
    layers = sorted(map(int, adapters))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": [f"{name}_proj" for name in lora.targets],
        "layers_to_transform": layers,
        "layers_pattern": "layers",
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    tensors = {
        _key(layer, name, half): pair[half]
        for layer, each in adapters.items()
        for name, pair in each.items()
        for half in HALVES.values()
    }
    _files.replace(folder / WEIGHTS, written(tensors, {"format": "pt", BASE: digest}))
    _files.replace(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def _key(layer: str, name: str, half: str) -> str:
    module = folders.INNER[name].removesuffix(".weight")
    letter = next(letter for letter, each in HALVES.items() if each == half)
    return f"base_model.model.{folders.LAYER.format(layer)}{module}.lora_{letter}.weight"


def load(folder: Path, architecture: Architecture, digest: str = "") -> tuple[PyTree, Lora]:
    """Read adapters in PEFT's format.

    Args:
      folder: with adapter_config.json and adapter_model.safetensors.
      architecture: of the model that they are for.
      digest: of its weights; unless empty, an adapter that names another base is refused.

    Raises:
      ValueError: if something is missing, foreign, damaged, of another model, or not supported.
    """
    config = _config(folder)
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder}: {WEIGHTS} is missing")
    tensors = folders.read_tensors(folder / WEIGHTS)
    other = _base(folder / WEIGHTS)
    if digest and other and other != digest:
        raise ValueError(f"{folder}: is an adapter of another base model: its digest is {other}, this one's {digest}")
    found: dict[str, dict[str, dict[str, jax.Array]]] = {}
    for key, read in sorted(tensors.items()):
        match = KEY.fullmatch(key)
        if match is None or match.group(2) not in PROJECTIONS:
            raise ValueError(f"{folder}: holds a weight that no adapter of projections has: {key}")
        layer, name, half = match.group(1), match.group(2), HALVES[match.group(3)]
        if int(layer) >= architecture.layers:
            raise ValueError(
                f"{folder}: is of another base model: {key}, and this one has {architecture.layers} layers"
            )
        array = jnp.asarray(read(), jnp.float32)
        _check_shape(folder, key, array.shape, architecture.shapes[name], half, config["r"])
        found.setdefault(layer, {}).setdefault(name, {})[half] = array
    for layer, each in found.items():
        for name, pair in each.items():
            for half in HALVES.values():
                if half not in pair:
                    raise ValueError(f"{folder}: a weight is missing: {_key(layer, name, half)}")
    if not found:
        raise ValueError(f"{folder}: {WEIGHTS} holds no adapter")
    targets = tuple(name for name in PROJECTIONS if any(name in each for each in found.values()))
    places = tuple(sorted(map(int, found)))
    for layer in places:
        for name in targets:
            if name not in found[str(layer)]:
                raise ValueError(f"{folder}: a weight is missing: {_key(str(layer), name, 'down')}")
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
    return found, Lora(config["r"], scale * config["r"], targets, places)


def _config(folder: Path) -> Mapping[str, Any]:
    """adapter_config.json, of adapters that can be read here.

    Raises:
      ValueError: if it is missing, damaged, or asks for something that is not supported.
    """
    path = folder / CONFIG
    config = _files.read_table(path, f"{folder} is no adapter: {CONFIG} is missing")
    if config.get("peft_type") != "LORA":
        raise ValueError(f"{path}: adapters of type {config.get('peft_type')} are not supported; there is LORA")
    for name, plain in REFUSED.items():
        if config.get(name, plain) not in (plain, None):
            raise ValueError(f"{path}: {name} {config[name]!r} is not supported")
    for name in ("r", "lora_alpha"):
        value = config.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ValueError(f"{path}: {name} must be a positive number, got {value!r}")
    return config


def _base(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        return (file.metadata() or {}).get(BASE, "")


def _check_shape(folder: Path, key: str, shape: Sequence[int], whole: tuple[int, ...], half: str, rank: int) -> None:
    wanted = (rank, whole[1]) if half == "down" else (whole[0], rank)
    if tuple(shape) != wanted:
        raise ValueError(f"{folder}: is of another base model: {key} is {list(shape)}, not {list(wanted)}")

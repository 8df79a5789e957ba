"""Tokens a second of a pretrained decoder: writing, and a step's pass over what was written, beside transformers.

    python -m benchmarks.language --model path/to/folder              # some minutes on two cores
    python -m benchmarks.language --random 1b --dtype bfloat16        # a billion random weights, on a GPU
    python -m benchmarks.language --model folder --sequences 64 512 --length 128 --dtype bfloat16    # on a GPU

Where torch, transformers and peft are installed, their `generate` writes from the same weights and the same prompts,
and PEFT goes forward and backward over the same tokens, in the same run, one after the other.
"""

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import tyro

PROMPT = "I tried the soup my sister made, it was"
SHAPES: dict[str, dict[str, Any]] = {  # of random weights
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
           "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128_256, "tie_word_embeddings": True},
    "135m": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
             "num_key_value_heads": 3, "vocab_size": 49_152, "tie_word_embeddings": True},
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Language:
    """What to measure."""

    model: Path | None = None
    """Folder of a model."""
    random: Literal["1b", "135m"] = "135m"
    """Shape of random weights, where no model is given."""
    sequences: tuple[int, ...] = (16, 64)
    """Completions side by side."""
    prompts: int = 4
    """Different prompts among them."""
    prompt_length: int = 12
    """Tokens of a prompt."""
    length: int = 16
    """Tokens of a completion."""
    layers: int = 8
    """The last layers, which have adapters of rank 8 on q, k, v and o."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights."""
    repeats: int = 3
    """Measurements of everything, alternating; the best counts."""
    threads: int = 2
    """Of torch."""
    json: Path | None = None
    """File for the numbers."""


def ours(config: Language, folder: Path) -> Callable[[int], dict[str, Callable[[], Any]]]:
    """Functions to be timed, by name, for a number of sequences."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from hfac.language import adapters, generation, models, policies

    model = models.load(folder, jnp.dtype(config.dtype))
    shape = model.architecture
    lora = adapters.Lora(8, 16.0, ("q", "k", "v", "o"), tuple(range(shape.layers - config.layers, shape.layers)))
    theta = adapters.init(shape, lora, jax.random.key(0))
    tokens = np.random.default_rng(0).integers(3, shape.vocabulary, (config.prompts, config.prompt_length))
    prompts = generation.Prompts(jnp.asarray(tokens, jnp.int32), jnp.ones(tokens.shape, bool))
    none = (shape.vocabulary,)  # nothing ends a completion: every token is written
    policy = policies.Adapted(shape, model.params, prompts, none, config.length, lora, theta)
    chosen = jnp.arange(config.prompts, dtype=jnp.int32)

    def of(sequences: int) -> dict[str, Callable[[], Any]]:
        members = sequences // config.prompts

        @jax.jit
        def write(arrays: Any, key: Any, theta: Any) -> Any:
            return policy.over(arrays).write(key, theta, chosen, members)

        @jax.jit
        def step(arrays: Any, theta: Any, written: Any) -> Any:
            said, pull = jax.vjp(lambda theta: policy.over(arrays).say(theta, written), theta)
            return said, pull(jax.tree.map(jnp.ones_like, said))

        key = jax.random.key(1)
        written = write(policy.arrays, key, theta)
        return {
            "write": lambda: jax.block_until_ready(write(policy.arrays, key, theta)),
            "step": lambda: jax.block_until_ready(step(policy.arrays, theta, written)),
        }

    return of


def theirs(config: Language, folder: Path) -> Callable[[int], dict[str, Callable[[], Any]]] | None:
    """The same of transformers and PEFT; None where they are not installed."""
    try:
        import torch
        import transformers
        from peft import LoraConfig, get_peft_model
    except ModuleNotFoundError:
        return None
    torch.set_num_threads(config.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, config.dtype)).to(device)
    layers = model.config.num_hidden_layers
    places = list(range(layers - config.layers, layers))
    wanted = ["q_proj", "k_proj", "v_proj", "o_proj"]
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=wanted, layers_to_transform=places))
    torch.manual_seed(0)
    tokens = torch.randint(3, model.config.vocab_size, (config.prompts, config.prompt_length), device=device)

    def of(sequences: int) -> dict[str, Callable[[], Any]]:
        prompts = tokens.repeat_interleave(sequences // config.prompts, 0)
        whole = torch.cat(
            [prompts, torch.randint(3, model.config.vocab_size, (sequences, config.length)).to(device)], 1
        )

        def write() -> None:
            with torch.no_grad():
                model.generate(
                    input_ids=prompts,
                    attention_mask=torch.ones_like(prompts),
                    do_sample=True,
                    top_k=0,
                    top_p=1.0,
                    min_new_tokens=config.length,
                    max_new_tokens=config.length,
                    pad_token_id=0,
                )

        def step() -> None:
            found = model(input_ids=whole).logits[:, config.prompt_length - 1 : -1].float().log_softmax(-1)
            found.gather(-1, whole[:, config.prompt_length :, None]).sum().backward()
            model.zero_grad()

        return {"write": write, "step": step}

    return of


def random_folder(config: Language, place: Path) -> Path:
    """A folder of random weights."""
    import jax
    import jax.numpy as jnp

    from hfac.language import architecture, decoder, folders

    stated = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **SHAPES[config.random]}
    shape = architecture.from_config(stated)
    folders.save(place, shape, decoder.init(shape, jax.random.key(0), dtype=jnp.dtype(config.dtype)), stated)
    return place


def peak_bytes() -> int:
    """Largest memory of this process so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(config: Language) -> None:
    """Measure, print and store."""
    with tempfile.TemporaryDirectory() as place:
        folder = config.model or random_folder(config, Path(place) / "model")
        ways = {"hfac": ours(config, folder)}
        rows, memory = [], {}
        for sequences in config.sequences:
            functions = {"hfac": ways["hfac"](sequences)}
            memory["hfac"] = peak_bytes()
            if "transformers" not in ways and (other := theirs(config, folder)) is not None:
                ways["transformers"] = other
            if "transformers" in ways:
                functions["transformers"] = ways["transformers"](sequences)
            seconds_of: dict[str, float] = {}
            for name in ("write", "step"):
                best: dict[str, float] = {}
                for _ in range(config.repeats + 1):  # the first one warms up
                    for who, each in functions.items():
                        begin = time.perf_counter()
                        each[name]()
                        seconds = time.perf_counter() - begin
                        best[who] = min(best.get(who, float("inf")), seconds)
                seconds_of[name] = best["hfac"]
                tokens = sequences * config.length
                row = {"what": name, "sequences": sequences} | {who: tokens / each for who, each in best.items()}
                if len(best) > 1:
                    row["ratio"] = best["transformers"] / best["hfac"]
                rows.append(row)
                print(
                    "  ".join(
                        f"{key} {each:,.2f}" if isinstance(each, float) else f"{key} {each}"
                        for key, each in row.items()
                    ),
                    flush=True,
                )
            whole = sum(seconds_of.values())
            words = f"{seconds_of['write'] / whole:.0%} writing, {seconds_of['step'] / whole:.0%} forward and backward"
            print(f"a step of {sequences} for one policy: {whole:.2f} s, {words}", flush=True)
    print(f"hfac held {memory['hfac'] / 2**30:.2f} GiB at most (numbers are completion tokens a second)")
    if config.json is not None:
        config.json.write_text(
            json.dumps({"config": dataclasses.asdict(config), "rows": rows, "bytes": memory}, default=str, indent=2)
        )


if __name__ == "__main__":
    main(tyro.cli(Language, description=__doc__))

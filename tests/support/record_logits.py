"""Records what transformers and PEFT say of the tiny decoders: `PYTHONPATH=.:tests python -m support.record_logits`.

It needs torch, transformers and peft, which the tests do without.
"""

import tempfile
from pathlib import Path

import jax
import numpy as np
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

from hfac.language import adapters
from support import models

TARGET = Path(__file__).parent.parent / "language" / "reference.npz"


def logits(model: torch.nn.Module) -> np.ndarray:
    """After every token of the texts, float32 [3, 9, V]."""
    tokens, is_token = models.texts()
    position = np.maximum(np.cumsum(is_token, 1) - 1, 0)
    with torch.no_grad():
        found = model(
            input_ids=torch.tensor(tokens, dtype=torch.long),
            attention_mask=torch.tensor(is_token, dtype=torch.long),
            position_ids=torch.tensor(position, dtype=torch.long),
        )
    return found.logits.float().numpy()


def main() -> None:
    """Write the file."""
    found = {}
    for family in models.FAMILIES:
        with tempfile.TemporaryDirectory() as place:
            folder = models.folder(family, Path(place) / "model")
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            found[family] = logits(model)
            made = models.model(family)
            lora = adapters.Lora(2, 3.0, ("q", "v", "down"), (1,))
            tree = models.trained(adapters.init(made.architecture, lora, jax.random.key(0)))
            adapters.save(Path(place) / "adapter", tree, lora, str(folder))
            found[f"{family}_adapted"] = logits(PeftModel.from_pretrained(model, Path(place) / "adapter").eval())
    is_token = models.texts()[1]
    kept = {name: each[is_token][::2] for name, each in found.items()}
    np.savez_compressed(TARGET, **kept, **of_peft(is_token))


def of_peft(is_token: np.ndarray) -> dict[str, np.ndarray]:
    """An adapter that PEFT itself made and saved: its two files, and what the adapted model says."""
    with tempfile.TemporaryDirectory() as place:
        folder = models.folder("llama", Path(place) / "model")
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        torch.manual_seed(0)
        wanted = LoraConfig(r=2, lora_alpha=5, target_modules=["k_proj", "up_proj"], init_lora_weights=False)
        adapted = get_peft_model(model, wanted).eval()
        adapted.save_pretrained(Path(place) / "adapter")
        files = {name: (Path(place) / "adapter" / name).read_bytes() for name in (adapters.CONFIG, adapters.WEIGHTS)}
        said = logits(adapted)[is_token][::2]
    return {"peft": said, **{name: np.frombuffer(content, np.uint8) for name, content in files.items()}}


if __name__ == "__main__":
    main()

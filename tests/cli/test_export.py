"""`hfac export` as a user meets it."""

import jax
import numpy as np
import pytest

from hfac.cli import main
from hfac.language import adapters, folders, models
from support import models as tiny
from support.commands import refused

pytest.importorskip("tokenizers")


def test_an_adapter_is_merged_into_a_folder_that_writes_the_same(here, capsys):
    """Greedily; chat template and tokenizer go with it, and nothing is overwritten."""
    tiny.whole(here / "model")
    made = models.load(here / "model")
    lora = adapters.Lora(2, 4.0, ("q", "down"), (1,))
    tree = jax.tree.map(lambda leaf: 2 * leaf, tiny.trained(adapters.init(made.architecture, lora, jax.random.key(0))))
    adapters.save(here / "adapter", tree, lora, "model", folders.digest(made.params))
    main(["export", "model", "merged", "--adapter", "adapter", "--quiet"])
    written = ("--prompt", "The soup", "--length", "6", "--temperature", "0", "--quiet")
    main(["generate", "model", "--adapter", "adapter", *written])
    *_, before, after = capsys.readouterr().out.strip().splitlines()
    main(["generate", "merged", *written])
    *_, merged = capsys.readouterr().out.strip().splitlines()
    assert merged.partition("|")[2] == after.partition("|")[2] != before.partition("|")[2]
    assert models.load_tokenizer(here / "merged", made).template == tiny.TEMPLATE
    assert "merged exists; nothing is overwritten" in refused(capsys, "export", "model", "merged")
    assert "is no model" in refused(capsys, "export", "none", "other")
    main(["export", "model", "half", "--dtype", "bfloat16", "--quiet"])
    half = models.load(here / "half")
    leaves = zip(jax.tree.leaves(made.params), jax.tree.leaves(half.params), strict=True)
    assert all(np.array_equal(a.astype("bfloat16"), b.astype("bfloat16")) for a, b in leaves)

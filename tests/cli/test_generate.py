"""`hfac generate` as a user meets it."""

import json

import jax
import pytest

from hfac.cli import main
from hfac.language import adapters, models
from support import models as tiny

pytest.importorskip("tokenizers")


@pytest.fixture
def folder(here):
    return tiny.whole(here / "model")


def refusal(capsys, *args) -> str:
    with pytest.raises(SystemExit):
        main(["generate", *map(str, args)])
    return capsys.readouterr().err.strip()


def test_prompts_of_a_file_and_of_the_command_are_completed(folder, here, capsys):
    """The same numbers for a prompt whatever stands beside it; fields of its line are kept."""
    (here / "p.jsonl").write_text(
        '{"prompt": "one"}\n{"prompt": "The soup", "id": 3}\n{"messages": [{"role": "user", "content": "Hi"}]}\n'
    )
    main(
        [
            "generate",
            str(folder),
            "--prompts",
            "p.jsonl",
            "--samples",
            "3",
            "--length",
            "5",
            "--out",
            "o.jsonl",
            "--quiet",
        ]
    )
    said = capsys.readouterr().out
    assert "\nThe soup\n  | " in said and "\n\n<s><|user|>Hi</s><|assistant|>\n  | " in said
    rows = [json.loads(line) for line in (here / "o.jsonl").read_text().splitlines()]
    rows = rows[3:]
    assert [row.get("id") for row in rows] == [3, 3, 3, None, None, None]
    assert len({row["text"] for row in rows}) > 3
    main(
        [
            "generate",
            str(folder),
            "--prompt",
            "The soup",
            "--samples",
            "3",
            "--length",
            "5",
            "--out",
            "p.jsonl.2",
            "--quiet",
        ]
    )
    again = [json.loads(line)["text"] for line in (here / "p.jsonl.2").read_text().splitlines()]
    assert again == [row["text"] for row in rows[:3]]
    assert "exists; nothing is overwritten" in refusal(capsys, folder, "--prompt", "a", "--out", "o.jsonl")


def test_base_and_adapter_stand_beside_each_other(folder, here, capsys):
    """The base writes what it writes alone."""
    made = models.load(folder)
    lora = adapters.Lora(2, 8.0, ("q", "v", "down"), (1,))
    tree = tiny.trained(adapters.init(made.architecture, lora, jax.random.key(0)))
    adapters.save(here / "adapter", tree, lora, str(folder))
    args = ["generate", str(folder), "--prompt", "two", "--length", "8", "--quiet"]
    main([*args, "--adapter", "adapter", "--out", "both.jsonl"])
    assert "  base    | " in (said := capsys.readouterr().out) and "  adapter | " in said
    main([*args, "--out", "base.jsonl"])
    both, base = (json.loads((here / f"{name}.jsonl").read_text()) for name in ("both", "base"))
    assert both["base_text"] == base["text"] != both["text"]
    adapters.save(here / "other", tree, lora, "elsewhere", digest="abc")
    assert "is an adapter of another base model: its digest is abc" in refusal(capsys, *args[1:], "--adapter", "other")


def test_greedy_is_the_same_for_every_seed(folder, here):
    """Temperature 0."""
    for seed in range(2):
        main(["generate", str(folder), "--prompt", "two", "--temperature", "0", "--seed", str(seed), "--length", "6",
              "--out", f"{seed}", "--quiet"])  # fmt: skip
    assert (here / "0").read_text() == (here / "1").read_text()


def test_what_is_wrong_is_one_line(folder, here, capsys):
    """Models, prompts, adapters, numbers."""
    (here / "empty.txt").write_text("")
    cases = [
        ([folder], "which prompts? --prompts FILE, or --prompt TEXT"),
        ([here / "none", "--prompt", "a"], "is no model: config.json is missing"),
        ([here / "none.gguf", "--prompt", "a"], "there is no such file"),
        ([folder, "--prompts", "empty.txt"], "empty.txt is empty"),
        ([folder, "--prompt", "zzzzzz", "--longest-prompt", "3"], "prompt 1: the prompt has 6 tokens, at most 3 fit"),
        ([folder, "--prompt", "a", "--length", "0"], "--length must be at least 1, got 0"),
        ([folder, "--prompt", "a", "--temperature", "-1"], "--temperature must be at least 0, got -1"),
        ([folder, "--prompt", "a", "--adapter", here], "is no adapter: adapter_config.json is missing"),
    ]
    for args, words in cases:
        said = refusal(capsys, *args)
        assert words in said and "\n" not in said, said

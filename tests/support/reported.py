"""Tiny stored runs of every command that is reported, with their pages; made once, whichever worker needs them."""

from pathlib import Path

import numpy as np
import pytest
import xarray

from support.commands import command
from support.folders import CELLS, once

SEARCH = ("--budget", "1600", "--rounds", "1", "--rungs", "1", "--search", "offset=300")
TINY_MODEL = ("--epochs", "1", "--layers", "1", "--width", "8", "--heads", "2", "--length", "8")
RATES = ("--actor", "0.01", "--upper", "0.05", "--entropy", "0.1", "--penalty", "1")
KINDS = {
    "sweep": ("sweep", "goal_placement", *CELLS, "--steps", "60", "--seeds", "2", "--upper", "0.01", "0.03", "1e30"),
    "tweets": ("tweets", *TINY_MODEL, "--steps", "3", "--seeds", "2"),
    "finetune": ("finetune", "--length", "4", "--num-prompts", "2", "--completions", "2", "--num-anchors", "2",
                 "--lora-layers", "last:1", "--lora-rank", "2", "--steps", "2", "--seeds", "2", *RATES),
    "rates": ("rates", "goal_placement", *CELLS, "--steps", "200", "--seeds", "2", "--window", "20", "200"),
    "diagnose": ("diagnose", "goal_placement", *CELLS, "--steps", "60", "--seeds", "2"),
    "tune": ("tune", "goal_placement", *CELLS, "--samples", "400", "--budget", "4e3", "--rounds", "2", "--rungs", "2",
             "--seeds", "1", "--search", "offset=300", "upper=0.01:0.1"),
    "compare": ("compare", "goal_placement", *CELLS, "--algorithms", "hfac", "partial", "--samples", "400",
                "--seeds", "2", "--tuning-seeds", "1", *SEARCH),
}  # fmt: skip


def folder(kind: str, factory: pytest.TempPathFactory) -> Path:
    """A finished run of a kind with its report.html; beside it lies what the command printed."""

    def make(place: Path) -> None:
        place.mkdir()
        args = list(KINDS[kind])
        if kind == "tweets":
            from hfac import tweets

            corpus = place / "corpus.txt"
            corpus.write_text("\n".join(tweets.grammar(200)), encoding="utf-8")
            args += ["--corpus", str(corpus)]
        if kind == "finetune":
            from support import models

            (place / "prompts.txt").write_text("The soup\ntwo  spaces\n", encoding="utf-8")
            (place / "mine.py").write_text("def rate(texts, records):\n    return [len(t) / 20 for t in texts]\n")
            args.insert(1, str(models.whole(place / "model")))
            args += ["--prompts", str(place / "prompts.txt"), "--rater", f"{place / 'mine.py'}:rate"]
        without = [] if kind == "tune" else ["--no-figures"]
        run = str(place / "run")
        lines = {"said": [*args, *without, "--quiet", "--out", run], "shown": ["report", run, "--no-figures", "--html"]}
        for name, line in lines.items():
            done = command(*line)
            assert done.returncode == 0, done.stderr
            (place / name).write_text(done.stdout, encoding="utf-8")

    return once(factory, kind, make) / "run"


def said(found: Path) -> str:
    """What the commands that made the folder of a kind printed."""
    return "".join((found.parent / name).read_text(encoding="utf-8") for name in ("said", "shown"))


def large_sweep(num_configurations: int, num_steps: int) -> xarray.Dataset:
    """A judged sweep of noise."""
    rng = np.random.default_rng(0)
    shape = (num_configurations, 2, num_steps)
    steps = np.unique(np.geomspace(1, 1e6, num_steps).astype(int))
    dims = ("upper.scale", "seed", "step")
    shape = (*shape[:2], len(steps))
    return xarray.Dataset(
        {
            "status": (dims, np.zeros(shape, int)),
            "failed_at": (dims, np.full(shape, -1)),
            "samples": (dims, np.broadcast_to(2 * steps, shape)),
            "hyper_objective": ((*dims, "judged_tau"), rng.normal(size=(*shape, 1))),
        },
        {
            "upper.scale": np.geomspace(1e-3, 1, num_configurations),
            "seed": [0, 1],
            "step": steps,
            "judged_tau": [0.01],
            "reference": (("judged_tau",), [-1.0]),
        },
    )

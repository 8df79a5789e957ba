"""`hfac finetune` as a user meets it, on a tiny random decoder."""

import json
import signal
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import hfac
from hfac.cli import main
from hfac.language import adapters, models
from support import models as tiny
from support.commands import TIMEOUT, Done, start

pytest.importorskip("tokenizers")
RATER = """
import pathlib

def length(texts, records):
    with open("asked.txt", "a") as file:
        file.writelines(repr(text) + "\\n" for text in texts)
    return [min(len(text), 12) / 12 for text in texts]

def away(texts, records):
    if pathlib.Path("away").exists():
        raise RuntimeError("no answer today")
    return length(texts, records)
"""
MORTAL = """
import os
import pathlib
import signal

MOMENT, STEP = pathlib.Path("moment").read_text().split() if pathlib.Path("moment").exists() else ("never", "0")
calls, sync = [], os.fsync

def die(moment):
    if MOMENT == moment and len(calls) == int(STEP):
        os.kill(os.getpid(), signal.SIGKILL)

def stored(file):
    sync(file)
    if os.readlink(f"/proc/self/fd/{file}").endswith("ratings.jsonl"):
        die("rated")

os.fsync = stored

def rate(texts, records):
    calls.append(texts)
    die("drawn")
    with open("asked.txt", "a") as file:
        file.writelines(repr(text) + "\\n" for text in texts)
    return [min(len(text), 12) / 12 for text in texts]
"""
STEPS = (
    *("--num-prompts", "2", "--completions", "3", "--length", "4", "--num-anchors", "2"),
    *("--lora-layers", "last:1", "--lora-rank", "2", "--actor", "0.01", "--upper", "0.05", "--entropy", "0.1"),
    *("--penalty", "3", "--no-figures"),
)


@pytest.fixture
def folder(here, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "_own_mine", raising=False)
    (here / "mine.py").write_text(RATER)
    (here / "p.txt").write_text("The soup\ntwo  spaces\nzz\n")
    monkeypatch.setattr("hfac.runs._finetune_report.NUM_FRESH", 6)
    return tiny.whole(here / "model")


def ran(*args) -> None:
    main(["finetune", *map(str, args)])


def refusal(capsys, *args) -> str:
    with pytest.raises(SystemExit) as stop:
        ran(*args)
    assert stop.value.code == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("hfac finetune: error: ")
    return last


def test_a_run_leaves_adapters_reward_samples_and_ratings(folder, here, capsys):
    """Of two seeds; the adapter is PEFT's."""
    ran(folder, "--prompts", "p.txt", "--rater", "mine.py:length", "--steps", "2", "--seeds", "2", *STEPS, "--out", "o")
    said = capsys.readouterr().out
    assert "score before" in said and "accuracy of R" in said
    made = models.load(folder)
    tree, lora = adapters.load(here / "o" / "adapters" / "seed=1" / "step=2" / "adapter", made.architecture)
    assert lora.rank == 2 and lora.layers == (1,) and float(np.abs(tree["1"]["q"]["up"]).max()) > 0
    assert (here / "o" / "adapters" / "seed=0" / "step=2" / "adapter_pen" / "adapter_config.json").is_file()
    reward = here / "o" / "adapters" / "seed=0" / "step=2" / "reward"
    assert json.loads((reward / "reward.json").read_text())["layer"] == 1
    assert load_file(reward / "head.safetensors")["head"].shape == (32,)
    assert "**The soup**" in (here / "o" / "samples.md").read_text()
    data = hfac.results.load(here / "o")
    assert np.isnan(data["score_0"].isel(step=0)).all() and (data["score_0"].isel(step=-1) > 0).all()
    assert len(ratings(here / "o")) == 3 * 2 + 2 * 2 * 2 * 6 + 3 * 6  # anchors; seeds, steps, policies; fresh ones


@pytest.mark.slow
def test_every_run_of_a_sweep_has_adapters_of_its_own(folder, here):
    """Two weights of the divergence, two seeds; a list and seeds that grow leave what is there to the runs it is of."""
    args = (folder, "--prompts", "p.txt", "--rater", "mine.py:length", "--pairs", "policy", "--steps", "1", *STEPS)
    args = [word for word in args if word not in ("--entropy", "0.1")]
    ran(*args, "--entropy", "0.1", "0.2", "--seeds", "2", "--out", "o")
    places = sorted((here / "o" / "adapters").iterdir())
    assert [place.name for place in places] == [
        f"entropy.scale={tau}_seed={seed}" for tau in (0.1, 0.2) for seed in (0, 1)
    ]
    before = {place.name: (place / "step=1" / "adapter" / adapters.WEIGHTS).read_bytes() for place in places}
    assert len(set(before.values())) == 4
    main(["extend", str(here / "o"), "--seeds", "3"])
    assert len(list((here / "o" / "adapters").iterdir())) == 6
    for name, content in before.items():
        assert (here / "o" / "adapters" / name / "step=1" / "adapter" / adapters.WEIGHTS).read_bytes() == content


@pytest.mark.slow
def test_a_run_that_grows_or_is_reported_again_asks_for_nothing_twice(folder, here):
    """Two seeds, another step; its adapter writes."""
    args = (folder, "--prompts", "p.txt", "--rater", "mine.py:length", "--seeds", "2", *STEPS)
    ran(*args, "--steps", "2", "--out", "o")
    before = ratings(here / "o")
    main(["report", str(here / "o")])
    assert ratings(here / "o") == before
    main(["extend", str(here / "o"), "--steps", "3"])
    after = ratings(here / "o")
    assert after[: len(before)] == before and len(after) == len(before) + 2 * 2 * 6 + 2 * 6
    ran(*args, "--steps", "3", "--out", "w")
    whole, grown = hfac.results.load(here / "w"), hfac.results.load(here / "o")
    assert np.array_equal(whole["x"].isel(step=-1), grown["x"].isel(step=-1))
    main(["replay", str(here / "o"), "--seed", "0"])
    assert ratings(here / "o") == after
    adapter = "o/adapters/seed=0/step=3/adapter"
    assert (here / "o/adapters/seed=0/step=2/adapter").is_dir()  # what was made stays
    main(["generate", str(folder), "--prompt", "zz", "--length", "3", "--adapter", adapter, "--quiet"])


def ratings(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "ratings.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_rater_that_is_away_is_one_line_and_the_run_goes_on(folder, here, capsys):
    """To the same bits; what was rated is not rated again."""
    args = (
        folder,
        "--prompts",
        "p.txt",
        "--rater",
        "mine.py:away",
        "--steps",
        "2",
        "--pairs",
        "policy",
        "--record",
        "x",
        *STEPS,
    )
    ran(*args, "--out", "whole")
    (here / "asked.txt").unlink()
    ran(*args, "--out", "cut", "--steps", "1")
    (here / "away").touch()
    with pytest.raises(SystemExit):
        main(["extend", str(here / "cut"), "--steps", "2"])
    said = capsys.readouterr().err
    assert "the rater away failed: RuntimeError: no answer today (mine.py:" in said and "`hfac resume" in said
    (here / "away").unlink()
    main(["extend", str(here / "cut"), "--steps", "2"])
    whole, cut = hfac.results.load(here / "whole"), hfac.results.load(here / "cut")
    assert np.array_equal(whole["x"].isel(step=-1), cut["x"].isel(step=-1))
    assert len((here / "asked.txt").read_text().splitlines()) == 2 * 2 * 6


@pytest.mark.slow
def test_files_that_changed_are_refused_before_anything_is_written(folder, here, capsys):
    """By extend and by report; put back, the run grows."""
    args = ("--prompts", "p.txt", "--rater", "mine.py:length", "--pairs", "policy", *STEPS)
    ran(folder, *args, "--steps", "1", "--out", "o")
    names = ("config.json", "measures.csv", "samples.md")
    before = [(here / "o" / name).read_bytes() for name in names]
    prompts = (here / "p.txt").read_text()
    (here / "p.txt").write_text(prompts + "one more\n")
    for line in (["extend", "o", "--steps", "2"], ["report", "o"]):
        with pytest.raises(SystemExit):
            main(line)
        assert "--prompts: o was made from a file that holds something else now" in capsys.readouterr().err.replace(
            f"{here}/", ""
        )
    assert before == [(here / "o" / name).read_bytes() for name in names]
    (here / "p.txt").write_text(prompts)
    main(["extend", "o", "--steps", "2"])
    assert (here / "o" / "adapters" / "seed=0" / "step=2").is_dir()


@pytest.mark.slow
def test_a_rater_that_fails_on_fresh_completions_is_asked_again_by_resume(folder, here, capsys, monkeypatch):
    """The report is what `hfac resume` finishes."""
    monkeypatch.setattr("hfac.runs._finetune_report.NUM_FRESH", 60)
    (here / "late.py").write_text(
        "import pathlib, sys\n\ndef rate(texts, records):\n"
        "    if len(texts) > 20 and pathlib.Path('away').exists():\n        sys.exit('gone')\n"
        "    return [len(text) / 12 for text in texts]\n"
    )
    (here / "away").touch()
    args = ("--prompts", "p.txt", "--rater", "late.py:rate", "--pairs", "policy", *STEPS, "--steps", "1")
    assert "the rater rate failed: SystemExit: gone" in (said := refusal(capsys, folder, *args, "--out", "o"))
    assert "nothing is lost, `hfac resume" in said and not (here / "o" / "measures.csv").exists()
    (here / "away").unlink()
    main(["resume", "o"])
    assert (here / "o" / "measures.csv").is_file() and (here / "o" / "samples.md").is_file()


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory):
    """A run of four steps that nobody killed."""
    place = tmp_path_factory.mktemp("unharmed")
    return finished(mortal(place)), place


def mortal(place, moment: str = ""):
    (place / "mortal.py").write_text(MORTAL)
    (place / "p.txt").write_text("The soup\ntwo  spaces\nzz\n")
    if moment:
        (place / "moment").write_text(moment)
    tiny.whole(place / "model")
    return place


def finished(place):
    asked = ("--prompts", "p.txt", "--rater", "mortal.py:rate", "--pairs", "policy", "--record", "x", *STEPS)
    line = ("finetune", "model", *asked, "--steps", "4", "--quiet", "--out", "o")
    return ended(start(*line, cwd=place))


def ended(process):
    said = process.communicate(timeout=TIMEOUT)
    return Done(process.returncode, *said)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["drawn 2", "rated 1", "rated 3", "drawn 4"])
def test_killed_between_the_parts_of_a_step(unharmed, moment, tmp_path):
    """Resumed to the same bits; what was rated and stored is asked for once."""
    done, whole = unharmed
    assert done.returncode == 0, done.stderr
    place = mortal(tmp_path, moment)
    assert finished(place).returncode == -signal.SIGKILL
    (place / "moment").unlink()
    done = ended(start("resume", "o", "--quiet", cwd=place))
    assert done.returncode == 0, done.stderr
    ends = [hfac.results.load(where / "o")["x"].isel(step=-1).values for where in (whole, place)]
    assert np.array_equal(*ends)
    rows = ratings(place / "o")
    places = [(row["run"], row["step"], row["policy"], row["place"]) for row in rows]
    assert len(set(places)) == len(places) == len((place / "asked.txt").read_text().splitlines()) == 4 * 2 * 6


@pytest.mark.slow
def test_a_reward_with_adapters_of_its_own(folder, here):
    """It is stored with them, in PEFT's format, and a longer run goes on from it."""
    args = ("--prompts", "p.txt", "--rater", "mine.py:length", "--reward-lora", "--epochs", "2", "--max-kl", "1")
    ran(folder, *args, "--steps", "2", *STEPS, "--out", "o")
    main(["extend", str(here / "o"), "--steps", "3"])
    place = here / "o" / "adapters" / "seed=0" / "step=3" / "reward"
    tree, _ = adapters.load(place, models.load(folder).architecture)
    first, _ = adapters.load(place.parents[1] / "step=2" / "reward", models.load(folder).architecture)
    assert not np.array_equal(tree["1"]["q"]["up"], first["1"]["q"]["up"])
    assert np.abs(load_file(place / "head.safetensors")["head"]).max() > 0


@pytest.mark.slow
def test_preferences_of_a_file_are_anchors(folder, here):
    """Completions that somebody liked or not, rated with the others."""
    rows = [{"prompt": name, "chosen": " good", "rejected": " bad"} for name in ("one", "two")]
    (here / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    args = ("--rater", "mine.py:length", "--algorithm", "partial", "--steps", "1", "--record", "x", *STEPS)
    ran(folder, "--preferences", "pairs.jsonl", *args, "--out", "o")
    assert set((here / "asked.txt").read_text().splitlines()[:4]) <= {"' goo'", "' bad'", "' good'", "' ba'"}


def test_help_has_the_names_that_options_have_here(capsys):
    """No prefix, and the method's options among them."""
    with pytest.raises(SystemExit):
        main(["finetune", "--help"])
    said = capsys.readouterr().out
    assert said.startswith("usage: hfac finetune MODEL") and "\n  --max-kl " in said and "\n  --lora-rank " in said
    assert "--problem." not in said and "--algorithm." not in said


def test_what_is_wrong_is_one_line(folder, here, capsys):
    """Before anything is written."""
    (here / "empty.txt").write_text("")
    cases = [
        ([], "which model? hfac finetune MODEL --prompts FILE"),
        ([folder], "which prompts? --prompts FILE"),
        ([folder, "--lenght", "3"], "there is no option --lenght; did you mean --length?"),
        ([folder, "--step", "3"], "there is no option --step; did you mean --steps?"),
        ([folder, "--pairs", "both"], "argument '--pairs'"),
        ([here / "none", "--prompts", "p.txt"], "is no model: config.json is missing"),
        ([folder, "--prompts", "empty.txt"], "empty.txt is empty"),
        ([folder, "--prompts", "p.txt", "--rater", "vadr"], "unknown rater 'vadr'"),
        ([folder, "--prompts", "p.txt", "--rater", "mine.py:lenght"], "did you mean 'length'?"),
        ([folder, "--prompts", "p.txt", "--lora-layers", "last:9"], "last:N takes N in [1, 2]"),
        ([folder, "--prompts", "p.txt", "--lora-layers", "all", "--lora-targets", "q,x"], "targets are among"),
        ([folder, "--prompts", "p.txt", "--lora-layers", "1-0"], "a range of layers goes up, such as 10-12, got '1-0'"),
        ([folder, "--prompts", "p.txt", "--rater", "people"], "give both, --ratings FILE, or neither"),
        ([folder, "--prompts", "p.txt", "--rater", "command:'a"], "is no command: No closing quotation"),
        ([folder, "--prompts", "p.txt", "--adapter", here], "is no adapter"),
        ([folder, "--prompts", "p.txt", "--longest-prompt", "2"], "at most 2 fit"),
    ]
    for args, words in cases:
        said = refusal(capsys, *args, *(["--steps", "1", "--out", "never"] if args else []))
        assert words in said, said
    assert not (here / "never").exists()

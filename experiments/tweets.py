"""Happy tweets: HFAC beside ordinary online RLHF (`partial`), for the leader of the paper and one with anchored pairs.

    python -m experiments.tweets --out runs/tweets_study
    python -m experiments.tweets --ratings rated.tsv --out runs/tweets_rated

All arms start from one pretrained decoder, write as many tweets, weigh the divergence by the same tau and share their
seeds. Each is a run in a folder of its own, as `hfac tweets` makes one; the same command again goes on from there.
Rewards are judged by f(x, pi*(x)), which is what the leader minimises; what the trained policies write is shown beside
the happiest policies for their divergence.
"""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray

import hfac
from experiments import page, shown
from hfac import comparison, pages, plots, runs, statistics, tweets
from hfac.runs import progress, waiting
from hfac.tweets import Options
from hfac.types import Status


class Arm(NamedTuple):
    """A method and whom it serves."""

    method: str
    leader: str
    pairs: str


ARMS = {
    "hfac, anchored": Arm("hfac", "preference", "anchored"),
    "partial, anchored": Arm("partial", "preference", "anchored"),
    "hfac, policy pairs": Arm("hfac", "preference", "policy"),
    "partial, policy pairs": Arm("partial", "preference", "policy"),
    "hfac, score": Arm("hfac", "score", "policy"),
}
PAIRED = (
    ("partial, anchored", "hfac, anchored"),
    ("partial, policy pairs", "hfac, policy pairs"),
    ("partial, policy pairs", "hfac, score"),
)
MEASURES = {"score": 3, "response_objective": 4}


@dataclasses.dataclass(frozen=True)
class Study:
    """What to run."""

    out: Path = Path("runs/tweets_study")
    """Folder to write to: a new one, or that of the same study."""
    corpus: Path | None = None
    """Text file, one tweet a line; the shipped grammar's tweets unless given."""
    ratings: Path | None = None
    """Tab-separated file of rated tweets, whose texts are the corpus unless one is given."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Arms to run."""
    seeds: int = 5
    """Seeds of every arm, the same for all."""
    first_seed: int = 0
    """The first of them."""
    steps: int = 1_500
    """Steps of every run; one writes 64 tweets."""
    reference: int = 32_768
    """Tweets of the pretrained decoder that carry the importance weights of best responses."""
    epochs: int = Options.epochs
    """Passes of pretraining over the corpus."""
    layers: int = Options.layers
    """Of the decoder."""
    width: int = Options.width
    """Of its layers."""
    length: int = Options.length
    """Longest tweet, tokens."""


FILES = ("corpus", "ratings")
DECODER = ("epochs", "layers", "width", "length")
SIZE = ("seeds", "first_seed", "steps")


def run(study: Study, name: str) -> tuple[tweets.Setup, xarray.Dataset]:
    """All seeds of an arm, run or gone on with, not yet judged."""
    arm, folder = ARMS[name], study.out / _file(name)
    if folder.exists():
        runs.resume(folder)
    else:
        chosen = {"leader": arm.leader, "pairs": arm.pairs, "pretrained": study.out}
        chosen |= {key: getattr(study, key) for key in FILES if getattr(study, key) is not None}
        size = {key: getattr(study, key) for key in SIZE}
        runs.start(runs.job("tweets", arm.method, problem_options=chosen, **size), folder)
    files = {key: getattr(study, key) for key in FILES}
    setup = tweets.prepare(
        Options(**files, pretrained=study.out, leader=arm.leader, pairs=arm.pairs)  # type: ignore[arg-type]
    )
    return setup, hfac.results.load(folder / "results.zarr")


def begin(study: Study) -> tweets.Setup:
    """The folder and its pretrained decoder, made or taken over; another study's folder is left alone."""
    shared = {key: getattr(study, key) for key in (*FILES, *DECODER)}
    kept = json.dumps(shared | {key: getattr(study, key) for key in SIZE}, default=str, indent=2)
    config = study.out / "study.json"
    is_new = not study.out.exists() or (study.out.is_dir() and not any(study.out.iterdir()))
    if not (is_new or (config.is_file() and config.read_text(encoding="utf-8") == kept)):
        raise SystemExit(f"--out {study.out} holds something else than this study: choose another folder")
    if (study.out / tweets.MODEL_FILE).is_file():
        return tweets.prepare(Options(**{key: shared[key] for key in FILES}, pretrained=study.out))
    with progress("pretraining", None, "epochs") as bar:
        setup = tweets.prepare(Options(**shared), bar.update)
    print(
        f"pretrained: perplexity {setup.fitted.perplexity:.1f}, {setup.fitted.unigram:.1f} by word counts", flush=True
    )
    if is_new:
        study.out.mkdir(parents=True, exist_ok=True)
        config.write_text(kept, encoding="utf-8")
    tweets.save(setup, study.out)
    return setup


def row(name: str, data: xarray.Dataset) -> dict[str, Any]:
    """What an arm's policies write at the end, and what its rewards are worth."""
    first, last = data.isel(step=0), data.isel(step=-1)
    cells: dict[str, Any] = {"arm": name}
    for measure, digits in (("score", 3), ("divergence", 2)):
        values = last[measure].values
        cells[measure] = statistics.bootstrap(values).format(digits)
        cells[f"{measure} range"] = f"{values.min():.{digits}f} to {values.max():.{digits}f}"
    for measure in ("distinct", "length"):
        share = (last[measure] / first[measure]).values
        cells[f"{measure} to start's"] = f"{share.min():.2f} to {share.max():.2f}"
    cells["f(x, pi*(x))"] = statistics.bootstrap(data["response_objective"].values).format(4)
    cells["effective"] = f"{float(data['response_effective'].min()):.0f}"
    cells["hacked"] = f"{int((last['status'] == Status.REWARD_HACKED).sum())} of {data.sizes['seed']}"
    cells["tweets"] = f"{int(last['samples'].max()):,}"
    return cells


def differences(judged: Mapping[str, xarray.Dataset]) -> list[dict[str, Any]]:
    """Paired differences between arms that both ran; f is compared where both serve the same leader."""
    rows = []
    for other, own in PAIRED:
        if other in judged and own in judged:
            cells: dict[str, Any] = {"difference": f"{other}, minus {own}"}
            for measure, digits in MEASURES.items():
                leaders = {(arm.leader, arm.pairs) for arm in (ARMS[other], ARMS[own])}
                if measure == "response_objective" and len(leaders) > 1:
                    cells[measure] = ""
                    continue
                pair = [
                    d[measure] if "step" not in d[measure].dims else d[measure].isel(step=-1)
                    for d in (judged[other], judged[own])
                ]
                cells[measure] = statistics.paired_difference(*(p.values for p in pair)).format(digits)
            rows.append(cells)
    return rows


def main(study: Study) -> None:
    """Run and judge every arm; write results, tables and the figure."""
    unknown = [name for name in study.arms if name not in ARMS]
    if unknown or not study.arms:
        raise SystemExit(f"--arms takes {', '.join(map(repr, ARMS))}; got {unknown or 'none'}")
    jax.config.update("jax_num_cpu_devices", hfac.engine.num_cores())
    began = time.perf_counter()
    setup = begin(study)
    reference = tweets.write(setup, study.reference)
    frontier = tweets.frontier(np.asarray(jax.jit(jax.vmap(setup.rater))(reference)))
    judged, rows = {}, []
    for name in study.arms:
        setup, data = run(study, name)
        tau = float(data["entropy_weight"].isel(step=-1).min())
        with waiting(f"judging {name}"):
            judged[name] = tweets.judge(setup, data, tau, reference)
        comparison.write_csv(study.out / f"{_file(name)}.csv", tweets.summary(setup, judged[name]))
        rows.append(row(name, judged[name]))
        print(f"{name}: score {rows[-1]['score']}, {time.perf_counter() - began:.0f} s", flush=True)
    comparison.write_csv(study.out / "table.csv", rows)
    paired = differences(judged)
    if paired:
        comparison.write_csv(study.out / "differences.csv", paired)
    print(f"{study.seeds} seeds, {study.steps:,} steps, judged at tau {tau:.3g}")
    for table in filter(None, (rows, paired)):
        print("\n".join(comparison.lines([{key: str(cell) for key, cell in each.items()} for each in table])))
    plots.save(plots.divergences(judged, frontier, tau), study.out / "tweets.png")
    write_page(study, judged, rows, paired, pages.divergences(judged, frontier, tau))
    print(f"written to {study.out}/ in {time.perf_counter() - began:.0f} s")


def write_page(
    study: Study, judged: Mapping[str, xarray.Dataset], rows: list, paired: list, chart: pages.Chart
) -> None:
    """The same to look at in a browser."""
    scores = "; ".join(f"{each['arm']} {each['score']}" for each in rows)
    headline = f"Happy tweets after {study.steps:,} steps with {study.seeds} seeds of every arm, mean scores: {scores}."
    parts = {"Score against divergence": [chart], "Arms": [pages.printed("Arms", rows)]}
    if paired:
        parts["Differences"] = [pages.printed("Differences between arms, paired over seeds", paired)]
    page.write(pages.study("tweets", headline, parts, page.origin("tweets", study)), study)


def _file(arm: str) -> str:
    return arm.replace(", ", "_").replace(" ", "_")


if __name__ == "__main__":
    shown.run(main, Study)

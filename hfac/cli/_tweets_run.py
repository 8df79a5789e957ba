"""Running the tweets experiment: pretrain, learn, judge, show."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray

from hfac import comparison, plots, recommended, results, statistics, tweets
from hfac.cli import _folder, _memory, _sweep, _sweep_report, _sweep_run, as_input_error
from hfac.cli._progress import Progress, clock, say
from hfac.cli._request import Request

SHOWN = 8  # tweets in the printed table


def execute(request: Request) -> None:
    """Pretrain, run, judge, store and draw; everything that can be checked before is."""
    request = _sweep_run.begin(request, x64=False)  # no linear solves are judged here
    settings = request.settings
    if not request.resumed:
        _folder.check_new(settings.out, _sweep.content(request))  # before minutes of pretraining
    if request.resumed and settings.out is not None and (settings.out / tweets.MODEL_FILE).is_file():
        settings = dataclasses.replace(settings, pretrained=settings.out)
    base = recommended.schedules("tweets", settings.algorithm)
    grid, words = _sweep_run.crossed(base, _sweep.schedule_grid_axes(settings))
    progress = Progress(settings.epochs, "epochs of pretraining", settings.quiet)
    with as_input_error():
        setup = tweets.prepare(settings, lambda done, total: progress.update(done, total=total))
        algorithm = tweets.method(setup, settings.algorithm, **vars(request.algorithm_options))
    seconds = progress.close()
    record = tweets.record(setup.problem)
    _memory.check(request, algorithm, grid, record)
    with _sweep.work(request, "tweets") as folder:
        if request.processes.is_first and not (folder / tweets.MODEL_FILE).is_file():
            with as_input_error():
                tweets.save(setup, folder)
        if setup.fitted.history:
            quality = f"perplexity {setup.fitted.perplexity:.1f} on held-out tweets"
            say(f"pretrained in {clock(seconds)}: {quality}, {setup.fitted.unigram:.1f} by word counts", settings.quiet)
        seeds = np.arange(settings.first_seed, settings.first_seed + settings.seeds)
        job = _sweep_run.Job(request, setup.problem, algorithm, grid, seeds, record, settings.preset, words)
        say(
            f"tweets / {settings.algorithm}: {job.num_runs} runs x {settings.steps:,} steps, {settings.preset} preset",
            settings.quiet,
        )
        if not _sweep_run.run_recorded(job, request, folder, "summary.csv"):
            return
        data = _sweep_run.load(job, folder)
        report(setup, data, settings.judge, folder, settings.figures, settings.quiet)
        drawn = ", figures/" if settings.figures else ""
        kept = "config.json, tokenizer.json, model.safetensors, results.zarr, samples.csv, summary.csv"
        say(f"written to {folder}/: {kept}{drawn}", settings.quiet)


def report(setup: Any, data: xarray.Dataset, taus: tuple[float, ...], folder: Path, figures: bool, quiet: bool) -> None:
    """Judge the records, store the metrics, print tables, write samples.csv, summary.csv and the figures."""
    tau = taus[0] if taus else float(data["entropy_weight"].isel(step=-1).min())
    reference = tweets.write(setup, tweets.NUM_REFERENCE)
    frontier = tweets.frontier(np.asarray(jax.jit(jax.vmap(setup.rater))(reference)))
    judged = tweets.judge(setup, data, tau, reference)
    results.save(judged, folder / "results.zarr")
    rows = tweets.summary(setup, judged)
    comparison.write_csv(folder / "summary.csv", rows)
    shown = tweets.samples(setup, data)
    comparison.write_csv(folder / "samples.csv", shown)
    if not quiet:
        print_tables(rows, shown, tau, data.sizes["seed"])
    _sweep_report.list_failures(data, quiet)
    effective = float(judged["response_effective"].min())
    if effective < tweets.MIN_EFFECTIVE:
        say(
            f"note: {effective:.0f} tweets carry the weights of a best response; below {tweets.MIN_EFFECTIVE} do not "
            "trust it",
            quiet,
        )
    if figures:
        with _sweep_report.drawing(quiet), plots.styled():
            plots.save(plots.writing(judged, frontier, tau), folder / "figures" / "tweets.png")


def print_tables(rows: list[dict[str, Any]], shown: Sequence[Mapping[str, Any]], tau: float, num_seeds: int) -> None:
    """Samples before and after, then the measures."""
    for row in shown[:SHOWN]:
        print(f"{row['score_before']:+.2f}  {row['before']}\n  -> {row['score_after']:+.2f}  {row['after']}")
    seeds = f"{num_seeds} seed{'s' if num_seeds > 1 else ''}"
    print(f"\nmeasures of 256 tweets, {seeds}; the best response to a reward is judged at tau {tau:.3g}")
    cells = [
        {
            "measure": f"{row['configuration']} {row['measure']}".strip(),
            "before": "" if np.isnan(row["before"]) else f"{row['before']:.3f}",
            "after [95 %]": statistics.format_interval(row["interquartile_mean"], row["low"], row["high"], 3),
            "least": f"{row['least']:.3f}",
            "most": f"{row['most']:.3f}",
        }
        for row in rows
    ]
    print("\n".join(comparison.lines(cells)))

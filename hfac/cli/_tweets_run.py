"""Running the tweets experiment: pretrain, learn, judge, show."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray

from hfac import comparison, plots, recommended, results, statistics, tweets
from hfac.cli import _sweep, _sweep_run, as_input_error
from hfac.cli._interrupts import held_back
from hfac.cli._progress import Progress, clock, say
from hfac.tweets._judge import MIN_EFFECTIVE, Writing
from hfac.tweets._setup import Setup
from hfac.types import Status

NUM_REFERENCE = 8_192  # tweets of the pretrained decoder that rewards are judged on
SHOWN = 8  # tweets in the printed table
ENDS = {"before": 0, "after": -1}  # record points
SCORES = ("score", "happy", "divergence", "entropy", "perplexity", "distinct", "repetition", "length", "accuracy")
RESPONSE = ("response_objective", "response_score", "response_divergence", "response_effective")


def execute(request: _sweep.Request) -> None:
    """Pretrain, run, judge, store and draw; everything that can be checked before is."""
    settings = request.settings
    _sweep_run.configure_jax(settings.devices, settings.cache, x64=False)  # no linear solves are judged here
    base = recommended.schedules("tweets", settings.algorithm)
    grid, words = _sweep_run.crossed(base, _sweep.schedule_grid_axes(settings))
    progress = Progress(settings.epochs, "epochs of pretraining", settings.quiet)
    with as_input_error():
        setup = tweets.prepare(settings, lambda done, total: progress.update(done, total=total))
        algorithm = tweets.method(setup, settings.algorithm, **vars(request.algorithm_options))
    seconds = progress.close()
    folder = _sweep.make_folder(settings.out, "tweets")
    _sweep.write_config(folder, request, "tweets")
    tweets.save(setup, folder)
    if setup.fitted.history:
        quality = f"perplexity {setup.fitted.perplexity:.1f} on held-out tweets"
        say(f"pretrained in {clock(seconds)}: {quality}, {setup.fitted.unigram:.1f} by word counts", settings.quiet)
    seeds = np.arange(settings.first_seed, settings.first_seed + settings.seeds)
    job = _sweep_run.Job(
        request, setup.problem, algorithm, grid, seeds, tweets.record(setup.problem), settings.preset, words
    )
    say(
        f"tweets / {settings.algorithm}: {job.num_runs} runs x {settings.steps:,} steps, {settings.preset} preset",
        settings.quiet,
    )
    with held_back() as asked:
        _sweep_run.run_recorded(job, request, folder, asked)
    report(setup, results.load(folder / "results.zarr"), settings.judge, folder, settings.figures, settings.quiet)
    drawn = ", figures/" if settings.figures else ""
    kept = "config.json, tokenizer.json, model.safetensors, results.zarr, samples.csv, summary.csv"
    say(f"written to {folder}/: {kept}{drawn}", settings.quiet)


def report(
    setup: Setup, data: xarray.Dataset, taus: tuple[float, ...], folder: Path, figures: bool, quiet: bool
) -> None:
    """Judge the records, store the metrics, print tables, write samples.csv, summary.csv and the figures."""
    tau = taus[0] if taus else float(data["entropy_weight"].isel(step=-1).min())
    reference = tweets.write(setup, NUM_REFERENCE)
    frontier = tweets.frontier(np.asarray(jax.jit(jax.vmap(setup.rater))(reference)))
    judged = judge(setup, data, tau, reference)
    results.save(judged, folder / "results.zarr")
    rows = summary(setup, judged)
    comparison.write_csv(folder / "summary.csv", rows)
    shown = samples(setup, data)
    comparison.write_csv(folder / "samples.csv", shown)
    if not quiet:
        print_tables(rows, shown, tau, data.sizes["seed"])
    _sweep_run.list_failures(data, quiet)
    effective = float(judged["response_effective"].min())
    if effective < MIN_EFFECTIVE:
        say(
            f"note: {effective:.0f} tweets carry the weights of a best response; below {MIN_EFFECTIVE} do not trust it",
            quiet,
        )
    if figures:
        with plots.pyplot().rc_context(plots.STYLE):
            plots.save(plots.writing(judged, frontier, tau), folder / "figures" / "tweets.png")


def judge(setup: Setup, data: xarray.Dataset, tau: float, reference: np.ndarray) -> xarray.Dataset:
    """Add what the policies write and what the last rewards ask for."""
    dims = data["status"].dims
    record = results.nested({str(n): v.transpose(*dims, ...).values for n, v in data.data_vars.items()})
    writing = tweets.writing(record, setup.rater, tweets.reward)
    found: dict[str, Any] = {name: (dims, value) for name, value in zip(Writing._fields, writing, strict=True)}
    lead = data["status"].shape[:-1]
    last = jax.tree.map(lambda leaf: leaf[..., -1, *(slice(None),) * (leaf.ndim - len(lead) - 1)], record["x"])
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(lead) :]), last)
    worth = tweets.worth(setup.problem, flat, tau, reference)
    for name, value in zip(worth._fields, worth, strict=True):
        found[f"response_{name}"] = (dims[:-1], value.reshape(lead))
    return data.assign(found).assign_coords(judged_tau=[tau], reference=("judged_tau", [np.nan]))


def summary(setup: Setup, data: xarray.Dataset) -> list[dict[str, Any]]:
    """One row per configuration and measure: before, after with an interval over seeds, least and most."""
    rows = []
    picks = plots.configurations(data)
    for pick in picks:
        one = data.isel(pick)
        last, first = one.isel(step=-1), one.isel(step=0)
        found = [(name, float(first[name].mean()), np.asarray(last[name])) for name in SCORES]
        found += [(name, np.nan, np.asarray(one[name])) for name in RESPONSE]
        found += [(name, np.nan, value) for name, value in people(setup, one).items()]
        found += [("reward hacked", 0.0, (np.asarray(last["status"]) == Status.REWARD_HACKED).astype(float))]
        label = plots.describe(data, pick) if len(picks) > 1 else ""
        rows += [_row(*each, label) for each in found]
    return rows


def people(setup: Setup, data: xarray.Dataset) -> dict[str, np.ndarray]:
    """Agreement of the last rewards with held-out human ratings, by seed; nothing without ratings."""
    if not setup.judges:
        return {}
    record = results.nested(
        {str(n): v.values for n, v in data.isel(step=-1).data_vars.items() if str(n).startswith("x.")}
    )
    found = []
    for i in range(data.sizes["seed"]):
        x = jax.tree.map(lambda leaf, i=i: leaf[i], record["x"])
        found.append(
            tweets.agreement(lambda y, x=x: tweets.reward(x, y), setup.tokenizer, setup.judges, setup.size.length)
        )
    return {
        "rank correlation with people": np.array([a.spearman for a in found]),
        "log-loss of people's preferences": np.array([a.log_loss for a in found]),
    }


def _row(name: str, start: float, values: np.ndarray, configuration: str) -> dict[str, Any]:
    interval = statistics.bootstrap(values.astype(float))
    return {
        "configuration": configuration,
        "measure": name,
        "before": start,
        "interquartile_mean": float(interval.estimate),
        "low": float(interval.low),
        "high": float(interval.high),
        "least": float(values.min()),
        "most": float(values.max()),
        "seeds": values.size,
    }


def samples(setup: Setup, data: xarray.Dataset) -> list[dict[str, Any]]:
    """Tweets before and after from the same random numbers, beside each other, with the rater's scores."""
    rate: Any = jax.jit(jax.vmap(setup.rater))
    rows = []
    for pick in plots.configurations(data):
        tokens = data["tokens"].isel(pick).transpose("seed", "step", "tokens_0", "tokens_1").values
        for seed, written in zip(data["seed"].values, tokens, strict=True):
            scores = {when: np.asarray(rate(written[at])) for when, at in ENDS.items()}
            for j in range(written.shape[1]):
                row: dict[str, Any] = {"configuration": plots.describe(data, pick), "seed": int(seed)}
                for when, at in ENDS.items():
                    row[f"score_{when}"] = round(float(scores[when][j]), 3)
                    row[when] = setup.tokenizer.decode(written[at, j])
                rows.append(row)
    return rows


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

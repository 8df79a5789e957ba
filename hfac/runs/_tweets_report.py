"""The report of a job of tweets: samples before and after, measures, what the learned rewards ask for."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import xarray

from hfac import comparison, pages, plots, results, tweets
from hfac._progress import say, waiting
from hfac.pages import Page
from hfac.runs._execution import Execution
from hfac.runs._folder import RESULTS
from hfac.runs._job import Job
from hfac.runs._report import FIGURES, SUMMARY, Report, drawing, list_failures

SAMPLES = "samples.csv"


def report(job: Job, data: xarray.Dataset, folder: Path, taus: Sequence[float], execution: Execution) -> Report:
    """Judge the records, store the metrics, write samples.csv, summary.csv and the figures."""
    setup, quiet = job.problem, execution.quiet
    tau = taus[0]
    with waiting("writing tweets before the run", quiet):
        reference = tweets.write(setup, tweets.NUM_REFERENCE)
        frontier = tweets.frontier(np.asarray(jax.jit(jax.vmap(setup.rater))(reference)))
    with waiting("judging", quiet):
        judged = tweets.judge(setup, data, tau, reference)
    with waiting("writing what was judged", quiet):
        results.save(judged, folder / RESULTS)
    with waiting("summarising", quiet):
        rows = tweets.summary(setup, judged)
        shown = tweets.samples(setup, data)
    comparison.write_csv(folder / SUMMARY, rows)
    comparison.write_csv(folder / SAMPLES, shown)
    list_failures(data, quiet)
    effective = float(judged["response_effective"].min())
    if effective < tweets.MIN_EFFECTIVE:
        say(
            f"note: {effective:.0f} tweets carry the weights of a best response; below {tweets.MIN_EFFECTIVE} do not "
            "trust it",
            quiet,
        )
    if execution.figures:
        with drawing(quiet), plots.styled():
            plots.save(plots.tweets(judged, frontier, tau), folder / FIGURES / "tweets.png")
    files = (SUMMARY, SAMPLES, *([f"{FIGURES}/"] if execution.figures else []))

    def page() -> Page:
        return pages.tweets(judged, frontier, rows, shown, tau, pages.origin(job.configuration, judged.attrs))

    return Report(judged, tuple(tweets.lines(rows, shown, tau, data.sizes["seed"])), files, page)

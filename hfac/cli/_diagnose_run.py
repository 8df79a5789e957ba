"""Running a diagnosis: the run to look at, the numbers, the verdict, files and a one-page figure."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from hfac import _files, diagnostics, pages, plots, results, runs
from hfac._errors import InputError, as_input_error
from hfac._progress import clock, progress, say, waiting
from hfac.cli import _rates_run, _sweep_run
from hfac.cli._request import Request
from hfac.diagnostics import Diagnosis
from hfac.pages import Page
from hfac.runs import Execution, Job, Report

if TYPE_CHECKING:
    import xarray

ESTIMATOR = {"sampler": "markov", "batch_size": 1, "coupled": False, "difference": "forward"}
DIAGNOSIS, STORED, SOURCE = "diagnosis.json", "diagnosis.npz", "provenance.json"
PROVENANCE = ("created", "python", "versions", "device", "git_commit", "run_seconds")  # of the run looked at


def execute(request: Request) -> None:
    """Take or repeat the run, look at it, store and draw; everything is checked before anything is written."""
    job, execution = _sweep_run.prepare(request)
    _rates_run.check_one_problem(job, "diagnose")
    settings = request.settings
    index, shape = settings.configuration or 0, job.coordinates.shape
    if not 0 <= index < job.grid.size:
        raise InputError(f"--configuration must lie in [0, {job.grid.size}), got {index}")
    own = job.grid.one(index)
    stored = None
    if settings.run is not None:
        with waiting("reading the records", settings.quiet), as_input_error("--run: "):
            stored = results.load(settings.run / runs.RESULTS)
        stored = stored.isel(dict(zip(job.coordinates.dims, map(int, np.unravel_index(index, shape)), strict=True)))
    one = job.alone(index)
    if not request.is_resumed:
        runs.check_new(settings.out, job.configuration)
    is_there = stored is not None and "leader_value" in stored and int(stored["step"][-1]) == settings.steps
    if not is_there:
        runs.check_memory(one, execution, settings.out if request.is_resumed else None)
    with runs.open_folder(
        job.configuration, settings.out, f"diagnose-{request.name}", is_new=not request.is_resumed
    ) as folder:
        if is_there and stored is not None:
            data = stored
        else:
            data = _repeat(one, folder, execution)
            if stored is not None:
                say(_compare(stored, data), settings.quiet)
        runs.list_failures(data, settings.quiet)
        given = {name: getattr(request.algorithm_options, name, default) for name, default in ESTIMATOR.items()}
        with progress("diagnosing", None, "parts", settings.quiet) as bar, as_input_error(f"{request.name}: "):
            found = diagnostics.diagnose(job.problem, data, own, job.judge[0], given, bar.update)
        say(f"diagnosed in {clock(bar.seconds)}", settings.quiet)
        attributes = {name: data.attrs[name] for name in PROVENANCE if name in data.attrs}
        _files.replace(folder / SOURCE, json.dumps(attributes, indent=2) + "\n")
        diagnostics.save(found, folder / STORED)
        write(found, folder)
        done = show(request, job, found, attributes, execution, folder)
        print("\n".join(done.lines))
        say(f"written to {folder}/: {', '.join((runs.CONFIG, *done.files))}", settings.quiet)


def report(request: Request, _: Sequence[float]) -> Report:
    """Draw again what a folder holds.

    Raises:
      InputError: if the diagnosis is not finished, or was made before this version.
    """
    folder = request.settings.out
    if not (folder / STORED).is_file():
        raise InputError(f"{folder} lacks {STORED}, which a finished diagnosis holds; `hfac resume {folder}` writes it")
    job, execution = _sweep_run.prepare(request)
    with as_input_error():
        found = diagnostics.load(folder / STORED)
    attributes = json.loads((folder / SOURCE).read_text(encoding="utf-8"))
    return show(request, job, found, attributes, execution, folder)


def show(
    request: Request,
    job: Job,
    found: Diagnosis,
    attributes: Mapping[str, Any],
    execution: Execution,
    folder: Path,
) -> Report:
    """The diagnosis in words and as a figure."""
    settings, judge = request.settings, job.judge[0]
    if execution.figures:
        own = job.grid.one(settings.configuration or 0)
        title = f"{request.name}, {request.method}: {settings.steps:,} steps, {len(found.seeds)} seeds"
        with runs.drawing(settings.quiet):
            plots.save(plots.diagnosis(found, title, judge, str(own)), folder / "figures" / "diagnosis.png")
    words = tuple(lines(found, judge))

    def page() -> Page:
        origin = pages.origin(job.configuration, attributes)
        return pages.diagnosis(found, words, judge, request.name, request.method, origin)

    files = (DIAGNOSIS, STORED, SOURCE, "condition.csv", *(["figures/"] if execution.figures else []))
    return Report(found, words, files, page)


def _repeat(job: Job, folder: Path, execution: Execution) -> "xarray.Dataset":
    runs.announce(job, execution.quiet)
    runs.record(job, folder, execution, DIAGNOSIS)
    return runs.load(job, folder, execution.quiet)


def _compare(stored: "xarray.Dataset", repeated: "xarray.Dataset") -> str:
    """Whether a repeated run is the stored one."""
    names = [str(n) for n in stored.data_vars if str(n) == "x" or str(n).startswith("x.")]
    steps = np.intersect1d(stored["step"].values, repeated["step"].values)
    pairs = [(data[name].sel(step=steps).values for data in (stored, repeated)) for name in names]
    largest = max((float(np.nanmax(np.abs(a - b), initial=0.0)) for a, b in pairs), default=0.0)
    if largest == 0.0:
        return "repeated the run with all tables recorded: bit for bit the stored one"
    return f"note: the repeated run differs from the stored one by up to {largest:.2g} in x (other widths or machine)"


def lines(found: Diagnosis, judge: float) -> list[str]:
    """The diagnosis in plain words."""
    split, shares = found.split, found.shares
    bias = np.sqrt(np.mean(np.sum((split.mean - split.exact) ** 2, -1)))
    left = np.sqrt(np.mean(np.sum(split.exact**2, -1)))
    small, large = (found.at_random.ratio[found.scales == scale] for scale in (found.scales[0], found.scales[-1]))
    concave = "strongly concave" if found.curvature_best[0] > 0 else "not concave"
    power = np.polyfit(np.log(1 / found.taus), np.log(found.slopes), 1)[0] if np.all(found.slopes > 0) else np.nan
    return [
        found.verdict(),
        f"  a constant of {found.needed:.2g} is needed to pull a policy in within this run",
        f"  at random policies: {np.median(small):.2g} (logits of scale {found.scales[0]:g}) to {np.median(large):.2g} "
        f"(scale {found.scales[-1]:g}), smallest {np.min(found.at_random.ratio):.2g}",
        f"curvature of -J_tau, tau = {found.entropy:.3g}: [{found.curvature[0]:.2g}, {found.curvature[-1]:.2g}] at the "
        f"last policy, [{found.curvature_best[0]:.2g}, {found.curvature_best[-1]:.2g}] at the best response: "
        f"{concave} there",
        f"slope of the best response: {found.slopes[0]:.3g} at tau = {found.taus[0]:.2g}, {found.slopes[-1]:.3g} at "
        f"tau = {found.taus[-1]:.2g}, about (1/tau)^{power:.2g}",
        f"hyper-gradient at the end, against grad Phi_{judge:g} (norm {left:.2g}): bias {bias:.2g}, noise of one "
        f"sampled direction {np.sqrt(np.mean(split.noise)):.2g}, cosine {np.nanmean(split.cosine):.2f}",
        "  what is left of the gradient: " + ", ".join(f"{name} {share:+.0%}" for name, share in shares.items()),
        f"limited by {found.limit_words()}",
    ]


def write(found: Diagnosis, folder: Path) -> None:
    """condition.csv: the condition at every policy looked at; diagnosis.json: all else."""
    with (folder / "condition.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["where", "seed", "step", "scale", *found.along._fields])
        for t, step in enumerate(found.step):
            for n, seed in enumerate(found.seeds):
                writer.writerow(["run", seed, step, "", *(leaf[t, n] for leaf in found.along)])
        for m, scale in enumerate(found.scales):
            writer.writerow(["random", "", "", scale, *(leaf[m] for leaf in found.at_random)])
    plain: dict[str, Any] = {
        "verdict": found.verdict(),
        "limit": found.limit,
        "constant": found.constant,
        **{name: getattr(found, name) for name in ("needed", "entropy", "penalty", "shares")},
        **{name: getattr(found, name).tolist() for name in ("curvature", "curvature_best", "taus", "slopes")},
        "error": _norms(found),
    }
    finite = jax.tree.map(lambda leaf: None if isinstance(leaf, float) and not np.isfinite(leaf) else leaf, plain)
    (folder / DIAGNOSIS).write_text(json.dumps(finite, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _norms(found: Diagnosis) -> Mapping[str, list[float]]:
    """Norms of the parts of the hyper-gradient and its noise, one per seed."""
    split = found.split
    vectors = {name: np.linalg.norm(getattr(split, name), axis=-1).tolist() for name in ("exact", *diagnostics.PARTS)}
    return vectors | {"noise": np.sqrt(split.noise).tolist(), "cosine": split.cosine.tolist()}

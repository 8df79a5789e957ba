"""Running what was parsed: devices, the job that a request describes, and its report."""

from collections.abc import Sequence
from typing import Any

from hfac import options, results, runs
from hfac._errors import InputError, as_input_error
from hfac._progress import say, waiting
from hfac._registry import find
from hfac.cli import _sweep
from hfac.cli._request import Request
from hfac.problems import REGISTRY as PROBLEMS
from hfac.runs import Execution, Job, Report
from hfac.settings import OWN


def execute(request: Request) -> None:
    """Run, judge, store and draw a sweep; everything is checked before anything is written."""
    job, execution = prepare(request)
    done = runs.run(job, request.settings.out, execution, is_new=not request.is_resumed)
    if done is not None and not execution.quiet:
        print("\n".join(done.lines))


def prepare(request: Request) -> tuple[Job, Execution]:
    """What a request asks for; nothing is written.

    Raises:
      InputError: if a builder refuses an option.
    """
    builder = find(PROBLEMS, request.problem, "problem")
    _check_shares(request, getattr(builder, "shared_from", None))
    is_exact = getattr(builder, "is_exact", options.kind_of(builder) == "tabular")
    execution = begin(request, is_exact)  # an oracle needs float64
    if not request.is_resumed and execution.processes.is_first and hasattr(builder, "waits_for"):
        runs.check_new(request.settings.out, _sweep.content(request))  # before minutes of making the problem
    folder = request.settings.out if request.is_resumed else None
    stored = {} if folder is None else runs.read_config(folder)
    own = {mark: stored[mark] for mark in OWN.values() if mark in stored}  # which problem and method of one's own
    return runs.build(_sweep.content(request) | own, folder=folder, quiet=execution.quiet), execution


def _check_shares(request: Request, option: str | None) -> None:
    """Raise `InputError` if shares would each make what all of them must start from."""
    given = vars(request.settings)
    is_shared = given.get("shard") or given.get("distributed") or given.get("coordinator")
    if option is not None and is_shared and getattr(request.problem_options, option) is None:
        raise InputError(
            f"shares start from one decoder: give --{option} DIR (--problem.{option} of `hfac sweep`), the folder of a "
            "finished run"
        )


def begin(request: Request, x64: bool = True) -> Execution:
    """Set jax up and meet the other processes, if there are any; only the first one talks.

    Raises:
      InputError: if there is no device, or the others are not met.
    """
    settings: Any = request.settings
    own = vars(settings)
    runs.configure(settings.devices, settings.cache, x64, own.get("deterministic", False))
    processes = runs.ALONE
    if own.get("distributed") or own.get("coordinator") is not None:
        processes = runs.rendezvous(settings.coordinator, settings.num_processes, settings.process_id)
    share = own.get("shard")
    return Execution(
        **{name: own[name] for name in ("block_width", "checkpoint_minutes", "on_divergence") if name in own},
        share=(1, 1) if share is None else _sweep.share(share),
        processes=processes,
        figures=settings.figures and processes.is_first,
        quiet=settings.quiet or not processes.is_first,
    )


def report(request: Request, judge: Sequence[float]) -> Report:
    """Judge what a folder holds, as far as it has come, and write table and figures again.

    Args:
      request: of the stored run.
      judge: entropy weights; the run's own unless given.
    """
    folder = request.settings.out
    job, execution = prepare(request)
    runs.check_files(job, folder)
    with waiting("reading the records", execution.quiet), as_input_error():
        data = results.load(folder / runs.RESULTS)
    reached = int(data["step"][-1])
    if reached < job.steps:
        say(f"note: the run is at step {reached:,} of {job.steps:,}; `hfac resume {folder}` goes on with it")
    if share := job.configuration.get("shard"):
        say(f"note: these are the runs of share {share}; `hfac merge` puts shares together")
    return runs.report(job, data, folder, judge or job.judge, execution)

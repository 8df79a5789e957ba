"""What takes long in an experiment, with a bar in a terminal and a line now and then in a file."""

from collections.abc import Callable
from typing import Any

import tyro

import hfac
from hfac.runs import progress, waiting


def run(main: Callable[[Any], None], settings: type) -> None:
    """Run an experiment by the settings of its command line."""
    chosen = tyro.cli(settings)
    with waiting("working"):
        main(chosen)


def sweep(
    name: str, algorithm: hfac.Algorithm, schedules: Any, seeds: Any, num_steps: int, *more: Any, **options: Any
) -> Any:
    """`hfac.sweep`, its runs called `name`."""
    with progress(f"running {name}", num_steps, "steps") as bar:
        return hfac.sweep(algorithm, schedules, seeds, num_steps, *more, progress=bar.update, **options)


def judge(name: str, data: Any, metric: Any) -> Any:
    """`hfac.judge`."""
    with progress(f"judging {name}", None, "runs") as bar:
        return hfac.judge(data, metric, bar.update)


def minimize(problem: hfac.Problem, tau: float, **options: Any) -> hfac.exact.Minimum:
    """`hfac.exact.minimize`."""
    with progress("descending the exact objective", None, "pieces") as bar:
        return hfac.exact.minimize(problem, tau, progress=bar.update, **options)

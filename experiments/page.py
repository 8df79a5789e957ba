"""The page of a study beside its figure, where plotly is installed."""

import dataclasses
import shlex
import sys
from typing import Any

import hfac
from hfac import pages


def origin(name: str, study: Any) -> pages.Origin:
    """Where a study's numbers come from."""
    settings = {key: str(value) for key, value in dataclasses.asdict(study).items()}
    again = shlex.join(["python", "-m", f"experiments.{name}", *sys.argv[1:]])
    return pages.origin(settings, hfac.results.provenance(), again)


def write(page: pages.Page, study: Any) -> None:
    """Write a page to a study's folder; a line says so where it cannot be, as the study's numbers are there."""
    try:
        pages.write(page, study.out)
    except hfac.InputError as error:
        print(f"no {pages.FILE}: {error}")

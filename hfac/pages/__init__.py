"""Reports as one HTML file each: values in `Page`, one file for every kind, one renderer for all of them."""

from pathlib import Path

from hfac import _files
from hfac.pages._comparison import Group as Group
from hfac.pages._comparison import comparison as comparison
from hfac.pages._diagnosis import condition as condition
from hfac.pages._diagnosis import diagnosis as diagnosis
from hfac.pages._finetune import finetune as finetune
from hfac.pages._page import Chart as Chart
from hfac.pages._page import Line as Line
from hfac.pages._page import Origin as Origin
from hfac.pages._page import Page as Page
from hfac.pages._page import Reference as Reference
from hfac.pages._page import Section as Section
from hfac.pages._page import numbers as numbers
from hfac.pages._rates import Measured as Measured
from hfac.pages._rates import rates as rates
from hfac.pages._render import plotting_library as plotting_library
from hfac.pages._render import render as render
from hfac.pages._search import search as search
from hfac.pages._shared import origin as origin
from hfac.pages._study import curves as curves
from hfac.pages._study import printed as printed
from hfac.pages._study import study as study
from hfac.pages._sweep import sweep as sweep
from hfac.pages._tweets import divergences as divergences
from hfac.pages._tweets import tweets as tweets

FILE = "report.html"


def write(page: Page, folder: Path) -> Path:
    """Write a page into a folder as report.html, whole or not at all, in place of an earlier one.

    Raises:
      InputError: if the plotting library is not installed.
      OSError: if it cannot be written.
    """
    path = folder / FILE
    _files.replace(path, render(page))
    return path

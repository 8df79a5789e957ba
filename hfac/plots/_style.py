"""How every figure looks, and how one is written. matplotlib is imported where it is used."""

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 6.4  # inches
DPI = 200
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
OF_A_SESSION = ("backend", "backend_fallback", "interactive", "toolbar", "timezone")  # and of no figure
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)


def library() -> Any:
    """matplotlib, which does not import where MPLBACKEND names a backend that it does not know."""
    wanted = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted
    if wanted is not None:
        with contextlib.suppress(ValueError):  # the choice of whoever shows figures; here none are shown
            matplotlib.rcParams["backend"] = wanted
    return matplotlib


def styled() -> Any:
    """Context in which figures look as they should, whatever a person's own settings are."""
    found = library()
    plain = {key: value for key, value in found.rcParamsDefault.items() if key not in OF_A_SESSION}
    return found.rc_context(plain | STYLE)


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of the caller's own, inches: no window, no backend, nothing that a session keeps."""
    library()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def subplots(rows: int, columns: int, size: tuple[float, float], **options: Any) -> "tuple[Figure, Any]":
    """A figure with a grid of axes, as `matplotlib.pyplot.subplots` makes them."""
    figure = new_figure(*size)
    return figure, figure.subplots(rows, columns, **options)

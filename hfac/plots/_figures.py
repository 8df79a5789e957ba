"""The figures of every sweep, by name.

A new figure is one function ``(data, problem, references) -> Figure or None`` and one line in `FIGURES`; None where
the data has nothing to show.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfac.plots import _completions, _control, _runs
from hfac.plots._runs import References
from hfac.plots._style import save, styled

if TYPE_CHECKING:
    import xarray


def save_all(data: "xarray.Dataset", problem: Any, references: References, folder: Path) -> list[Path]:
    """Draw every figure that applies into a folder, as PNG; returns the files written."""
    written = []
    for name, draw in FIGURES.items():
        with styled():
            figure = draw(data, problem, references)
            if figure is None:
                continue
            save(figure, folder / f"{name}.png")
        written.append(folder / f"{name}.png")
    return written


FIGURES: dict[str, Callable[["xarray.Dataset", Any, References], Any]] = {
    "objective": _runs.objective,
    "grid": _runs.grid,
    "returns": _control.returns,
    "payments": _control.payments,
    "written": _completions.written,
}

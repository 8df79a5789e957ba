"""Episodes beside each other as an animation, frame by frame."""

import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hfac.plots._runs import draw_field
from hfac.plots._style import WIDTH, styled, subplots
from hfac.tabular.problem import GridLayout

DPI = 100
MOST_FRAMES = 200  # of longer episodes every second, third, ... step is shown
HOLD = 2_000  # milliseconds of the last frame
LOWEST, HIGHEST, WORDS = 1.6, 5.0, 0.9  # inches of a picture, and of the words in it
TRAIL = 15  # cells that a walker has left and that still show


class Scene(NamedTuple):
    """An episode that can be drawn."""

    title: str
    draw: Callable[[Any, int], None]  # (axes, steps that are done) draws one moment
    earned: np.ndarray  # [T + 1], return so far


def walk(layout: GridLayout, field: np.ndarray, limits: tuple[float, float], states: np.ndarray) -> Any:
    """How a walk over a grid is drawn, for a `Scene`.

    Args:
      layout: of the grid.
      field: what the leader sets in each cell, [rows, columns].
      limits: of the colours.
      states: cells in the order in which they are walked over [T + 1].
    """
    row, column = layout.places(states)

    def draw(axes: Any, step: int) -> None:
        draw_field(axes, layout, field, limits)
        seen = slice(max(step - TRAIL, 0), step + 1)
        axes.plot(column[seen], row[seen], color="#D55E00", linewidth=1.2, alpha=0.6)
        axes.plot(column[step], row[step], "o", color="#D55E00", markersize=8)

    return draw


def film(
    scenes: Sequence[Scene], caption: str, fps: float, progress: Callable[[int, int], None] = lambda done, total: None
) -> bytes:
    """Episodes beside each other as an animated GIF; those that have ended rest until the longest has.

    Args:
      scenes: one for each panel.
      caption: below them.
      fps: frames a second, in (0, 50]: GIFs count in hundredths of a second, and viewers slow down below two of them.
      progress: called with (frames done, frames in all).
    """
    last = max(len(scene.earned) for scene in scenes) - 1
    moments = np.unique([*range(0, last, -(-last // MOST_FRAMES) or 1), last])
    durations = [round(1000 / fps)] * (len(moments) - 1) + [HOLD]
    with styled():
        frames = _frames(scenes, caption, moments.tolist(), progress)
        first, file = next(frames), io.BytesIO()
        first.save(file, "GIF", save_all=True, append_images=frames, duration=durations, loop=0)
    return file.getvalue()


def _frames(scenes: Sequence[Scene], caption: str, moments: Sequence[int], progress: Callable[[int, int], None]) -> Any:
    """Pictures of all scenes at each of the moments."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure, axes = subplots(1, len(scenes), (1.3 * WIDTH, LOWEST), squeeze=False)
    canvas = FigureCanvasAgg(figure)
    figure.supxlabel(caption, fontsize=8)
    for axis, scene in zip(axes[0], scenes, strict=True):
        axis.set(xticks=[], yticks=[], aspect="equal")
        axis.set_axis_off()
        scene.draw(axis, 0)
        panel = np.ptp(axis.get_ylim()) / np.ptp(axis.get_xlim()) * 1.3 * WIDTH / len(scenes)
        figure.set_figheight(min(max(figure.get_figheight(), panel + WORDS), HIGHEST))
    for i, moment in enumerate(moments):
        for axis, scene in zip(axes[0], scenes, strict=True):
            step = min(moment, len(scene.earned) - 1)
            for artist in (*axis.lines, *axis.patches, *axis.images, *axis.collections, *axis.texts):
                artist.remove()  # to clear all of the axes takes longer than to draw
            axis.set_prop_cycle(None)  # what is drawn again has the colour that it had
            scene.draw(axis, step)
            words = f"step {step:,}: return {scene.earned[step]:.4g}{', ended' if moment > step else ''}"
            axis.set_title(f"{scene.title}\n{words}", fontsize=9, y=1.0)
        canvas.draw()
        figure.set_layout_engine("none")  # places stay as the first picture has them
        progress(i + 1, len(moments))
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        yield picture.quantize(dither=Image.Dither.NONE)

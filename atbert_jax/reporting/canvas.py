"""What every picture is drawn on: a figure without a display, which becomes a PNG.

Matplotlib comes with an extra and is imported where something is drawn: predicting does without.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160


def canvas(width: float, height: float) -> Figure:
    """A figure in inches that no global state knows of, so that nothing has to be closed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def encode(figure: Figure) -> bytes:
    """A figure of `canvas` as a PNG."""
    for axes in figure.axes:
        _lighten(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.08)
    return buffer.getvalue()


def _lighten(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)

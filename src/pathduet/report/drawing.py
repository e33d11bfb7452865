"""Conversion of a matplotlib figure to SVG that follows the page's light or dark theme.

Text and axes are drawn in four marker colours that no series uses; in the page they become CSS variables, so the
same drawing is readable on both backgrounds. The same figure can be written as a separate file, on white.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#16191d", "#6b7177", "#d9dcdf", "#fdfdfe"
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", PAPER: "var(--paper)"}

#: Okabe and Ito's palette (readable with all kinds of colour blindness), without its yellow and black.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0a7abf", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)

# Any: matplotlib types each setting separately.
_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "figure.facecolor": "none",
}


#: Smallest scale to which a drawing may shrink.
_LEAST = 0.7


class NothingToDraw(Exception):
    """A figure has nothing to show; the caller states the reason."""


@contextmanager
def style() -> Iterator[None]:
    """Apply the page's style while drawing."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` x `height` inches, without a window or display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def mean_and_interval(
    axis: Axes, y: float, mean: float, interval: tuple[float, float], colour: str, size: int = 6
) -> None:
    """Draw a mean as a diamond on the band of its interval (NaN: none)."""
    if not math.isnan(interval[0]):
        axis.plot(interval, [y, y], color=colour, lw=size - 1, alpha=0.35, solid_capstyle="round")
    axis.plot([mean], [y], "D", color=colour, ms=size, mec=PAPER, mew=0.2 + 0.1 * size, zorder=4)


def standalone_svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG file's text; the same figure gives the same text."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    figure.set_facecolor("white")
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        # savefig would draw it twice
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def inline_svg(standalone: str, name: str, label: str) -> str:
    """Return a file's SVG for the page: ids made unique by `name`, colours by CSS variables, no style sheet.

    Parameters
    ----------
    label : str
        Text for screen readers.
    """
    from markupsafe import escape

    svg = standalone[standalone.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<style type="text/css">.*?</style>', "", svg, flags=re.DOTALL)
    # if ids came from the content, identical pictures would share an id
    svg = re.sub(r'(<image\s[^>]*?)\sid="[^"]*"', r"\1", svg)
    svg = re.sub(r'(\sid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "var(--font)", svg)
    # The file's background; the page has its own.
    svg = re.sub(r"style=\"fill: #ffffff\"", 'style="fill: none"', svg, count=1)
    width = re.search(r'width="([\d.]+)pt"', svg)
    points = float(width.group(1)) if width else 500.0
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    pixels = points * 4 / 3
    # on a narrow screen, scroll sideways rather than shrink the text until it is unreadable
    size = f"width: 100%; min-width: {_LEAST * pixels:.0f}px; max-width: {pixels:.0f}px"
    head = f'<svg role="img" aria-label="{escape(label)}" style="{size}"'
    return svg.replace("<svg", head, 1)

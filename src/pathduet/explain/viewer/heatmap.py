"""A slide's maps as one PNG: one row per magnification, one column per quantity, over the thumbnail."""

from __future__ import annotations

import io
import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pathduet.core.errors import InputError
from pathduet.explain.colours import COLOUR_MAP
from pathduet.explain.layers import (
    Layer,
    layer_values,
    layers_of,
    membership_scale,
    naming_note,
    strongest_points,
    top_of,
)
from pathduet.explain.tile_maps import SlideMaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Opacity of the maps, sampled points per panel, inches of a panel's longer edge and pixels per inch.
ALPHA, POINTS, PANEL_INCHES, DPI = 0.62, 60, 3.3, 110
_CHARACTERS = 17  # per inch at 8 points
_INK, _MUTED = "#16191d", "#5d656e"
# Any: matplotlib types each setting separately.
_STYLE: Any = {"font.family": ["DejaVu Sans"], "font.size": 9, "text.parse_math": False, "text.color": _INK}


def heatmap_png(maps: SlideMaps, thumbnail: NDArray[np.uint8]) -> bytes:
    """Draw a slide's maps; the same input gives the same bytes.

    Parameters
    ----------
    maps : SlideMaps
        From :func:`~pathduet.explain.tile_maps.slide_maps` or :func:`~pathduet.explain.mean_of_folds.mean_of_folds`.
    thumbnail : (h, w, 3) uint8 array
        The whole slide at any size (``thumbnail.png`` of its folder).

    Raises
    ------
    InputError
        If the slide's size is unknown (``tiles.h5`` is missing).
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tiles = maps.tiles
    width0, height0 = slide_size(maps)
    layers = layers_of(maps)
    magnifications = list(dict.fromkeys(tiles["magnification"]))
    window = tissue_window(maps)
    aspect = (window[3] - window[1]) / (window[2] - window[0])
    panel = (PANEL_INCHES / max(aspect, 1), PANEL_INCHES * min(aspect, 1))
    with mpl.rc_context(_STYLE):
        figure = Figure(
            figsize=(panel[0] * len(layers) + 0.6, (panel[1] + 0.65) * len(magnifications) + 1.0),
            dpi=DPI,
            facecolor="white",
            layout="constrained",
        )
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(magnifications), len(layers), squeeze=False)
        for row, m in enumerate(magnifications):
            for column, layer in enumerate(layers):
                axes: Axes = grid[row, column]
                axes.imshow(thumbnail, extent=(0, width0, height0, 0), interpolation="bilinear")
                _draw(axes, maps, layer, m)
                axes.set(xlim=(window[0], window[2]), ylim=(window[3], window[1]), xticks=[], yticks=[])
                axes.set_title(f"{layer.title}, {m}", fontsize=9.5, fontweight="bold", loc="left", color=_INK)
                for spine in axes.spines.values():
                    spine.set(color="#c5c9cd", linewidth=0.6)
            if math.isfinite(tiles.attrs["mpp"][0]):
                _scale_bar(grid[row, 0], tiles.attrs["mpp"][0], window)
        figure.suptitle(maps_title(maps), x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        lines = textwrap.wrap(maps_caption(maps), int(figure.get_figwidth() * _CHARACTERS))
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color=_MUTED)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="rgba")
    size = figure.canvas.get_width_height()
    picture = Image.frombytes("RGBA", size, buffer.getvalue()).convert("RGB")
    out = io.BytesIO()
    # a fifth of the bytes; the octree quantiser of the slides' previews would tint the white background
    picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def slide_size(maps: SlideMaps) -> tuple[int, int]:
    """Return a slide's width and height in level-0 pixels."""
    width, height = maps.tiles.attrs.get("width"), maps.tiles.attrs.get("height")
    if width is None or height is None:
        where = f"slide {maps.tiles.attrs.get('slide_id')}"
        raise InputError.of(where, "no tiles.h5 beside features.h5", "run the tile stage again")
    return width, height


def tissue_window(maps: SlideMaps) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom (level-0 pixels) of the drawn area: the tiles and half a tile around."""
    tiles = maps.tiles
    width0, height0 = slide_size(maps)
    margin = 0.5 * float(tiles["size"].max()) if len(tiles) else 0.0
    if not len(tiles):
        return 0.0, 0.0, float(width0), float(height0)
    return (
        max(0.0, float(tiles["x"].min()) - margin),
        max(0.0, float(tiles["y"].min()) - margin),
        min(float(width0), float((tiles["x"] + tiles["size"]).max()) + margin),
        min(float(height0), float((tiles["y"] + tiles["size_y"]).max()) + margin),
    )


def _draw(axes: Axes, maps: SlideMaps, layer: Layer, magnification: str) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize

    values = layer_values(maps, layer)
    chosen = (maps.tiles["magnification"] == magnification).to_numpy()
    tiles, values = maps.tiles[chosen], values[chosen]
    x, y, w, h = (tiles[name].to_numpy(np.float64) for name in ("x", "y", "size", "size_y"))
    corners = np.stack([np.stack(p, -1) for p in ((x, y), (x + w, y), (x + w, y + h), (x, y + h))], 1)
    steps: list[str] = []  # names of the prototypes, if discrete
    legend = layer.legend
    if layer.is_membership:
        ends, names, between = membership_scale(maps.subspaces)
        if between and not set(np.unique(values)) <= {0.0, 1.0}:
            colours: Any = LinearSegmentedColormap.from_list("membership", ends)
            scale = Normalize(0, 1)
            legend = f"share of folds: {names[0]} (0) to {names[1]} (1)"
        else:
            steps = names
            colours = ListedColormap([ends[0], ends[-1]] if between else ends)
            scale = Normalize(-0.5, len(names) - 0.5)
    else:
        colours, scale = COLOUR_MAP, Normalize(0, top_of(values))
    drawn = PolyCollection(corners, array=values, cmap=colours, norm=scale, alpha=ALPHA, linewidths=0)  # type: ignore[arg-type]
    drawn.set_antialiased(False)  # otherwise gaps show between tiles
    axes.add_collection(drawn)
    if layer.points:
        points = strongest_points(maps, layer.points, magnification, POINTS)
        axes.scatter(points["x"], points["y"], s=5, c="white", edgecolors=_INK, linewidths=0.4, zorder=3)
    bar = axes.figure.colorbar(
        drawn, ax=axes, orientation="horizontal", fraction=0.05, pad=0.02, aspect=30,
        extend="neither" if layer.is_membership else "max",
    )  # fmt: skip
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=7.5, length=2, color=_MUTED)
    if steps:
        shares = [
            100 * float((values == place).mean()) if len(values) else 0.0 for place in range(len(steps))
        ]
        if len(steps) == 2:
            labels = [steps[0], f"{steps[1]}: {shares[1]:.0f} % of tiles"]
        else:
            labels = [f"{name}\n{share:.0f} %" for name, share in zip(steps, shares, strict=True)]
        bar.set_ticks(list(range(len(steps))), labels=labels)
        bar.ax.tick_params(length=0, labelsize=7.5 if len(steps) < 5 else 5.5)
    bar.set_label(legend, fontsize=8, color=_INK)


def _scale_bar(axes: Axes, mpp: float, window: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = window
    length_um = round_length((right - left) * mpp / 4)
    x, y = left + 0.04 * (right - left), bottom - 0.04 * (bottom - top)
    style: Any = {"solid_capstyle": "butt", "zorder": 4}
    axes.plot([x, x + length_um / mpp], [y, y], color="white", linewidth=5, **style)
    axes.plot([x, x + length_um / mpp], [y, y], color=_INK, linewidth=2.5, **style)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    axes.text(
        x, y - 0.02 * (bottom - top), text, fontsize=8, va="bottom", zorder=4,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def round_length(most_um: float) -> float:
    """Return the longest of 1, 2, 5, 10, 20, 50 ... micrometres that is no longer than `most_um`.

    >>> [round_length(x) for x in (1200, 900, 260, 0.3)]
    [1000.0, 500.0, 200.0, 0.2]
    """
    power = 10.0 ** math.floor(math.log10(most_um))
    return next(power * step for step in (5, 2, 1) if power * step <= most_um)


def maps_title(maps: SlideMaps) -> str:
    """Return the title: slide, task, model and fold."""
    about = maps.tiles.attrs
    fold = "mean of the folds" if about["fold"] == "ensemble" else f"fold {about['fold']}"
    return f"{about['slide_id']}: {about['task']}, {about['model']}, {fold}"


def maps_caption(maps: SlideMaps) -> str:
    """Return the meaning of the colours, and the basis of the prototypes' names."""
    points = f" Dots: the {POINTS} points read with most attention." if len(maps.points) else ""
    return (
        "1 = an equal share of all tiles; colours end at the 99th percentile. Tiles without colour are not tokens "
        f"of the model.{points} {naming_note(maps)}"
    )

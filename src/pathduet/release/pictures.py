"""Pictures of one slide's prediction: the slide, its tiles, and where the model saw tumor-like tissue."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet.explain.layers import TME_COLOUR, TUMOR_COLOUR
from pathduet.models.method.config import MAGNIFICATIONS
from pathduet.report.pictures import data_uri

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

_OPACITY = 150
_EDGE = 512

Picture = dict[str, str]


def slide_pictures(folder: Path) -> list[Picture]:
    """Return the thumbnail and the tile map, as far as they are there."""
    named = {
        "thumbnail.png": ("The slide", "As scanned."),
        "mask.png": ("Tissue and tiles", "Green: tissue. Blue: 20x tiles. Orange frames: 10x tiles, where they are large enough."),
        "stain.png": ("Stain", "Tiles as scanned, and as the model sees them after normalisation."),
    }  # fmt: skip
    return [
        {
            "title": title,
            "caption": caption,
            "uri": data_uri(folder / name, _EDGE),
            "kind": name.removesuffix(".png"),
        }
        for name, (title, caption) in named.items()
        if (folder / name).is_file()
    ]


def tile_pictures(folder: Path, maps: list[pd.DataFrame], task: str, model: str) -> list[Picture]:
    """Return one picture a magnification: the folds' mean over each tile.

    Parameters
    ----------
    folder : Path
        The slide's artifacts.
    maps : list of DataFrame
        :func:`pathduet.explain.tile_maps.tile_maps` of every fold's model.
    task, model : str
        For the caption.
    """
    import pandas as pd
    from PIL import Image

    if not maps or not maps[0].attrs.get("width") or not (folder / "thumbnail.png").is_file():
        return []
    column = next((c for c in ("p_tumor", "attention_tumor") if c in maps[0]), None)
    if column is None:
        return []
    size0 = (int(maps[0].attrs["width"]), int(maps[0].attrs["height"]))
    with Image.open(folder / "thumbnail.png") as opened:
        thumbnail = opened.convert("RGB")
    called = f"{model} student" if model == "distilled" else model
    together = pd.concat(maps)
    found = []
    for m in MAGNIFICATIONS:
        rows = together[together["magnification"] == m]
        if rows.empty:
            continue
        tiles = rows.groupby("tile")[["x", "y", "size", "size_y", column]].mean()
        drawn = _drawn(thumbnail, tiles, column, size0)
        if column == "p_tumor":
            title = f"Prototypes at {m}"
            caption = (
                f"Orange: tiles that the {called} of {task} gathered into its tumor prototype, blue: into its "
                f"microenvironment prototype, paler where the {len(maps)} folds differ."
            )
        else:
            title = f"Attention at {m}"
            caption = (
                f"Darker orange: tiles that the tumor genes looked at more, in the {called} of {task}, mean of "
                f"{len(maps)} folds."
            )
        found.append({"title": title, "caption": caption, "uri": _uri(drawn), "kind": "tiles"})
    return found


def _drawn(thumbnail: Image.Image, tiles: pd.DataFrame, column: str, size0: tuple[int, int]) -> Image.Image:
    from PIL import Image, ImageDraw

    scale = np.array(thumbnail.size) / size0
    values = tiles[column].to_numpy(dtype=float)
    if column != "p_tumor":
        values = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    layer = Image.new("RGBA", thumbnail.size)
    draw = ImageDraw.Draw(layer)
    for (x, y, width, height), value in zip(tiles[["x", "y", "size", "size_y"]].to_numpy(), values):
        left, top = np.array([x, y]) * scale
        right, bottom = np.array([x + width, y + height]) * scale
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=_colour(value, column))
    grey = thumbnail.convert("L").convert("RGBA")
    return Image.alpha_composite(grey, layer).convert("RGB")


def _colour(value: float, column: str) -> tuple[int, int, int, int]:
    hexadecimal, opacity = TUMOR_COLOUR, round(200 * value)
    if column == "p_tumor":
        hexadecimal = TUMOR_COLOUR if value >= 0.5 else TME_COLOUR
        opacity = round(40 + (_OPACITY - 40) * abs(2 * value - 1))
    red, green, blue = (int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue, opacity


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def survival_svg(found: dict[str, Any], observed: list[dict[str, Any]], name: str) -> str:
    """Return the predicted survival curve beside what the cross-validation's risk groups lived, as SVG for the page."""
    from pathduet.report.drawing import (
        BLUE,
        GREEN,
        INK,
        MUTED,
        ORANGE,
        RED,
        inline_svg,
        new_figure,
        standalone_svg,
        style,
    )

    year = 365.25
    colours = {"low risk": GREEN, "middle": ORANGE, "high risk": RED}
    with style():
        figure = new_figure(6.4, 3.3)
        axes = figure.add_subplot()
        for curve in observed:
            label = f"{curve['group']}: {curve['n']} patients, {curve['deaths']} died"
            colour = colours.get(curve["group"], MUTED)
            days = np.array(curve["days"]) / year
            axes.step(
                days,
                curve["survival"],
                where="post",
                color=colour,
                linewidth=1.1,
                linestyle="--",
                label=label,
            )
        for member in found["members"]:
            days = np.array([0.0, *member["edges_days"]]) / year
            axes.plot(days, [1.0, *member["survival_at_edges"]], color=BLUE, linewidth=0.8, alpha=0.45)
        days = np.array(found["curve"]["days"]) / year
        axes.plot(
            days,
            found["curve"]["survival"],
            color=BLUE,
            linewidth=2.4,
            marker="o",
            markersize=3.5,
            label="this slide",
        )
        axes.set(xlabel="Years", ylabel="Share alive", ylim=(0, 1.02))
        axes.set_xlim(left=0, right=max(3.0 * float(days[-1]), 1.0) if observed else None)
        axes.legend(loc="upper right", labelcolor=INK)
        svg = standalone_svg(figure, name)
    return inline_svg(svg, name, "Predicted survival of this slide and observed survival of the risk groups")

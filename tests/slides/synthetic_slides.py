"""Tiny slides for tests: Aperio-like pyramids written by tifffile, and scenes whose pixels are known exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from pathduet.cohort.sheets import SlideRow
from pathduet.slides.settings import EncoderSettings, SlideSettings, TileSettings

HAEMATOXYLIN = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
EOSIN = np.array([0.27, 0.87, 0.41]) / np.linalg.norm([0.27, 0.87, 0.41])


def write_svs(
    path: Path,
    image: NDArray[np.uint8],
    mpp: float | None = 0.5,
    factors: tuple[int, ...] = (),
    compression: str | None = None,
    tile: int = 256,
) -> Path:
    """Write `image` as a tiled pyramid that OpenSlide takes for an Aperio slide; levels by block means."""
    height, width = image.shape[:2]
    description = f"Aperio Image Library v12.0.0\n{width}x{height}"
    if mpp is not None:
        description += f"|AppMag = {20 if mpp > 0.35 else 40}|MPP = {mpp:.6f}"
    with tifffile.TiffWriter(path) as writer:
        for factor in (1, *factors):
            level = image
            if factor > 1:
                rows, columns = height // factor, width // factor
                blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
                level = np.rint(blocks.mean((1, 3))).astype(np.uint8)
            writer.write(
                level,
                tile=(tile, tile),
                photometric="rgb",
                compression=compression,
                description=description,
                metadata=None,
            )
    return path


def write_scn(
    path: Path,
    image: NDArray[np.uint8],
    glass: tuple[int, int],
    place: tuple[int, int],
    nanometres: int = 500,
) -> Path:
    """Write `image` as a Leica SCN scanned at `place` of a glass (pixels): level 0 is the glass, the image its declared bounds."""

    def part(name: str, page: int, pixels: tuple[int, int], power: float, view: tuple[int, ...]) -> str:
        size = f'sizeX="{pixels[0]}" sizeY="{pixels[1]}"'
        return (
            f'<image name="{name}" uuid="{name}"><creationDate>2020-01-01T00:00:00.00Z</creationDate>'
            f'<device model="Leica SCN400" version="1"/><pixels {size}><dimension r="0" ifd="{page}" {size}/></pixels>'
            f'<view sizeX="{view[0]}" sizeY="{view[1]}" offsetX="{view[2]}" offsetY="{view[3]}" spacingZ="0"/>'
            f"<scanSettings><objectiveSettings><objective>{power}</objective></objectiveSettings>"
            "<illuminationSettings><numericalAperture>0.4</numericalAperture>"
            "<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>"
        )

    height, width = image.shape[:2]
    whole = [edge * nanometres for edge in glass]
    view = [v * nanometres for v in (width, height, *place)]
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection name="c" uuid="c" sizeX="{whole[0]}" sizeY="{whole[1]}"><barcode>-</barcode>'
        f"{part('macro', 0, (256, 256), 1.25, (*whole, 0, 0))}{part('main', 1, (width, height), 20, tuple(view))}"
        "</collection></scn>"
    )
    with tifffile.TiffWriter(path) as writer:
        for page, description in ((np.full((256, 256, 3), 240, np.uint8), text), (image, "")):
            writer.write(
                page,
                tile=(256, 256),
                photometric="rgb",
                compression="jpeg",
                description=description,
                metadata=None,
            )
    return path


def spoil_tiles(path: Path, *indices: int) -> None:
    """Overwrite the compressed bytes of some level-0 tiles with zeros: they no longer decode."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        places = [(page.dataoffsets[i], page.databytecounts[i]) for i in indices]
    with path.open("r+b") as handle:
        for offset, size in places:
            handle.seek(offset)
            handle.write(b"\0" * size)


class WaveScene:
    """A sum of plane waves: the mean over any pixel's area has a closed form.

    Frequencies stay below 0.35 cycles per micrometre, so that 0.5 um pixels can hold them.
    """

    def __init__(self, seed: int = 0, highest: float = 0.35, waves: int = 24) -> None:
        rng = np.random.default_rng(seed)
        self.frequency = rng.uniform(0.0, highest, (waves, 2))
        self.phase = rng.uniform(0, 2 * np.pi, waves)
        strength = rng.uniform(0.2, 1.0, waves) / (1 + 20 * (self.frequency**2).sum(1))
        self.strength = strength * 50 / np.sqrt((strength**2).sum() / 2)

    def pixels(
        self, mpp: tuple[float, float], x_um: float, y_um: float, width: int, height: int
    ) -> NDArray[np.uint8]:
        """Return the exact area means of pixels of size `mpp` (x, y) from (x_um, y_um) on, as grey RGB."""
        x = x_um + (np.arange(width) + 0.5) * mpp[0]
        y = y_um + (np.arange(height) + 0.5) * mpp[1]
        total = np.full((height, width), 128.0)
        for (fx, fy), phase, strength in zip(self.frequency, self.phase, self.strength):
            area = np.sinc(fx * mpp[0]) * np.sinc(fy * mpp[1])
            wave = np.exp(2j * np.pi * fy * y)[:, None] * np.exp(1j * (2 * np.pi * fx * x + phase))[None]
            total += strength * area * wave.real
        return np.repeat(np.clip(np.rint(total), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float(10 * np.log10(255.0**2 / max(error, 1e-12)))


def stained_image(
    height: int, width: int, seed: int = 0, tissue: tuple[float, float, float] = (0.5, 0.5, 0.4)
) -> NDArray[np.uint8]:
    """Return a disc of two-stain noise on white; `tissue` is its centre (x, y) and radius, as shares of the size."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(x / width - tissue[0], y / height - tissue[1]) < tissue[2]
    nuclei = rng.random((height // 8 + 1, width // 8 + 1)) < 0.3
    nuclei = np.kron(nuclei, np.ones((8, 8), bool))[:height, :width]
    amounts = np.stack([np.where(nuclei, 1.0, 0.05), np.where(nuclei, 0.1, 0.6)], -1)
    amounts *= rng.uniform(0.7, 1.3, amounts.shape) * inside[..., None]
    light = np.exp(-(amounts[..., :1] * HAEMATOXYLIN + amounts[..., 1:] * EOSIN))
    return np.rint(255 * light).astype(np.uint8)


def slide_row(path: Path, **kwargs: object) -> SlideRow:
    """Return a sheet row for a file; the id is its stem."""
    return SlideRow(path.stem, "patient", "cohort", path, **kwargs)  # type: ignore[arg-type]


def small_settings(**tile: object) -> SlideSettings:
    """Return settings for slides of a few hundred pixels: 64-pixel tiles and an untrained encoder."""
    values: dict[str, object] = {"tile_px": 64, "min_tiles": 2, "thumbnail_mpp": 4.0, **tile}
    return SlideSettings(
        tile=TileSettings(**values),  # type: ignore[arg-type]
        encoder=EncoderSettings(name="random", batch_size=16, device="cpu"),
    )

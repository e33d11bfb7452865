"""One slide outside of a run: its pixel size, thumbnail, tiles, stain and features, from the workflow's stages."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pathduet.cohort.sheets import SlideRow
from pathduet.core.checksums import checked
from pathduet.core.errors import SlideError
from pathduet.core.ids import id_of
from pathduet.features.export import SlideTiles, slide_tiles
from pathduet.results import Results
from pathduet.slides.readers.pixel_size import PixelSize, pixel_size
from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.settings import SlideSettings
from pathduet.slides.stages import run_stage
from pathduet.slides.stain.colour_table import Normalizer
from pathduet.slides.stain_stage import load_normalizer
from pathduet.slides.status import stages_to
from pathduet.slides.tile_stage import thumbnail_shape
from pathduet.slides.tiles_file import TileTable, read_tiles


class Slide:
    """A slide opened for reading; each property is computed on first access.

    Parameters
    ----------
    path : path
        The raw slide; never written.
    mpp : float, optional
        Pixel size at level 0 in micrometres, if the file states none or a wrong one.
    scene : str
        Which picture of a file that holds several, by name or number.
    config : mapping, optional
        Sections ``slides``, ``stain`` and ``encoder`` and ``seed`` of a configuration, for example :attr:`pathduet.loaded_run.Run.config`.
        Missing keys default to those of ``config.yaml``.
    folder : path, optional
        A results folder, which is reused when the slide is opened again. By default a temporary folder, removed when the slide
        is closed.

    Attributes
    ----------
    slide_id : str
        The file's name without its ending.
    settings : SlideSettings
    reader : SlideReader
        Reads any region at any pixel size.

    Raises
    ------
    SlideError
        Here and from its properties: ``unreadable``, ``no_mpp``, ``no_tissue``, ``too_few_tiles`` and so on, with advice.

    Examples
    --------
    >>> import pathduet.slides
    >>> with pathduet.slides.open("CMU-1-Small-Region.svs") as slide:  # doctest: +SKIP
    ...     print(slide.pixel_size.x, len(slide.tiles["20x"].grid))
    ...     vectors = slide.features()["20x"].features
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mpp: float | None = None,
        scene: str = "",
        config: Mapping[str, Any] | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        file = Path(path).absolute()
        self.slide_id = id_of(file.stem)
        self.settings = SlideSettings.from_mapping(config or {})
        self._row = SlideRow(self.slide_id, self.slide_id, "", file, mpp, scene=scene)
        self.reader = SlideReader(self.slide_id, file, scene)
        self._temporary = tempfile.TemporaryDirectory() if folder is None else None
        self._results = Results(Path(self._temporary.name if self._temporary else folder or ""))

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of level 0 in pixels."""
        return self.reader.dimensions

    @cached_property
    def pixel_size(self) -> PixelSize:
        """Level-0 pixel size in micrometres, and its source."""
        return pixel_size(
            self.slide_id, self.reader.properties, self._row.mpp, self.settings.tile.default_mpp
        )

    def thumbnail(self, mpp: float = 8.0) -> NDArray[np.uint8]:
        """Return the whole slide, (height, width, 3) uint8 RGB, at `mpp` micrometres per pixel; coarser if that is over 16 megapixels."""
        shape, _ = thumbnail_shape(self.dimensions, self.pixel_size, mpp)
        return self.reader.thumbnail(shape)[0]

    @cached_property
    def tiles(self) -> dict[str, TileTable]:
        """Tiles with tissue, by magnification, the coarser first."""
        return read_tiles(self._through("tile") / "tiles.h5")

    @cached_property
    def tissue(self) -> NDArray[np.bool_]:
        """The tissue mask of the whole slide."""
        with h5py.File(checked(self._through("tile") / "tiles.h5"), "r") as file:
            return np.asarray(file["mask"][:], dtype=bool)

    @cached_property
    def normaliser(self) -> Normalizer:
        """Maps the slide's colours, (..., 3) uint8 RGB, to those of the stain target (Vahadane)."""
        return load_normalizer(self._through("stain") / "stain.json")[0]

    def tile(self, magnification: str, row: int) -> NDArray[np.uint8]:
        """Return a tile of :attr:`tiles` as scanned, (tile_px, tile_px, 3) uint8 RGB.

        Raises
        ------
        pathduet.slides.readers.reader.RegionError
            If it cannot be decoded.
        """
        return self.tiles[magnification].read(self.reader, row)

    def features(self, threads: int = 1) -> dict[str, SlideTiles]:
        """Return the encoded tiles by magnification: features (n, dim) and corners in level-0 pixels.

        Blank, blurred and unreadable :attr:`tiles` are left out, as are tiles beyond ``slides.max_tiles``.

        Parameters
        ----------
        threads : int
            Threads that read tiles.
        """
        self._through("features", threads)
        return {one.magnification: one for one in slide_tiles(self._results, self.slide_id)}

    @property
    def feature_file(self) -> Path:
        """The features as a file, with tiles.h5 beside it: what :func:`pathduet.explain.tile_maps.slide_maps` reads."""
        return self._through("features") / "features.h5"

    def _through(self, last: str, threads: int = 1) -> Path:
        """Run the stages up to `last`, except current ones, and return the folder of their files."""
        for stage in stages_to(last):
            status = run_stage(self._row, stage, self._results.root, self.settings, threads)
            if status.status != "ok":
                raise SlideError(self.slide_id, status.reason, status.message)
        return self._results.slide(self.slide_id)

    def close(self) -> None:
        """Close the file, and remove the temporary folder."""
        self.reader.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


#: ``with pathduet.slides.open(path) as slide``.
open = Slide

"""The annotated slides of a run: the structure, and the subspace, of each of their tiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathduet.core.errors import InputError
from pathduet.core.faults import raise_machine_fault
from pathduet.explain.annotations import Annotation, read_annotation, read_legend
from pathduet.explain.files import plain_name
from pathduet.explain.tile_maps import read_grids
from pathduet.slides.readers.frame import bounds_in_words

if TYPE_CHECKING:
    import pandas as pd


def annotate(
    tiles: pd.DataFrame, annotation: Annotation, structures: Mapping[str, Iterable[str]]
) -> pd.DataFrame:
    """Return the tiles with `structure` ("" = not annotated) and `subspace` ("" = the structure belongs to none).

    Parameters
    ----------
    tiles : DataFrame
        `x`, `y`, `size` and `size_y` in level-0 pixels.
    annotation : Annotation
    structures : mapping
        Subspace to the structures that belong to it.
    """
    subspace_of = {plain_name(name): subspace for subspace, names in structures.items() for name in names}
    found = [
        annotation.structure_of(x, y, width, height)
        for x, y, width, height in tiles[["x", "y", "size", "size_y"]].itertuples(index=False)
    ]
    return tiles.assign(
        structure=found, subspace=[subspace_of.get(plain_name(structure), "") for structure in found]
    )


class AnnotatedSlides:
    """Annotations of slides, read on first use.

    Parameters
    ----------
    settings : mapping
        ``annotations`` (path with ``{slide_id}``, or None), ``legend``, ``frame``, ``structures`` (by subspace).

    Attributes
    ----------
    template : str or None
        The configured path.
    problems : list of str
        Why slides with an annotation file have no annotation.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.template: str | None = settings["annotations"]
        self.problems: list[str] = []
        self._frame = str(settings["frame"] or "")
        self._structures: Mapping[str, Iterable[str]] = settings["structures"]
        self._legend = cache(lambda: read_legend(Path(settings["legend"]) if settings["legend"] else None))
        self._tiles: dict[str, dict[str, pd.DataFrame] | None] = {}

    def structures(self, slide_id: str, features: Path) -> dict[str, pd.DataFrame] | None:
        """Return `structure` and `subspace` of every tile of a slide by magnification, None without annotation."""
        if slide_id not in self._tiles:
            try:
                self._tiles[slide_id] = self._read(slide_id, features)
            except InputError as error:
                raise_machine_fault(error, f"slide {slide_id}")
                self.problems += [str(problem) for problem in error.problems]
                self._tiles[slide_id] = None
        return self._tiles[slide_id]

    def _read(self, slide_id: str, features: Path) -> dict[str, pd.DataFrame] | None:
        import pandas as pd

        path = Path(self.template.replace("{slide_id}", slide_id)) if self.template else None
        if path is None or not path.is_file():
            return None
        legend, (grids, about) = self._legend(), read_grids(features)
        if not about["width"]:
            self.problems.append(
                f"slide {slide_id}: its size is unknown: there is no tiles.h5 beside its features"
            )
            return None
        size = (about["width"], about["height"])
        annotation = read_annotation(slide_id, path, size, about["mpp"], legend, self._frame, about["bounds"])
        found = {}
        for m, grid in grids.items():
            tiles = pd.DataFrame(grid.corners, columns=["x", "y"])
            tiles = tiles.assign(size=grid.width0, size_y=grid.height0)
            found[m] = annotate(tiles, annotation, self._structures)[["structure", "subspace"]]
        if all((tiles["structure"] == "").all() for tiles in found.values()):
            within = f"; the slide declares {bounds_in_words(about['bounds'])}" if about["bounds"] else ""
            self.problems.append(f"slide {slide_id}: none of its tiles lies in {path.name}{within}")
        return found

    def subspaces(self, slide_id: str, features: Path, magnification: str) -> NDArray[np.str_] | None:
        """Return the subspace of every tile of a slide ("" = none), None without annotation."""
        structures = self.structures(slide_id, features)
        return None if structures is None else structures[magnification]["subspace"].to_numpy(dtype=str)

"""A slide's features in the layouts that other tools read: TRIDENT's, CLAM's and STAMP's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathduet.core.checksums import checked
from pathduet.core.errors import InputError
from pathduet.core.files import atomic_path
from pathduet.features.feature_file import features_of, open_features
from pathduet.features.patch_attributes import patch_attributes
from pathduet.results import Results

#: Nominal pixel sizes in micrometres, used if the tile's edge in pixels is unknown.
_NOMINAL = {"10x": 1.0, "20x": 0.5}


@dataclass(frozen=True)
class SlideTiles:
    """A slide's tiles at one magnification.

    Attributes
    ----------
    slide_id, magnification, encoder : str
    features : (n, d) floating array
        As stored.
    grid : (n, 2) int array
        Column and row on the lattice.
    corners : (n, 2) float64 array or None
        Top-left corners in level-0 pixels; None if unknown.
    size : (float, float)
        A tile's width and height in level-0 pixels.
    step : (float, float)
        Distance from one tile to the next in level-0 pixels; less than the size if tiles overlap.
    mpp : (float, float) or None
        Level-0 pixel size in micrometres, across and down; None if unknown.
    tile_px : int
        Edge of the encoded picture in pixels.
    size0 : (int, int) or None
        Width and height of level 0; None if unknown.
    """

    slide_id: str
    magnification: str
    encoder: str
    features: NDArray[np.floating]
    grid: NDArray[np.int32]
    corners: NDArray[np.float64] | None
    size: tuple[float, float]
    step: tuple[float, float]
    mpp: tuple[float, float] | None
    tile_px: int
    size0: tuple[int, int] | None = None

    @property
    def known_corners(self) -> NDArray[np.float64]:
        """The corners.

        Raises
        ------
        InputError
            If they are unknown.
        """
        if self.corners is None:
            raise InputError.of(
                f"slide {self.slide_id}, {self.magnification}",
                "features without coordinates",
                "export from features that have them",
            )
        return self.corners

    @property
    def known_mpp(self) -> tuple[float, float]:
        """The level-0 pixel size.

        Raises
        ------
        InputError
            If it is unknown.
        """
        if self.mpp is None:
            raise InputError.of(
                f"slide {self.slide_id}, {self.magnification}",
                "no pixel size of level 0",
                "this layout needs it: give the slide a `path`, or use CLAM's layout",
            )
        return self.mpp


def slide_tiles(results: Results, slide_id: str, magnifications: tuple[str, ...] = ()) -> list[SlideTiles]:
    """Return a slide's tiles at the given magnifications, or at all that exist.

    Raises
    ------
    InputError
        If the features cannot be read, or lack a magnification.
    """
    path = features_of(results, slide_id)
    try:
        with open_features(path) as slide:
            known, there = slide.attributes, slide.magnifications
            if missing := [m for m in magnifications if m not in there]:
                found = f"no features at {' and '.join(missing)}"
                raise InputError.of(f"slide {slide_id}", found, f"--magnification {' or '.join(there)}")
            sizes = [known.get(name) for name in ("mpp_x", "mpp_y")]
            mpp = (float(sizes[0]), float(sizes[1])) if all(sizes) else None  # type: ignore[arg-type]
            tiles = []
            for m in magnifications or there:
                size = slide.tile_size(m)
                pixels = known.get("tile_px") or round(size[0] * (mpp[0] if mpp else 0.0) / _NOMINAL[m])
                corners = slide.coords(m)
                tiles.append(
                    SlideTiles(
                        slide_id, m, str(known.get("encoder", "unknown")), slide.features(m), slide.grid(m),
                        corners, size, slide.step(m), mpp, int(pixels), _size0(path, known),
                    )
                )  # fmt: skip
            return tiles
    except (OSError, KeyError, ValueError) as error:
        raise InputError.of(f"slide {slide_id}, {path.name}", str(error), "extract them again") from None


def _size0(path: Path, known: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the size of level 0, from tiles.h5 beside the features or from the features."""
    import h5py

    if (tiles := checked(path.with_name("tiles.h5"))).is_file():
        with h5py.File(tiles, "r") as file:
            return int(file.attrs["width"]), int(file.attrs["height"])
    return (int(known["width"]), int(known["height"])) if known.get("width") and known.get("height") else None


def write_trident(out: Path, tiles: SlideTiles) -> Path:
    """Write ``20x_224px_0px_overlap/features_<encoder>/<slide>.h5``, the path that TRIDENT uses."""
    import h5py

    known = patch_attributes(
        tiles.slide_id, tiles.tile_px, tiles.size[0], tiles.step[0], tiles.known_mpp[0], tiles.size0
    )
    corners = np.rint(tiles.known_corners).astype(np.int64)
    job = f"{known['target_magnification']}x_{tiles.tile_px}px_{known['overlap']}px_overlap"
    path = out / job / f"features_{_file_name(tiles.encoder)}" / f"{tiles.slide_id}.h5"
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        features = file.create_dataset(
            "features", data=tiles.features.astype(np.float32, copy=False), track_times=False
        )
        features.attrs.update({"name": tiles.slide_id, "encoder": tiles.encoder})
        file.create_dataset("coords", data=corners, track_times=False).attrs.update(known)
    return path


def write_clam(out: Path, tiles: SlideTiles) -> Path:
    """Write ``20x/h5_files/<slide>.h5`` and ``20x/pt_files/<slide>.pt``; the patch size is in level-0 pixels."""
    import h5py
    import torch

    folder, features = out / tiles.magnification, tiles.features.astype(np.float32)
    with atomic_path(folder / "pt_files" / f"{tiles.slide_id}.pt") as temporary:
        torch.save(torch.from_numpy(features), temporary)
    path = folder / "h5_files" / f"{tiles.slide_id}.h5"
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("features", data=features, track_times=False).attrs["encoder"] = tiles.encoder
        coords = file.create_dataset(
            "coords", data=np.rint(tiles.known_corners).astype(np.int32), track_times=False
        )
        level = {"patch_level": 0, "patch_size": round(tiles.size[0]), "downsample": 1.0}
        coords.attrs.update({**level, "name": tiles.slide_id})
    return path


def write_stamp(out: Path, tiles: SlideTiles) -> Path:
    """Write ``20x/<slide>.h5``: `feats` in half precision and corners in micrometres.

    Writes no `stamp_version`: STAMP accepts files without it.
    """
    import h5py

    mpp = np.array(tiles.known_mpp)
    edge = tiles.size[0] * mpp[0]
    path = out / tiles.magnification / f"{tiles.slide_id}.h5"
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("feats", data=tiles.features.astype(np.float16, copy=False), track_times=False)
        file.create_dataset("coords", data=(tiles.known_corners * mpp).astype(np.float32), track_times=False)
        file.attrs.update(
            {
                "unit": "um",
                "tile_size_um": edge,
                "tile_size_px": tiles.tile_px,
                "extractor": tiles.encoder,
                "feat_type": "tile",
            }
        )
    return path


#: Layouts with one file per slide and magnification, built from the features alone.
WRITERS: Mapping[str, Callable[[Path, SlideTiles], Path]] = {
    "trident": write_trident,
    "clam": write_clam,
    "stamp": write_stamp,
}


def _file_name(text: str) -> str:
    """Return a text as a valid part of a path: an encoder may be named after a file or a repository."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in text)

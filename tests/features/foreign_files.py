"""Features in the forms of other tools, written as their documents say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np


def trident(
    path: Path, features: Any, coords: Any, tile0: float = 448, power: float = 20, overlap: int = 0
) -> Path:
    """TRIDENT: rows in chunks of one, attributes on `coords`; the slide at 40x, patches of half as many pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    d = np.shape(features)[-1]
    with h5py.File(path, "w") as file:
        chunks = (1, d) if np.ndim(features) == 2 else (1, 1, d)
        file.create_dataset("features", data=features, chunks=chunks).attrs["name"] = path.stem
        places = file.create_dataset(
            "coords", data=np.rint(coords).astype(np.int64), chunks=(1, 2), maxshape=(None, 2)
        )
        places.attrs.update(
            {
                "patch_size": int(tile0 * power / 40), "patch_size_level0": int(tile0), "level0_magnification": 40,
                "target_magnification": power, "overlap": overlap, "name": path.stem, "savetodir": "/somewhere",
            }
        )  # fmt: skip
    return path


def clam(path: Path, features: Any, coords: Any, **attributes: Any) -> Path:
    """CLAM's h5_files: no attributes, unless some are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["features"] = np.asarray(features, np.float32)
        file["coords"] = np.rint(coords).astype(np.int32)
        file["coords"].attrs.update(attributes)
    return path


def stamp(path: Path, features: Any, coords_um: Any, tile_um: float = 112.0, **attributes: Any) -> Path:
    """STAMP 2.1 and later: half precision, coordinates in micrometres."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["coords"] = np.asarray(coords_um, np.float32)
        file["feats"] = np.asarray(features, np.float16)
        said = {
            "stamp_version": "2.4.0", "extractor": "uni2", "unit": "um", "tile_size_um": tile_um, "tile_size_px": 224,
            "code_hash": "0123abcd", "feat_type": "tile",
        }  # fmt: skip
        file.attrs.update(said | attributes)
    return path

"""A tensor or array of features: .pt as written by CLAM and MCAT, .npy, .npz; or a dictionary with coordinates."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathduet.features.foreign_tiles import FeatureFileError, ForeignTiles

SUFFIXES = (".pt", ".pth", ".npy", ".npz")
_NAMES, _PLACES = ("features", "feats", "arr_0"), ("coords",)


def tiles(path: Path) -> ForeignTiles:
    """Return the tiles of a file. No code in it is executed: only tensors are unpickled, arrays of objects are refused.

    Raises
    ------
    FeatureFileError
        If it contains neither an array nor a dictionary with one.
    """
    try:
        if path.suffix in (".pt", ".pth"):
            found = _tensors(path)
        else:
            found = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
            found = dict(found) if path.suffix == ".npz" else found
    except (ValueError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise FeatureFileError(f"no array that can be read ({str(error).splitlines()[0][:160]})") from None
    coords: Any = None
    if isinstance(found, Mapping):
        names = [name for name in _NAMES if name in found]
        if not names:
            raise FeatureFileError(f"neither of {', '.join(_NAMES)} in it, but {', '.join(map(str, found))}")
        coords = next((np.asarray(found[name]) for name in _PLACES if name in found), None)
        found = found[names[0]]
    if not hasattr(found, "shape"):
        raise FeatureFileError(f"a {type(found).__name__}, not an array")
    note = "no coordinates: tiles in the file's order, no heatmap" if coords is None else ""
    return ForeignTiles("arrays", found, coords, notes=(note,) if note else ())


def _tensors(path: Path) -> Any:
    """Return what torch saved, with tensors as arrays, memory-mapped if possible."""
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # written before torch 1.6
        found = torch.load(path, map_location="cpu", weights_only=True)

    def array(value: Any) -> NDArray[Any] | Any:
        if not isinstance(value, torch.Tensor):
            return value
        value = value.detach()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()

    return {name: array(value) for name, value in found.items()} if isinstance(found, dict) else array(found)

"""Feature files of other tools: detects their layout, opens them, and finds the files of slides in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pathduet.core.errors import InputError
from pathduet.features.foreign_tiles import FeatureFileError, ForeignTiles, Runs
from pathduet.features.layouts import arrays, clam, pathduet, stamp, trident

#: By name, in order of detection: CLAM's layout is the least specific.
LAYOUTS = {"pathduet": pathduet, "stamp": stamp, "trident": trident, "clam": clam, "arrays": arrays}
_HDF5 = (".h5", ".hdf5")


@contextmanager
def open_tiles(
    path: Path, magnification: str | None = None, layout: str | None = None, runs: Runs | None = None
) -> Iterator[ForeignTiles]:
    """Open one magnification of a slide's features for reading.

    Parameters
    ----------
    path : Path
        HDF5 (.h5, .hdf5), or a tensor or array (.pt, .pth, .npy, .npz).
    magnification : str, optional
        Which one, if the file holds several.
    layout : str, optional
        The layout that the file must have, a key of :data:`LAYOUTS`.
    runs : mapping, optional
        :attr:`ForeignTiles.runs` of this file, if already known.

    Raises
    ------
    FeatureFileError
        If it cannot be read, or has another layout.
    FileNotFoundError
        If it does not exist.
    """
    import h5py

    if not path.is_file():
        raise FileNotFoundError(path.name)
    if path.suffix in arrays.SUFFIXES:
        # CLAM's and TRIDENT's tensors have no specific layout
        if layout not in (None, "arrays", "clam", "trident"):
            raise FeatureFileError(f"{path.suffix}, where HDF5 of {layout} is expected")
        yield arrays.tiles(path)
        return
    if path.suffix not in _HDF5:
        raise FeatureFileError(
            f"a file of kind {path.suffix!r}: known are {', '.join([*_HDF5, *arrays.SUFFIXES])}"
        )
    try:
        with h5py.File(path, "r") as file:
            yield _tiles(file, path, magnification, layout, runs or {})
    except OSError as error:
        raise FeatureFileError(f"no HDF5 that can be read ({error})") from None


def _tiles(file: Any, path: Path, magnification: str | None, layout: str | None, runs: Runs) -> ForeignTiles:
    forms = {name: form for name, form in LAYOUTS.items() if form is not arrays}
    found = [name for name, form in forms.items() if form.recognises(file)]  # type: ignore[attr-defined]
    if not found:
        held = ", ".join(file) or "nothing"
        raise FeatureFileError(f"it holds {held}: no layout of {', '.join(forms)}")
    # a file may match several layouts: the user's choice takes precedence
    if layout is not None and layout not in found:
        raise FeatureFileError(f"the layout is {found[0]}'s, not {layout}'s")
    name = layout or found[0]
    if name == "pathduet":
        return pathduet.tiles(file, path, magnification)
    if name == "stamp":
        return stamp.tiles(file)
    return forms[name].tiles(file, path, runs)  # type: ignore[call-arg, no-any-return]


def magnifications_in(path: Path, layout: str | None = None) -> tuple[str, ...]:
    """Return the magnifications that a file states; () if it states none. Raises like :func:`open_tiles`."""
    import h5py

    if path.suffix in _HDF5 and path.is_file() and h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            if pathduet.recognises(file):
                return pathduet.FeatureReader(file).magnifications
    with open_tiles(path, layout=layout) as tiles:
        return (tiles.magnification,) if tiles.magnification else ()


def files_in(folder: Path, layout: str | None = None) -> dict[str, Path]:
    """Return the feature files below a folder by slide id: the file's name, or the folder's of a features.h5.

    A tensor beside an HDF5 file of the same name is skipped: it has no coordinates.

    Raises
    ------
    InputError
        If two files of one kind share a name, like those of two encoders.
    """
    found: dict[str, Path] = {}
    kinds = arrays.SUFFIXES if layout == "arrays" else (*_HDF5, *arrays.SUFFIXES)
    for suffix in kinds:
        for path in sorted(folder.rglob(f"*{suffix}")):
            slide_id = path.parent.name if path.name == "features.h5" else path.stem
            known = found.setdefault(slide_id, path)
            if known != path and known.suffix == suffix:
                where = f"features.folder {folder}, slide {slide_id}"
                both = f"{known.relative_to(folder)} and {path.relative_to(folder)}"
                raise InputError.of(where, both, "name the folder of one encoder and magnification")
    return found

"""A slide's stain matrix and maximum concentrations, fitted to a sample of its pixels, and those of the target."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathduet.core.errors import PathDuetError
from pathduet.slides.settings import StainSettings
from pathduet.slides.stain import vahadane

_SAMPLE_SEED = 0


@dataclass(frozen=True)
class Stains:
    """Two stains and how much of each there is at most.

    Attributes
    ----------
    matrix : (2, 3) array
        Rows of norm 1 in optical density; haematoxylin first.
    max_concentrations : (2,) array
        The configured percentile of each stain's concentrations over the pixel sample.
    pixels : int
        Size of the sample.
    note : str
        Empty, or what was done instead of the usual fit.
    """

    matrix: NDArray[np.float64]
    max_concentrations: NDArray[np.float64]
    pixels: int
    note: str = ""


def stained_pixels(rgb: NDArray[np.uint8], settings: StainSettings) -> NDArray[np.uint8]:
    """Return at most ``sample_pixels`` of the pixels darker than the luminosity threshold, (n, 3)."""
    flat = rgb.reshape(-1, 3)
    dark = flat[vahadane.lightness(flat) < settings.luminosity_threshold]
    if len(dark) > settings.sample_pixels:
        rng = np.random.default_rng(_SAMPLE_SEED)
        dark = dark[np.sort(rng.choice(len(dark), settings.sample_pixels, replace=False))]
    return dark


def unlike_he(pixels: NDArray[np.uint8]) -> float:
    """Return the share of stained pixels whose colour haematoxylin and eosin cannot give.

    Both absorb green most: no mixture absorbs green least (green, unless it is ink), or green alone (pure magenta). A file
    whose colours are decoded the wrong way, or another stain, shows both; slides of six scanners gave less than 2 %, pen
    included.
    """
    if not len(pixels):
        return 0.0
    density = vahadane.optical_density(pixels)
    red, green, blue = density[:, 0], density[:, 1], density[:, 2]
    greenish = green < np.minimum(red, blue) - 0.03
    magenta = (np.maximum(red, blue) < 0.05) & (green > 0.3)
    return float((greenish | magenta).mean())


def fit_stains(pixels: NDArray[np.uint8], settings: StainSettings) -> Stains:
    """Fit stain matrix and maximum concentrations.

    Parameters
    ----------
    pixels : (n, 3) uint8 array
        From :func:`stained_pixels`.
    settings : StainSettings
        Backend, regularizer, percentile.

    Raises
    ------
    vahadane.StainError
        If two stains cannot be told apart.
    """
    density = vahadane.optical_density(pixels)
    if settings.backend == "staintools":
        from pathduet.slides.stain import staintools_backend

        matrix = staintools_backend.stain_matrix(pixels, settings.luminosity_threshold, settings.regularizer)
        amounts = staintools_backend.concentrations(pixels, matrix)
    else:
        matrix = vahadane.stain_matrix(density, settings.regularizer)
        amounts = vahadane.concentrations(density, matrix)
    return Stains(matrix, np.percentile(amounts, settings.percentile, axis=0), len(pixels))


def fit_slide(pixels: NDArray[np.uint8], settings: StainSettings, target: Stains) -> Stains:
    """Fit a slide's stains; where that fails, use the target's directions and say so in the note.

    A stain that the slide does not have at all keeps the target's maximum, so that nothing is amplified.
    """
    try:
        return fit_stains(pixels, settings)
    except vahadane.StainError as error:
        note = f"the target's stain directions were used: {error}"
    highest = target.max_concentrations
    if len(pixels):
        amounts = vahadane.concentrations(vahadane.optical_density(pixels), target.matrix)
        found = np.percentile(amounts, settings.percentile, axis=0)
        highest = np.where(found > 0.05 * target.max_concentrations, found, target.max_concentrations)
    return Stains(target.matrix, highest, len(pixels), note)


@lru_cache(maxsize=4)
def target_stains(settings: StainSettings) -> Stains:
    """Return the stains that every slide is mapped to: the shipped ones, or those of the user's image.

    Raises
    ------
    PathDuetError
        If the image cannot be read or has no two stains, or if the shipped numbers were derived with other
        settings than these.
    """
    if settings.target == "shipped":
        text = (
            resources.files("pathduet.slides.stain").joinpath("stain_target.json").read_text(encoding="utf-8")
        )
        shipped = json.loads(text)
        wanted = {
            "regularizer": settings.regularizer,
            "luminosity_threshold": settings.luminosity_threshold,
            "percentile": settings.percentile,
        }
        if shipped["settings"] != wanted:
            raise PathDuetError(
                f"the shipped stain target was derived with {shipped['settings']}, the configuration says {wanted}; "
                "keep these, or name an image of your own as stain.target"
            )
        return Stains(np.array(shipped["matrix"]), np.array(shipped["max_concentrations"]), shipped["pixels"])
    from PIL import Image

    path = Path(settings.target)
    try:
        with Image.open(path) as image:
            rgb = np.asarray(image.convert("RGB"))
    except OSError as error:
        raise PathDuetError(
            f"stain.target: {path.name} cannot be read as an image ({error}); name a PNG, JPEG or TIFF"
        ) from error
    try:
        return fit_stains(stained_pixels(rgb, settings), settings)
    except vahadane.StainError as error:
        raise PathDuetError(f"stain.target: {path.name}: {error}; name another image") from error

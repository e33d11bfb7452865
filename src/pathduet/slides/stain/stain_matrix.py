"""Stain matrix and maximum concentrations of a slide, fitted to a sample of its pixels, and of the target."""

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
WHITE = (255.0, 255.0, 255.0)
_PLAIN_GLASS, _PLAIN_TINT = 205, 16
_MAX_UNLIKE_HE = 0.05  # share of stained pixels
#: Absorption of red plus blue relative to green by the second stain: eosin 0.4 to 1.2 on real slides, haematoxylin 1.3.
_MAX_EOSIN = 1.35
#: Red relative to green in the pinkest tenth of the pixels: 0.2 to 0.76 on real slides, 0.86 and more without eosin. Blue with
#: little eosin: at most 0.61, for pixels and for stains.
_NO_EOSIN, _LITTLE_EOSIN, _BLUE_OF_HE, _MAGENTA = 0.85, 0.5, 0.66, 0.36
_FAINT_SHARE = 1 / 3  # of the target's concentrations: available slides have 0.44 and more
_FAINT_DENSITY = 0.45


@dataclass(frozen=True)
class Stains:
    """Two stains and their maximum concentrations.

    Attributes
    ----------
    matrix : (2, 3) array
        Rows of norm 1 in optical density; haematoxylin first.
    max_concentrations : (2,) array
        The configured percentile of each stain's concentrations over the pixel sample.
    pixels : int
        Size of the sample.
    note : str
        Empty, or any deviation from the usual fit.
    white : (3,) tuple of float
        Reference white, RGB: 255, or the colour of tinted glass. Densities are relative to it.
    """

    matrix: NDArray[np.float64]
    max_concentrations: NDArray[np.float64]
    pixels: int
    note: str = ""
    white: tuple[float, float, float] = WHITE


def stained_pixels(rgb: NDArray[np.uint8], settings: StainSettings) -> NDArray[np.uint8]:
    """Return at most ``sample_pixels`` of the pixels darker than the luminosity threshold, (n, 3)."""
    flat = rgb.reshape(-1, 3)
    dark = flat[vahadane.lightness(flat) < settings.luminosity_threshold]
    if len(dark) > settings.sample_pixels:
        rng = np.random.default_rng(_SAMPLE_SEED)
        dark = dark[np.sort(rng.choice(len(dark), settings.sample_pixels, replace=False))]
    return dark


def white_point(glass: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return a slide's reference white: 255, as in the published method, unless its glass is tinted or dim."""
    plain = min(glass) > _PLAIN_GLASS and max(glass) - min(glass) < _PLAIN_TINT
    return WHITE if plain else glass


def white_table(white: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Return a table of each channel's values, scaled so that `white` becomes 255, (256, 3)."""
    table = np.rint(np.arange(256)[:, None] * (255.0 / np.array(white)))
    return np.minimum(table, 255).astype(np.uint8)


def unlike_he(pixels: NDArray[np.uint8]) -> float:
    """Return the share of stained pixels whose colour haematoxylin and eosin cannot give.

    Both absorb green most: no mixture absorbs green least (green, unless it is ink), or green alone (pure magenta).
    Wrongly decoded files and other stains show both; slides of six scanners gave less than 2 %, pen included.
    """
    red, green, blue = vahadane.optical_density(pixels).T
    greenish = green < np.minimum(red, blue) - 0.03
    magenta = (np.maximum(red, blue) < 0.05) & (green > 0.3)
    return float((greenish | magenta).mean()) if len(pixels) else 0.0


def _brown(pixels: NDArray[np.uint8]) -> float:
    """Return the share of pixels that absorb blue most, and red too, unlike blood: diaminobenzidine (DAB), pigment."""
    red, green, blue = vahadane.optical_density(pixels).T
    return float(((blue > green + 0.05) & (red > 0.4 * green)).mean()) if len(pixels) else 0.0


def other_stain(pixels: NDArray[np.uint8], stains: Stains | None) -> str:
    """Return why a slide's colours are not those of haematoxylin and eosin; empty if they may be.

    Magenta and red dyes that absorb like eosin (PAS, Fast Red) cannot be distinguished from it.
    """
    odd, brown = unlike_he(pixels), _brown(pixels)
    if odd > _MAX_UNLIKE_HE:
        return (
            f"colours of {100 * odd:.0f} % of the stained pixels are not those of haematoxylin and eosin: decoded "
            "wrongly, or another stain"
        )
    if brown > _MAX_UNLIKE_HE:
        return f"{100 * brown:.0f} % of the stained pixels are brown: another stain (DAB), or pigment"
    pinkest, blueness = _hue(pixels)
    bluest, no_eosin = blueness, pinkest > _NO_EOSIN
    if stains is not None and not stains.note:
        bluest = max(blueness, *(stains.matrix[:, 2] / np.maximum(stains.matrix[:, 1], 1e-6)).tolist())
        red, green, blue = stains.matrix[1].tolist()
        no_eosin |= (red + blue) / max(green, 1e-6) > _MAX_EOSIN
    if no_eosin or (pinkest > _LITTLE_EOSIN and bluest > _BLUE_OF_HE):
        return (
            "hardly anything absorbs green like eosin (relative to green, the pinkest tenth of the stained pixels absorbs red "
            f"{pinkest:.2f} times, a stain blue {bluest:.2f} times): another stain"
        )
    if 0 < blueness < _MAGENTA:
        return (
            f"the stained pixels absorb blue {blueness:.2f} times as much as green (median), H&E on scanners 0.4 to 0.7 times: "
            "another stain (PAS), or another camera"
        )
    return ""


def _hue(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Return how much red (tenth percentile) and blue (median) stained pixels absorb, relative to green."""
    if not len(pixels):
        return 0.0, 0.0
    red, green, blue = np.maximum(vahadane.optical_density(pixels), 0.01).T
    return float(np.percentile(red / green, 10)), float(np.median(blue / green))


def faint_stain(tissue: NDArray[np.uint8], stains: Stains, target: Stains) -> str:
    """Return how faint a slide's stain is, if normalisation would amplify it strongly; empty otherwise.

    Parameters
    ----------
    tissue : (n, 3) uint8 array
        Pixels of tissue tiles, including pale ones.
    stains, target : Stains
    """
    densest = float(np.percentile(vahadane.optical_density(tissue[:, 1]), 90))
    if densest < _FAINT_DENSITY:
        return f"faint stain: nine in ten pixels absorb less than {densest:.2f} of green (optical density; usual are 0.65 to 2.1)"
    share = stains.max_concentrations / target.max_concentrations
    if share.min() < _FAINT_SHARE:
        which = ("haematoxylin", "eosin")[int(share.argmin())]
        return f"faint stain: {which} is amplified {1 / share.min():.1f} times to reach the target, noise included"
    return ""


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
        If two stains cannot be separated.
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
    """Fit a slide's stains; if that fails, use the target's directions and record that in the note.

    A stain that is absent from the slide keeps the target's maximum, so that nothing is amplified.
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
    """Return the stains that every slide is mapped to: the shipped target, or the user's image.

    Raises
    ------
    PathDuetError
        If the image cannot be read or does not show two stains, or if the shipped target has other settings.
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
                "keep these, or name your own image as stain.target"
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

"""The reference implementation of Vahadane's stain separation, staintools on spams, if it is installed.

staintools runs the dictionary learning for one second of wall time, so its result depends on the machine's load; here it
gets a fixed number of iterations instead. Only a private copy of its module is changed: other code that imports
staintools gets the original.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathduet.core.errors import PathDuetError

_ITERATIONS = 2000  # 300 leave a direction up to 3.5 degrees from the optimum on some slides


@lru_cache(maxsize=1)
def _staintools() -> tuple[Any, Any]:
    try:
        import spams
        import staintools.stain_extraction.vahadane_stain_extractor as original
        from staintools.miscellaneous import get_concentrations
    except ImportError as error:
        raise PathDuetError(
            f"stain.backend: staintools cannot be imported ({error}); install pathduet[staintools] "
            "(its OpenCV needs the system's libGL: on a server `pip install opencv-python-headless` "
            "in place of opencv-python), or use stain.backend: closed_form, which gives the same numbers"
        ) from error
    spec = original.__spec__
    assert spec is not None and spec.loader is not None
    own: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own)
    learn = partial(spams.trainDL, iter=_ITERATIONS, numThreads=1, batchsize=256)
    own.spams = SimpleNamespace(trainDL=learn)
    return own.VahadaneStainExtractor, get_concentrations.get_concentrations


def stain_matrix(
    pixels: NDArray[np.uint8], luminosity_threshold: float, regularizer: float
) -> NDArray[np.float64]:
    """Return staintools' (2, 3) stain matrix of (n, 3) pixels."""
    from pathduet.slides.stain.vahadane import StainError

    extractor, _ = _staintools()
    if len(pixels) < 100:
        raise StainError(f"only {len(pixels)} tissue pixels to learn two stains from")
    image = np.array(pixels, np.uint8).reshape(-1, 1, 3)  # a copy: staintools changes its input
    matrix = np.asarray(extractor.get_stain_matrix(image, luminosity_threshold, regularizer))
    if not np.isfinite(matrix).all():
        raise StainError("staintools found one stain only")
    return matrix


def concentrations(pixels: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return staintools' (n, 2) concentrations of (n, 3) pixels."""
    _, get_concentrations = _staintools()
    return np.asarray(get_concentrations(np.array(pixels, np.uint8).reshape(-1, 1, 3), matrix))

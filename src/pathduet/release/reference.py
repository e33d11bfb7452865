"""The training slides as a reference: how unusual a new slide's stain, features and size are.

The mean feature vector, the stain vectors and the tile counts of at most 512 training slides are kept. A new slide's
feature distance is that to its fifth-nearest training slide, each feature standardised by its mean and SD over training
slides, per feature (root mean square). Training slides are measured the same way, without their own patient, which
gives the percentiles. Slides are identified by a fingerprint of their tissue, never by id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathduet.core.checksums import checked
from pathduet.core.files import atomic_path
from pathduet.features.feature_file import features_in, open_features

MOST_SLIDES, NEIGHBOURS = 512, 5
#: A value above this percentile of the training slides is at their edge; one above all of them is outside.
EDGE = 95.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SlideProfile:
    """The quantities by which slides are compared.

    Attributes
    ----------
    fingerprint : str
        Hash of its size, tissue mask and encoded tiles: the same for the same slide, whatever its name.
    means : dict of str to (d,) float32 array
        Mean feature vector by magnification.
    tiles : dict of str to int
        Encoded tiles by magnification.
    stain : (2, 3) array
        Rows of norm 1, haematoxylin first; NaN without normalisation.
    strength : (2,) array
        Maximum concentrations; NaN without normalisation.
    """

    fingerprint: str
    means: dict[str, NDArray[np.float32]]
    tiles: dict[str, int]
    stain: Floats
    strength: Floats


def slide_profile(folder: Path) -> SlideProfile:
    """Read a slide's profile from its artifacts: features.h5, tiles.h5, and stain.json (which may be absent).

    For a slide with features of another tool, only the tiles' positions are available.
    """
    import h5py

    digest = hashlib.sha256()
    means, tiles = {}, {}
    # Engines and devices change features in their last bits; tissue mask and encoded tiles are always the same.
    path = features_in(folder)
    foreign = path.suffix == ".json"
    if not foreign:
        with h5py.File(checked(folder / "tiles.h5"), "r") as file:
            digest.update(f"{file.attrs['width']} {file.attrs['height']}".encode())
            digest.update(np.ascontiguousarray(file["mask"][:], dtype=np.uint8).tobytes())
    with open_features(path) as slide:
        for m in slide.magnifications:
            digest.update(np.ascontiguousarray(slide.grid(m), dtype="<i4").tobytes())
            values = slide.features(m)
            means[m] = values.astype(np.float64).mean(axis=0).astype(np.float32)
            tiles[m] = len(values)
            if foreign:  # without a tissue mask, the grid alone does not identify a slide
                digest.update(means[m].tobytes())
    matrix, strength = np.full((2, 3), np.nan), np.full(2, np.nan)
    if not foreign and (stain := checked(folder / "stain.json")).is_file():
        source = json.loads(stain.read_text(encoding="utf-8"))["source"]
        if source is not None:
            matrix, strength = np.array(source["matrix"]), np.array(source["max_concentrations"])
    return SlideProfile(digest.hexdigest(), means, tiles, matrix, strength)


@dataclass(frozen=True)
class Reference:
    """The training slides, ordered by fingerprint.

    Attributes
    ----------
    fingerprints : tuple of str
        Of all training slides, including those not kept.
    folds : tuple of int
        The fold whose test part contained each of them.
    patients : (n,) int array
        Patient number of each of the n slides kept below.
    kept : tuple of str
        Fingerprints of those n slides.
    means : dict of str to (n, d) float32 array
    tiles : dict of str to (n,) int array
    stain : (n, 2, 3) array
    strength : (n, 2) array
    """

    fingerprints: tuple[str, ...]
    folds: tuple[int, ...]
    kept: tuple[str, ...]
    patients: NDArray[np.int64]
    means: dict[str, NDArray[np.float32]]
    tiles: dict[str, NDArray[np.int64]]
    stain: Floats
    strength: Floats

    @classmethod
    def of(cls, slides: Sequence[tuple[SlideProfile, str, int]]) -> Reference:
        """Build the reference from training slides: (profile, patient id, fold of the test part)."""
        ordered = sorted(slides, key=lambda one: one[0].fingerprint)
        count = min(len(ordered), MOST_SLIDES)
        kept = [ordered[i * len(ordered) // count] for i in range(count)]
        numbers: dict[str, int] = {}
        groups = [numbers.setdefault(patient, len(numbers)) for _, patient, _ in kept]
        read = sorted(set.intersection(*(set(profile.means) for profile, _, _ in kept)))
        return cls(
            tuple(profile.fingerprint for profile, _, _ in ordered),
            tuple(fold for _, _, fold in ordered),
            tuple(profile.fingerprint for profile, _, _ in kept),
            np.array(groups, dtype=np.int64),
            {m: np.stack([profile.means[m] for profile, _, _ in kept]) for m in read},
            {m: np.array([profile.tiles[m] for profile, _, _ in kept]) for m in read},
            np.stack([profile.stain for profile, _, _ in kept]),
            np.stack([profile.strength for profile, _, _ in kept]),
        )

    def save(self, folder: Path) -> None:
        """Write reference.safetensors and reference.json."""
        from safetensors.numpy import save

        from pathduet.core.files import write_json

        tensors: dict[str, NDArray[Any]] = {f"means.{m}": values for m, values in self.means.items()}
        tensors |= {f"tiles.{m}": counts.astype(np.int64) for m, counts in self.tiles.items()}
        tensors |= {"patients": self.patients, "stain": self.stain, "strength": self.strength}
        with atomic_path(folder / "reference.safetensors") as temporary:
            temporary.write_bytes(save(tensors))
        plain = {"fingerprints": list(self.fingerprints), "folds": list(self.folds), "kept": list(self.kept)}
        write_json(folder / "reference.json", plain)

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Read what :meth:`save` wrote."""
        from safetensors.numpy import load

        tensors = load((folder / "reference.safetensors").read_bytes())
        plain = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
        read = [m for m in ("10x", "20x") if f"means.{m}" in tensors]
        return cls(
            tuple(plain["fingerprints"]), tuple(plain["folds"]), tuple(plain["kept"]), tensors["patients"],
            {m: tensors[f"means.{m}"] for m in read},
            {m: tensors[f"tiles.{m}"] for m in read},
            tensors["stain"], tensors["strength"],
        )  # fmt: skip

    def test_fold(self, fingerprint: str) -> int | None:
        """Return the fold whose test part contained a training slide; None if the slide is not among them."""
        known = dict(zip(self.fingerprints, self.folds, strict=True))
        return known.get(fingerprint)

    def hints(self, slide: SlideProfile) -> dict[str, Any]:
        """Compare a slide with the training slides.

        Returns
        -------
        dict
            JSON-ready: ``feature_distance`` by magnification, ``stain_angle_degrees`` of haematoxylin and eosin to the
            training slides' mean vectors, ``stain_strength`` and ``tiles``; each with value, training quantiles,
            percentile among training slides and verdict (``within``, ``edge``, ``outside``; None if
            unknown); ``verdict``: the worst of them.
        """
        others = self.patients == -1
        if slide.fingerprint in self.kept:  # compare a training slide with other patients' slides
            others = self.patients == self.patients[self.kept.index(slide.fingerprint)]
        found: dict[str, Any] = {
            "feature_distance": {m: self._distance(slide, m, others) for m in self.means},
            "stain_angle_degrees": {},
            "stain_strength": {},
            "tiles": {m: ranked(slide.tiles[m], self.tiles[m], lowest=True) for m in self.means},
        }
        for i, name in enumerate(("haematoxylin", "eosin")):
            angles, own = _angles(self.stain[:, i], slide.stain[i])
            found["stain_angle_degrees"][name] = ranked(own, angles)
            found["stain_strength"][name] = ranked(
                slide.strength[i], self.strength[:, i], lowest=True, highest=True
            )
        verdicts = [one["verdict"] for group in found.values() for one in group.values()]
        known = [verdict for verdict in verdicts if verdict]
        order = ("within", "edge", "outside")
        found["verdict"] = max(known, key=order.index) if known else None
        found["training_slides"] = len(self.fingerprints)
        return found

    def _distance(self, slide: SlideProfile, m: str, others: NDArray[np.bool_]) -> dict[str, Any]:
        training = self.means[m].astype(np.float64)
        mean, sd = training.mean(axis=0), training.std(axis=0)
        scale = np.where(sd > 1e-6, sd, 1.0)
        standard = (training - mean) / scale
        own = _nearest((slide.means[m].astype(np.float64) - mean) / scale, standard[~others])
        each = [
            _nearest(standard[i], standard[self.patients != self.patients[i]]) for i in range(len(standard))
        ]
        return ranked(own, np.array(each))


def _nearest(point: Floats, cloud: Floats) -> float:
    """Return the distance (per feature) to the fifth-nearest point, or the farthest of fewer; NaN if none."""
    if not len(cloud):
        return float("nan")
    distances = np.sort(np.sqrt(np.square(cloud - point).mean(axis=1)))
    return float(distances[min(NEIGHBOURS, len(cloud)) - 1])


def _angles(training: Floats, own: Floats) -> tuple[Floats, float]:
    """Return the angles in degrees of training vectors (n, 3), and of one more, to the training vectors' mean."""
    known = training[np.isfinite(training).all(axis=1)]
    if not len(known) or not np.isfinite(own).all():
        return np.array([]), float("nan")
    mean = known.mean(axis=0)
    mean /= np.linalg.norm(mean)
    cosines = np.append(known, own[None], axis=0) @ mean
    degrees = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    return degrees[:-1], float(degrees[-1])


def ranked(
    value: float, training: NDArray[Any], *, lowest: bool = False, highest: bool = False
) -> dict[str, Any]:
    """Return a value's rank among training values.

    Parameters
    ----------
    lowest, highest : bool
        Which values are unusual: low, high, or both; by default high.
    """
    known = np.sort(np.asarray(training, dtype=np.float64))
    known = known[np.isfinite(known)]
    if not np.isfinite(value) or len(known) < 3:
        shown = float(value) if np.isfinite(value) else None
        return {"value": shown, "training": None, "percentile": None, "verdict": None}
    highest = highest or not lowest
    percentile = 100.0 * float((known <= value).mean())
    outside = (highest and value > known[-1]) or (lowest and value < known[0])
    edge = (highest and percentile > EDGE) or (lowest and 100.0 * (known < value).mean() < 100.0 - EDGE)
    quantiles = np.quantile(known, [0.0, 0.5, EDGE / 100, 1.0])
    return {
        "value": float(value),
        "training": dict(zip(("min", "median", "p95", "max"), (float(q) for q in quantiles), strict=True)),
        "percentile": percentile,
        "verdict": "outside" if outside else "edge" if edge else "within",
    }


def plain_verdict(hints: Mapping[str, Any]) -> str:
    """Return the verdict as a sentence."""
    return {
        None: "Cannot be compared with the training slides (too few of them).",
        "within": "Looks like the training slides.",
        "edge": "At the edge of the training slides: be careful.",
        "outside": "Unlike the training slides: the prediction may mean nothing.",
    }[hints["verdict"]]

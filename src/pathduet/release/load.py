"""A released folder, verified and opened: settings, reference data, and networks that are loaded on first use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pathduet.cohort.tasks import Task
from pathduet.core.config import schema_problems
from pathduet.core.errors import InputError, PathDuetError, Problems
from pathduet.expression.gene_scaling import GeneScaling
from pathduet.release.contents import read_json, verify
from pathduet.release.reference import Reference
from pathduet.slides.encoders.registry import SOURCE_OPTIONS, known
from pathduet.slides.settings import SlideSettings
from pathduet.training.model_folder import ModelDescription, load_model

_ADVICE = "download or export the release again"
#: Settings that name a file or describe a machine: only this machine may set them, never a release.
LOCAL_SETTINGS = ("weights", "device", "engine", "compile", "batch_size")


@dataclass
class Release:
    """A verified release.

    Attributes
    ----------
    folder : Path
    manifest : dict
        With `id`, the manifest's SHA-256.
    settings : SlideSettings
        How slides are tiled, normalised and encoded.
    encoder : dict
        The encoder that the models' features must record.
    reference : Reference
        The training slides.
    scalings : dict of int to GeneScaling
        By fold.
    tasks : dict of str to Task
    risks : dict
        By (survival task, model): ``training_risks`` (fold to risks) and ``observed_groups``.
    """

    folder: Path
    manifest: dict[str, Any]
    settings: SlideSettings
    encoder: dict[str, Any]
    reference: Reference
    scalings: dict[int, GeneScaling]
    tasks: dict[str, Task]
    risks: dict[tuple[str, str], Any]
    _networks: dict[tuple[str, str], list[tuple[nn.Module, ModelDescription]]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The manifest's SHA-256."""
        return str(self.manifest["id"])

    @property
    def folds(self) -> list[int]:
        """Folds whose models are included."""
        return [int(fold) for fold in self.manifest["folds"]]

    @property
    def magnifications(self) -> tuple[str, ...]:
        """Magnifications that the models read."""
        return tuple(self.reference.means)

    @property
    def unit(self) -> str:
        """The unit of the training tables.

        Raises
        ------
        InputError
            If they had several units.
        """
        units = sorted({unit for scaling in self.scalings.values() for unit in scaling.units.values()})
        if len(units) != 1:
            found = f"missing, and the training tables were {' and '.join(units)}"
            raise InputError.of("--unit", found, "give its unit")
        return units[0]

    def model_for(self, task: str, kind: str) -> str | None:
        """Return the model that predicts a task from ``slides`` or with ``expression``; None if there is none."""
        return self.manifest["tasks"][task].get(kind)

    def networks(self, task: str, model: str) -> list[tuple[nn.Module, ModelDescription]]:
        """Return the folds' networks, on the CPU, loaded on first use.

        Raises
        ------
        InputError
            If a file is not a valid model file.
        """
        if (task, model) not in self._networks:
            loaded = []
            for fold in self.folds:
                part = f"models/{task}/{model}/fold-{fold}"
                for name in ("weights.safetensors", "model.json"):
                    if f"{part}/{name}" not in self.manifest["files"]:
                        where = f"release {self.folder}, {part}/{name}"
                        raise InputError.of(where, "not in the manifest", _ADVICE)
                network, description, _ = load_model(self.folder / part)
                self._check(part, description, task, fold)
                loaded.append((network, description))
            self._networks[(task, model)] = loaded
        return self._networks[(task, model)]

    def summary(self) -> dict[str, Any]:
        """Return the release's entry in a prediction."""
        return {
            "name": self.manifest["name"],
            "id": self.id,
            "package_version": self.manifest["package_version"],
            "simulated_cohort": bool(self.manifest.get("simulated_cohort")),
            "training_slides": len(self.reference.fingerprints),
        }

    def _check(self, part: str, description: ModelDescription, task: str, fold: int) -> None:
        scaling = self.scalings.get(fold)
        problems, where = Problems(), f"release {self.folder}, {part}"
        if (description.task, description.fold) != (self.tasks[task], fold):
            problems.add(where, f"a model of {description.task.name}, fold {description.fold}", _ADVICE)
        if dict(description.encoder) != self.encoder:
            problems.add(where, "trained on another encoder's features than settings.json says", _ADVICE)
        if any(description.genes.values()) and not (scaling and scaling.fits(description.genes)):
            problems.add(where, "made for other genes than those of the fold's scaler", _ADVICE)
        problems.check()


def load_release(folder: Path, encoder: Mapping[str, Any] | None = None, mpp: float | None = None) -> Release:
    """Verify and open a release.

    Parameters
    ----------
    folder : Path
        The release.
    encoder : mapping, optional
        This machine's settings, which override the encoder's: weights, device, engine, batch_size.
    mpp : float, optional
        Level-0 pixel size in micrometres, for slides that do not record it.

    Raises
    ------
    InputError
        If a file is altered or missing, or the encoder's weights here differ from those used in training.
    """
    folder = folder.resolve()
    manifest = verify(folder)
    try:
        plain = read_json(folder, manifest, "settings.json")
        settings = _slide_settings(folder, manifest, plain, encoder or {}, mpp)
        for name in ("reference/reference.json", "reference/reference.safetensors"):
            if name not in manifest["files"]:
                raise KeyError(name)
        scalings = {
            int(fold): GeneScaling.from_plain(read_json(folder, manifest, f"genes/fold-{int(fold)}.json"))
            for fold in manifest["folds"]
            if f"genes/fold-{int(fold)}.json" in manifest["files"]
        }
        tasks = {str(name): Task.of(str(name), manifest["task_settings"][name]) for name in manifest["tasks"]}
        risks = {
            (name, str(model)): read_json(folder, manifest, f"survival/{name}/{model}.json")
            for name, task in tasks.items()
            if task.kind == "survival"
            for model in manifest["tasks"][name].values()
        }
        reference = Reference.load(folder / "reference")
    except PathDuetError:
        raise
    except Exception as error:
        found = f"not a whole release ({type(error).__name__}: {str(error)[:200]})"
        raise InputError.of(f"release {folder}", found, _ADVICE) from error
    release = Release(
        folder, manifest, settings, dict(plain["encoder_facts"]), reference, scalings, tasks, risks
    )
    _check_target(release, plain)
    return release


def _slide_settings(
    folder: Path,
    manifest: Mapping[str, Any],
    plain: Mapping[str, Any],
    encoder: Mapping[str, Any],
    mpp: float | None,
) -> SlideSettings:
    sections = {name: dict(plain[name]) for name in ("slides", "stain", "encoder")}
    target = sections["stain"]["target"]
    if target != "shipped":
        if target not in manifest["files"] or "/" in target:
            raise KeyError(target)
        sections["stain"]["target"] = str(folder / target)
    _refuse_sources(folder, sections["encoder"])
    problems = Problems(schema_problems({**sections, "seed": plain["seed"]}))
    if not known(sections["encoder"]["name"]):
        problems.add("encoder.name", repr(sections["encoder"]["name"]), "see `pathduet encoders`")
    if problems:
        raise InputError.of(f"release {folder}, settings.json", "; ".join(map(str, problems)), _ADVICE)
    sections["encoder"] |= {key: value for key, value in encoder.items() if value is not None}
    settings = SlideSettings.from_mapping({**sections, "seed": plain["seed"]})
    return settings if mpp is None else replace(settings, tile=replace(settings.tile, default_mpp=mpp))


def _refuse_sources(folder: Path, encoder: Mapping[str, Any]) -> None:
    """Refuse a release that names files to open: weights may be in a format that carries code."""
    named = [key for key in LOCAL_SETTINGS if encoder.get(key) is not None]
    named += [f"options.{key}" for key in SOURCE_OPTIONS if key in (encoder.get("options") or {})]
    problems = Problems()
    for key in named:
        found = f"it sets encoder.{key}, which only this machine may set"
        problems.add(f"release {folder}, settings.json", found, _ADVICE)
    problems.check()


def _check_target(release: Release, plain: Mapping[str, Any]) -> None:
    """Refuse a PathDuet whose shipped stain target differs from the one the models were trained with."""
    wanted = plain.get("stain_target")
    if wanted is None:
        return
    from pathduet.slides.stain.stain_matrix import target_stains

    target = target_stains(release.settings.stain)
    same = np.allclose(target.matrix, wanted["matrix"], atol=1e-6) and np.allclose(
        target.max_concentrations, wanted["max_concentrations"], rtol=1e-6
    )
    if not same:
        found = "this version's stain target is not the one of training"
        raise InputError.of(f"release {release.folder}", found, "use the PathDuet that wrote it")


def check_encoder(release: Release) -> None:
    """Find the encoder's weights, and refuse weights that differ from those used in training.

    Raises
    ------
    PathDuetError
        If they are unavailable (the message lists the remedies), or differ.
    """
    from pathduet.slides.encoders.weights import find_weights

    if "weights_sha256" not in release.encoder:
        known = release.encoder
        said = (
            f"its models were trained on features that another tool made ({known['encoder']}, {known['feature_dim']} "
            f"numbers per tile, at {' and '.join(release.magnifications)}), so it cannot encode slides"
        )
        advice = (
            "make the new slides' features with that tool, and name them in a slides.tsv (column features)"
        )
        raise InputError.of(f"release {release.folder}", said, advice)
    found = find_weights(release.settings.encoder)
    wanted = release.encoder["weights_sha256"]
    if found.sha256 != wanted:
        raise InputError.of(
            f"encoder {release.settings.encoder.name}",
            f"the weights here ({found.source}) have SHA-256 {found.sha256[:12]}..., those of training {wanted[:12]}...",
            "name the right file with --encoder-weights",
        )

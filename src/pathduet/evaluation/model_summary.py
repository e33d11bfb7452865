"""A model's description in a table: what it reads and costs, and which of our models it is tested against."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pathduet.catalogue import Model, modality, named, opponent_of
from pathduet.cohort.tasks import Task
from pathduet.core.checksums import checked
from pathduet.core.faults import raise_machine_fault
from pathduet.results import COST, DESCRIPTION, Results


@dataclass(frozen=True)
class ModelSummary:
    """A row's description.

    Attributes
    ----------
    name, title : str
        In files, and for display.
    learns_from, reads : str
        ``slides``, ``expression``, ``both`` or ``clinical``: for training, for prediction; empty if unknown.
    compared_with : str
        The model that it is tested against: a variation's base, or our model that reads the same; empty for our models.
    magnifications : str
        E.g. ``10x+20x``; empty for a model that reads no slides or has no trained fold.
    parameters : int or None
    train_s, train_mib : float or None
        Wall-clock seconds and peak memory of a fold's training, mean over the existing folds.
    edges : mapping of int to tuple of float
        Inner edges of the survival intervals in days, by fold.
    """

    name: str
    title: str
    learns_from: str
    reads: str
    compared_with: str
    magnifications: str = ""
    parameters: int | None = None
    train_s: float | None = None
    train_mib: float | None = None
    edges: Mapping[int, tuple[float, ...]] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """Return the columns of a table's row."""
        names = ("title", "learns_from", "reads", "magnifications", "parameters", "train_s", "train_mib")
        return {name: getattr(self, name) for name in names}


def read_record(path: Path) -> dict[str, Any]:
    """Return a JSON file's mapping; empty if the file is missing or broken."""
    try:
        record = json.loads(checked(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise_machine_fault(error, str(path))
        return {}
    return record if isinstance(record, dict) else {}


def summarise_model(
    results: Results,
    task: Task,
    name: str,
    folds: Iterable[int],
    catalogue: Mapping[str, Model],
    base: str = "",
    left_out: Collection[str] = (),
) -> ModelSummary:
    """Summarise a model from the catalogue and the folds' model.json and cost.json.

    Parameters
    ----------
    catalogue : mapping of str to Model
        The run's (:func:`pathduet.catalogue.catalogue_of`).
    base : str, optional
        Of a variation, the model that it varies; a trained fold's model.json also records it.
    left_out : collection of str, optional
        Models that the run cannot train.
    """
    origin = named(base or name, catalogue)
    base, learns, reads = base or name, modality(origin.learns_from), origin.reads
    magnifications, edges = "", {}
    numbers: dict[str, list[float]] = {"parameters": [], "seconds": [], "peak_memory_mib": []}
    for fold in folds:
        folder = results.model(task.name, name, fold)
        record, cost = read_record(folder / DESCRIPTION), read_record(folder / COST)
        if record.get("predicts_from"):
            learns, reads = modality(record["learns_from"]), modality(record["predicts_from"])
            base = record.get("base", base)
        if record.get("parameters") is not None:
            magnifications = _magnifications(record, reads)
        if days := (record.get("target") or {}).get("edges_days"):
            edges[fold] = tuple(float(edge) for edge in days)
        for key, values in numbers.items():
            value = {**record, **cost}.get(key)
            if isinstance(value, int | float):
                values.append(float(value))
    means = {key: float(np.mean(values)) if values else None for key, values in numbers.items()}
    parameters = None if means["parameters"] is None else round(means["parameters"])
    return ModelSummary(
        name, named(name, catalogue).full_title, learns, reads, opponent_of(name, base, reads, left_out),
        magnifications, parameters, means["seconds"], means["peak_memory_mib"], edges,
    )  # fmt: skip


def _magnifications(record: Mapping[str, Any], reads: str) -> str:
    """Return the magnifications in a model's record; our models read both unless their settings differ."""
    if reads not in ("slides", "both"):
        return ""
    own = record.get("network_settings") or {}
    found = own.get("magnifications") or (record.get("model_config") or {}).get("magnifications") or "both"
    names = ["10x", "20x"] if found == "both" else [found] if isinstance(found, str) else found
    return "+".join(str(name) for name in names)

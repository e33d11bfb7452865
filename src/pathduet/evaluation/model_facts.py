"""What a table says about a model beside its numbers: what it reads and costs, and which of ours it is tested against."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pathduet.catalogue import CATALOGUE

#: Ours, by what a model reads when it predicts.
OURS_WITH_EXPRESSION, OURS_SLIDES_ONLY = "teacher", "distilled"

MODEL_NAMES = {
    "teacher": "Teacher (slides + expression)",
    "student": "Student (slides only)",
    "distilled": "Distilled student (slides only)",
    "cox_age": "Cox: age",
    "cox_age_sex": "Cox: age + sex",
    "cox_age_sex_grade": "Cox: age + sex + grade",
    "logistic_age_sex": "Logistic regression: age + sex",
    "logistic_age_sex_grade": "Logistic regression: age + sex + grade",
}
#: The registry's titles, for those who print a name and load no network (a test compares the two).
BASELINE_NAMES = {
    "abmil": "ABMIL",
    "transmil": "TransMIL",
    "snn": "SNN",
    "concat": "Concat",
    "add": "Add",
    "bilinear": "Bilinear",
    "mcat": "MCAT",
    "cmta": "CMTA",
    "sml": "SML",
    "lm": "LM",
    "ae": "AE",
}
_OURS = {
    "teacher": (("slides", "expression"), ("slides", "expression")),
    "student": (("slides",), ("slides",)),
    "distilled": (("slides", "expression"), ("slides",)),
}


def model_title(name: str) -> str:
    """Return a model's name for readers; a model of the user's own or a variation keeps its name."""
    return MODEL_NAMES.get(name) or BASELINE_NAMES.get(name, name)


def called(name: str) -> str:
    """Return a model's name inside a sentence, without what it reads: ``ABMIL``, ``distilled student``."""
    title = model_title(name).split(" (")[0]
    ours = name.startswith(("teacher", "student", "distilled"))
    return title[:1].lower() + title[1:] if ours else title


@dataclass(frozen=True)
class ModelFacts:
    """A row's description.

    Attributes
    ----------
    name, title : str
        In files, and for readers.
    learns_from, reads : str
        ``slides``, ``expression``, ``both`` or ``clinical``: in training, and to predict; empty where unknown.
    compared_with : str
        The model that it is tested against; empty for ours.
    magnifications : str
        E.g. ``10x+20x``; empty for a model that reads no slides, or one without any trained fold.
    parameters : int or None
    train_s, train_mib : float or None
        Wall-clock seconds and largest memory of a fold's training, mean over the folds that are there.
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
        """Return what stands in a table's row."""
        names = ("title", "learns_from", "reads", "magnifications", "parameters", "train_s", "train_mib")
        return {name: getattr(self, name) for name in names}


def modality(names: Sequence[str]) -> str:
    """Return ``both`` for slides and expression, else the one there is; empty for none."""
    return "both" if {"slides", "expression"} <= set(names) else "".join(names[:1])


def _opponent(name: str, reads: str) -> str:
    ours = OURS_SLIDES_ONLY if reads == "slides" else OURS_WITH_EXPRESSION
    return "" if name == ours else ours


def known_model(name: str) -> ModelFacts:
    """Return what is known of a model by its name: ours, a baseline of the registry, or a clinical one.

    A variation is known by the base that its name starts with (``teacher-no-cgc``), and is tested against it. A model with
    another name (of the user's own, say) reads nothing that is known, and is tested against the teacher.
    """
    base = name.partition("-")[0]
    title = model_title(name)
    learns: Sequence[str] = ()
    reads: Sequence[str] = ()
    if base in _OURS:
        learns, reads = _OURS[base]
    elif base in CATALOGUE:
        learns, reads = CATALOGUE[base].learns_from, CATALOGUE[base].predicts_from
    known = bool(learns) and base != name
    return ModelFacts(
        name, title, modality(learns), modality(reads), base if known else _opponent(name, modality(reads))
    )


def _magnifications(record: Mapping[str, Any], reads: str) -> str:
    """Return what a model's record says; one of ours reads both unless its settings say otherwise."""
    if reads not in ("slides", "both"):
        return ""
    own = record.get("network_settings") or {}
    found = own.get("magnifications") or (record.get("model_config") or {}).get("magnifications") or "both"
    names = ["10x", "20x"] if found == "both" else [found] if isinstance(found, str) else found
    return "+".join(str(name) for name in names)


def _json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def read_model_facts(parent: Path, name: str, folds: Iterable[int]) -> ModelFacts:
    """Return what a model's folders say about it: ``{parent}/{name}/fold-{k}/{model,cost}.json``.

    What they do not say is what :func:`known_model` knows.
    """
    known = known_model(name)
    learns, reads, against = known.learns_from, known.reads, known.compared_with
    magnifications, edges = "", {}
    numbers: dict[str, list[float]] = {"parameters": [], "seconds": [], "peak_memory_mib": []}
    for fold in folds:
        folder = parent / name / f"fold-{fold}"
        record, cost = _json(folder / "model.json"), _json(folder / "cost.json")
        if record.get("predicts_from"):
            learns, reads = modality(record["learns_from"]), modality(record["predicts_from"])
            base = str(record.get("base", name))
            against = base if base not in (name, "own") else _opponent(name, reads)
        if record.get("parameters") is not None:
            magnifications = _magnifications(record, reads)
        if record.get("survival_edges_days"):
            edges[fold] = tuple(float(edge) for edge in record["survival_edges_days"])
        for key, values in numbers.items():
            value = {**record, **cost}.get(key)
            if isinstance(value, int | float):
                values.append(float(value))
    means = {key: float(np.mean(values)) if values else None for key, values in numbers.items()}
    parameters = None if means["parameters"] is None else round(means["parameters"])
    return ModelFacts(
        name, known.title, learns, reads, against, magnifications,
        parameters, means["seconds"], means["peak_memory_mib"], edges,
    )  # fmt: skip

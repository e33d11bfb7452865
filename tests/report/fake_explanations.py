"""Fabricated explanations: every table that the report reads, of a run whose networks nobody trained."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pathduet.catalogue import catalogue_of
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.files import write_json, write_tsv
from pathduet.explain.files import (
    EMBEDDING_MEASURES,
    EVENT_CLASSES,
    FIGURES,
    REGION_MEASURES,
    TABLES,
    explanations_of,
)
from pathduet.report.explanation_pages import draw_explanations


def fake_explanations(
    root: Path, config: Mapping[str, Any], models: Sequence[str], rng: np.random.Generator
) -> None:
    """Write ``explanations/<task>/`` of each task of a complete configuration."""
    subspaces = list(config["subspaces"])
    has = (config["sheets"]["slides"] is not None, bool(config["expression"]["tables"]))
    for name, task in tasks_of(config).items():
        folder, lacking = root / "explanations" / name, explanations_of(task, *has)
        made = [explanation for explanation, reason in lacking.items() if not reason]
        tables = _tables(task, models, subspaces, rng)
        for file in (file for explanation in made for file in TABLES[explanation] if file in tables):
            write_tsv(folder / file, tables[file])
        entries = [
            {"name": one, "files": [*TABLES[one], *FIGURES[one]], "message": f"What {one} found.", "reasons": [],
             "score_name": "score", "method": "tsne", "classes": task.in_sentence}
            for one in made
        ]  # fmt: skip
        entries[0]["reasons"] = [f"{models[0]}: fold 1: <one> test patient only"]
        summary = {
            "task": task.to_plain(), "subspaces": subspaces, "models": list(models), "explanations": entries,
            "left_out": {one: reason for one, reason in lacking.items() if reason},
        }  # fmt: skip
        write_json(folder / "summary.json", summary)
        draw_explanations(folder, catalogue_of(config))


def _tables(
    task: Task, models: Sequence[str], subspaces: Sequence[str], rng: np.random.Generator
) -> dict[str, pd.DataFrame]:
    first, last = subspaces[0], subspaces[-1]
    labels = EVENT_CLASSES if task.kind == "survival" else task.classes
    points = pd.DataFrame(
        [
            (model, fold, f"P{i}", labels[i % len(labels)] if labels else rng.normal(), *rng.normal(size=2))
            for model in models
            for fold in range(3)
            for i in range(9)
        ],
        columns=["model", "fold", "patient_id", "class" if labels else "value", "x", "y"],
    )
    scores = pd.DataFrame(
        [(m, measure, fold, rng.random(), 0.2, 0.8, 0.33, 9, "x", "") for m in models
         for measure in EMBEDDING_MEASURES[task.kind] for fold in ("0", "1", "2", "mean")],
        columns=["model", "measure", "fold", "value", "ci_low", "ci_high", "chance", "n_patients", "classes", "reason"],
    )  # fmt: skip
    genes = pd.DataFrame(
        [(m, "risk", i, f"G{i}", subspaces[i % len(subspaces)], 3, rng.uniform(-1, 1), 0.1, rng.random(), 30, i == 3)
         for m in models for i in range(1, 25)],
        columns=["model", "score", "rank", "gene", "subspace", "selected", "r", "p", "q", "n_patients", "pointed_out"],
    )  # fmt: skip
    summary = pd.DataFrame(
        [(m, "risk", s, 12, 0, 0.4, 0.9, 2, "G3", 30) for m in models for s in subspaces],
        columns=["model", "score", "subspace", "genes", "undefined", "median_abs_r", "largest_abs_r", "significant", "top_gene",
                 "n_patients"],
    )  # fmt: skip
    rows = [(measure, "", s) for s in subspaces for measure in REGION_MEASURES]
    rows.append(("structure", "leading_edge", last))
    regions = pd.DataFrame(
        [(m, "test", x, *row, rng.random(), 0.1, 0.9, 0.5, 20, 300) for m in models[-2:] for x in ("10x", "20x") for row in rows],
        columns=["model", "part", "magnification", "measure", "structure", "subspace", "value", "ci_low", "ci_high", "chance",
                 "patients", "tiles"],
    )  # fmt: skip
    names = [
        "selection_10x",
        "selection_20x",
        f"{first}_gain_10x",
        f"{first}_gain_20x",
        "agreement",
        "similarity",
    ]
    attention = pd.DataFrame(rng.random((20, len(names))), columns=names)
    attention.insert(0, "gene", [f"G{i}" for i in range(20)])
    attention.insert(1, "subspace", [subspaces[i % len(subspaces)] for i in range(20)])
    sets = pd.DataFrame(rng.random((2, len(names))), columns=names).assign(
        set=["cells", "vessels"], subspace=[first, last], genes=9
    )
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 120, 180)).save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    tiles = pd.DataFrame([(group, s, picture) for group in ("highest", "lowest") for s in subspaces for _ in range(6)],
                         columns=["group", "subspace", "picture"])  # fmt: skip
    days, ends = (365.0, 730.0), ("test", "external")
    groups = pd.DataFrame(
        [
            (part, m, day, g, 9, g / 4, g / 4, 0.1, 0.9, "")
            for part in ends
            for m in models
            for day in days
            for g in range(1, 4)
        ],
        columns=["part", "model", "day", "group", "n", "predicted", "observed", "low", "high", "reason"],
    )
    auc = pd.DataFrame([(part, m, day, rng.random(), 0.1, 3, "") for part in ends for m in models for day in days],
                       columns=["part", "model", "day", "auc", "sd", "folds", "reason"])  # fmt: skip
    return {
        "embedding.tsv": points, "embedding_scores.tsv": scores, "gene_correlation.tsv": genes,
        "gene_correlation_summary.tsv": summary, "region_agreement.tsv": regions, "top_tiles.tsv": tiles, "gene_attention.tsv": attention,
        "gene_attention_sets.tsv": sets, "calibration.tsv": groups, "dynamic_auc.tsv": auc,
        "risk_group_patients.tsv": pd.DataFrame(columns=["part", "model"]),
    }  # fmt: skip

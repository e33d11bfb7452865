"""Training and evaluation of one fold from the files of a results folder: what the workflow's jobs call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.cohort.labels import task_labels
from pathduet.cohort.splits import read_folds
from pathduet.learning.config import TrainingConfig
from pathduet.learning.inference import predict_model, write_representations
from pathduet.learning.runs import train_model
from pathduet.ledger import read_ledger
from pathduet.models.config import ModelConfig
from pathduet.sheets import read_patients
from pathduet.slides.repairs import mend

if TYPE_CHECKING:
    import pandas as pd


def usable_slides(results: Path, repair: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Return the ledger's slides that have features, with the path of their feature file.

    With `repair` (see :meth:`pathduet.plan.Plan.repair_settings`) every feature file is compared with its checksum;
    what is gone or is not what was written is named and made again.
    """
    ledger = read_ledger(results / "ledger.tsv")
    if repair is not None:
        mend(results, ledger.loc[ledger["status"] == "ok", "slide_id"], repair["sheet"], repair["settings"])
    slides = ledger.loc[ledger["status"] == "ok", ["slide_id", "patient_id", "cohort"]].copy()
    slides["features"] = [str(results / "slides" / slide / "features.h5") for slide in slides["slide_id"]]
    return slides


def train_fold(
    task: str,
    model: str,
    fold: int,
    *,
    results: Path,
    patients: str | Path,
    settings: Mapping[str, Any],
    out_dir: Path,
    repair: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> None:
    """Train one model, see :func:`pathduet.learning.runs.train_model`.

    Parameters
    ----------
    results : Path
        The results folder: ledger, folds, expression and, for ``distilled``, teacher and student are read from it.
    patients : path
        patients.tsv.
    settings : mapping
        ``protocol``, ``seed``, ``labels``, ``model``, ``training`` (this task's and model's) and ``tensorboard``.
    """
    labels = task_labels(read_patients(patients), task, cdkn2a_rule=settings["labels"]["cdkn2a_rule"])  # type: ignore[arg-type]
    siblings = results / "models" / task
    distilled = model == "distilled"
    train_model(
        task,
        model,
        fold,
        slides=usable_slides(results, repair),
        labels=labels,
        folds=read_folds(results / "split" / "folds.tsv"),
        expression_path=results / "genes" / f"fold-{fold}.h5ad",
        model_config=ModelConfig(**settings["model"]),
        training_config=TrainingConfig(seed=settings["seed"], **settings["training"]),
        out_dir=out_dir,
        teacher_dir=siblings / "teacher" / f"fold-{fold}" if distilled else None,
        student_dir=siblings / "student" / f"fold-{fold}" if distilled else None,
        protocol=settings["protocol"],
        survival_bins=settings["labels"]["survival_bins"],
        threads=threads,
        tensorboard=settings["tensorboard"],
    )


def evaluate_fold(
    task: str,
    model: str,
    fold: int,
    *,
    part: str,
    results: Path,
    patients: str | Path,
    settings: Mapping[str, Any],
    out_dir: Path,
    repair: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> None:
    """Predict a part (``test`` or ``external``) with a trained model; write predictions, representations, metrics.

    For survival the training patients are predicted too: their risks give the Kaplan-Meier groups, so
    that no test patient takes part in choosing them.
    """
    from pathduet.atomic import write_json, write_tsv
    from pathduet.evaluation.evaluate import evaluate_predictions
    from pathduet.evaluation.predictions import average_patients

    labels = task_labels(read_patients(patients), task, cdkn2a_rule=settings["labels"]["cdkn2a_rule"])  # type: ignore[arg-type]
    arguments: dict[str, Any] = {
        "slides": usable_slides(results, repair),
        "labels": labels,
        "folds": read_folds(results / "split" / "folds.tsv"),
        "expression_path": results / "genes" / f"fold-{fold}.h5ad",
        "threads": threads,
    }
    model_dir = results / "models" / task / model / f"fold-{fold}"
    predictions = predict_model(model_dir, part=part, **arguments)
    train_risk = None
    if task == "survival":
        train = predict_model(model_dir, part="train", **arguments).table
        train_risk = average_patients(train)["risk"].tolist()
    metrics = evaluate_predictions(
        predictions.table,
        task,
        model,
        fold,
        protocol=settings["protocol"],
        variant=settings["variant"],
        resamples=settings["bootstrap"],
        seed=settings["seed"],
        train_risk=train_risk,
    )
    write_tsv(out_dir / "predictions.tsv", predictions.table)
    write_representations(out_dir / "representations.h5", predictions)
    write_json(out_dir / "metrics.json", metrics)

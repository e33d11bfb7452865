"""Metrics of one model of one fold: what the rules `evaluate` and `external` call."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathduet.core.files import write_json, write_tsv
from pathduet.evaluation.evaluate import evaluate_predictions
from pathduet.evaluation.predictions import average_patients
from pathduet.training.failures import failure_of, reason_of, write_no_predictions
from pathduet.training.fold_jobs import FoldJob
from pathduet.training.predict import predict_model, write_representations


def evaluate_fold(job: FoldJob, part: str, settings: Mapping[str, Any], out_dir: Path) -> None:
    """Predict a part (``test`` or ``external``) with a trained model; write predictions, representations, metrics."""

    def failed(reason: str) -> None:
        write_no_predictions(out_dir)
        who = {**job.who, "protocol": settings["protocol"], "variant": settings["variant"], "failed": reason}
        write_json(out_dir / "metrics.json", who)

    reason = failure_of(job.model_dir())
    if reason is not None:
        failed(reason)
        return
    try:
        _evaluate(job, part, settings, out_dir)
    except Exception as error:
        if not job.may_fail:
            raise
        traceback.print_exc()
        failed(reason_of(error))


def _evaluate(job: FoldJob, part: str, settings: Mapping[str, Any], out_dir: Path) -> None:
    data = job.data(settings["labels"])
    predictions = predict_model(job.model_dir(), part=part, **data)
    train_risk = None
    if job.task == "survival":
        train = predict_model(job.model_dir(), part="train", **data).table
        train_risk = average_patients(train)["risk"].tolist()
    metrics = evaluate_predictions(
        predictions.table, job.task, job.model, job.fold,
        protocol=settings["protocol"],
        # the model's own: a variation may be of another variant than the configuration
        variant=json.loads((job.model_dir() / "model.json").read_text(encoding="utf-8"))["variant"],
        resamples=settings["bootstrap"], seed=settings["seed"], train_risk=train_risk,
    )  # fmt: skip
    write_tsv(out_dir / "predictions.tsv", predictions.table)
    write_representations(out_dir / "representations.h5", predictions)
    write_json(out_dir / "metrics.json", metrics)

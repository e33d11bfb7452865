"""Training and evaluation of one fold from the files of a results folder: what the workflow's jobs call."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pathduet.cohort.folds import read_folds
from pathduet.cohort.labels import task_labels
from pathduet.cohort.ledger import read_ledger
from pathduet.cohort.sheets import read_patients
from pathduet.models.method.config import ModelConfig
from pathduet.slides.repairs import mend
from pathduet.training.config import TrainingConfig
from pathduet.training.failures import failure_of, reason_of, write_failed_evaluation, write_failed_model
from pathduet.training.networks import choose
from pathduet.training.predict import predict_model, write_representations
from pathduet.training.search import SEARCH, Settings, search_settings
from pathduet.training.train import train_model

if TYPE_CHECKING:
    import pandas as pd


def usable_slides(results: Path, repair: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Return the ledger's slides that have features, with the path of their feature file.

    With `repair` (see :meth:`pathduet.workflow.plan.Plan.repair_settings`) every feature file is compared with its checksum;
    what is gone or is not what was written is named and made again.
    """
    ledger = read_ledger(results / "ledger.tsv")
    if repair is not None:
        mend(results, ledger.loc[ledger["status"] == "ok", "slide_id"], repair["sheet"], repair["settings"])
    slides = ledger.loc[ledger["status"] == "ok", ["slide_id", "patient_id", "cohort"]].copy()
    slides["features"] = [str(results / "slides" / slide / "features.h5") for slide in slides["slide_id"]]
    return slides


@dataclass(frozen=True)
class FoldJob:
    """One model of one task and fold, and where the workflow keeps what it needs.

    Attributes
    ----------
    task, model : str
        Model: the named model, e.g. ``teacher-no-cgc``.
    fold : int
    results : Path
        The results folder: ledger, folds and, for distilled models, teacher and student are read from it.
    patients : path
        patients.tsv.
    expression : path
        The fold's .h5ad of the model's gene selection.
    may_fail : bool
        Write a failure down instead of raising it: for all but the method's own models.
    repair : mapping, optional
        See :func:`usable_slides`.
    threads : int
        Threads of torch.
    """

    task: str
    model: str
    fold: int
    results: Path
    patients: str | Path
    expression: str | Path
    may_fail: bool = False
    repair: Mapping[str, Any] | None = None
    threads: int = 1

    @property
    def who(self) -> dict[str, Any]:
        """Task, model and fold, as every record names them."""
        return {"task": self.task, "model": self.model, "fold": self.fold}

    def model_dir(self, model: str | None = None) -> Path:
        """Return the folder of this model, or of another one of the same task and fold."""
        return self.results / "models" / self.task / (model or self.model) / f"fold-{self.fold}"

    def data(self, labels: Mapping[str, Any]) -> dict[str, Any]:
        """Return what training and prediction read: slides, labels, folds, expression_path, threads."""
        rule = cast("Any", labels["cdkn2a_rule"])
        return {
            "slides": usable_slides(self.results, self.repair),
            "labels": task_labels(read_patients(self.patients), cast("Any", self.task), cdkn2a_rule=rule),
            "folds": read_folds(self.results / "split" / "folds.tsv"),
            "expression_path": Path(self.expression),
            "threads": self.threads,
        }

    def run(self, work: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Do `work`; where the model may fail, hand the reason of an error to `failed` instead of raising it."""
        try:
            work()
        except Exception as error:
            if not self.may_fail:
                raise
            traceback.print_exc()
            failed(reason_of(error))


def train_fold(job: FoldJob, settings: Mapping[str, Any], out_dir: Path) -> None:
    """Train one model, see :func:`pathduet.training.train.train_model`, after a search of its settings if there is one.

    Parameters
    ----------
    settings : mapping
        From :meth:`pathduet.workflow.plan.Plan.training_settings`.
    out_dir : Path
        Folder of the model.
    """

    def failed(reason: str) -> None:
        write_failed_model(out_dir, job.who, reason)

    job.run(lambda: _train(job, settings, out_dir), failed)


def _train(job: FoldJob, settings: Mapping[str, Any], out_dir: Path) -> None:
    lineage = settings["lineage"]
    for source in lineage.values():
        reason = failure_of(job.model_dir(source))
        if reason is not None:
            raise RuntimeError(f"its {source} failed ({reason})")
    chosen = Settings(
        choose(settings["base"], settings["network"], settings["own"]),
        ModelConfig(**settings["model"]),
        TrainingConfig(seed=settings["seed"], **settings["training"]),
    )
    arguments: dict[str, Any] = {
        **job.data(settings["labels"]),
        "protocol": settings["protocol"],
        "survival_bins": settings["labels"]["survival_bins"],
    }
    if lineage:
        arguments["teacher_dir"] = job.model_dir(lineage["teacher"])
    record: dict[str, Any] = {}
    if settings["search"] is not None:
        chosen, record["search"] = search_settings(
            job.task, job.model, job.fold, chosen, settings["search"], out_dir=out_dir, **arguments
        )
    else:
        (out_dir / SEARCH).unlink(missing_ok=True)
        shutil.rmtree(out_dir / "search", ignore_errors=True)
    if lineage:
        arguments["student_dir"] = job.model_dir(lineage["student"])
    train_model(
        job.task, job.model, job.fold, **arguments, out_dir=out_dir, network=chosen.network,
        model_config=chosen.model, training_config=chosen.training, record=record,
        tensorboard=settings["tensorboard"],
    )  # fmt: skip


def evaluate_fold(job: FoldJob, part: str, settings: Mapping[str, Any], out_dir: Path) -> None:
    """Predict a part (``test`` or ``external``) with a trained model; write predictions, representations, metrics.

    For survival the training patients are predicted too: their risks give the Kaplan-Meier groups, so
    that no test patient takes part in choosing them.
    """

    def failed(reason: str) -> None:
        who = {**job.who, "protocol": settings["protocol"], "variant": settings["variant"]}
        write_failed_evaluation(out_dir, who, reason)

    reason = failure_of(job.model_dir())
    if reason is not None:
        failed(reason)
    else:
        job.run(lambda: _evaluate(job, part, settings, out_dir), failed)


def _evaluate(job: FoldJob, part: str, settings: Mapping[str, Any], out_dir: Path) -> None:
    import json

    from pathduet.core.files import write_json, write_tsv
    from pathduet.evaluation.evaluate import evaluate_predictions
    from pathduet.evaluation.predictions import average_patients

    data = job.data(settings["labels"])
    predictions = predict_model(job.model_dir(), part=part, **data)
    train_risk = None
    if job.task == "survival":
        train = predict_model(job.model_dir(), part="train", **data).table
        train_risk = average_patients(train)["risk"].tolist()
    metrics = evaluate_predictions(
        predictions.table,
        job.task,
        job.model,
        job.fold,
        protocol=settings["protocol"],
        # the model's own: a variation may be of another variant than the configuration
        variant=json.loads((job.model_dir() / "model.json").read_text(encoding="utf-8"))["variant"],
        resamples=settings["bootstrap"],
        seed=settings["seed"],
        train_risk=train_risk,
    )
    write_tsv(out_dir / "predictions.tsv", predictions.table)
    write_representations(out_dir / "representations.h5", predictions)
    write_json(out_dir / "metrics.json", metrics)

"""Train one model of one fold from the files of a results folder, and predict; called by the workflow's jobs."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pathduet.catalogue import find, own_model
from pathduet.cohort.folds import read_folds
from pathduet.cohort.labels import task_labels
from pathduet.cohort.sheets import read_patients
from pathduet.cohort.tasks import Task
from pathduet.core.checksums import forget
from pathduet.core.faults import raise_machine_fault
from pathduet.core.files import write_tsv
from pathduet.core.hardware import pick_device
from pathduet.features.check import verify_features
from pathduet.features.feature_file import usable_slides
from pathduet.results import PREDICTIONS, REPRESENTATIONS, TRAINING_PREDICTIONS, Results
from pathduet.training.config import TrainingConfig
from pathduet.training.dataset import FeatureCache
from pathduet.training.failures import failure_of, reason_of, write_failed_model, write_no_predictions
from pathduet.training.fold_data import FoldData
from pathduet.training.model_folder import load_model
from pathduet.training.networks import ModelSettings, choose
from pathduet.training.predict import predict_part, write_representations
from pathduet.training.search import SEARCH, search_settings
from pathduet.training.train import ModelToTrain, train_model


@dataclass(frozen=True)
class FoldJob:
    """One model of one task and fold, and the locations of its inputs in the workflow.

    Attributes
    ----------
    task : Task
        What is predicted.
    model : str
        The named model, e.g. ``teacher-no-cgc``.
    fold : int
    results : Path
        The results folder: contains the ledger, folds and, for distilled models, teacher and student.
    patients : path
        patients.tsv.
    expression : path or None
        The fold's .h5ad of the model's gene selection; None in a run without expression.
    may_fail : bool
        Record a failure instead of raising it: for all but the method's own models.
    external : bool
        Also predict the external cohorts.
    threads : int
        Threads of torch.
    cache : FeatureCache
        Features that were read: the models of one job share it.
    """

    task: Task
    model: str
    fold: int
    results: Path
    patients: str | Path
    expression: str | Path | None
    may_fail: bool = False
    external: bool = False
    threads: int = 1
    cache: FeatureCache = field(default_factory=FeatureCache)

    @property
    def who(self) -> dict[str, Any]:
        """Task, model and fold, as recorded everywhere."""
        return {"task": self.task.to_plain(), "model": self.model, "fold": self.fold}

    def model_dir(self, seed: int = 0, model: str | None = None) -> Path:
        """Return the folder of this model, or of another model of the same task, fold and seed."""
        return Results(self.results).model(self.task.name, model or self.model, self.fold, seed)

    def external_dir(self, seed: int = 0) -> Path:
        """Return the folder of the predictions for the external cohorts."""
        return Results(self.results).external(self.task.name, self.model, self.fold, seed)

    def data(self, settings: Mapping[str, Any]) -> FoldData:
        """Return the inputs of training and prediction; features are verified by their checksums if they are used."""
        slides = usable_slides(self.results)
        base, own = settings["base"], settings["own"]
        if "slides" in (own_model(base, own) if own else find(base)).learns_from:
            verify_features(Results(self.results), slides["slide_id"])
        folds = read_folds(Results(self.results).folds)
        labels = task_labels(read_patients(self.patients), self.task)
        return FoldData(
            self.task,
            slides,
            labels[
                labels.index.isin(folds["patient_id"])
            ],  # only the evaluation reads the external patients' labels
            folds,
            None if self.expression is None else Path(self.expression),
            settings["protocol"],
            self.cache,
        )


def run_fold(job: FoldJob, settings: Mapping[str, Any]) -> None:
    """Train one model with every seed; predict the test part, its training part and, if requested, the external cohorts.

    A model that fails with one seed has failed: a mean over the others would be another quantity.

    Parameters
    ----------
    settings : mapping
        From :meth:`pathduet.workflow.plan.Plan.training_settings`.

    Raises
    ------
    MachineFault
        For a full disk, too little memory and the like: not a failure of the model; the next start retries.
    """
    data = job.data(settings)  # an error in the inputs is not a failure of the model
    seeds = range(settings["seeds"])
    try:
        model = _chosen(job, settings, data)
        for seed in seeds:
            _train(job, settings, data, model, seed)
            _predict(job, data, model, seed)
    except Exception as error:
        if not job.may_fail:
            raise
        raise_machine_fault(error, f"{job.task.name}, {job.model}, fold {job.fold}")
        traceback.print_exc()
        for seed in seeds:
            write_failed_model(job.model_dir(seed), job.who, reason_of(error))
            if job.external:
                write_no_predictions(job.external_dir(seed))


def _sources(job: FoldJob, settings: Mapping[str, Any], seed: int) -> dict[str, Path]:
    """Return the folders of the models that this one learns from, by role."""
    sources = {role: job.model_dir(seed, source) for role, source in settings["lineage"].items()}
    for role, folder in sources.items():
        reason = failure_of(folder)
        if reason is not None:
            raise RuntimeError(f"its {settings['lineage'][role]} failed ({reason})")
    return sources


def _chosen(job: FoldJob, settings: Mapping[str, Any], data: FoldData) -> ModelToTrain:
    """Return the configured model; a search of its settings, if configured, runs once for all seeds."""
    out_dir = job.model_dir(0)
    network = choose(settings["base"], settings["network"], settings["own"])
    configured = ModelSettings(
        network,
        network.token_config(settings["model"]),
        TrainingConfig(seed=settings["seed"], **settings["training"]),
    )
    teacher = _sources(job, settings, 0).get("teacher")
    model = ModelToTrain(job.task, job.model, job.fold, configured, teacher)
    if settings["search"] is not None:
        found, record = search_settings(model, data, settings["search"], out_dir, job.threads)
        model = replace(model, settings=found, record={"search": record})
    else:
        (out_dir / SEARCH).unlink(missing_ok=True)
        forget([out_dir / SEARCH])
        shutil.rmtree(out_dir / "search", ignore_errors=True)
    return model


def _train(job: FoldJob, settings: Mapping[str, Any], data: FoldData, model: ModelToTrain, seed: int) -> None:
    """Train with the run's seed plus `seed`, from the models of the same seed that it learns from."""
    sources, training = _sources(job, settings, seed), model.settings.training
    seeded = replace(model.settings, training=replace(training, seed=training.seed + seed))
    model = replace(
        model, settings=seeded, teacher_dir=sources.get("teacher"), student_dir=sources.get("student")
    )
    out_dir = job.model_dir(seed)
    train_model(model, data, out_dir, threads=job.threads, logger=settings["logger"])


def _predict(job: FoldJob, data: FoldData, model: ModelToTrain, seed: int) -> None:
    """Write the trained model's predictions.

    The training part's risks define the survival groups, so that no test patient influences them.
    """
    model_dir = job.model_dir(seed)
    network, description, _ = load_model(model_dir, model.settings.network.own)
    network.to(pick_device("auto"))
    of = partial(predict_part, network, description, data, where=f"model {model_dir}")
    external = [("external", job.external_dir(seed))] if job.external else []
    for part, folder in (("test", model_dir), *external):
        predictions = of(part)
        write_tsv(folder / PREDICTIONS, predictions.table)
        write_representations(folder / REPRESENTATIONS, predictions)
    write_tsv(model_dir / TRAINING_PREDICTIONS, of("train").table)

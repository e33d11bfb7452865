"""A random search of a model's settings inside the training part of a fold, the same for every model.

The training part's patients are split once more; every trial trains on the larger share and is judged by the mean loss of
the observed outcomes on the smaller one. The candidates and the inner split follow from the seed, the task and the fold, not
from the model: every model tries the same settings on the same patients, the configured ones first. No function here receives
the test part. Genes and their scaling were chosen without labels on the whole training part; a distilled student
starts from fresh weights here, as the fold's trained student has seen the inner patients' labels (so has its teacher, but
it predicts the larger share only).
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet.cohort.labels import known_labels
from pathduet.cohort.tasks import Task
from pathduet.core import checksums
from pathduet.core.faults import raise_machine_fault
from pathduet.core.files import write_json, write_tsv
from pathduet.core.provenance import settings_hash
from pathduet.core.source_code import code_version
from pathduet.training.failures import reason_of
from pathduet.training.fold_data import FoldData
from pathduet.training.networks import ModelSettings
from pathduet.training.predict import predict_model
from pathduet.training.task_targets import ClassTarget, RegressionTarget, TaskTarget
from pathduet.training.train import ModelToTrain, train_model

if TYPE_CHECKING:
    import pandas as pd

SEARCH = "search.tsv"
_FOLDER = "search"
_LEAST_PROBABILITY = 1e-7
#: Groups of equal size, by value, from which a regression's inner patients are drawn.
_VALUE_GROUPS = 4


@dataclass(frozen=True)
class Candidate:
    """Changes of one trial; None leaves a setting as configured."""

    learning_rate: float | None = None
    weight_decay: float | None = None
    dropout: float | None = None


def with_candidate(settings: ModelSettings, candidate: Candidate) -> ModelSettings:
    """Return settings with a candidate's changes applied."""
    rates = {
        name: value
        for name in ("learning_rate", "weight_decay")
        if (value := getattr(candidate, name)) is not None
    }
    changed = settings if candidate.dropout is None else settings.with_dropout(candidate.dropout)
    return replace(changed, training=replace(settings.training, **rates))


def candidates(search: Mapping[str, Any], seed: int, task: str, fold: int) -> list[Candidate]:
    """Return the trials: the configured settings, then random ones.

    Parameters
    ----------
    search : mapping
        ``trials``, and the ranges ``learning_rate``, ``weight_decay`` (both on a log scale) and ``dropout``.
    """
    rng = _generator("candidates", seed, task, fold)

    def draw(name: str, log: bool) -> float:
        low, high = search[name]
        if log:
            low, high = math.log(low), math.log(high)
        value = rng.uniform(low, high)
        return float(f"{math.exp(value) if log else value:.3g}")

    drawn = [
        Candidate(draw("learning_rate", True), draw("weight_decay", True), draw("dropout", False))
        for _ in range(search["trials"] - 1)
    ]
    return [Candidate(), *drawn]


def inner_folds(
    folds: pd.DataFrame, labels: pd.DataFrame, task: Task, fold: int, fraction: float, seed: int
) -> pd.DataFrame:
    """Return a fold table of the training part alone, in which `fold` holds the patients on whom trials are compared.

    Patients with a known label are drawn in equal shares from each class, from those with the event and the censored, or from
    each quarter of the values; at least one patient of each group with two or more. All others stay on the training side.
    """
    import pandas as pd

    training = folds[folds["fold"].astype(int) != fold].sort_values("patient_id").reset_index(drop=True)
    known = known_labels(labels)
    known = known.loc[known.index.intersection(pd.Index(training["patient_id"]))].sort_index()
    if task.kind == "regression":
        strata = (known["value"].rank(method="first") - 1) * _VALUE_GROUPS // len(known)
    else:
        strata = known["event" if task.kind == "survival" else "label"]
    rng = _generator("inner split", seed, task.name, fold)
    held: set[str] = set()
    for _, group in strata.groupby(strata, sort=True):
        if len(group) > 1:
            count = min(max(round(fraction * len(group)), 1), len(group) - 1)
            held |= set(rng.permutation(group.index.to_numpy())[:count])
    inner = training.assign(fold=fold + 1)
    inner.loc[inner["patient_id"].isin(held), "fold"] = fold
    return inner


def observed_loss(predictions: pd.DataFrame, target: TaskTarget) -> float:
    """Return the mean over patients of minus the log-probability of what was observed; NaN without labelled patients.

    For a regression, half the mean squared error in standard deviations.

    Parameters
    ----------
    predictions : DataFrame
        From :func:`pathduet.training.predict.predict_model`; a patient's slides are averaged first.
    target : TaskTarget
        Target of the model.
    """
    if isinstance(target, RegressionTarget):
        means = predictions.dropna(subset=["value"]).groupby("patient_id")[["value", "prediction"]].mean()
        errors = (means["prediction"] - means["value"]).to_numpy(float) / target.sd
        return float(np.square(errors).mean() / 2) if len(errors) else math.nan
    if not isinstance(target, ClassTarget):
        rows = predictions.dropna(subset=["bin", "event"])
        hazards = [str(name) for name in rows if str(name).startswith("h_")]
        means = rows.groupby("patient_id")[[*hazards, "bin", "event"]].mean()
        h = means[hazards].to_numpy(float)
        bins, event = means["bin"].to_numpy(int), means["event"].to_numpy(float)
        outlived = np.cumprod(1 - h, axis=1)
        here = np.arange(len(means))
        before = np.where(bins > 0, outlived[here, bins - 1], 1.0)
        observed = (
            np.where(event > 0, before * h[here, bins], outlived[here, bins]) if len(means) else np.empty(0)
        )
    else:
        rows = predictions.dropna(subset=["label"])
        probabilities = [str(name) for name in rows if str(name).startswith("p_")]
        means = rows.groupby("patient_id")[probabilities].mean()
        truth = rows.groupby("patient_id")["label"].first()
        columns = [probabilities.index(f"p_{label}") for label in truth]
        observed = means.to_numpy(float)[np.arange(len(means)), columns]
    return float(-np.log(np.maximum(observed, _LEAST_PROBABILITY)).mean()) if len(observed) else math.nan


def search_settings(
    configured: ModelToTrain, data: FoldData, search: Mapping[str, Any], out_dir: Path, threads: int = 1
) -> tuple[ModelSettings, dict[str, Any]]:
    """Try settings on an inner split of the training part; write search.tsv and return the best with a record.

    Finished trials are kept in ``search/`` until all are done, so that an interrupted search resumes where it stopped.

    Parameters
    ----------
    configured : ModelToTrain
        Its settings are tried first, and kept if every trial fails.
    data : FoldData
        Only the fold's training part is used.
    search : mapping
        ``trials``, ``inner_fraction`` and the ranges.
    out_dir : Path
        Folder of the model.
    threads : int
        Threads of torch.

    Returns
    -------
    ModelSettings, dict
        The best trial's settings; trials, inner patients, and the chosen trial with its settings.
    """
    import pandas as pd

    task, fold, seed = configured.task, configured.fold, configured.settings.training.seed
    inner = inner_folds(data.folds, data.labels, task, fold, search["inner_fraction"], seed)
    target = data.target(fold)
    patients = set(inner["patient_id"])
    # the fold's own intervals: the inner part's would differ from the teacher's
    configured = replace(configured, target=target)
    trained = replace(
        data,
        slides=data.slides[data.slides["patient_id"].isin(patients)],
        labels=data.labels[data.labels.index.isin(patients)],
        folds=inner,
    )
    drawn = candidates(search, seed, task.name, fold)
    rows = []
    for number, candidate in enumerate(drawn):
        tried = replace(configured, settings=with_candidate(configured.settings, candidate))
        folder = out_dir / _FOLDER / f"trial-{number}"
        settings = tried.settings
        key = settings_hash(
            [settings.network.record(), settings.model, settings.training, search["inner_fraction"], inner.to_dict("list"),
             str(data.expression_path), str(tried.teacher_dir), str(tried.target), code_version("pathduet.training.train")]
        )  # fmt: skip
        row = {
            "trial": number,
            "learning_rate": settings.training.learning_rate,
            "weight_decay": settings.training.weight_decay,
            "dropout": settings.dropout,
        }
        rows.append(row | _kept(folder, key, partial(_trial, tried, target, trained, folder, threads)))
    table = pd.DataFrame(rows)
    finished = table.dropna(subset=["loss"])
    losses = finished["loss"].astype(float)
    best = (
        int(finished["trial"].iloc[losses.to_numpy().argmin()]) if len(finished) else 0
    )  # the first of equals
    table["chosen"] = table["trial"] == best
    write_tsv(out_dir / SEARCH, table)
    checksums.record([out_dir / SEARCH])
    shutil.rmtree(out_dir / _FOLDER, ignore_errors=True)
    record = {
        "trials": len(table),
        "failed_trials": int(table["loss"].isna().sum()),
        "inner_patients": {
            "training": int((inner["fold"] != fold).sum()), "compared": int((inner["fold"] == fold).sum())
        },
        "chosen": {name: rows[best][name] for name in ("trial", "learning_rate", "weight_decay", "dropout", "loss")},
    }  # fmt: skip
    return with_candidate(configured.settings, drawn[best]), record


def _trial(tried: ModelToTrain, target: TaskTarget, data: FoldData, folder: Path, threads: int) -> float:
    train_model(tried, data, folder, threads=threads)
    return observed_loss(
        predict_model(folder, data, threads=threads, own=tried.settings.network.own).table, target
    )


def _kept(folder: Path, key: str, trial: Callable[[], float]) -> dict[str, Any]:
    """Return a trial's result, from its file if it finished before."""
    path = folder / "trial.json"
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept.pop("key") == key:
            return kept
    except (OSError, ValueError, KeyError):
        pass
    start, failure, loss = time.perf_counter(), "", None
    try:
        value = trial()
        loss = value if math.isfinite(value) else None
        failure = "" if loss is not None else "no labelled patient to compare on"
    except Exception as error:  # settings under which a model cannot be trained are a result, too
        raise_machine_fault(error, folder.name)
        failure = reason_of(error)
    result = {"loss": loss, "seconds": round(time.perf_counter() - start, 1), "failure": failure}
    write_json(path, {"key": key, **result})
    return result


def _generator(purpose: str, seed: int, task: str, fold: int) -> np.random.Generator:
    digest = settings_hash([purpose, seed, task, fold])
    return np.random.default_rng(int(digest, 16))

"""One fold of the comparison: every entry fitted on its training part, predictions of the tested patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from expression_models.entries import ENTRIES, Entry, applies
from expression_models.networks import GeneItems, predict_snn, train_snn
from pathduet.cohort.folds import read_folds
from pathduet.cohort.labels import task_labels
from pathduet.cohort.sheets import read_patients
from pathduet.cohort.survival_bins import bin_index
from pathduet.core.files import write_tsv
from pathduet.core.hardware import limit_threads
from pathduet.evaluation.censoring import (
    breslow_survival,
    brier_contributions,
    interval_survival,
    ipcw_weights,
)
from pathduet.evaluation.covariates import design_matrix
from pathduet.expression import fold_matrix
from pathduet.expression.gene_sets import Both
from pathduet.expression.prepare import MatrixSettings, build, gene_lists
from pathduet.expression.tables import ExpressionTable, read_expression
from pathduet.models.snn import SnnConfig
from pathduet.training.config import TrainingConfig
from pathduet.training.fold_data import fold_target
from pathduet.training.task_targets import ClassTarget, SurvivalTarget

if TYPE_CHECKING:
    import pandas as pd

#: Days up to which deaths count in the IPCW C-index (5 years).
HORIZON = 1826.0
#: First day of the integrated Brier score; the last is the last inner edge of the survival intervals.
FIRST_DAY = 30.0
COMPONENTS = 50
#: lifelines' ridge penalty on standardised components, and on standardised covariates.
COMPONENT_PENALTY, COVARIATE_PENALTY = 0.1, 0.01


@dataclass
class FoldData:
    """Everything that the entries of one fold read.

    Attributes
    ----------
    patients : DataFrame
        By patient_id.
    folds : DataFrame
        patient_id, cohort, fold.
    fold : int
    tables : sequence of ExpressionTable
        One a cohort. The genes are those that all of them have.
    listed : mapping
        Subspace -> its genes.
    both : str
        What becomes of genes of both lists.
    part : str
        Who is predicted: ``test`` or ``external``.
    seed : int
        Of networks and the random choice of genes.
    """

    patients: pd.DataFrame
    folds: pd.DataFrame
    fold: int
    tables: Sequence[ExpressionTable]
    listed: Mapping[str, Sequence[str]]
    both: Both = "drop"
    part: str = "test"
    seed: int = 42
    _made: dict[tuple[Any, ...], tuple[pd.DataFrame, list[np.ndarray]]] = field(
        default_factory=dict, repr=False
    )

    def genes(self, entry: Entry) -> tuple[pd.DataFrame, list[np.ndarray]]:
        """Return who the rows are (patient_id, part) and the scaled gene vectors, one a branch."""
        wanted = "all" if entry.genes == "all" else "lists"
        key = (wanted, *((entry.fraction, entry.flavor) if wanted == "lists" else ()))
        if key not in self._made:
            adata = self._all_genes() if wanted == "all" else self._lists(entry)
            who = adata.obs[["patient_id", "part"]].reset_index(drop=True)
            if wanted == "all":
                self._made[key] = (who, [np.asarray(adata.X)])
            else:
                chosen = fold_matrix.selected(adata)
                self._made[key] = (who, [chosen.tumor, chosen.tme])
        who, vectors = self._made[key]
        if entry.genes == "all":
            return who, vectors
        tumor, tme = vectors
        branches = {"tumor": [tumor], "tme": [tme], "concat": [np.hstack(vectors)], "parallel": [tumor, tme]}
        return who, branches[entry.genes]

    def _lists(self, entry: Entry) -> Any:
        settings = MatrixSettings(
            both=self.both,
            flavor=entry.flavor,
            fraction=entry.fraction,
            external_scaling="own",
            seed=self.seed,
        )
        return build(self.tables, self.patients, self.folds, self.fold, self.listed, settings)

    def _all_genes(self) -> Any:
        """Scale every common gene: X holds all listed genes, and nothing is read of the selection among them."""
        first, *others = sorted(set.intersection(*(set(table.values.index) for table in self.tables)))
        settings = MatrixSettings(flavor="random", fraction=1e-6, external_scaling="own", seed=self.seed)
        listed = {"tumor": others, "tme": [first]}
        return build(self.tables, self.patients, self.folds, self.fold, listed, settings)


def write_fold(
    sheets: Path,
    folds: str | PathLike[str],
    fold: int,
    outputs: Mapping[str, str | PathLike[str]],
    *,
    cohorts: Sequence[str],
    part: str,
    settings: Mapping[str, Any],
    split: str,
) -> None:
    """Fit every entry of a fold and write its predictions.

    Parameters
    ----------
    sheets : Path
        Folder with patients.tsv and ``expression_{cohort}.tsv.gz``.
    folds : path
        folds.tsv.
    fold : int
    outputs : mapping
        Task -> file.
    cohorts : sequence of str
        Whose tables to read.
    part : {"test", "external"}
        Who is predicted.
    settings : mapping
        ``network``, ``training``, ``bins``, ``both``, ``seeds``.
    split : str
        ``seed-N`` gives the networks their seed; other names the first of ``seeds``.
    """
    limit_threads(1)
    named = split.removeprefix("seed-")
    data = FoldData(
        read_patients(sheets / "patients.tsv"),
        read_folds(folds),
        fold,
        [read_expression(sheets / f"expression_{cohort}.tsv.gz", "zscore", cohort) for cohort in cohorts],
        gene_lists({"tumor": "shipped", "tme": "shipped"}),
        both=settings["both"],
        part=part,
        seed=int(named) if named.isdecimal() else int(settings["seeds"][0]),
    )
    for task, path in outputs.items():
        write_tsv(path, run_fold(data, ENTRIES, task, settings))


def run_fold(
    data: FoldData, entries: Sequence[Entry], task: str, settings: Mapping[str, Any]
) -> pd.DataFrame:
    """Fit every entry for one task and return its predictions.

    Parameters
    ----------
    settings : mapping
        ``network`` (fields of SnnConfig), ``training`` (fields of TrainingConfig), ``bins``.

    Returns
    -------
    DataFrame
        model, slide_id (""), patient_id, cohort, part, fold; classification: label, predicted, p_<class>; survival:
        survival_days, event, risk, and of the test part ipcw_weight, brier (the patient's share in both metrics).
    """
    import pandas as pd

    labels = task_labels(data.patients, task)  # type: ignore[arg-type]
    outcome = fold_target(task, labels, data.folds, data.fold, bins=settings["bins"])
    parts = []
    for entry in entries:
        if not applies(entry, task):
            continue
        if isinstance(outcome, SurvivalTarget):
            table = _survival(data, entry, labels, outcome, settings)
        else:
            table = _classes(data, entry, labels, outcome, settings)
        table.insert(0, "model", entry.name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _rows(data: FoldData, known: pd.Index) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return the rows with expression, and the positions of labelled training and predicted patients among them."""
    who, _ = data.genes(Entry("", "", "snn", "all"))
    labelled = who["patient_id"].isin(known).to_numpy()
    train = np.flatnonzero((who["part"] == "train").to_numpy() & labelled)
    predicted = np.flatnonzero((who["part"] == data.part).to_numpy() & labelled)
    return who, train, predicted


def _start(data: FoldData, who: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    ids = who["patient_id"].to_numpy()[rows]
    cohort = data.patients.loc[ids, "cohort"].to_numpy()
    return pd.DataFrame(
        {"slide_id": "", "patient_id": ids, "cohort": cohort, "part": data.part, "fold": data.fold}
    )


def _survival(
    data: FoldData, entry: Entry, labels: pd.DataFrame, outcome: SurvivalTarget, settings: Mapping[str, Any]
) -> pd.DataFrame:
    known = labels.index[labels["reason"] == ""]
    who, train, predicted = _rows(data, known)
    ids = who["patient_id"]
    time = labels.loc[ids, "survival_days"].to_numpy(dtype=float)
    event = labels.loc[ids, "event"].to_numpy(dtype=float)
    edges = np.asarray(outcome.edges)
    days = np.linspace(FIRST_DAY, edges[-1], 40)
    if entry.kind == "snn":
        logits = _network(
            data, entry, outcome, bin_index(time[train], edges), event[train], train, predicted, settings
        )
        hazards = 1 / (1 + np.exp(-logits))
        risk = -np.cumprod(1 - hazards, axis=1).sum(axis=1)
        survival = interval_survival(hazards, edges, days)
    else:
        values, penalty = _design(data, entry, who, train)
        fitted = _cox(values[train], time[train], event[train], penalty)
        risk, own = values[predicted] @ fitted, values[train] @ fitted
        survival = breslow_survival(time[train], event[train], own, risk, days)
    table = _start(data, who, predicted)
    table["survival_days"], table["event"], table["risk"] = time[predicted], event[predicted], risk
    if data.part == "test":
        # an external cohort is censored by its own rules: the training part's distribution says nothing about it
        outcomes = (time[train], event[train], time[predicted], event[predicted])
        table["ipcw_weight"] = ipcw_weights(*outcomes, HORIZON)
        table["brier"] = brier_contributions(*outcomes, survival, days)
    return table


def _classes(
    data: FoldData, entry: Entry, labels: pd.DataFrame, outcome: ClassTarget, settings: Mapping[str, Any]
) -> pd.DataFrame:
    from sklearn.linear_model import LogisticRegression

    known = labels.index[labels["reason"] == ""]
    who, train, predicted = _rows(data, known)
    classes = list(outcome.classes)
    names = labels["label"].reindex(who["patient_id"]).to_numpy()
    target = np.array([classes.index(names[i]) for i in train])
    if entry.kind == "snn":
        logits = _network(data, entry, outcome, target, np.zeros(len(train)), train, predicted, settings)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        probability = odds / odds.sum(axis=1, keepdims=True)
    else:
        values, _ = _design(data, entry, who, train)
        fitted = LogisticRegression(class_weight="balanced", max_iter=2000).fit(values[train], target)
        probability = np.zeros((len(predicted), len(classes)))
        probability[:, fitted.classes_] = fitted.predict_proba(values[predicted])
    table = _start(data, who, predicted)
    table["label"] = [names[i] for i in predicted]
    table["predicted"] = [classes[k] for k in probability.argmax(axis=1)]
    for k, name in enumerate(classes):
        table[f"p_{name}"] = probability[:, k]
    return table


def _design(data: FoldData, entry: Entry, who: pd.DataFrame, train: np.ndarray) -> tuple[np.ndarray, float]:
    """Return standardised inputs (rows, columns) of a linear model and its penalty; missing covariates are 0, the mean."""
    if entry.kind == "components":
        from sklearn.decomposition import PCA

        _, [values] = data.genes(entry)
        count = min(COMPONENTS, len(train) - 1, values.shape[1])
        fitted = PCA(count, svd_solver="full", whiten=True).fit(values[train])
        return fitted.transform(values), COMPONENT_PENALTY
    covariates = design_matrix(data.patients.loc[who["patient_id"]], entry.covariates).to_numpy(dtype=float)
    centre, scale = np.nanmean(covariates[train], axis=0), np.nanstd(covariates[train], axis=0)
    return np.nan_to_num((covariates - centre) / np.where(scale > 0, scale, 1.0)), COVARIATE_PENALTY


def _cox(values: np.ndarray, time: np.ndarray, event: np.ndarray, penalty: float) -> np.ndarray:
    """Return the coefficients of a ridge-penalised Cox model."""
    import pandas as pd
    from lifelines import CoxPHFitter

    table = pd.DataFrame(values, columns=[f"x{i}" for i in range(values.shape[1])])
    table["time"], table["event"] = time, event
    fitted = CoxPHFitter(penalizer=penalty).fit(table, "time", "event")
    return np.asarray(fitted.params_.to_numpy(dtype=float))


def _network(
    data: FoldData,
    entry: Entry,
    outcome: ClassTarget | SurvivalTarget,
    label: np.ndarray,
    event: np.ndarray,
    train: np.ndarray,
    predicted: np.ndarray,
    settings: Mapping[str, Any],
) -> np.ndarray:
    who, vectors = data.genes(entry)
    patients = who["patient_id"].to_numpy()
    items = GeneItems(list(patients[train]), [vector[train] for vector in vectors], label, event)
    network = SnnConfig(**{**settings["network"], "hidden": tuple(settings["network"]["hidden"])})
    training = TrainingConfig(**settings["training"], seed=data.seed)
    model = train_snn(items, outcome, network, training, label=entry.name)
    return predict_snn(model, [vector[predicted] for vector in vectors])

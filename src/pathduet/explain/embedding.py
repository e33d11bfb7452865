"""How well representations tell classes apart: a picture in two dimensions, and numbers that do not come from it.

The picture (t-SNE or UMAP) is fitted to each fold's test patients alone; distances in it mean little, so the scores
are computed in the representation space itself: the silhouette, the balanced accuracy of a nearest-neighbour vote
that leaves the patient out, and that of a cross-validated linear classifier. Folds have different networks and so
different spaces: scores are computed within a fold and averaged.

Each score is a mean of one number a patient (macro over classes for the accuracies), so patients can be resampled for
an interval: it says how much the test patients' choice matters, given the fold's representations.

Rousseeuw 1987 (silhouette); van der Maaten and Hinton 2008 (t-SNE); McInnes et al. 2018 (UMAP).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathduet.catalogue import named
from pathduet.core.files import write_tsv
from pathduet.evaluation.bootstrap import interval, patient_counts
from pathduet.explain.files import EMBEDDING_MEASURES, TABLES
from pathduet.explain.fold_results import FoldResult, TaskRun

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("tsne", "umap")
NEIGHBOURS = 5
_FEWEST_PATIENTS = 4
_LARGEST_PERPLEXITY = 30.0
_LINEAR_FOLDS = 5

Floats = NDArray[np.float64]


def embed(values: Floats, method: str, seed: int) -> Floats:
    """Return a point (n, 2) for each row of (n, r); the same input and seed give the same points.

    Raises
    ------
    ValueError
        With fewer than four rows, or an unknown method.
    """
    n = len(values)
    if method not in METHODS:
        raise ValueError(f"unknown embedding {method!r}; known: {', '.join(METHODS)}")
    if n < _FEWEST_PATIENTS:
        raise ValueError(f"{n} patients: a picture needs {_FEWEST_PATIENTS}")
    if method == "umap":
        # Imported here: compiling it takes longer than anything else in this package.
        from umap import UMAP

        # its spectral start needs more neighbours than components, which few patients do not have
        reducer = UMAP(n_neighbors=min(15, n - 1), random_state=seed, n_jobs=1, init="pca")
        return np.asarray(reducer.fit_transform(values), dtype=float)
    from sklearn.manifold import TSNE

    perplexity = min(_LARGEST_PERPLEXITY, (n - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1)
    return np.asarray(tsne.fit_transform(values), dtype=float)


def silhouettes(values: Floats, labels: NDArray) -> Floats:
    """Return each row's silhouette (n,), in [-1, 1]; Euclidean distances."""
    from sklearn.metrics import silhouette_samples

    return np.asarray(silhouette_samples(values, labels), dtype=float)


def neighbour_hits(values: Floats, labels: NDArray, neighbours: int = NEIGHBOURS) -> Floats:
    """Return 1 where a row's nearest other rows vote for its label, else 0, shape (n,).

    A tie goes to the label of the nearest among the tied.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(neighbours, len(values) - 1)
    # without an argument, kneighbors leaves each row out of its own neighbourhood
    nearest = NearestNeighbors(n_neighbors=k).fit(values).kneighbors(return_distance=False)
    hits = np.zeros(len(values))
    for row, others in enumerate(labels[nearest]):
        names, first, votes = np.unique(others, return_index=True, return_counts=True)
        winners = votes == votes.max()
        hits[row] = names[winners][first[winners].argmin()] == labels[row]
    return hits


def linear_hits(values: Floats, labels: NDArray, seed: int) -> Floats:
    """Return 1 where a linear classifier that was not shown the row gives its label, else 0, shape (n,).

    Logistic regression on standardised columns, classes weighted alike; stratified cross-validation with as many parts
    as the smallest class allows, at most five. Every class needs two rows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    smallest = int(np.unique(labels, return_counts=True)[1].min())
    splits = StratifiedKFold(min(_LINEAR_FOLDS, smallest), shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    return (cross_val_predict(model, values, labels, cv=splits) == labels).astype(float)


def scored_rows(labels: Sequence[object]) -> tuple[NDArray[np.bool_], str]:
    """Return which rows can be scored, and why the others (or all) cannot.

    A class needs two patients, and there must be two classes.
    """
    names = np.array(
        ["" if label is None or label != label else str(label) for label in labels], dtype=object
    )
    classes, counts = np.unique(names[names != ""].astype(str), return_counts=True)
    lonely = sorted(classes[counts < 2])
    kept = np.array([name != "" and name not in lonely for name in names], dtype=bool)
    reason = f"{', '.join(lonely)}: one test patient only, left out of the scores" if lonely else ""
    if (counts >= 2).sum() < 2:
        kept[:] = False
        reason = f"classes with two test patients: {int((counts >= 2).sum())}; scores need two"
    return kept, reason


def class_labels(result: FoldResult) -> tuple[list[str | None], str]:
    """Return each patient's class, None where it is not known, and what the classes are.

    For survival: dead or alive at the middle edge of the model's intervals (from the training part); patients censored
    before are in neither class.
    """
    rows = result.patients
    if result.task != "survival":
        return [None if label != label or not label else str(label) for label in rows["label"]], result.task
    if not result.edges:
        return [None] * len(rows), "survival: the model has no intervals"
    day = result.edges[len(result.edges) // 2]
    labels: list[str | None] = []
    for time, event in zip(rows["survival_days"].astype(float), rows["event"].astype(float), strict=True):
        if not (np.isfinite(time) and event in (0.0, 1.0)):
            labels.append(None)
        elif time > day:
            labels.append("alive")
        else:
            labels.append("died" if event == 1 else None)
    return labels, f"dead or alive at day {day:.0f}"


def _weighted(measure: str, hits: Floats, labels: NDArray, weight: Floats) -> Floats:
    """Return a measure under each row of patient weights (R, n): a mean, or a macro mean over classes."""
    if measure == "silhouette":
        return np.asarray((weight @ hits) / weight.sum(axis=1))
    with np.errstate(invalid="ignore"):
        per_class = [
            (weight[:, labels == name] @ hits[labels == name]) / weight[:, labels == name].sum(axis=1)
            for name in np.unique(labels)
        ]
        return np.asarray(np.nanmean(np.stack(per_class), axis=0))


@dataclass(frozen=True)
class FoldScores:
    """How well one fold's representations tell classes apart.

    Attributes
    ----------
    patients : int
        How many are scored.
    reason : str
        Why the others are not.
    chance : float
        Accuracy of what knows nothing; NaN where nobody is scored.
    values : dict of str to float
        By measure; empty where nobody is scored.
    draws : dict of str to array
        Values under resampled patients, by measure.
    """

    patients: int
    reason: str
    chance: float = np.nan
    values: Mapping[str, float] = field(default_factory=dict)
    draws: Mapping[str, Floats] = field(default_factory=dict)


def score_fold(
    values: Floats, labels: Sequence[str | None], seed: int, fold: int, resamples: int
) -> FoldScores:
    """Return the scores of one fold's representations (patients, r)."""
    kept, reason = scored_rows(labels)
    if not kept.any():
        return FoldScores(0, reason)
    used = values[kept]
    named_rows = np.array([str(label) for label, keep in zip(labels, kept, strict=True) if keep])
    hits = {
        "silhouette": silhouettes(used, named_rows),
        "neighbours": neighbour_hits(used, named_rows),
        "linear": linear_hits(used, named_rows, seed),
    }
    everybody = np.ones((1, len(used)))
    weight = patient_counts(len(used), resamples, np.random.default_rng([seed, fold])) if resamples else None
    return FoldScores(
        len(used),
        reason,
        1 / len(np.unique(named_rows)),
        {m: float(_weighted(m, hit, named_rows, everybody)[0]) for m, hit in hits.items()},
        {} if weight is None else {m: _weighted(m, hit, named_rows, weight) for m, hit in hits.items()},
    )


def _chance(measure: str, chance: float) -> float:
    """Return what knows nothing reaches: a silhouette of 0, or the accuracy."""
    return 0.0 if measure == "silhouette" and np.isfinite(chance) else chance


def embedding_tables(
    results_of: Mapping[str, Sequence[FoldResult]],
    reasons: Mapping[str, Sequence[str]],
    *,
    method: str,
    seed: int,
    resamples: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return coordinates and scores of every model.

    Parameters
    ----------
    results_of : mapping
        Model to its folds.
    reasons : mapping
        Model to why folds are missing.
    method : {"tsne", "umap"}
    resamples : int
        Draws of patients for the 95 % intervals; 0 = none.

    Returns
    -------
    coordinates : DataFrame
        One row a test patient: model, fold, patient_id, class (empty if unknown), x, y.
    scores : DataFrame
        One row a model, measure and fold, and one with fold ``mean``: value, ci_low, ci_high (of the mean), chance,
        n_patients, classes, reason.
    """
    import pandas as pd

    points: list[pd.DataFrame] = []
    rows: list[dict[str, object]] = []
    for model, folds in results_of.items():
        notes, scored, meaning = list(reasons.get(model, [])), [], ""
        for result in folds:
            labels, meaning = class_labels(result)
            if result.representation is None:
                notes.append(f"fold {result.fold}: the model leaves no representation")
                continue
            try:
                points.append(_points(result, labels, embed(result.representation, method, seed)))
            except ValueError as error:
                notes.append(f"fold {result.fold}: {error}")
            scores = score_fold(result.representation, labels, seed, result.fold, resamples)
            notes += [f"fold {result.fold}: {scores.reason}"] if scores.reason else []
            scored.append(scores)
            rows += [
                {
                    "model": model, "measure": measure, "fold": str(result.fold),
                    "value": scores.values.get(measure, np.nan), "chance": _chance(measure, scores.chance),
                    "n_patients": scores.patients, "classes": meaning, "reason": scores.reason,
                }
                for measure in EMBEDDING_MEASURES
            ]  # fmt: skip
        rows += _means([one for one in scored if one.patients], model, meaning, "; ".join(notes))
    columns = ["model", "fold", "patient_id", "class", "x", "y"]
    coordinates = pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=columns)
    names = [
        "model",
        "measure",
        "fold",
        "value",
        "ci_low",
        "ci_high",
        "chance",
        "n_patients",
        "classes",
        "reason",
    ]
    return coordinates[columns], pd.DataFrame(rows).reindex(columns=names)


def _points(result: FoldResult, labels: Sequence[str | None], xy: Floats) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "model": result.model, "fold": result.fold, "patient_id": result.patients["patient_id"],
            "class": [label or "" for label in labels], "x": xy[:, 0], "y": xy[:, 1],
        }
    )  # fmt: skip


def _means(scored: Sequence[FoldScores], model: str, classes: str, reason: str) -> list[dict[str, object]]:
    """Return the rows of the means over a model's folds, each with its interval."""
    rows: list[dict[str, object]] = []
    for measure in EMBEDDING_MEASURES:
        draws = [one.draws[measure] for one in scored if one.draws]
        low, high = (interval(np.mean(draws, axis=0)) if draws else None) or (np.nan, np.nan)
        value, chance = (
            (
                float(np.mean([one.values[measure] for one in scored])),
                float(np.mean([one.chance for one in scored])),
            )
            if scored
            else (np.nan, np.nan)
        )
        rows.append(
            {
                "model": model, "measure": measure, "fold": "mean", "value": value, "ci_low": low, "ci_high": high,
                "chance": _chance(measure, chance), "n_patients": sum(one.patients for one in scored),
                "classes": classes, "reason": reason,
            }
        )  # fmt: skip
    return rows


def explain_embedding(run: TaskRun) -> dict[str, Any]:
    """Write the tables of a task's representations and return the summary's entry."""
    method, (_, reasons) = run.chosen["embedding"], run.read
    coordinates, scores = embedding_tables(
        run.networks, reasons, method=method, seed=run.settings["seed"], resamples=run.settings["bootstrap"]
    )
    for name, table in zip(TABLES["embedding"], (coordinates, scores), strict=True):
        write_tsv(run.out_dir / name, table)
    means = scores[scores["fold"] == "mean"]
    parts = []
    for measure, title in EMBEDDING_MEASURES.items():
        known = means[(means["measure"] == measure) & means["value"].notna()]
        if len(known):
            best = known.iloc[int(known["value"].argmax())]
            model = named(best["model"]).in_sentence
            parts.append(f"{title.split(' (')[0].lower()} {best['value']:.2f} ({model})")
    message = (
        f"Highest class separation: {', '.join(parts)}."
        if parts
        else "No class separation could be computed."
    )
    noted = means[(means["measure"] == "silhouette") & (means["reason"] != "")]
    return {
        "method": method,
        "classes": ", ".join(sorted(set(scores["classes"].dropna()) - {""})),
        "message": message,
        "reasons": [f"{row['model']}: {row['reason']}" for row in noted.to_dict("records")],
    }

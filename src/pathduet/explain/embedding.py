"""How well representations separate classes or values: a two-dimensional picture, and scores computed without it.

The picture (t-SNE or UMAP) is fitted to each fold's test patients only; distances in it mean little, so the scores
are computed in the representation space itself: the silhouette, the balanced accuracy of a nearest-neighbour vote
that excludes the patient, and that of a cross-validated linear classifier. Folds have different networks and thus
different spaces: scores are computed within a fold and averaged.

Each score is a mean of one number per patient (macro over classes for the accuracies), so patients can be resampled for
an interval, which covers the choice of test patients, given the fold's representations. If a task's labels are
numbers, the same neighbours and a linear regression predict each patient from the others; scores are Spearman's correlation of
the neighbours' mean with the truth (ranks among all scored patients) and the R2 of the regression.

Rousseeuw 1987 (silhouette); van der Maaten and Hinton 2008 (t-SNE); McInnes et al. 2018 (UMAP).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathduet.catalogue import named
from pathduet.cohort.tasks import Task
from pathduet.core.files import write_tsv
from pathduet.core.plural import plural
from pathduet.evaluation.bootstrap import interval, patient_counts
from pathduet.explain.files import EMBEDDING_MEASURES, EVENT_CLASSES, TABLES
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

        # its spectral initialisation needs more neighbours than components, which few patients do not have
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
    """Return 1 where a linear classifier trained without the row predicts its label, else 0, shape (n,).

    Logistic regression on standardised columns, with equal class weights; stratified cross-validation with at most
    five parts, fewer if the smallest class is smaller. Every class needs two rows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    smallest = int(np.unique(labels, return_counts=True)[1].min())
    splits = StratifiedKFold(min(_LINEAR_FOLDS, smallest), shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    return (cross_val_predict(model, values, labels, cv=splits) == labels).astype(float)


def neighbour_means(values: Floats, numbers: Floats, neighbours: int = NEIGHBOURS) -> Floats:
    """Return the mean of the numbers of each row's nearest other rows, shape (n,)."""
    from sklearn.neighbors import NearestNeighbors

    k = min(neighbours, len(values) - 1)
    nearest = NearestNeighbors(n_neighbors=k).fit(values).kneighbors(return_distance=False)
    return np.asarray(numbers[nearest].mean(axis=1))


def linear_predictions(values: Floats, numbers: Floats, seed: int) -> Floats:
    """Return the prediction of each row by a ridge regression trained without it, shape (n,).

    On standardised columns, penalty 1 as in the classifier; cross-validation in at most five parts.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    splits = KFold(min(_LINEAR_FOLDS, len(values)), shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), Ridge())
    return np.asarray(cross_val_predict(model, values, numbers, cv=splits), dtype=float)


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


def true_labels(result: FoldResult) -> tuple[list[Any], str]:
    """Return each patient's class or number, None if unknown, and what the labels are.

    For survival: with the event or event-free at the middle edge of the model's intervals (from the training part); patients
    censored earlier are in neither class.
    """
    rows, task = result.patients, result.task
    if task.kind == "regression":
        values = rows["value"].astype(float)
        return [float(value) if np.isfinite(value) else None for value in values], task.in_sentence
    if task.kind == "classification":
        return [
            label if isinstance(label, str) and label else None
            for label in rows["label"].to_list()  # missing ones are NA or NaN
        ], task.in_sentence
    if not result.edges:
        return [None] * len(rows), f"{task.in_sentence}: the model has no intervals"
    day = result.edges[len(result.edges) // 2]
    labels: list[str | None] = []
    for time, event in zip(rows["survival_days"].astype(float), rows["event"].astype(float), strict=True):
        if not (np.isfinite(time) and event in (0.0, 1.0)):
            labels.append(None)
        elif time > day:
            labels.append(EVENT_CLASSES[0])
        else:
            labels.append(EVENT_CLASSES[1] if event == 1 else None)
    return labels, f"with event or event-free at day {day:.0f}"


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


def _weighted_fit(measure: str, predicted: Floats, truth: Floats, weight: Floats) -> Floats:
    """Return Spearman's correlation or R2 of predictions under each row of patient weights (R, n)."""
    from scipy.stats import rankdata

    total = weight.sum(axis=1, keepdims=True)
    if measure == "neighbours":
        predicted, truth = rankdata(predicted), rankdata(truth)
        a, b = (x - (weight @ x)[:, None] / total for x in (predicted, truth))
        size = np.sqrt((weight * a**2).sum(axis=1) * (weight * b**2).sum(axis=1))
        r = np.full(len(weight), np.nan)
        return np.divide((weight * a * b).sum(axis=1), size, out=r, where=size > 0)
    spread = (weight * (truth - (weight @ truth)[:, None] / total) ** 2).sum(axis=1)
    part = np.full(len(weight), np.nan)
    return 1 - np.divide(weight @ (truth - predicted) ** 2, spread, out=part, where=spread > 0)


@dataclass(frozen=True)
class FoldScores:
    """How well one fold's representations separate classes or values.

    Attributes
    ----------
    patients : int
        Number of scored patients.
    reason : str
        Why the others are not scored.
    chance : float
        What an uninformative model reaches: the accuracy, or 0 for a regression; NaN if no patient is scored.
    values : dict of str to float
        By measure; empty if no patient is scored.
    draws : dict of str to array
        Values under resampled patients, by measure.
    """

    patients: int
    reason: str
    chance: float = np.nan
    values: Mapping[str, float] = field(default_factory=dict)
    draws: Mapping[str, Floats] = field(default_factory=dict)


def score_fold(values: Floats, labels: Sequence[Any], seed: int, fold: int, resamples: int) -> FoldScores:
    """Return the scores of one fold's representations (patients, r) for classes."""
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

    def measure(name: str, weight: Floats) -> Floats:
        return _weighted(name, hits[name], named_rows, weight)

    chance = 1 / len(np.unique(named_rows))
    return _scores(list(hits), measure, len(used), reason, chance, (seed, fold, resamples))


def score_values(
    values: Floats, numbers: Sequence[float | None], seed: int, fold: int, resamples: int
) -> FoldScores:
    """Return the scores of one fold's representations (patients, r) for numbers."""
    truth = np.array([np.nan if number is None else number for number in numbers])
    kept = np.isfinite(truth)
    truth, used = truth[kept], values[kept]
    if len(truth) < _FEWEST_PATIENTS or len(np.unique(truth)) < 2:
        found = f"{plural(len(truth), 'test patient')} with a value, {len(np.unique(truth))} different"
        return FoldScores(0, f"{found}; scores need {_FEWEST_PATIENTS} with two values")
    fits = {"neighbours": neighbour_means(used, truth), "linear": linear_predictions(used, truth, seed)}

    def measure(name: str, weight: Floats) -> Floats:
        return _weighted_fit(name, fits[name], truth, weight)

    return _scores(list(fits), measure, len(used), "", 0.0, (seed, fold, resamples))


def _scores(
    names: Sequence[str],
    measure: Callable[[str, Floats], Floats],
    n: int,
    reason: str,
    chance: float,
    drawing: tuple[int, int, int],
) -> FoldScores:
    """Return the measures of all patients and of resampled ones; `drawing` is seed, fold and resamples."""
    seed, fold, resamples = drawing
    weight = patient_counts(n, resamples, np.random.default_rng([seed, fold])) if resamples else None
    everybody = np.ones((1, n))
    return FoldScores(
        n,
        reason,
        chance,
        {name: float(measure(name, everybody)[0]) for name in names},
        {} if weight is None else {name: measure(name, weight) for name in names},
    )


def _chance(measure: str, chance: float) -> float:
    """Return what an uninformative model reaches: a silhouette of 0, or the accuracy."""
    return 0.0 if measure == "silhouette" and np.isfinite(chance) else chance


def embedding_tables(
    task: Task,
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
    task : Task
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
        One row per test patient: model, fold, patient_id, class (empty if unknown) or value, x, y.
    scores : DataFrame
        One row per model, measure and fold, and one with fold ``mean``: value, ci_low, ci_high (of the mean),
        chance, n_patients, classes, reason.
    """
    import pandas as pd

    measures, label = EMBEDDING_MEASURES[task.kind], "value" if task.kind == "regression" else "class"
    score = score_values if task.kind == "regression" else score_fold
    points: list[pd.DataFrame] = []
    rows: list[dict[str, object]] = []
    for model, folds in results_of.items():
        notes, scored, meaning = list(reasons.get(model, [])), [], ""
        for result in folds:
            labels, meaning = true_labels(result)
            if result.representation is None:
                notes.append(f"fold {result.fold}: the model leaves no representation")
                continue
            try:
                xy = embed(result.representation, method, seed)
                points.append(_points(result, {label: labels}, xy))
            except ValueError as error:
                notes.append(f"fold {result.fold}: {error}")
            scores = score(result.representation, labels, seed, result.fold, resamples)
            notes += [f"fold {result.fold}: {scores.reason}"] if scores.reason else []
            scored.append(scores)
            rows += [
                {
                    "model": model, "measure": measure, "fold": str(result.fold),
                    "value": scores.values.get(measure, np.nan), "chance": _chance(measure, scores.chance),
                    "n_patients": scores.patients, "classes": meaning, "reason": scores.reason,
                }
                for measure in measures
            ]  # fmt: skip
        usable = [one for one in scored if one.patients]
        rows += _means(measures, usable, model, meaning, "; ".join(notes))
    columns = ["model", "fold", "patient_id", label, "x", "y"]
    coordinates = pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=columns)
    names = [
        "model", "measure", "fold", "value", "ci_low", "ci_high", "chance", "n_patients", "classes", "reason",
    ]  # fmt: skip
    return coordinates[columns], pd.DataFrame(rows).reindex(columns=names)


def _points(result: FoldResult, labels: Mapping[str, Sequence[Any]], xy: Floats) -> pd.DataFrame:
    import pandas as pd

    known = {name: ["" if one is None else one for one in column] for name, column in labels.items()}
    who = {"model": result.model, "fold": result.fold, "patient_id": result.patients["patient_id"]}
    return pd.DataFrame({**who, **known, "x": xy[:, 0], "y": xy[:, 1]})


def _means(
    measures: Iterable[str], scored: Sequence[FoldScores], model: str, classes: str, reason: str
) -> list[dict[str, object]]:
    """Return the rows of the means over a model's folds, each with its interval."""
    rows: list[dict[str, object]] = []
    for measure in measures:
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
        run.task,
        run.networks,
        reasons,
        method=method,
        seed=run.settings["seed"],
        resamples=run.settings["bootstrap"],
    )
    for name, table in zip(TABLES["embedding"], (coordinates, scores), strict=True):
        write_tsv(run.out_dir / name, table)
    means = scores[scores["fold"] == "mean"]
    parts = []
    for measure, title in EMBEDDING_MEASURES[run.task.kind].items():
        known = means[(means["measure"] == measure) & means["value"].notna()]
        if len(known):
            best = known.iloc[int(known["value"].argmax())]
            model = named(best["model"], run.catalogue).in_sentence
            parts.append(f"{title.split(' (')[0].lower()} {best['value']:.2f} ({model})")
    told = "separation by value" if run.task.kind == "regression" else "class separation"
    noted = means.drop_duplicates("model")
    noted = noted[noted["reason"] != ""]
    return {
        "method": method,
        "classes": ", ".join(sorted(set(scores["classes"].dropna()) - {""})),
        "message": f"Highest {told}: {', '.join(parts)}." if parts else f"No {told} could be computed.",
        "reasons": run.no_network or [f"{row['model']}: {row['reason']}" for row in noted.to_dict("records")],
    }

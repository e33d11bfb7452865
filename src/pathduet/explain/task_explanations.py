"""The explanations of one task as files: what the workflow's job calls, and what it leaves behind.

Everything lands in ``results/explanations/<task>/``; ``summary.json`` says of each explanation what it found, from whom,
and what it could not do and why. A table that could not be filled is there with its header only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet.cohort.folds import read_folds
from pathduet.cohort.labels import task_labels
from pathduet.cohort.sheets import read_patients
from pathduet.core.files import write_json, write_tsv
from pathduet.evaluation.model_facts import called
from pathduet.evaluation.predictions import labelled, read_predictions
from pathduet.evaluation.survival_curves import risk_cuts
from pathduet.explain import gene_correlation, survival_explanations
from pathduet.explain.embedding import embedding_tables
from pathduet.explain.fold_results import FoldResult, read_external_of, read_folds_of
from pathduet.explanation_files import EMBEDDING_MEASURES, FIGURES, TABLES, explanations_of, is_clinical

if TYPE_CHECKING:
    import pandas as pd


def explain_task(
    task: str,
    *,
    results: Path,
    patients: str | Path,
    settings: Mapping[str, Any],
    out_dir: Path,
    repair: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Compute a task's explanations, write their tables and ``summary.json``, and return the summary.

    Parameters
    ----------
    results : Path
        The results folder.
    patients : path
        patients.tsv.
    settings : mapping
        ``seed``, ``bootstrap``, ``labels``, ``models`` (of this task), ``folds`` (their number), ``external`` (whether there
        are external cohorts) and ``explanations`` (that section of the configuration).
    repair : mapping, optional
        See :func:`pathduet.training.fold_jobs.usable_slides`.
    """
    from pathduet.core.hardware import limit_threads
    from pathduet.explain.slide_explanations import attention_parts, region_parts

    limit_threads(threads)
    chosen = settings["explanations"]
    folds = range(settings["folds"])
    results_of: dict[str, list[FoldResult]] = {}
    reasons: dict[str, list[str]] = {}
    for model in settings["models"]:
        results_of[model], reasons[model] = read_folds_of(results, task, model, folds)
    networks = {model: found for model, found in results_of.items() if not is_clinical(model)}
    entries = []
    for name in explanations_of(task, chosen["malignancy_scores"]):
        if name == "embedding":
            entry = _embedding(networks, reasons, settings, out_dir)
        elif name == "gene_correlation":
            entry = _gene_correlation(task, networks, reasons, results, settings, out_dir)
        elif name == "region_agreement":
            entry = region_parts(task, results, settings, out_dir, repair)
        elif name == "gene_attention":
            entry = attention_parts(task, results, settings, out_dir, repair)
        else:
            labels = task_labels(read_patients(patients), task, cdkn2a_rule=settings["labels"]["cdkn2a_rule"])  # type: ignore[arg-type]
            entry = _survival(results_of, reasons, results, labels, settings, out_dir)
        entries.append(entry | {"name": name, "files": [*TABLES[name], *FIGURES[name]]})
    summary = {"task": task, "models": list(settings["models"]), "explanations": entries}
    write_json(out_dir / "summary.json", summary)
    return summary


def _flat(reasons: Mapping[str, Sequence[str]], models: Sequence[str]) -> list[str]:
    return [f"{model}: {reason}" for model in models for reason in reasons.get(model, [])]


def _embedding(
    results_of: dict[str, list[FoldResult]],
    reasons: dict[str, list[str]],
    settings: Mapping[str, Any],
    out_dir: Path,
) -> dict[str, Any]:
    method = settings["explanations"]["embedding"]
    coordinates, scores = embedding_tables(
        results_of, reasons, method=method, seed=settings["seed"], resamples=settings["bootstrap"]
    )
    write_tsv(out_dir / TABLES["embedding"][0], coordinates)
    write_tsv(out_dir / TABLES["embedding"][1], scores)
    means = scores[(scores["fold"] == "mean") & scores["value"].notna()]
    parts = []
    for measure in EMBEDDING_MEASURES:
        of_measure = means[means["measure"] == measure]
        if len(of_measure):
            best = of_measure.iloc[int(of_measure["value"].argmax())]
            name = EMBEDDING_MEASURES[measure].split(" (")[0].lower()
            parts.append(f"{name} {best['value']:.2f} ({called(best['model'])})")
    classes = ", ".join(sorted(set(scores["classes"].dropna()) - {""}))
    return {
        "method": method,
        "classes": classes,
        "message": f"Highest class separation: {', '.join(parts)}."
        if parts
        else "No class separation could be computed.",
        "reasons": _flat(_notes(scores), list(results_of)),
    }


def _notes(scores: pd.DataFrame) -> dict[str, list[str]]:
    rows = scores[(scores["fold"] == "mean") & (scores["measure"] == "silhouette")]
    return {str(row["model"]): [row["reason"]] for row in rows.to_dict("records") if row["reason"]}


def _gene_correlation(
    task: str,
    results_of: dict[str, list[FoldResult]],
    reasons: dict[str, list[str]],
    results: Path,
    settings: Mapping[str, Any],
    out_dir: Path,
) -> dict[str, Any]:
    import anndata

    expression, problems = {}, []
    for fold in range(settings["folds"]):
        path = results / "genes" / f"fold-{fold}.h5ad"
        if path.is_file():
            expression[fold] = anndata.read_h5ad(path)
        else:
            problems.append(f"fold {fold}: no expression matrix {path.name}")
    wanted = settings["explanations"]["genes"]
    table, more = gene_correlation.correlation_table(results_of, expression, pointed_out=wanted)
    summary = gene_correlation.correlation_summary(table)
    write_tsv(out_dir / TABLES["gene_correlation"][0], table)
    write_tsv(out_dir / TABLES["gene_correlation"][1], summary)
    present = set(table["gene"])
    problems += [
        f"{gene}: not among the genes of both lists that all cohorts have"
        for gene in wanted
        if gene not in present
    ]
    merged = {model: [*reasons.get(model, []), *more.get(model, [])] for model in results_of}
    score = gene_correlation.SCORES[task]
    counts = summary.groupby("model", sort=False)[["significant", "genes"]].sum()
    name = gene_correlation.SCORE_NAMES[score].split(" (")[0]
    parts = [f"{called(str(m))} {row['significant']} of {row['genes']}" for m, row in counts.iterrows()]
    message = f"Genes that go with the {name} (q < 0.05): {', '.join(parts)}."
    return {
        "score": score,
        "score_name": gene_correlation.SCORE_NAMES[score],
        "message": message if parts else "No correlation could be computed.",
        "reasons": problems + _flat(merged, list(merged)),
    }


def _train_outcomes(
    labels: pd.DataFrame, folds: pd.DataFrame, numbers: Sequence[int]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return (time, event) of the training part of each fold."""
    known = labels.dropna(subset=["survival_days", "event"])
    fold_of = folds.set_index("patient_id")["fold"].astype(int)
    known = known.loc[known.index.intersection(fold_of.index)]
    found = {}
    for fold in numbers:
        train = known[fold_of.loc[known.index].to_numpy() != fold]
        found[fold] = survival_explanations.outcome(train)
    return found


def _survival(
    results_of: dict[str, list[FoldResult]],
    reasons: dict[str, list[str]],
    results: Path,
    labels: pd.DataFrame,
    settings: Mapping[str, Any],
    out_dir: Path,
) -> dict[str, Any]:
    import pandas as pd

    numbers = range(settings["folds"])
    train = _train_outcomes(labels, read_folds(results / "split" / "folds.tsv"), numbers)
    problems = _flat(reasons, list(results_of))
    sets: dict[str, dict[str, list[FoldResult]]] = {"test": results_of}
    if settings["external"]:
        sets["external"] = {}
        for model in results_of:
            sets["external"][model], more = read_external_of(results, model, numbers)
            problems += [f"external, {reason}" for reason in more]
    else:
        problems.append("external: no external cohort is configured")
    groups, members, calibration, auc = [], [], [], []
    parts_told = []
    for part, found in sets.items():
        everybody = [result.patients for folds in found.values() for result in folds]
        rows = labelled(pd.concat(everybody), "survival").drop_duplicates("patient_id") if everybody else None
        if rows is None or rows.empty:
            problems.append(f"{part}: no patient with a known outcome was predicted")
            continue
        time, event = survival_explanations.outcome(rows)
        days, reason = survival_explanations.horizons(settings["explanations"]["horizons_days"], time, event)
        if reason:
            problems.append(f"{part}: {reason}")
        for model, folds in found.items():
            for kind in ("median", "tertiles"):
                table, pooled, p = survival_explanations.risk_group_table(
                    _grouped(folds, part, results, model), kind, [0.0, *days]
                )
                groups.append(
                    table.assign(part=part, model=model, split=kind, log_rank_p=np.nan if p is None else p)
                )
                members.append(pooled.assign(part=part, model=model, split=kind))
                if part == "test" and kind == "median" and p is not None:
                    parts_told.append((model, p))
        calibration.append(survival_explanations.calibration_table(found, days).assign(part=part))
        told_of = calibration[-1].drop_duplicates(["model", "reason"])
        problems += [
            f"{part}, calibration of {row['model']}: {row['reason']}"
            for row in told_of.to_dict("records")
            if row["reason"]
        ]
        auc.append(survival_explanations.auc_table(found, train, days).assign(part=part))
    for name, tables in zip(TABLES["survival"], (groups, members, calibration, auc), strict=True):
        filled = [table for table in tables if len(table)]
        whole = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=["part", "model"])
        first = [c for c in ("part", "model", "split") if c in whole]
        write_tsv(out_dir / name, whole[[*first, *(c for c in whole if c not in first)]])
    told = [called(model) for model, p in parts_told if p < 0.05]
    return {
        "message": f"Cut at the median of training risk, {len(told)} of {len(parts_told)} models separate test patients "
        f"(log-rank p < 0.05{': ' + ', '.join(told) if told else ''}).",
        "reasons": list(dict.fromkeys(problems)),
    }  # fmt: skip


def _grouped(
    folds: Sequence[FoldResult], part: str, results: Path, model: str
) -> list[tuple[pd.DataFrame, Mapping[str, Any]]]:
    """Return (predictions, cuts) to pool: each fold by its own cuts, an external cohort by its ensemble's."""
    if part != "external":
        return [(result.patients, result.risk_cuts) for result in folds if result.risk_cuts]
    path = results / "external" / "survival" / model / "ensemble" / "predictions.tsv"
    if not path.is_file():
        return []
    table = read_predictions(path)
    risk = table.groupby("patient_id")["risk"].mean().to_numpy(dtype=float)
    return [(table, risk_cuts(risk))]

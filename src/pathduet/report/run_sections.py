"""Sections about the run itself: settings, versions, inputs, times, and a glossary."""

from __future__ import annotations

from typing import Any

import pandas as pd
import yaml

from pathduet.core.provenance import shown_files, without_folders
from pathduet.report import figures
from pathduet.report.blocks import Drawer, Section, gap, table
from pathduet.report.findings import Findings

#: The meaning of each number, and the kind of task it belongs to; empty = every kind.
_METRIC_TERMS = [
    ("classification", "AUC", "Area under the ROC curve: for the positive class, or for more than two classes each against the rest, averaged "
     "over the classes with test cases. 0.5 = chance, 1 = perfect."),
    ("classification", "Average precision", "Mean precision over the recall: the area under the precision-recall curve in steps. The share of "
     "the class = chance."),
    ("classification", "Accuracy, balanced accuracy", "Share of cases whose most probable class is the true one; the mean of that share over the "
     "classes."),
    ("classification", "Sensitivity, specificity, F1", "For two classes, those of the positive one; for more, per class and then averaged over the "
     "classes with test cases (macro): a rare class counts as much as a frequent one."),
    ("classification", "Quadratic kappa", "Agreement of ordered classes beyond chance; a mistake counts by the square of its steps. 1 = perfect, "
     "0 = chance."),
    ("survival", "C-index", "Of all pairs of patients of whom one is known to have had the event before the other, the share in which the "
     "model gave the earlier event the higher risk (ties half). Harrell's, on original survival times. 0.5 = chance."),
    ("survival", "IPCW C-index", "Uno's: like the C-index, but pairs are weighted by how likely patients were to be censored that early "
     "(from the training part), so that long and short follow-up are comparable."),
    ("survival", "Integrated Brier score", "Mean squared difference between predicted and observed survival over the follow-up, weighted "
     "for censoring. 0 = perfect, 0.25 = a model that always predicts one half. Only for models that predict a curve."),
    ("survival", "Risk", "Higher = worse: minus the sum of the predicted survival curve; for Cox the log partial hazard."),
    ("survival", "Log-rank p", "Test that the groups' survival is equal; not corrected for several models or cuts."),
    ("regression", "R²", "Share of the test cases' variance that the prediction explains. 1 = perfect, 0 = as good as their mean, below 0 = worse."),
    ("regression", "Spearman, MAE", "Correlation of the ranks of predicted and observed values; mean absolute difference, in the label's unit."),
    ("", "Unit", "strict protocol: the patient (slides averaged); paper protocol: the slide. metrics/<task>.json has both."),
    ("", "Mean ± SD", "Over the folds' test parts; SD with ddof 0. With few folds it is a rough number."),
    ("", "95 % interval", "Percentiles of a bootstrap: within each fold its test patients are drawn with replacement, the "
     "metric is computed, the folds are averaged. It covers the choice of test patients, not of training sets."),
]  # fmt: skip


def _terms(found: Findings) -> list[tuple[str, str]]:
    """Return the meaning of the terms on this page; skip those that do not apply to the run."""
    kinds = {task.kind for task in found.tasks.values()}
    terms = [(term, meaning) for kind, term, meaning in _METRIC_TERMS if not kind or kind in kinds]
    models = {model for name in found.wanted for model in found.models(name)}
    ours = [found.catalogue[name] for name in ("teacher", "student", "distilled") if name in models]
    means = {
        "teacher": "the teacher sees slides and expression",
        "student": "the student slides only",
        "distilled": "the distilled student slides only, trained to follow the teacher",
    }
    if ours:
        said = "; ".join(means[model.name] for model in ours)
        terms.append((", ".join(model.title for model in ours), f"{said[:1].upper()}{said[1:]}."))
    if any(found.catalogue[name].kind == "clinical" for name in models):
        terms += [
            ("Clinical baselines", "Cox, logistic or ridge regressions (ridge penalty) on covariates of the sheet, fitted on each fold's "
             "training part; categories are indicators, a missing value is the training part's mean."),
            ("Gain", "A model's first metric minus that of the clinical baseline it is compared with, on the patients that both predict; "
             "the interval draws the same patients for both."),
        ]  # fmt: skip
    if any(table.external for table in found.wanted.values()):
        terms.append(
            ("Ensemble", "Mean of the folds' probabilities, hazards or values on the external cohorts.")
        )
    if found.has_expression:
        terms.append(("r, q", "Pearson's correlation, and the expected share of false findings among genes with a value this small or "
                      "smaller (Benjamini and Hochberg)."))  # fmt: skip
    if found.has_slides:
        subspaces = list(found.config["subspaces"])
        terms += [
            ("Silhouette", "How much closer a patient is to its own class than to the nearest other one in the representation, from -1 to 1; "
             "0 = classes overlap."),
            ("Prototype", f"A slide-only model of the method groups a slide's tiles, one group for each subspace ({', '.join(subspaces)}), "
             "and predicts from their weighted means."),
            ("Dice, recall", "Overlap of a prototype's tiles with annotated tissue: 2 x common / (one + the other), and the share of "
             "the annotated tiles that it holds."),
            ("10x, 20x", "Tiles at exact pixel sizes (slides.mpp_10x, slides.mpp_20x in micrometres), whatever the scanner used."),
        ]  # fmt: skip
    return [*terms, ("Gap", "A dashed box: something is missing here, with the reason.")]


#: Files, their contents, and what a run needs to produce them.
_ARTIFACTS = [
    ("ledger.tsv", "every slide of the sheet, its state and reason", "slides"),
    ("participation.tsv", "every patient and the tasks they took part in", ""),
    ("left_out.tsv", "models that this run could not train, and why", ""),
    ("split/folds.tsv", "the fold in whose test part each patient is", ""),
    ("slides/<slide_id>/", "tiles.h5, features.h5, stain.json and pictures of a slide", "slides"),
    ("genes/fold-<k>.h5ad", "expression of a fold: selection, order, scaling", "expression"),
    ("genes/subspaces.tsv", "every listed gene: its subspace and the folds that selected it", "expression"),
    ("models/<task>/<model>/fold-<k>/", "weights, history, predictions, representations", ""),
    ("external/<task>/<model>/", "the same on the external cohorts, by fold and as ensemble", "external"),
    ("metrics/<table>.json", "metrics of every model and fold, per patient and per slide", ""),
    ("tables/<table>.tsv, .md, .html, .svg", "metrics over folds: one table per task, and external_<task>", ""),
    ("explanations/<task>/", "tables, figures and a summary of what the models looked at", ""),
    ("explanations/<task>/<model>/fold-<k>/<slide_id>/",
     "heatmap.png, tiles.geojson for QuPath, viewer/index.html to zoom into", "slides"),
    ("report/figures/*.svg", "this page's figures as files", ""),
    ("benchmarks/", "time and memory of every job", ""),
    ("provenance.json", "versions, code, inputs", ""),
]  # fmt: skip


def times(found: Findings, drawer: Drawer) -> Section:
    """Time and memory of each rule."""
    section = Section("times", "Time and memory", "Covers the jobs that ran; reused results keep the numbers of the run that made them.")  # fmt: skip
    jobs = found.benchmarks
    if jobs.empty:
        section.blocks.append(gap("No times.", "There are no files in benchmarks/."))
        return section
    rules = (
        jobs.groupby("rule")
        .agg(jobs=("seconds", "size"), seconds=("seconds", "sum"), median=("seconds", "median"),
             longest=("seconds", "max"), memory=("max_rss_mb", "max"))
        .sort_values("seconds", ascending=False)
        .reset_index()
    )  # fmt: skip
    first, total = rules.iloc[0], rules["seconds"].sum()
    section.blocks.append(
        drawer.draw("times", figures.time_by_rule, {"times": rules},
                    message=f"{first['rule']} took {first['seconds'] / max(total, 1e-9):.0%} of {total / 60:.1f} minutes "
                    "of job time.", caption="Wall time of all jobs of a rule, added up.",
                    source="benchmarks/")
    )  # fmt: skip
    columns = ["Rule", "Jobs", "Total (s)", "Median (s)", "Longest (s)", "Peak memory (MB)"]
    rows = [
        [r["rule"], r["jobs"], f"{r['seconds']:.1f}", f"{r['median']:.1f}", f"{r['longest']:.1f}",
         "–" if pd.isna(r["memory"]) else f"{r['memory']:.0f}"]
        for r in rules.to_dict("records")
    ]  # fmt: skip
    section.blocks.append(table("times", columns, rows, numbers=columns[1:], source="benchmarks/"))
    return section


def run(found: Findings) -> Section:
    """Configuration, seeds, versions, inputs."""
    section = Section("run", "This run", "What determines these numbers.")
    config = found.config
    facts = [
        ["Protocol", config["protocol"]],
        ["Preset", config["preset"] or "none"],
        ["Seed", config["seed"]],
        ["Folds", len(found.folds)],
        ["Trainings of a network on each fold", config["training"]["seeds"]],
        ["Bootstrap resamples", config["evaluation"]["bootstrap"]],
    ]
    section.blocks.append(table("facts", ["Setting", "Value"], facts))
    if found.provenance is None:
        section.blocks.append(found.gap("No provenance.", "provenance.json"))
    else:
        inputs = shown_files(found.provenance.get("inputs", {}), found.results)
        for key, value in {**found.provenance, "inputs": inputs}.items():
            if isinstance(value, dict) and key != "config":
                rows = [[k, _flat(v)] for k, v in value.items()]
                section.blocks.append(table(f"provenance-{key}", ["Name", "Value"], rows,
                                            title=str(key).replace("_", " ").capitalize(),
                                            source="provenance.json"))  # fmt: skip
        plain = [[k, _flat(v)] for k, v in found.provenance.items() if not isinstance(v, dict)]
        if plain:
            section.blocks.append(table("provenance", ["Name", "Value"], plain, title="Further facts",
                                        source="provenance.json"))  # fmt: skip
    section.blocks.append(
        {"kind": "code", "title": "The complete configuration (YAML)",
         "text": yaml.safe_dump(without_folders(config, found.results), sort_keys=False, allow_unicode=True)}
    )  # fmt: skip
    return section


def _flat(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).strip()
    return str(value)


def glossary(found: Findings) -> Section:
    """The meaning and the file of every number."""
    there = {
        "": True, "slides": found.has_slides, "expression": found.has_expression,
        "external": any(table.external for table in found.wanted.values()),
    }  # fmt: skip
    artifacts = [(file, holds) for file, holds, needs in _ARTIFACTS if there[needs]]
    section = Section("meaning", "What the numbers mean")
    section.blocks.append({"kind": "terms", "terms": _terms(found)})
    section.blocks.append(
        table("artifacts", ["File (below the results folder)", "Holds"], artifacts, title="Where it lies")
    )
    return section

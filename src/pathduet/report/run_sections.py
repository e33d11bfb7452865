"""Sections about the run itself: settings, versions, inputs, times, and what the words mean."""

from __future__ import annotations

from typing import Any

import pandas as pd
import yaml

from pathduet.report import figures
from pathduet.report.blocks import Drawer, Section, gap, table
from pathduet.report.findings import Findings

TERMS = [
    ("AUC", "Area under the ROC curve, each class against the rest, averaged over the classes with test cases. 0.5 = "
     "chance, 1 = perfect."),
    ("Accuracy", "Share of cases whose most probable class is the true one."),
    ("Sensitivity, specificity, F1", "Per class, then averaged over the classes with test cases (macro): a rare class "
     "counts as much as a frequent one."),
    ("C-index", "Of all pairs of patients of whom one is known to have died before the other, the share in which the "
     "model gave the earlier death the higher risk (ties half). Harrell's, on original survival times. 0.5 = chance."),
    ("IPCW C-index", "Uno's: like the C-index, but pairs are weighted by how likely patients were to be censored that early "
     "(from the training part), so that long and short follow-up compare."),
    ("Integrated Brier score", "Mean squared distance between predicted survival and what happened, over the follow-up, weighted "
     "for censoring. 0 = perfect, 0.25 = a model that always says one half. Only for models that predict a curve."),
    ("Gain", "C-index minus that of Cox on age and sex, on the patients that both predict; the interval draws the same "
     "patients for both."),
    ("Unit", "strict protocol: the patient (slides averaged); paper protocol: the slide. metrics/<task>.json has both."),
    ("Mean ± SD", "Over the folds' test parts; SD with ddof 0. Few folds: a rough number."),
    ("95 % interval", "Percentiles of a bootstrap: within each fold its test patients are drawn with replacement, the "
     "metric is computed, the folds are averaged. It covers the choice of test patients, not of training sets."),
    ("Teacher, student, distilled", "The teacher sees slides and expression; the student slides only; the distilled "
     "student slides only, trained to follow the teacher."),
    ("Clinical baselines", "Cox models (ridge 0.01) on age, sex (male 1, female 0) and grade as a number, fitted on each "
     "fold's training part; a missing test covariate is set to the training mean."),
    ("Ensemble", "Mean of the folds' probabilities or hazards on the external cohort."),
    ("Risk", "Higher = worse: minus the sum of the predicted survival curve; for Cox the log partial hazard."),
    ("Log-rank p", "Test that the groups' survival is equal; not corrected for several models or cuts."),
    ("Silhouette", "How much closer a patient lies to its own class than to the next one in the representation, from -1 to 1; "
     "0 = classes overlap."),
    ("r, q", "Pearson's correlation, and the expected share of false findings among genes with a value this small or smaller "
     "(Benjamini and Hochberg)."),
    ("Dice, recall", "Overlap of the tumor prototype's tiles with annotated tumor: 2 x common / (one + the other), and the share of "
     "the annotated tiles that it holds."),
    ("Prototype", "A slide-only model gathers a slide's tiles into two groups, tumor and microenvironment (TME), and predicts from "
     "their weighted means."),
    ("10x, 20x", "Tiles at exact pixel sizes (slides.mpp_10x, slides.mpp_20x in micrometres), whatever the scanner used."),
    ("Gap", "A dashed box: a piece that should be here and is not, with the reason."),
]  # fmt: skip

ARTIFACTS = [
    ("ledger.tsv", "every slide of the sheet, its state and reason"),
    ("participation.tsv", "every patient and the tasks they took part in"),
    ("split/folds.tsv", "the fold in whose test part each patient is"),
    ("slides/<slide_id>/", "tiles.h5, features.h5, stain.json and pictures of a slide"),
    ("genes/fold-<k>.h5ad", "expression of a fold: selection, order, scaling"),
    ("genes/subspaces.tsv", "every listed gene: its subspace and the folds that selected it"),
    ("models/<task>/<model>/fold-<k>/", "weights, history, predictions, representations"),
    ("external/survival/<model>/", "the same on the external cohort, by fold and as ensemble"),
    ("metrics/<task>.json", "metrics of every model and fold, per patient and per slide"),
    ("tables/<task>.tsv, .md, .html, .svg", "metrics over folds"),
    (
        "explanations/<task>/",
        "tables, figures and a summary of what the networks looked at; gene_correlation.html is interactive",
    ),
    (
        "explanations/<task>/<model>/fold-<k>/<slide_id>/",
        "heatmap.png, tiles.geojson for QuPath, viewer/index.html to zoom into",
    ),
    ("report/figures/*.svg", "this page's figures as files"),
    ("benchmarks/", "time and memory of every job"),
    ("provenance.json", "versions, code, inputs"),
]


def times(found: Findings, drawer: Drawer) -> Section:
    """Time and memory of each rule."""
    section = Section("times", "Time and memory", "Of the jobs that ran; what the cache served cost nothing and keeps "
                      "the numbers of the run that made it.")  # fmt: skip
    jobs = found.benchmarks
    if jobs.empty:
        section.blocks.append(gap("No times.", "There is no file in benchmarks/."))
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
    section = Section("run", "This run", "What would have to be the same to get the same numbers.")
    config = found.config
    facts = [
        ["Protocol", config.get("protocol", "")],
        ["Model variant", config.get("model", {}).get("variant", "")],
        ["Seed", config.get("seed", "")],
        ["Folds", len(found.folds)],
        ["Bootstrap resamples", config["evaluation"]["bootstrap"]],
    ]
    section.blocks.append(table("facts", ["Setting", "Value"], facts))
    if found.provenance is None:
        section.blocks.append(found.gap("No provenance.", "provenance.json"))
    else:
        for key, value in found.provenance.items():
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
         "text": yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)}
    )  # fmt: skip
    return section


def _flat(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).strip()
    return str(value)


def glossary() -> Section:
    """What every number means and where it lies."""
    section = Section("meaning", "What the numbers mean")
    section.blocks.append({"kind": "terms", "terms": TERMS})
    section.blocks.append(
        table("artifacts", ["File (below the results folder)", "Holds"], ARTIFACTS, title="Where it lies")
    )
    return section

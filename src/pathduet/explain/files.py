"""A task's explanations, and their files in ``results/explanations/<task>/``."""

from __future__ import annotations

from pathduet.cohort.tasks import Kind, Task
from pathduet.explain.malignancy_score import score_of

_CLASS_MEASURES = {
    "silhouette": "Silhouette",
    "neighbours": "Nearest neighbours (balanced accuracy)",
    "linear": "Linear classifier (balanced accuracy)",
}
#: Measures of the separation of classes, or of patients with and without an event, and of the order of values.
EMBEDDING_MEASURES: dict[Kind, dict[str, str]] = {
    "classification": _CLASS_MEASURES,
    "survival": _CLASS_MEASURES,
    "regression": {"neighbours": "Nearest neighbours (Spearman)", "linear": "Linear regression (R2)"},
}
#: Patients without and with the event by a day, as named in tables and legends.
EVENT_CLASSES = ("event-free", "with event")
#: Measures that compare a subspace's prototype with its regions.
REGION_MEASURES = {"dice": "Dice", "recall": "Recall"}
#: Tables by explanation.
TABLES: dict[str, tuple[str, ...]] = {
    "embedding": ("embedding.tsv", "embedding_scores.tsv"),
    "gene_correlation": ("gene_correlation.tsv", "gene_correlation_summary.tsv"),
    "region_agreement": ("region_agreement.tsv", "region_agreement_slides.tsv"),
    "top_tiles": ("top_tiles.tsv",),
    "gene_attention": ("gene_attention.tsv", "gene_attention_sets.tsv"),
    "survival": ("risk_groups.tsv", "risk_group_patients.tsv", "calibration.tsv", "dynamic_auc.tsv"),
}
#: Figures and pages by explanation, drawn from its tables.
FIGURES: dict[str, tuple[str, ...]] = {
    "embedding": ("embedding.svg", "embedding_scores.svg"),
    "gene_correlation": ("gene_correlation.svg", "gene_correlation.html"),
    "region_agreement": ("region_agreement.svg",),
    "top_tiles": ("top_tiles.svg",),
    "gene_attention": ("gene_attention.svg",),
    "survival": ("risk_groups.svg", "calibration.svg", "dynamic_auc.svg"),
}


def explanations_of(task: Task, has_slides: bool, has_expression: bool) -> dict[str, str]:
    """Return a task's explanations, each with what the run lacks for it; empty if nothing is missing."""
    slides = "" if has_slides else "the run has no slides"
    expression = "" if has_expression else "the run has no expression"
    lacking = {"embedding": ""}
    if score_of(task):
        lacking["gene_correlation"] = expression
    lacking |= {"region_agreement": slides, "top_tiles": slides, "gene_attention": slides or expression}
    return lacking | ({"survival": ""} if task.kind == "survival" else {})


def files_of(task: Task, has_slides: bool, has_expression: bool) -> list[str]:
    """Return every file of a task's folder."""
    found = explanations_of(task, has_slides, has_expression).items()
    made = [name for name, lacking in found if not lacking]
    return ["summary.json", *(file for name in made for file in (*TABLES[name], *FIGURES[name]))]


def plain_name(structure: str) -> str:
    """Return a structure's name for comparison: lower case, words joined by underscores.

    >>> plain_name("Cellular Tumor"), plain_name("CTmvp")
    ('cellular_tumor', 'ctmvp')
    """
    return "_".join(structure.replace("-", " ").replace("_", " ").lower().split())

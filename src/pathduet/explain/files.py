"""Which explanations a task has, and the files they leave in ``results/explanations/<task>/``."""

from __future__ import annotations

from collections.abc import Sequence

#: Task to the malignancy score made of its predictions.
SCORES = {"grading": "expected_grade", "survival": "risk"}
#: How class separation is measured.
EMBEDDING_MEASURES = {
    "silhouette": "Silhouette",
    "neighbours": "Nearest neighbours (balanced accuracy)",
    "linear": "Linear classifier (balanced accuracy)",
}
#: How prototypes are held against regions.
REGION_MEASURES = {"dice": "Tumor Dice", "recall": "Tumor recall", "tme_accuracy": "TME accuracy"}
#: Tables by explanation.
TABLES: dict[str, tuple[str, ...]] = {
    "embedding": ("embedding.tsv", "embedding_scores.tsv"),
    "gene_correlation": ("gene_correlation.tsv", "gene_correlation_summary.tsv"),
    "region_agreement": ("region_agreement.tsv", "region_agreement_slides.tsv"),
    "gene_attention": ("gene_attention.tsv", "gene_attention_sets.tsv"),
    "survival": ("risk_groups.tsv", "risk_group_patients.tsv", "calibration.tsv", "dynamic_auc.tsv"),
}
#: Figures and pages by explanation, drawn from the tables.
FIGURES: dict[str, tuple[str, ...]] = {
    "embedding": ("embedding.svg", "embedding_scores.svg"),
    "gene_correlation": ("gene_correlation.svg", "gene_correlation.html"),
    "region_agreement": ("region_agreement.svg",),
    "gene_attention": ("gene_attention.svg",),
    "survival": ("risk_groups.svg", "calibration.svg", "dynamic_auc.svg"),
}


def explanations_of(task: str, scores: Sequence[str]) -> list[str]:
    """Return which explanations a task has; `scores` are those chosen as malignancy scores."""
    names = ["embedding"]
    if SCORES.get(task) in scores:
        names.append("gene_correlation")
    names += ["region_agreement", "gene_attention"]
    return [*names, "survival"] if task == "survival" else names


def files_of(task: str, scores: Sequence[str]) -> list[str]:
    """Return every file of a task's folder."""
    names = explanations_of(task, scores)
    return ["summary.json", *(file for name in names for file in (*TABLES[name], *FIGURES[name]))]


def plain_name(structure: str) -> str:
    """Return a structure's name for comparison: lower case, words joined by underscores.

    >>> plain_name("Cellular Tumor"), plain_name("CTmvp")
    ('cellular_tumor', 'ctmvp')
    """
    return "_".join(structure.replace("-", " ").replace("_", " ").lower().split())

"""The explanations of one task as files: the function that the workflow's job calls, and its outputs.

All files are written to ``results/explanations/<task>/``; ``summary.json`` records for each explanation what it found,
for which patients, what could not be done and why, and which ones the run lacks the data for. A table that could not be
filled has only its header.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pathduet.core.files import write_json
from pathduet.core.hardware import limit_threads
from pathduet.explain.embedding import explain_embedding
from pathduet.explain.files import FIGURES, TABLES, explanations_of
from pathduet.explain.fold_results import TaskRun
from pathduet.explain.gene_attention import explain_gene_attention
from pathduet.explain.gene_correlation import explain_gene_correlation
from pathduet.explain.region_agreement import explain_region_agreement
from pathduet.explain.survival_explanations import explain_survival
from pathduet.explain.top_tiles import explain_top_tiles

#: Each writes its tables and returns its ``summary.json`` entry: `message`, `reasons`, caption values.
_EXPLANATIONS: dict[str, Callable[[TaskRun], dict[str, Any]]] = {
    "embedding": explain_embedding,
    "gene_correlation": explain_gene_correlation,
    "region_agreement": explain_region_agreement,
    "top_tiles": explain_top_tiles,
    "gene_attention": explain_gene_attention,
    "survival": explain_survival,
}


def explain_task(run: TaskRun, threads: int = 1) -> dict[str, Any]:
    """Compute a task's explanations, write their tables and ``summary.json`` into its folder, and return the summary."""
    limit_threads(threads)
    lacking = explanations_of(run.task, run.settings["has_slides"], run.settings["has_expression"])
    entries = [
        {**_EXPLANATIONS[name](run), "name": name, "files": [*TABLES[name], *FIGURES[name]]}
        for name, reason in lacking.items()
        if not reason
    ]
    summary = {
        "task": run.task.to_plain(),
        "subspaces": run.subspaces,
        "models": run.models,
        "explanations": entries,
        "left_out": {name: reason for name, reason in lacking.items() if reason},
    }
    write_json(run.out_dir / "summary.json", summary)
    return summary

"""The section about genes: each fold's selection for each subspace."""

from __future__ import annotations

from pathduet.report import figures
from pathduet.report.blocks import Drawer, Section, table, text
from pathduet.report.findings import Findings


def genes(found: Findings, drawer: Drawer) -> Section:
    """Selected genes by subspace, and how stable the selection is over folds."""
    subspaces = list(found.config["subspaces"])
    section = Section("genes", "Genes")
    if not found.has_expression:
        section.blocks.append(
            text("No genes: the configuration names no expression tables (expression.tables is empty).")
        )
        return section
    several = (
        f"the subspaces {', '.join(subspaces)}" if len(subspaces) > 1 else f"the subspace {subspaces[0]}"
    )
    section.lead = f"Highly variable genes, chosen in each fold's training part, for {several}."
    for fold in found.folds:
        if fold not in found.genes:
            section.blocks.append(found.gap(f"No genes of fold {fold}.", f"genes/fold-{fold}.h5ad"))
    if not found.genes:
        return section
    first = min(found.genes)
    var = found.genes[first]
    section.blocks.append(
        drawer.draw(
            "genes", figures.gene_selection, {"var": var, "subspaces": subspaces},
            message=f"{int(var['highly_variable'].astype(bool).sum())} of {len(var)} genes are selected in fold {first}.",
            caption="Each dot is a gene of the lists; filled ones are selected (the most dispersed share of each list, given "
            "their mean expression).",
            source=f"genes/fold-{first}.h5ad",
        )
    )  # fmt: skip
    rows = []
    # genes of several subspaces are grouped under their own name
    for name in dict.fromkeys(
        [*subspaces, *(group for v in found.genes.values() for group in v["subspace"].astype(str))]
    ):
        chosen = [
            set(v.index[(v["subspace"].astype(str) == name) & v["highly_variable"].astype(bool)])
            for v in found.genes.values()
        ]
        sizes = [int((v["subspace"].astype(str) == name).sum()) for v in found.genes.values()]
        if not any(sizes):
            continue
        every, some = set.intersection(*chosen), set.union(*chosen)
        stable = f"{len(every) / len(some):.0%}" if some else "–"
        rows.append([name, sizes[0], *[len(c) for c in chosen], len(every), stable])
    columns = ["Subspace", "Genes", *[f"Fold {k}" for k in found.genes], "In every fold", "Share of all"]
    section.blocks.append(
        table("genes", columns, rows, numbers=columns[1:], title="Selected genes by subspace",
              note="Genes: listed and measured in every cohort. Folds: how many of them are selected. Share of all: those "
              "selected in every fold, of those selected in any.",
              source="genes/fold-*.h5ad")
    )  # fmt: skip
    return section

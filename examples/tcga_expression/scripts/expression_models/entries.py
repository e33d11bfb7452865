"""What is compared: which model on which genes, under the names of the result table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["clinical", "components", "snn"]
Genes = Literal["", "all", "tumor", "tme", "concat", "parallel"]


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    Attributes
    ----------
    name : str
        In tables and files.
    title : str
        For readers.
    kind : str
        ``clinical``: Cox (survival) and logistic (diagnosis, grading) regression on `covariates`; ``components``:
        the same, ridge-penalised, on principal components of all genes; ``snn``.
    genes : str
        Which genes an SNN reads: ``all``; one subspace's; both concatenated; both in parallel branches.
    fraction : float
        Share of each subspace's list that is kept.
    flavor : str
        How the kept ones are chosen, see ``expression.highly_variable``.
    covariates : tuple of str
        Columns of patients.tsv.
    """

    name: str
    title: str
    kind: Kind
    genes: Genes = ""
    fraction: float = 0.3
    flavor: Literal["seurat", "random"] = "seurat"
    covariates: tuple[str, ...] = ()


ENTRIES = (
    Entry("age_sex", "age + sex", "clinical", covariates=("age_years", "sex")),
    Entry("age_sex_grade", "age + sex + grade", "clinical", covariates=("age_years", "sex", "grade")),
    Entry("components", "ridge on 50 principal components, all genes", "components", "all"),
    Entry("snn_all", "SNN, all genes", "snn", "all"),
    Entry("snn_tumor", "SNN, tumor genes, 30 % HVG", "snn", "tumor"),
    Entry("snn_tme", "SNN, TME genes, 30 % HVG", "snn", "tme"),
    Entry("snn_concat", "SNN, tumor and TME concatenated, 30 % HVG", "snn", "concat"),
    Entry("snn_parallel", "SNN, tumor and TME in parallel, 30 % HVG", "snn", "parallel"),
    Entry("snn_hvg10", "SNN, parallel, 10 % HVG", "snn", "parallel", 0.1),
    Entry("snn_hvg50", "SNN, parallel, 50 % HVG", "snn", "parallel", 0.5),
    Entry("snn_hvg80", "SNN, parallel, 80 % HVG", "snn", "parallel", 0.8),
    Entry("snn_random30", "SNN, parallel, 30 % random", "snn", "parallel", 0.3, "random"),
)
TITLES = {entry.name: entry.title for entry in ENTRIES}


def applies(entry: Entry, task: str) -> bool:
    """Whether an entry makes sense for a task: the grade does not predict itself."""
    return not (task == "grading" and "grade" in entry.covariates)

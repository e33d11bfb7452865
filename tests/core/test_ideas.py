"""Ideas of the field are found at the first guess: a file of the package is named after each."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

#: What somebody looks for, and the file's name without its folder.
IDEAS = {
    "tissue mask": "tissue_mask.py",
    "stain matrix": "stain_matrix.py",
    "Vahadane": "vahadane.py",
    "colour table": "colour_table.py",
    "heatmap": "heatmap.py",
    "Hilbert order": "hilbert*.py",
    "slide ledger": "ledger.py",
    "folds": "folds.py",
    "survival bins": "survival_bins.py",
    "gene selection": "gene_selection.py",
    "gene scaling": "gene_scaling.py",
    "deformable attention": "deformable_attention.py",
    "DPC-KNN": "dpc_knn.py",
    "CGC": "cgc.py",
    "DEV": "dev.py",
    "class weights": "class_weights.py",
    "metrics and C-index": "metrics.py",
    "bootstrap": "bootstrap.py",
    "average over a patient's slides": "patient_average.py",
    "catalogue of models": "catalogue.py",
}


@pytest.mark.parametrize("idea", IDEAS)
def test_one_file_is_named_after_an_idea(repository: Path, idea: str) -> None:
    files = [file.name for file in (repository / "src" / "pathduet").rglob("*.py")]
    assert len([name for name in files if fnmatch(name, IDEAS[idea])]) == 1

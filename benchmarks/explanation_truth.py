"""Compare a demo run's gene correlations with the phantom's known truth.

    python benchmarks/explanation_truth.py --results results --cohort demo

Of the genes with q < 0.05: how many are driven by a programme of the phantom, and how many have the sign of their true
correlation with the programme. (For prototypes and true regions see ``explanations/<task>/region_agreement.tsv``.)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd


def found_genes(results: Path, cohort: Path) -> pd.DataFrame:
    """Return, by task and model: genes, those driven, found (q < 0.05), found but not driven, correct signs."""
    truth = pd.read_csv(cohort / "truth/genes.tsv", sep="\t", keep_default_na=False).set_index("gene_symbol")
    direction = pd.to_numeric(truth["direction"])
    rows = []
    for path in sorted((results / "explanations").glob("*/gene_correlation.tsv")):
        table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"gene": str})
        for model, part in table.groupby("model", sort=False):
            true = direction.reindex(part["gene"]).to_numpy()
            found = (part["q"] < 0.05).to_numpy()
            right = np.sign(part["r"].to_numpy()) == true
            rows.append(
                (path.parent.name, model, len(part), int((true != 0).sum()), int(found.sum()),
                 int((found & (true == 0)).sum()), int((found & right).sum()))
            )  # fmt: skip
    return pd.DataFrame(
        rows, columns=["task", "model", "genes", "driven", "found", "not_driven", "right_sign"]
    )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--cohort", type=Path, default=Path("demo"))
    arguments = parser.parse_args()
    print(found_genes(arguments.results, arguments.cohort).to_string(index=False))


if __name__ == "__main__":
    main()

"""Folds that keep the patients of a tissue source site together (Howard et al., Nature Communications 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pathduet.cohort.tcga_barcode import parse_barcode
from pathduet.core.errors import Problems

if TYPE_CHECKING:
    import pandas as pd

#: Label of patients who have none.
UNLABELLED = "unlabelled"


def deal_sites(table: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """Deal whole sites, the largest first, each to the fold whose labels it leaves most even."""
    import pandas as pd

    barcodes = [parse_barcode(patient) for patient in table["patient_id"]]
    site = [b.site if b else patient for b, patient in zip(barcodes, table["patient_id"])]
    counts = pd.crosstab(pd.Series(site, name="site"), table["label"])
    fewest = (counts > 0).sum()
    problems = Problems()
    for label, sites in fewest.items():
        if label != UNLABELLED and sites < folds:
            advice = "lower split.folds, or set split.site_preserving: false"
            problems.add(f"split, class {label}", f"patients of {sites} sites for {folds} folds", advice)
    problems.check()
    drawn = np.random.default_rng(seed).permutation(len(counts))
    largest_first = drawn[np.argsort(-counts.sum(axis=1).to_numpy()[drawn], kind="stable")]
    numbers = counts.to_numpy(dtype=np.float64)
    # relative to each label's share, so that a rare label weighs as much as a common one
    share = numbers / (numbers.sum(axis=0) / folds)
    filled = np.zeros((folds, share.shape[1]))
    fold_of_site = {}
    for row in largest_first:
        cost = [((filled[k] + share[row]) ** 2 - filled[k] ** 2).sum() for k in range(folds)]
        chosen = int(np.argmin(cost))
        filled[chosen] += share[row]
        fold_of_site[counts.index[row]] = chosen
    return np.array([fold_of_site[s] for s in site], dtype=np.int64)

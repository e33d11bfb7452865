"""Folds that keep the patients of a site together (Howard et al., Nature Communications 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from pathduet.cohort.tcga_barcode import parse_barcode
from pathduet.core.errors import Problems
from pathduet.core.plural import plural

if TYPE_CHECKING:
    import pandas as pd

    from pathduet.cohort.sheets import SlideRow

#: Label of patients without one.
UNLABELLED = "unlabelled"


def sites_of(patients: Iterable[str], slides: Iterable[SlideRow]) -> dict[str, str]:
    """Return the patients' sites: from the slides' sheet, else the tissue source site of a TCGA barcode; skip patients without either.

    Raises
    ------
    InputError
        If a patient has slides of several sites.
    """
    sites, problems = {}, Problems()
    for patient, of in _every_site(patients, slides).items():
        if len(of) > 1:
            problems.add(
                f"slides of patient {patient}", f"sites {', '.join(of)}", "give all of them one site"
            )
        elif of:
            sites[patient] = of[0]
    problems.check()
    return sites


def _every_site(patients: Iterable[str], slides: Iterable[SlideRow]) -> dict[str, list[str]]:
    named: dict[str, set[str]] = {}
    for slide in slides:
        if slide.site:
            named.setdefault(slide.patient_id, set()).add(slide.site)
    found = {patient: sorted(named.get(patient, ())) for patient in patients}
    barcodes = {patient: parse_barcode(patient) for patient, of in found.items() if not of}
    return found | {patient: [barcode.site] for patient, barcode in barcodes.items() if barcode}


def divided_sites(folds: pd.DataFrame, slides: Iterable[SlideRow]) -> list[str]:
    """Return the sites with patients on both sides of a fold, if there are several sites; a patient may have several."""
    every = _every_site(folds["patient_id"], slides)
    known = folds.assign(site=folds["patient_id"].map(every)).explode("site").dropna(subset=["site"])
    counts = known.groupby("site")["fold"].nunique()
    return sorted(counts.index[counts > 1]) if len(counts) > 1 else []


def deal_sites(table: pd.DataFrame, folds: int, seed: int, sites: Mapping[str, str]) -> np.ndarray:
    """Deal whole sites, largest first, each to the fold that keeps labels most even; a patient without a site counts as one."""
    import pandas as pd

    site = [sites.get(patient, patient) for patient in table["patient_id"]]
    counts = pd.crosstab(pd.Series(site, name="site"), table["label"])
    fewest = (counts > 0).sum()
    problems = Problems()
    for label, count in fewest.items():
        if label != UNLABELLED and count < folds:
            advice = "lower split.folds, or set split.site_preserving: false"
            problems.add(
                f"split, class {label}",
                f"patients of {plural(count, 'site')} for {plural(folds, 'fold')}",
                advice,
            )
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

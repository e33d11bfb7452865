"""Differences of location and scale between cohorts, gene by gene, learned from training samples alone.

What is possible without leakage:

- **Internal cohorts** have training samples. With ``location_scale`` each gene's mean and SD among a cohort's
  training samples become those of all training samples; the cohort's test samples move by the same numbers.
- **An external cohort** has none. By default (``external_scaling: training``) nothing is learned from it: its
  values are scaled by the training part's means and SDs. ``own`` scales it by the means and SDs of its own
  samples: no label or outcome is used, but a prediction then depends on the other samples of the cohort, a
  single new patient cannot be scored, and a cohort of different composition (only glioblastomas, say) loses
  what distinguishes it as a whole. It is the only choice for tables without a common unit (arrays, z-scores).

A cohort that *is* a diagnosis (TCGA-GBM beside TCGA-LGG) must not be corrected: its mean is biology.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from pathduet.core.plural import plural
from pathduet.expression.gene_scaling import mean_and_sd, z_scores

if TYPE_CHECKING:
    import pandas as pd

BatchCorrection = Literal["none", "location_scale"]
#: A cohort with fewer training samples has no reliable mean and SD and is not corrected.
FEWEST_SAMPLES = 3


def location_scale(
    values: pd.DataFrame, cohorts: pd.Series, fitted: np.ndarray
) -> tuple[pd.DataFrame, list[str]]:
    """Give each cohort's training samples the mean and SD of all training samples, gene by gene.

    Parameters
    ----------
    values : DataFrame, shape (samples, genes)
        log2 or z-scored expression.
    cohorts : Series
        Cohort of each sample, rows as in `values`.
    fitted : (samples,) bool array
        The samples that may be used.

    Returns
    -------
    tuple of (DataFrame, list of str)
        Corrected values (cohorts without enough fitted samples, external ones among them, are unchanged), and
        what the user should know. A gene that is constant within a cohort's training samples is only shifted.
    """
    numbers = values.to_numpy(dtype=np.float64)
    names = cohorts.to_numpy()
    corrected, remarks = numbers.copy(), []
    mean, sd = mean_and_sd(numbers[fitted])
    present = sorted(set(names[fitted]))
    if len(present) < 2:
        return values, ["batch correction has no effect: the training samples are from one cohort"]
    for cohort in present:
        own = names == cohort
        count = int((own & fitted).sum())
        if count < FEWEST_SAMPLES:
            remarks.append(
                f"{cohort}: unchanged, because {plural(count, 'training sample')} cannot be batch-corrected"
            )
            continue
        own_mean, own_sd = mean_and_sd(numbers[own & fitted])
        factor = np.where(own_sd == 0, 1.0, sd)
        corrected[own] = z_scores(numbers[own], own_mean, own_sd) * factor + mean
    result = values.copy()
    result.iloc[:, :] = corrected
    return result, remarks

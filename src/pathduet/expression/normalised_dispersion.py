"""How much more a gene varies than expected from its mean: scanpy's flavors of highly variable genes, same results.

scanpy brings numba, UMAP and statsmodels, which no run needs; ``tests/expression/test_gene_selection.py`` compares the results.

seurat: Satija et al. 2015; cell_ranger: Zheng et al. 2017; seurat_v3: Stuart et al. 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pathduet.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_BINS = 20
#: A normal distribution's median absolute deviation, in standard deviations.
_NORMAL_MAD = 0.6744897501960817

Floats = NDArray[np.float64]


def seurat(log2: pd.DataFrame) -> Floats:
    """Return log(variance / mean) on the natural scale, standardised among genes of similar log mean.

    A gene alone in its bin gets 1; a constant gene NaN.

    Parameters
    ----------
    log2 : pandas.DataFrame, shape (samples, genes)
        log2(x + 1).
    """
    import pandas as pd

    mean, variance = _mean_and_variance(np.expm1(log2.to_numpy(np.float64) * np.log(2)))
    mean[mean == 0] = 1e-12
    ratio = variance / mean
    ratio[ratio == 0] = np.nan
    dispersion = pd.Series(np.log(ratio))
    binned = dispersion.groupby(pd.cut(pd.Series(np.log1p(mean)), _BINS), observed=True)
    centre, spread = binned.transform("mean"), binned.transform("std")
    alone = spread.isna()
    standardised: Floats = ((dispersion - centre.mask(alone, 0.0)) / spread.where(~alone, centre)).to_numpy()
    return standardised


def cell_ranger(log2: pd.DataFrame) -> Floats:
    """Return variance / mean as the distance from the median of genes of similar mean, in median absolute deviations.

    Parameters
    ----------
    log2 : pandas.DataFrame, shape (samples, genes)
        log2(x + 1).
    """
    import pandas as pd

    mean, variance = _mean_and_variance(log2.to_numpy(np.float64))
    mean[mean == 0] = 1e-12
    dispersion = pd.Series(variance / mean)
    edges = np.r_[-np.inf, np.percentile(mean, np.arange(10, 105, 5)), np.inf]
    bins = pd.cut(pd.Series(mean), edges)
    distance = dispersion - dispersion.groupby(bins, observed=True).transform("median")
    spread = distance.abs().groupby(bins, observed=True).transform("median") / _NORMAL_MAD
    standardised: Floats = (distance / spread).to_numpy()
    return standardised


def seurat_v3(counts: pd.DataFrame) -> Floats:
    """Return the variance of counts standardised by a loess of log variance on log mean and clipped at sqrt(samples).

    Parameters
    ----------
    counts : pandas.DataFrame, shape (samples, genes)
        Raw counts.

    Raises
    ------
    InputError
        If scikit-misc is not installed, or the regression fails, for example on very few genes.
    """
    try:
        from skmisc.loess import loess
    except ImportError:
        advice = "pip install 'pathduet[seurat-v3]', or use seurat"
        raise InputError.of("expression.hvg_flavor", "seurat_v3 needs scikit-misc", advice) from None
    values = counts.to_numpy(np.float64)
    mean, variance = _mean_and_variance(values)
    varies = variance > 0
    expected = np.zeros_like(mean)
    try:
        model = loess(np.log10(mean[varies]), np.log10(variance[varies]), span=0.3, degree=2)
        model.fit()
    except ValueError as error:
        found = f"seurat_v3 fails on {counts.shape[0]} samples x {counts.shape[1]} genes ({error})"
        raise InputError.of("expression.hvg_flavor", found, "use seurat") from error
    expected[varies] = model.outputs.fitted_values
    deviation, n = np.sqrt(10**expected), len(values)
    clipped = np.minimum(values, deviation * np.sqrt(n) + mean)
    squares = n * mean**2 + (clipped**2).sum(axis=0) - 2 * clipped.sum(axis=0) * mean
    standardised: Floats = squares / ((n - 1) * deviation**2)
    return standardised


def _mean_and_variance(values: Floats) -> tuple[Floats, Floats]:
    n = len(values)
    mean = values.mean(axis=0)
    variance = (values * values).mean(axis=0) - mean**2
    return mean, variance * (n / (n - 1) if n > 1 else 1)

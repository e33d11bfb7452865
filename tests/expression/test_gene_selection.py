"""Highly variable genes against scanpy itself, and the co-expression order of gene tokens."""

from __future__ import annotations

import itertools
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathduet.core.errors import InputError
from pathduet.expression.gene_order import coexpression_order
from pathduet.expression.gene_selection import interdecile_range, rank, statistic_for, top_share


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    mean = rng.gamma(0.6, 120.0, 400) + 1
    values = rng.negative_binomial(2, 2 / (2 + mean * rng.lognormal(0, 0.4, (60, 400))))
    return pd.DataFrame(
        values.astype(float),
        columns=[f"G{i:03d}" for i in range(400)],
        index=[f"P{i:02d}" for i in range(60)],
    )


@pytest.fixture(scope="module")
def log2(counts: pd.DataFrame) -> pd.DataFrame:
    return np.log2(counts.div(counts.sum(axis=1), axis=0) * 1e6 + 1)


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger", "seurat_v3"])
def test_selection_equals_scanpys_own(flavor: str, counts: pd.DataFrame, log2: pd.DataFrame) -> None:
    import scanpy

    adata = anndata.AnnData((counts if flavor == "seurat_v3" else log2).copy())
    if flavor == "seurat":
        # scanpy's own convention is the natural logarithm: an independent way round its base setting.
        adata.X = adata.X * np.log(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = scanpy.pp.highly_variable_genes(adata, flavor=flavor, n_top_genes=120, inplace=False)
    statistic = rank(log2, flavor, counts=counts)  # type: ignore[arg-type]
    column = "variances_norm" if flavor == "seurat_v3" else "dispersions_norm"
    np.testing.assert_allclose(statistic, theirs[column].to_numpy(), rtol=1e-9)
    ours = top_share(statistic, log2.columns, 0.30)
    assert ours == sorted(adata.var_names[theirs["highly_variable"]])


def test_forgetting_the_base_of_the_logarithm_would_pick_other_genes(log2: pd.DataFrame) -> None:
    import scanpy

    adata = anndata.AnnData(log2.copy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scanpy.pp.highly_variable_genes(adata, flavor="seurat", n_top_genes=120)
    ours = top_share(rank(log2, "seurat"), log2.columns, 0.30)
    assert ours != sorted(adata.var_names[adata.var["highly_variable"]])


def test_share_of_each_list_is_the_papers() -> None:
    scores = pd.Series(np.arange(1203.0), index=[f"G{i:04d}" for i in range(1203)])
    assert len(top_share(scores, scores.index[:197], 0.30)) == 59
    assert top_share(scores, scores.index, 0.30) == list(scores.index[-361:])
    assert len(top_share(scores, scores.index[:1], 0.01)) == 1
    for fraction in (0.0, 1.1):
        with pytest.raises(InputError, match="hvg_fraction"):
            top_share(scores, scores.index, fraction)


def test_ties_go_to_the_alphabet_and_constant_genes_come_last(log2: pd.DataFrame) -> None:
    scores = pd.Series([1.0, 2.0, 1.0, np.nan], index=["C", "B", "A", "D"])
    assert top_share(scores, ["C", "B", "A", "D"], 0.5) == ["A", "B"]
    flat = log2.assign(G000=3.0)
    for statistic in ("seurat", "interdecile_range", "random"):
        assert np.isnan(rank(flat, statistic)["G000"])  # type: ignore[arg-type]


def test_random_selection_depends_on_the_seed_and_on_names_alone(log2: pd.DataFrame) -> None:
    first = rank(log2, "random", seed=(42, 0))
    assert rank(log2[log2.columns[::-1]] * 2, "random", seed=(42, 0))[log2.columns].equals(first)
    assert not rank(log2, "random", seed=(42, 1)).equals(first)


def test_z_scored_tables_are_ranked_by_their_interdecile_range_with_a_warning(log2: pd.DataFrame) -> None:
    for flavor in ("seurat", "cell_ranger"):
        statistic, warning = statistic_for(flavor, ["zscore"])  # type: ignore[arg-type]
        assert statistic == "interdecile_range" and flavor in warning
    assert statistic_for("random", ["zscore"]) == ("random", "")
    assert statistic_for("seurat", ["tpm", "counts"]) == ("seurat", "")
    expected = log2.quantile(0.9) - log2.quantile(0.1)
    np.testing.assert_allclose(interdecile_range(log2.to_numpy()), expected)


@pytest.mark.parametrize(
    ("flavor", "units"), [("seurat_v3", ["tpm"]), ("seurat_v3", ["zscore"]), ("best", [])]
)
def test_flavors_that_do_not_fit_are_refused(flavor: str, units: list[str]) -> None:
    with pytest.raises(InputError, match="hvg_flavor"):
        statistic_for(flavor, units)  # type: ignore[arg-type]


def programmes(n_samples: int = 40) -> pd.DataFrame:
    """Three programmes of eight genes each, and two genes that do not vary; columns shuffled."""
    rng = np.random.default_rng(5)
    latent = rng.standard_normal((n_samples, 3))
    genes = {f"{'abc'[i % 3]}{i}": latent[:, i % 3] + 0.3 * rng.standard_normal(n_samples) for i in range(24)}
    frame = pd.DataFrame(genes | {"z2": 1.0, "z1": 0.0}, index=[f"P{i:02d}" for i in range(n_samples)])
    return frame[rng.permutation(frame.columns)]


def test_genes_of_one_programme_stand_together_and_constant_ones_last() -> None:
    order = coexpression_order(programmes())
    letters = "".join(gene[0] for gene in order)
    assert sorted(order) == sorted(programmes().columns)
    assert sum(a != b for a, b in itertools.pairwise(letters)) == 3
    assert order[-2:] == ["z1", "z2"] and order[0] < order[-3]


def test_neighbours_correlate_more_than_in_the_order_given() -> None:
    data = programmes().drop(columns=["z1", "z2"])

    def neighbours(order: list[str]) -> float:
        return float(np.mean([data[a].corr(data[b]) for a, b in itertools.pairwise(order)]))

    assert neighbours(coexpression_order(data)) > neighbours(list(data.columns)) + 0.4


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False), st.floats(0.1, 10), st.floats(-5, 5))
def test_order_ignores_rows_columns_shift_and_scale(random, scale: float, shift: float) -> None:  # type: ignore[no-untyped-def]
    data = programmes()
    rows, columns = list(data.index), list(data.columns)
    random.shuffle(rows)
    random.shuffle(columns)
    assert coexpression_order(data.loc[rows, columns] * scale + shift) == coexpression_order(data)


def test_short_lists_have_an_order_too() -> None:
    data = programmes()
    assert coexpression_order(data[[]]) == []
    assert coexpression_order(data[["b1", "a0"]]) == ["a0", "b1"]

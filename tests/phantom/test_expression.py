"""Counts of the phantom: which genes follow which programme."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathduet.expression.gene_sets import shipped
from pathduet.phantom.design import Design
from pathduet.phantom.expression import SUBPROGRAMMES, Genes, draw_activities, draw_counts, draw_genes
from pathduet.phantom.latents import simulate_patients

N = 250


@pytest.fixture(scope="module")
def genes() -> Genes:
    return draw_genes(Design().lists, seed=4)


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    return simulate_patients(N, "phantom", seed=4)


@pytest.fixture(scope="module")
def activities(patients: pd.DataFrame) -> pd.DataFrame:
    return draw_activities(patients, seed=4)


@pytest.fixture(scope="module")
def counts(genes: Genes, activities: pd.DataFrame) -> pd.DataFrame:
    return draw_counts(genes, activities, "phantom", seed=4)


def _log_cpm(counts: pd.DataFrame) -> np.ndarray:
    return np.log2(counts / counts.sum() * 1e6 + 1.0).to_numpy()


def _correlations(values: np.ndarray, with_what: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=1, keepdims=True)
    target = with_what - with_what.mean()
    scale = np.sqrt((values**2).sum(axis=1) * (target**2).sum())
    return (values @ target) / np.maximum(scale, 1e-12)


def test_all_shipped_genes_and_some_hundred_others_are_there(genes: Genes) -> None:
    tumor, tme = set(shipped("tumor")), set(shipped("tme"))
    space = dict(zip(genes.symbols, genes.subspace, strict=True))
    assert len(space) == len(genes.symbols)
    assert {g for g, s in space.items() if s in ("tumor", "shared")} == tumor
    assert {g for g, s in space.items() if s in ("tme", "shared")} == tme
    assert 200 <= sum(s == "background" for s in space.values()) <= 500


def test_counts_are_whole_and_not_negative(counts: pd.DataFrame, patients: pd.DataFrame) -> None:
    assert counts.to_numpy().dtype.kind == "i"
    assert counts.to_numpy().min() >= 0
    assert list(counts.columns) == list(patients.index)


def test_driven_genes_follow_their_sub_programme_with_their_sign(
    genes: Genes, counts: pd.DataFrame, activities: pd.DataFrame
) -> None:
    values = _log_cpm(counts)
    for name in SUBPROGRAMMES:
        rows = np.flatnonzero((genes.programme == name) & (np.abs(genes.loading) > 0.5) & (genes.base > 3.5))
        r = _correlations(values[rows], activities[name].to_numpy())
        assert len(rows) > 10
        assert (np.sign(r) == np.sign(genes.loading[rows])).all()
        assert np.median(np.abs(r)) > 0.5


def test_genes_follow_their_own_subspace_and_not_the_other(
    genes: Genes, counts: pd.DataFrame, patients: pd.DataFrame
) -> None:
    values = _log_cpm(counts)
    table = genes.table()
    for own, other in (("tumor", "tme"), ("tme", "tumor")):
        rows = np.flatnonzero((genes.subspace == own) & (np.abs(genes.loading) > 0.5) & (genes.base > 3.5))
        with_own = _correlations(values[rows], patients[f"z_{own}"].to_numpy())
        with_other = _correlations(values[rows], patients[f"z_{other}"].to_numpy())
        assert np.mean(np.sign(with_own) == table["direction"].to_numpy()[rows]) > 0.95
        assert np.median(np.abs(with_own)) > 3 * np.median(np.abs(with_other))


def test_noise_genes_correlate_no_more_than_chance_allows(
    genes: Genes, counts: pd.DataFrame, patients: pd.DataFrame
) -> None:
    # Scaled by the noise genes themselves: the driven ones change a library's total.
    values = _log_cpm(counts[genes.programme == ""])
    for column in ("z_tumor", "z_tme"):
        r = _correlations(values, patients[column].to_numpy())
        assert r.std() == pytest.approx(1 / np.sqrt(N), rel=0.15)
        assert abs(r.mean()) < 0.5 / np.sqrt(N)


@pytest.mark.parametrize(("gene", "programme"), [("PTTG1", "z_tumor"), ("IFNGR2", "z_tme")])
def test_marker_genes_rise_with_malignancy(
    gene: str, programme: str, genes: Genes, counts: pd.DataFrame, patients: pd.DataFrame
) -> None:
    row = _log_cpm(counts)[[genes.symbols.index(gene)]]
    assert _correlations(row, patients[programme].to_numpy())[0] > 0.6


def test_counts_vary_more_than_poisson(genes: Genes, counts: pd.DataFrame) -> None:
    noise = counts.to_numpy()[(genes.programme == "") & (genes.base > 5.0)].astype(float)
    assert np.median(noise.var(axis=1) / noise.mean(axis=1)) > 5.0


def test_the_external_batch_shifts_genes_consistently(genes: Genes, activities: pd.DataFrame) -> None:
    def mean(cohort: str, batch_sd: float) -> np.ndarray:
        return _log_cpm(draw_counts(genes, activities, cohort, seed=4, batch_sd=batch_sd)).mean(axis=1)

    high = genes.base > 4.0
    plain = mean("phantom", 0.0)[high]
    assert np.std(mean("other", 0.0)[high] - plain) < 0.15
    assert np.std(mean("other", 0.45)[high] - plain) == pytest.approx(0.45 / np.log(2), rel=0.15)

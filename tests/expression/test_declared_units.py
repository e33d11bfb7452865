"""A table is accepted as the unit that it is in, and as no other: judged by how its numbers are distributed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pathduet.expression.table_checks import UNITS, check_values
from pathduet.expression.table_files import RawTable

Forms = dict[str, tuple[np.ndarray, str]]


def judged(values: np.ndarray) -> dict[str, str]:
    """Return what is wrong with numbers as each unit, "" if nothing is."""
    values = np.asarray(values, dtype=float)
    samples = [f"P{i}" for i in range(values.shape[1])]
    raw = RawTable([f"G{i}" for i in range(len(values))], samples, values, 2)
    return {unit: "; ".join(map(str, check_values(raw, unit, "t"))) for unit in UNITS}


def accepted(values: np.ndarray) -> str:
    return " ".join(unit for unit, problems in judged(values).items() if not problems)


@pytest.fixture(scope="module")
def forms() -> Forms:
    """The forms in which one invented cohort of 3,800 genes could be handed in, and as what each may be declared."""
    rng = np.random.default_rng(0)
    tpm = rng.lognormal(0, 2.2, (3800, 1)) * rng.lognormal(0, 0.5, (3800, 12))
    tpm[rng.random(tpm.shape) < 0.2] = 0
    tpm *= 1e6 / tpm.sum(axis=0)
    uq = tpm / 1e6 * rng.uniform(4e9, 9e9, 12)  # sums of the GDC's former FPKM-UQ
    counts = np.floor(tpm / 1e6 * rng.uniform(3e7, 9e7, 12))
    counts[:3] = rng.integers(900_000, 3_000_000, (3, 12))  # log2 above 19.95
    norm = tpm / np.quantile(tpm, 0.75, axis=0) * 1000
    norm[3] = rng.uniform(8e5, 1.6e6, 12)
    log2 = np.log2(tpm + 1)
    corrected = tpm.copy()
    corrected[rng.random(tpm.shape) < 0.0058] *= -0.3
    mixed = np.where(np.arange(12) < 5, log2, tpm)
    shrunk = np.log2(counts + 1) + rng.normal(0, 0.1, tpm.shape)
    return {
        "tpm": (tpm, "tpm fpkm"),
        "counts": (counts, "counts"),
        "norm_count": (norm, "fpkm"),
        "log2(TPM + 1)": (log2.round(4), "log2_tpm"),
        "log2(TPM + 1), two decimals": (log2.round(2), "log2_tpm"),
        "z-scores": ((log2 - log2.mean(1, keepdims=True)) / (log2.std(1, keepdims=True) + 1e-9), "zscore"),
        "log2(FPKM-UQ + 1)": (np.log2(uq + 1).round(4), ""),
        "log2(count + 1)": (np.log2(counts + 1).round(4), ""),
        "log2(count + 1), rounded": (np.log2(counts + 1).round(), ""),
        "log2(norm_count + 1)": (np.log2(norm + 1).round(4), ""),
        "log2(TPM + 0.001)": (np.log2(tpm + 0.001).round(4), ""),
        "ln(TPM + 0.01)": (np.log(tpm + 0.01), ""),
        "ln(TPM + 1)": (np.log(tpm + 1).round(4), ""),
        "ln(count + 1)": (np.log(np.floor(tpm / 3) + 1), ""),
        "log10(TPM + 1)": (np.log10(tpm + 1).round(4), ""),
        "ln(CP10K + 1)": (np.log(tpm / 100 + 1), ""),
        "log2(CPM + 0.5)": (np.log2(counts / counts.sum(0) * 1e6 + 0.5), ""),
        "vst": (shrunk, ""),
        "z-scores, clipped": (np.clip((log2 - log2.mean(1, keepdims=True)) / 0.3, -3, 3), "zscore"),
        "rounded TPM": (tpm.round(), ""),
        "TPM with negatives": (corrected, ""),
        "scored by sample": ((log2 - log2.mean(0)) / log2.std(0), ""),
        "some samples in logarithms": (mixed, ""),
    }


def test_each_form_is_accepted_as_what_it_is_only(forms: Forms) -> None:
    assert {name: accepted(values) for name, (values, _) in forms.items()} == {
        name: units for name, (_, units) in forms.items()
    }


@pytest.mark.parametrize(
    ("form", "unit", "said"),
    [
        (
            "log2(FPKM-UQ + 1)",
            "tpm",
            "these look like logarithms; declare log2_tpm if they are log2(TPM + 1)",
        ),
        ("log2(FPKM-UQ + 1)", "log2_tpm", "in a sample, where TPM make a million"),
        ("log2(count + 1)", "log2_tpm", "log2(x + 1) of whole numbers: logarithms of counts; undo"),
        ("log2(count + 1), rounded", "counts", "look like logarithms"),
        ("log2(TPM + 0.001)", "log2_tpm", "zeros of log2(x + 0.001)"),
        ("ln(TPM + 0.01)", "zscore", "zeros of ln(x + 0.01)"),
        ("ln(TPM + 1)", "log2_tpm", "add up to a million TPM as ln(TPM + 1), not as log2"),
        ("log10(TPM + 1)", "log2_tpm", "as log10(TPM + 1)"),
        ("ln(CP10K + 1)", "log2_tpm", "scanpy's normalize_total"),
        ("norm_count", "tpm", "declare fpkm, which scales each sample to a million"),
        ("z-scores", "tpm", "tpm are never negative, "),
        ("TPM with negatives", "tpm", "set negative values of a batch correction to 0"),
        ("scored by sample", "zscore", "of the variance lies between genes"),
        ("some samples in logarithms", "tpm", "in 5 of 12 samples (P0, P1, P2): these look like logarithms"),
        ("rounded TPM", "counts", "look like TPM"),
        ("tpm", "log2_tpm", "the largest values are far above the others: not logarithms; declare counts"),
    ],
)
def test_a_refusal_says_what_the_numbers_look_like(forms: Forms, form: str, unit: str, said: str) -> None:
    assert said in judged(forms[form][0])[unit]


@pytest.mark.data
@pytest.mark.slow
def test_a_real_sample_of_the_gdc_in_every_unit(test_data: Path) -> None:
    table = pd.read_csv(
        test_data / "tables_tcga/gdc_star_counts_example_979a75fb.tsv.gz", sep="\t", comment="#"
    )
    table = table[table["gene_id"].str.startswith("ENSG")]
    logarithms: tuple[Callable[[np.ndarray], np.ndarray], ...] = (np.log2, np.log, np.log10)
    for part in (table, table[table["gene_type"] == "protein_coding"]):
        for column, units in (
            ("unstranded", "counts"),
            ("tpm_unstranded", "tpm fpkm"),
            ("fpkm_unstranded", "fpkm"),
            ("fpkm_uq_unstranded", "fpkm"),
        ):
            values = part[[column]].to_numpy(float)
            assert accepted(values) == units
            for log in logarithms:
                right = "log2_tpm" if column == "tpm_unstranded" and log is np.log2 else ""
                assert accepted(log(values + 1)) == right
                assert accepted(log(values + 0.001)) == ""


@pytest.mark.data
@pytest.mark.slow
def test_real_tables_of_logarithms_arrays_and_z_scores(test_data: Path) -> None:
    xena = pd.read_csv(test_data / "tables_pancancer/survpath_tcga_stad_rna_xena.csv.gz")
    logarithms = xena.select_dtypes("number").to_numpy().T
    tpm = np.exp2(logarithms) - 0.001
    tpm[tpm < 1e-4] = 0
    assert [accepted(v) for v in (logarithms, tpm, np.log2(tpm + 1), np.log10(tpm + 1))] == [
        "", "tpm fpkm", "log2_tpm", "",
    ]  # fmt: skip
    array = pd.read_csv(test_data / "expr_external/Joo_expr.tsv.gz", sep="\t", index_col=0).to_numpy().T
    assert accepted(array) == ""
    assert accepted((array - array.mean(1, keepdims=True)) / array.std(1, keepdims=True)) == "zscore"
    for name in ("internal", "external"):
        path = test_data / f"cohort_composed/expression_{name}.tsv.gz"
        assert accepted(pd.read_csv(path, sep="\t", index_col=0).to_numpy()) == "zscore"

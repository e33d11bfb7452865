"""Correlation of genes with predicted malignancy: scipy's numbers, Fisher's z, FDR, and nobody from the training part."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from explain import fake_folds
from pathduet.cohort.tasks import Task
from pathduet.explain.fold_results import FoldResult, read_fold, read_folds_of
from pathduet.explain.gene_correlation import (
    combine_folds,
    correlation_summary,
    correlation_table,
    false_discovery,
    pearson,
)
from pathduet.explain.malignancy_score import score_of
from pathduet.results import Results

SCORE = score_of(fake_folds.GRADING)
assert SCORE is not None


def matrix(patients: list[str], test: set[str], values: np.ndarray, genes: list[str]) -> anndata.AnnData:
    obs = pd.DataFrame({"patient_id": patients, "part": ["test" if p in test else "train" for p in patients]},
                       index=[f"s{i}" for i in range(len(patients))])  # fmt: skip
    var = pd.DataFrame(
        {"subspace": ["tumor", "tme"] * (len(genes) // 2), "highly_variable": True}, index=genes
    )
    return anndata.AnnData(values.astype(np.float32), obs=obs, var=var)


def grading_result(fold: int, patients: list[str], p4: np.ndarray) -> FoldResult:
    table = pd.DataFrame({"patient_id": patients, "p_G2": 1 - p4, "p_G3": 0.0, "p_G4": p4})
    return FoldResult(fake_folds.GRADING, "teacher", fold, table, None)


def test_pearson_is_scipys_and_undefined_for_constants() -> None:
    rng = np.random.default_rng(1)
    score, genes = rng.normal(size=17), rng.normal(size=(17, 5))
    genes[:, 3] = 2.5
    r = pearson(score, genes)
    for g in (0, 1, 2, 4):
        assert r[g] == pytest.approx(stats.pearsonr(score, genes[:, g]).statistic)
    assert np.isnan(r[3])


def test_folds_are_combined_by_fishers_z_weighted_by_n_minus_3() -> None:
    r, n = np.array([[0.5, 0.9], [0.1, np.nan]]), np.array([13, 23])
    combined, p = combine_folds(r, n)
    z = (10 * np.arctanh(0.5) + 20 * np.arctanh(0.1)) / 30
    assert combined[0] == pytest.approx(np.tanh(z))
    assert p[0] == pytest.approx(2 * stats.norm.sf(z * np.sqrt(30)))
    assert combined[1] == pytest.approx(0.9)  # only the first fold defines it


def test_a_difference_between_folds_models_is_no_correlation() -> None:
    rng = np.random.default_rng(2)
    genes = ["A", "B"]
    results, expression = [], {}
    for fold in (0, 1):
        patients = [f"P{fold}{i}" for i in range(30)]
        level = 0.8 * fold  # one network scores higher, and its patients express more
        results.append(grading_result(fold, patients, level + 0.1 * rng.random(30)))
        expression[fold] = matrix(patients, set(patients), 5 * fold + rng.normal(size=(30, 2)), genes)
    table, _ = correlation_table(SCORE, {"teacher": results}, expression)
    pooled = np.concatenate([SCORE.of(r.patients) for r in results])
    naive = pearson(pooled, np.concatenate([np.asarray(a.X, dtype=float) for a in expression.values()]))
    assert naive.min() > 0.9
    assert table["r"].abs().max() < 0.4


def test_q_values_are_benjamini_and_hochbergs_by_hand() -> None:
    q = false_discovery(np.array([0.01, 0.04, np.nan, 0.03]))
    assert q[[0, 1, 3]] == pytest.approx([0.03, 0.04, 0.04])
    assert np.isnan(q[2])


def test_training_patients_are_left_out_of_predictions_and_expression(tmp_path: Path) -> None:
    folds = fake_folds.folds_table()
    fake_folds.write_grading(tmp_path, "teacher", folds, leak=True)  # a table that holds everybody as "test"
    result = read_fold(Results(tmp_path), fake_folds.GRADING, "teacher", 0)
    assert set(result.patients["patient_id"]) == set(folds.loc[folds["fold"] == 0, "patient_id"])

    patients = list(folds["patient_id"])
    test = set(folds.loc[folds["fold"] == 0, "patient_id"])
    number = np.array([int(p[1:]) for p in patients], dtype=float)
    # among test patients the gene follows the score; training patients say the opposite, a hundred times louder
    gene = np.where([p in test for p in patients], number, -100 * number)
    expression = {0: matrix(patients, test, np.stack([gene, number], axis=1), ["A", "B"])}
    table, reasons = correlation_table(SCORE, {"teacher": [result]}, expression, pointed_out=["A"])
    assert table.set_index("gene").loc["A", "r"] == pytest.approx(1.0)
    assert table["n_patients"].tolist() == [12, 12]
    assert table.set_index("gene")["pointed_out"].to_dict() == {"A": True, "B": False}
    assert reasons == {"teacher": []}


def test_every_kind_of_task_has_its_score() -> None:
    patients = pd.DataFrame({"p_G2": [1.0, 0.2], "p_G3": [0.0, 0.3], "p_G4": [0.0, 0.5]})
    assert SCORE.of(patients) == pytest.approx([2.0, 3.3])  # grades 2 to 4
    positive = score_of(fake_folds.RECEPTOR)
    assert positive is not None and positive.name == "p_positive"
    assert positive.of(pd.DataFrame({"p_negative": [0.9], "p_positive": [0.1]})) == pytest.approx([0.1])
    for task, column in ((fake_folds.SURVIVAL, "risk"), (fake_folds.KI67, "prediction")):
        score = score_of(task)
        assert score is not None and score.name == column
        assert score.of(pd.DataFrame({column: [3.5, -1.0]})).tolist() == [3.5, -1.0]
    assert score_of(fake_folds.SURVIVAL).title == "predicted OS risk"  # type: ignore[union-attr]


def test_unordered_classes_have_a_score_only_if_one_is_named() -> None:
    entry = {"kind": "classification", "column": "subtype", "classes": ["ductal", "lobular", "other"]}
    assert score_of(Task.of("subtype", entry)) is None
    named = score_of(Task.of("subtype", {**entry, "malignancy_score": "lobular"}))
    assert named is not None and named.name == "p_lobular" and named.title == "probability of lobular"
    assert score_of(Task.of("ki67", {"kind": "regression", "column": "x", "malignancy_score": False})) is None


def test_too_few_patients_and_missing_files_are_reasons_not_gaps(tmp_path: Path) -> None:
    few = grading_result(0, ["P0", "P1", "P2"], np.array([0.1, 0.5, 0.9]))
    expression = {0: matrix(["P0", "P1", "P2"], {"P0", "P1", "P2"}, np.eye(3)[:, :2], ["A", "B"])}
    table, reasons = correlation_table(SCORE, {"teacher": [few]}, expression)
    assert table.empty and correlation_summary(table).empty
    assert "3 test patients" in reasons["teacher"][0]
    fake_folds.write_grading(tmp_path, "teacher", fake_folds.folds_table())
    found, missing = read_folds_of(Results(tmp_path), fake_folds.GRADING, "student", [0, 1])
    assert not found and len(missing) == 2 and "no predictions.tsv" in missing[0]

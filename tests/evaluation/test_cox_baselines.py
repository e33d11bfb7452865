"""Clinical baselines against lifelines used directly, and against the published reference point."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from pathduet.evaluation.clinical import (
    clinical_parts,
    clinical_predictions,
    fit_clinical,
    known_patients,
    write_clinical,
)
from pathduet.evaluation.covariates import design_matrix
from pathduet.evaluation.cox import PENALIZER, fit_cox
from pathduet.evaluation.evaluate_table import evaluate_table
from pathduet.evaluation.fold_metrics import evaluate_predictions
from pathduet.results import Results


def cohort(n: int = 90, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age, male = rng.normal(50, 12, n).round(), rng.random(n) < 0.5
    grade = rng.integers(2, 5, n)
    death = rng.exponential(1500 * np.exp(-0.04 * (age - 50) - 0.3 * male - 0.5 * (grade - 3))) + 1
    contact = rng.uniform(100, 4000, n)
    return pd.DataFrame(
        {"cohort": ["in"] * (n - 20) + ["out"] * 20, "age_years": age, "sex": np.where(male, "male", "female"),
         "grade": [f"G{g}" for g in grade], "survival_days": np.minimum(death, contact),
         "event": (death <= contact).astype(float)},
        index=pd.Index([f"p{i:03d}" for i in range(n)], name="patient_id"),
    )  # fmt: skip


def folds(patients: pd.DataFrame) -> pd.DataFrame:
    inside = patients.index[patients["cohort"] == "in"]
    return pd.DataFrame({"patient_id": inside, "fold": np.arange(len(inside)) % 3})


class Predicted(NamedTuple):
    predictions: pd.DataFrame
    notes: dict[str, str]


def predicted(patients: pd.DataFrame, split: pd.DataFrame, fold: int, model: str) -> Predicted:
    """Predictions of a fold's test part by a model of its training part."""
    parts = clinical_parts(known_patients(patients, "survival"), split, fold)
    fitted = fit_clinical(parts["train"], "survival", model)
    return Predicted(
        clinical_predictions(fitted, parts["test"], "survival", "test", fold), fitted.notes(parts["test"])
    )


def test_risks_are_lifelines_own_log_partial_hazards():
    from lifelines import CoxPHFitter

    patients, split = cohort(), folds(cohort())
    result = predicted(patients, split, 1, "cox_age_sex_grade")
    inside = patients.loc[split["patient_id"]]
    train, test = inside[split["fold"].to_numpy() != 1], inside[split["fold"].to_numpy() == 1]
    raw = pd.DataFrame(
        {"age": patients["age_years"], "male": (patients["sex"] == "male") * 1.0,
         "grade": patients["grade"].str[1].astype(float)}
    )  # fmt: skip
    fitted = CoxPHFitter(penalizer=PENALIZER).fit(
        raw.loc[train.index].assign(t=train["survival_days"], e=train["event"]), "t", "e"
    )
    expected = fitted.predict_log_partial_hazard(raw.loc[test.index])
    found = result.predictions.set_index("patient_id")["risk"]
    assert list(found.index) == sorted(test.index)
    np.testing.assert_allclose(found, expected.loc[found.index], atol=2e-3)
    # Older is worse: the direction of a risk.
    young, old = patients.iloc[:1].assign(age_years=20), patients.iloc[:1].assign(age_years=80)
    model = fit_cox(train, ["age_years"])
    assert model.predict(old)["risk"].item() > model.predict(young)["risk"].item()


def test_nothing_is_learned_from_the_test_part():
    patients, split = cohort(), folds(cohort())
    before = predicted(patients, split, 0, "cox_age").predictions["risk"]
    test = split.loc[split["fold"] == 0, "patient_id"]
    patients.loc[test, "survival_days"] = patients.loc[test, "survival_days"].to_numpy()[::-1]
    after = predicted(patients, split, 0, "cox_age").predictions["risk"]
    np.testing.assert_array_equal(before, after)


def test_a_missing_test_covariate_is_the_training_mean_and_is_told():
    patients, split = cohort(), folds(cohort())
    test = split.loc[split["fold"] == 2, "patient_id"]
    patients.loc[test.iloc[0], ["age_years", "sex"]] = [np.nan, None]
    result = predicted(patients, split, 2, "cox_age_sex")
    risk = result.predictions.set_index("patient_id")["risk"]
    assert len(risk) == len(test) and risk[test.iloc[0]] == 0.0
    assert result.notes["imputed"].startswith("1 of")


def test_a_training_patient_without_a_covariate_is_left_out_of_the_fit_and_told():
    patients, split = cohort(), folds(cohort())
    lost = split.loc[split["fold"] == 0, "patient_id"].iloc[0]
    without = predicted(patients.drop(index=lost), split, 1, "cox_age")
    patients.loc[lost, "age_years"] = np.nan
    result = predicted(patients, split, 1, "cox_age")
    np.testing.assert_allclose(result.predictions["risk"], without.predictions["risk"])
    assert "1 of" in result.notes["training"]


def test_a_constant_covariate_is_left_out_and_told():
    patients, split = cohort().assign(sex="female"), folds(cohort())
    both = predicted(patients, split, 0, "cox_age_sex")
    age = predicted(patients, split, 0, "cox_age")
    np.testing.assert_allclose(both.predictions["risk"], age.predictions["risk"])
    assert both.notes["covariates"].endswith("sex")


def test_a_covariate_that_separates_the_deaths_still_gives_finite_risks():
    patients, split = cohort(), folds(cohort())
    patients["age_years"] = np.where(patients["event"] == 1, 80.0, 20.0) + np.arange(len(patients)) * 1e-3
    risk = predicted(patients, split, 0, "cox_age").predictions["risk"]
    assert np.isfinite(risk).all()


SETTINGS = {"protocol": "strict", "seed": 0, "bootstrap": 10}


def test_without_deaths_or_covariates_the_metrics_have_a_hole_with_the_reason(tmp_path):
    patients, split = cohort().assign(event=0.0), folds(cohort())
    results = Results(tmp_path)
    write_clinical(results, patients, split, {"survival": ["cox_age"]}, 3, SETTINGS)
    evaluate_table(results, "survival", [{"task": "survival", "model": "cox_age"}], 3, SETTINGS)
    metrics = json.loads(results.metrics("survival").read_text())["survival/cox_age/0"]
    assert metrics["patient"]["c_index"] is None
    assert "0 deaths" in metrics["notes"]["fit"] and "not finite" in metrics["notes"]["patient.c_index"]


def test_the_external_cohort_and_the_restriction_to_the_networks_patients(tmp_path):
    patients, split = cohort(), folds(cohort())
    results, only = Results(tmp_path), set(patients.index[::2])
    write_clinical(results, patients, split, {"survival": ["cox_age"]}, 3, SETTINGS, ["out"], only)
    for table, folder, part in (
        ("survival", results.model("survival", "cox_age", 0), "test"),
        ("external", results.external("survival", "cox_age", 0), "external"),
    ):
        predicted = pd.read_csv(folder / "predictions.tsv", sep="\t")
        assert set(predicted["patient_id"]) <= only and set(predicted["part"]) == {part} and len(predicted)
        evaluate_table(results, table, [{"task": "survival", "model": "cox_age"}], 3, SETTINGS)
        metrics = json.loads(results.metrics(table).read_text())["survival/cox_age/0"]
        assert metrics["variant"] == "clinical" and metrics["risk_cuts"]["source"] == "training part"
        assert metrics["n_slides"] == 0 and metrics["slide"]["c_index"] is None


def test_regressions_of_class_tasks_are_clinical_too(tmp_path):
    patients, split = cohort(), folds(cohort())
    results, settings = Results(tmp_path), {**SETTINGS, "labels": {"cdkn2a_rule": "homozygous"}}
    write_clinical(results, patients, split, {"grading": ["logistic_age_sex"]}, 3, settings)
    table = evaluate_table(
        results, "grading", [{"task": "grading", "model": "logistic_age_sex"}], 3, settings
    )
    assert set(table["variant"]) == {"clinical"} and table["mean"].notna().all()
    train = pd.read_csv(
        results.model("grading", "logistic_age_sex", 0) / "training_predictions.tsv", sep="\t"
    )
    test = set(split.loc[split["fold"] == 0, "patient_id"])
    assert set(train["part"]) == {"train"} and not set(train["patient_id"]) & test and len(train)


def test_unknown_sex_and_grade_are_missing_not_zero():
    values = design_matrix(
        pd.DataFrame({"sex": ["male", "female", None], "grade": ["G2", None, "G4"]}), ["sex", "grade"]
    )
    np.testing.assert_array_equal(values["sex"], [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(values["grade"], [2.0, np.nan, 4.0])


@pytest.mark.data
def test_age_and_sex_reach_the_c_index_that_real_glioma_tables_are_known_to_give(test_data):
    """569 TCGA patients with their published splits: Cox on age and sex has a C-index near 0.77."""
    import zipfile

    archive = zipfile.ZipFile(test_data / "tables_tcga" / "porpoise_tcga_gbmlgg_all_clean.csv.zip")
    # A plain table inside, whatever its name says.
    with archive, archive.open(archive.namelist()[0]) as file:
        columns = ["case_id", "age", "is_female", "survival_months", "censorship"]
        raw = pd.read_csv(file, usecols=columns).drop_duplicates("case_id")
    patients = pd.DataFrame(
        {"cohort": "tcga", "age_years": raw["age"].to_numpy(), "sex": np.where(raw["is_female"] == 1, "female", "male"),
         "grade": None, "survival_days": raw["survival_months"].to_numpy() * 30.4,
         "event": 1.0 - raw["censorship"].to_numpy()},
        index=pd.Index(raw["case_id"], name="patient_id"),
    )  # fmt: skip
    patients = patients[patients["survival_days"] > 0]
    rng = np.random.default_rng(0)
    split = pd.DataFrame({"patient_id": patients.index, "fold": rng.permutation(len(patients)) % 3})
    values = []
    for fold in range(3):
        result = predicted(patients, split, fold, "cox_age_sex")
        metrics = evaluate_predictions(result.predictions, "survival", "cox_age_sex", fold, resamples=0)
        values.append(metrics["patient"]["c_index"])
    assert 0.74 < np.mean(values) < 0.80

"""Regressions on covariates and components: against the libraries used directly, and against the published reference point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from pathduet.cohort.tasks import Task
from pathduet.core.errors import InputError
from pathduet.evaluation.components import Components, joined, patient_features
from pathduet.evaluation.covariates import Covariates, covariate_values
from pathduet.evaluation.cox import CoxModel
from pathduet.evaluation.regressions import fit_regression, write_regressions
from pathduet.results import Results

SURVIVAL = Task.of("os", {"kind": "survival", "time": "days", "event": "died"})
GRADING = Task.of(
    "grading", {"kind": "classification", "column": "grade", "classes": ["G2", "G3", "G4"], "ordered": True}
)
SCORE = Task.of("score", {"kind": "regression", "column": "score"})
COVARIATES = {"age": "numeric", "sex": "categorical", "grade": "ordered"}
SETS = {"age": ["age"], "age_sex": ["age", "sex"], "all": ["age", "sex", "grade"]}
SETTINGS = {
    "magnifications": ["10x", "20x"],
    "tasks": {task.name: task.to_plain() for task in (SURVIVAL, GRADING, SCORE)},
    "catalogue": {
        "comparison": {"own_models": {}}, "evaluation": {"clinical_baselines": SETS}, "covariates": COVARIATES,
    },
}  # fmt: skip


def cohort(n: int = 90, seed: int = 0) -> pd.DataFrame:
    """Patients as the sheet has them: text, None where empty."""
    rng = np.random.default_rng(seed)
    age, male = rng.normal(50, 12, n).round(), rng.random(n) < 0.5
    grade = rng.integers(2, 5, n)
    death = rng.exponential(1500 * np.exp(-0.04 * (age - 50) - 0.3 * male - 0.5 * (grade - 3))) + 1
    contact = rng.uniform(100, 4000, n)
    table = pd.DataFrame(
        {"cohort": ["in"] * (n - 20) + ["out"] * 20, "age": age, "sex": np.where(male, "male", "female"),
         "grade": [f"G{g}" for g in grade], "days": np.minimum(death, contact), "died": (death <= contact).astype(int),
         "score": 2 * age + 10 * male + rng.normal(0, 1, n)},
        index=pd.Index([f"p{i:03d}" for i in range(n)], name="patient_id"),
    )  # fmt: skip
    return table.astype(str).astype(object)


def folds(patients: pd.DataFrame) -> pd.DataFrame:
    inside = patients.index[patients["cohort"] == "in"]
    return pd.DataFrame({"patient_id": inside, "fold": np.arange(len(inside)) % 3})


class Predicted(NamedTuple):
    test: pd.DataFrame
    train: pd.DataFrame
    record: dict[str, Any]


def predicted(
    folder: Path, patients: pd.DataFrame, fold: int, model: str, task: Task = SURVIVAL, **more: Any
) -> Predicted:
    """What a model's files of a fold say, by patient."""
    results = Results(folder)
    write_regressions(results, patients, folds(patients), {task.name: [model]}, 3, SETTINGS, **more)
    found = results.model(task.name, model, fold)
    tables = [pd.read_csv(found / f"{name}.tsv", sep="\t").set_index("patient_id") for name in ("predictions", "training_predictions")]  # fmt: skip
    return Predicted(*tables, json.loads((found / "model.json").read_text()))


def test_risks_are_lifelines_own_log_partial_hazards(tmp_path: Path) -> None:
    from lifelines import CoxPHFitter

    patients, split = cohort(), folds(cohort())
    found = predicted(tmp_path, patients, 1, "cox_all").test["risk"]
    inside = patients.loc[split["patient_id"]]
    raw = pd.DataFrame(
        {"age": inside["age"].astype(float), "male": (inside["sex"] == "male") * 1.0,
         "grade": inside["grade"].str[1].astype(float), "t": inside["days"].astype(float), "e": inside["died"].astype(float)}
    )  # fmt: skip
    tested = split["fold"].to_numpy() == 1
    fitted = CoxPHFitter(penalizer=0.01).fit(raw[~tested], "t", "e")
    expected = fitted.predict_log_partial_hazard(raw[tested])
    assert list(found.index) == sorted(raw.index[tested])
    np.testing.assert_allclose(found, expected.loc[found.index], atol=2e-3)
    # older is worse: the direction of a risk
    assert np.corrcoef(found, raw.loc[found.index, "age"])[0, 1] > 0


def test_nothing_is_learned_from_the_test_part(tmp_path: Path) -> None:
    patients, split = cohort(), folds(cohort())
    before = predicted(tmp_path, patients, 0, "cox_age").test["risk"]
    test = split.loc[split["fold"] == 0, "patient_id"]
    patients.loc[test, "days"] = patients.loc[test, "days"].to_numpy()[::-1]
    np.testing.assert_array_equal(before, predicted(tmp_path, patients, 0, "cox_age").test["risk"])


def test_a_missing_test_covariate_is_the_training_mean_and_is_told(tmp_path: Path) -> None:
    patients, split = cohort(), folds(cohort())
    test = split.loc[split["fold"] == 2, "patient_id"]
    patients.loc[test.iloc[0], ["age", "sex"]] = [None, None]
    patients.loc[test.iloc[1], ["age", "sex"]] = [None, "intersex"]
    found = predicted(tmp_path, patients, 2, "cox_age_sex")
    assert len(found.test) == len(test) and list(found.test.loc[test.iloc[:2], "risk"]) == [0.0, 0.0]
    notes = found.record["notes"]
    assert notes["imputed"].startswith("2 of") and notes["unseen"].endswith("sex intersex")


def test_a_training_patient_without_a_covariate_is_left_out_of_the_fit_and_told(tmp_path: Path) -> None:
    patients = cohort()
    lost = folds(patients).loc[folds(patients)["fold"] == 0, "patient_id"].iloc[0]
    values = covariate_values(patients, COVARIATES)[["age"]]
    truth = patients[["days", "died"]].astype(float).set_axis(["survival_days", "event"], axis=1)
    without = fit_regression(Covariates.of(values.drop(index=lost)), truth.drop(index=lost), SURVIVAL)
    values.loc[lost] = np.nan
    inputs = Covariates.of(values)
    within = fit_regression(inputs, truth, SURVIVAL)
    assert isinstance(within, CoxModel) and isinstance(without, CoxModel)
    np.testing.assert_allclose(within.coefficients, without.coefficients)
    assert inputs.notes["training"].startswith("1 of")


def test_a_constant_covariate_is_left_out_and_told(tmp_path: Path) -> None:
    patients = cohort().assign(sex="female")
    both = predicted(tmp_path, patients, 0, "cox_age_sex")
    age = predicted(tmp_path, patients, 0, "cox_age")
    np.testing.assert_allclose(both.test["risk"], age.test["risk"])
    assert both.record["notes"]["covariates"].endswith("sex")


def test_a_covariate_that_separates_the_deaths_still_gives_finite_risks(tmp_path: Path) -> None:
    patients = cohort()
    ages = np.where(patients["died"] == "1", 80.0, 20.0) + np.arange(len(patients)) * 1e-3
    patients["age"] = ages.astype(str)
    assert np.isfinite(predicted(tmp_path, patients, 0, "cox_age").test["risk"]).all()


def test_without_events_there_is_no_risk_and_the_reason_is_told(tmp_path: Path) -> None:
    found = predicted(tmp_path, cohort().assign(died="0"), 0, "cox_age")
    assert found.test["risk"].isna().all() and "0 events" in found.record["notes"]["fit"]


@pytest.mark.parametrize(
    ("task", "model"), [(SURVIVAL, "cox_age"), (GRADING, "logistic_age"), (SCORE, "ridge_age")]
)
def test_external_cohorts_of_every_task_and_the_restriction_to_the_networks_patients(
    tmp_path: Path, task: Task, model: str
) -> None:
    patients = cohort()
    only = set(patients.index[::2])
    found = predicted(tmp_path, patients, 0, model, task, external_cohorts=["out"], only=only)
    file = Results(tmp_path).external(task.name, model, 0) / "predictions.tsv"
    outside = pd.read_csv(file, sep="\t").set_index("patient_id")
    assert set(outside.index) == only & set(patients.index[patients["cohort"] == "out"])
    assert set(found.test.index) < only and not set(found.train.index) <= only
    assert set(outside["part"]) == {"external"} and set(found.test["part"]) == {"test"}
    assert found.test["slide_id"].isna().all()
    assert (found.record["variant"], found.record["task"]["name"]) == ("clinical", task.name)
    assert not set(found.train.index) & set(found.test.index) and "external_notes" in found.record


def test_a_task_without_labels_outside_leaves_tables_without_rows(tmp_path: Path) -> None:
    patients = cohort()
    patients.loc[patients["cohort"] == "out", "grade"] = None
    predicted(tmp_path, patients, 0, "logistic_age", GRADING, external_cohorts=["out"])
    outside = pd.read_csv(
        Results(tmp_path).external("grading", "logistic_age", 0) / "predictions.tsv", sep="\t"
    )
    assert outside.empty and {"patient_id", "label", "p_G2"} <= set(outside.columns)


def test_each_kind_of_task_has_its_regression(tmp_path: Path) -> None:
    classes = predicted(tmp_path, cohort(), 0, "logistic_age_sex", GRADING).test
    assert classes[["p_G2", "p_G3", "p_G4"]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert set(classes["predicted"]) <= set(GRADING.classes)
    numbers = predicted(tmp_path, cohort(), 0, "ridge_age_sex", SCORE).test
    assert np.abs(numbers["prediction"] - numbers["value"]).mean() < 2
    nobody = predicted(tmp_path, cohort().assign(age=None), 0, "ridge_age", SCORE)
    assert nobody.test["prediction"].to_numpy() == pytest.approx(nobody.train["value"].mean())
    assert "the mean" in nobody.record["notes"]["fit"]
    nobody = predicted(tmp_path, cohort().assign(age=None), 0, "logistic_age", GRADING)
    shares = nobody.train["label"].value_counts(normalize=True)
    assert nobody.test["p_G3"].to_numpy() == pytest.approx(shares["G3"])


def test_cells_become_numbers_by_their_kind() -> None:
    patients = pd.DataFrame(
        {"age": ["61.5", None], "sex": ["male", None], "grade": ["G10", "G9"], "stage": ["II", None]},
        index=["a", "b"], dtype=object,
    )  # fmt: skip
    spec = {
        **COVARIATES,
        "stage": {"kind": "ordered", "levels": ["I", "II"]},
        "absent": "numeric",
        "none": None,
    }
    values = covariate_values(patients, spec)
    assert list(values) == ["age", "sex", "grade", "stage", "absent"]
    np.testing.assert_array_equal(values["age"], [61.5, np.nan])
    assert list(values["sex"]) == ["male", None]
    np.testing.assert_array_equal(values["grade"], [1, 0])
    np.testing.assert_array_equal(values["stage"], [1, np.nan])
    assert values["absent"].isna().all()


def test_an_ordered_covariate_takes_the_steps_of_the_ordered_task_on_its_column() -> None:
    patients = pd.DataFrame({"stage": ["III", "II", "X", "early"]}, index=list("abcd"), dtype=object)
    stage = {"kind": "classification", "column": "stage", "ordered": True, "missing_values": ["X"]}
    task = Task.of("s", {**stage, "classes": {"I": ["early"], "II": [], "III": []}})
    np.testing.assert_array_equal(
        covariate_values(patients, {"stage": "ordered"}, [task])["stage"], [2, 1, np.nan, 0]
    )
    with pytest.raises(InputError, match=r"III, X, early does not follow .* list its `levels`"):
        covariate_values(patients, {"stage": "ordered"})


def test_cells_that_are_not_what_they_should_be_are_named_together() -> None:
    patients = pd.DataFrame({"age": ["old", "50"], "grade": ["G2", "G5"]}, index=["a", "b"], dtype=object)
    with pytest.raises(InputError) as error:
        covariate_values(patients, {"age": "numeric", "grade": {"kind": "ordered", "levels": ["G1", "G2"]}})
    assert [problem.where for problem in error.value.problems] == [
        "covariate age, patient a",
        "covariate grade, patient b",
    ]


def test_categories_are_those_of_the_training_part() -> None:
    values = pd.DataFrame({"site": ["lung", "skin", "lung", "bone", None]}, dtype=object)
    inputs = Covariates.of(values.iloc[:3])
    assert list(inputs.train) == ["site skin"]
    unseen = inputs.standardised(values)["site skin"]
    assert unseen[3] == unseen[4] == 0 and unseen[0] < 0 < unseen[1]
    assert list(Covariates.of(values).train) == ["site lung", "site skin"]


def write_genes(path: Path, values: pd.DataFrame) -> None:
    import anndata

    from pathduet.expression import fold_matrix

    samples = pd.DataFrame(
        {"patient_id": values.index}, index=[f"s{i}" for i in range(len(values))], dtype=object
    )
    matrix = anndata.AnnData(values.to_numpy(np.float32), obs=samples, var=pd.DataFrame(index=values.columns))
    matrix.uns["pathduet"] = "{}"
    fold_matrix.write(path, matrix)


@pytest.mark.parametrize(("task", "column"), [(SURVIVAL, "risk"), (GRADING, "p_G4"), (SCORE, "prediction")])
def test_components_find_what_genes_say_of_every_kind_of_task(
    tmp_path: Path, task: Task, column: str
) -> None:
    patients, rng = cohort(), np.random.default_rng(1)
    truth = {"os": -patients["days"].astype(float), "grading": patients["grade"] == "G4", "score": patients["score"].astype(float)}  # fmt: skip
    signal = truth[task.name].rank().to_numpy()[:, None]
    values = pd.DataFrame(signal * rng.normal(size=30) + 9 * rng.normal(size=(90, 30)), patients.index).iloc[
        5:
    ]
    values.columns = [f"g{i}" for i in range(30)]
    # a patient with two samples counts once
    values = pd.concat([values, values.iloc[[0]]])
    genes = {fold: tmp_path / f"{fold}.h5ad" for fold in range(3)}
    for path in genes.values():
        write_genes(path, values)
    only = patients.index[:2]
    found = predicted(
        tmp_path, patients, 0, "components", task, external_cohorts=["out"], only=only, genes=genes
    )
    split = folds(patients)
    expected = set(split.loc[split["fold"] == 0, "patient_id"]) & set(values.index)
    assert set(found.test.index) == expected and found.test.index.is_unique
    assert np.corrcoef(found.test[column], truth[task.name].loc[found.test.index].astype(float))[0, 1] > 0.5
    assert found.record["variant"] == "" and found.record["notes"]["components"].startswith(
        "30 of 30 genes in"
    )


def test_components_are_the_training_patients_alone() -> None:
    values = joined(expression=pd.DataFrame(np.random.default_rng(0).normal(size=(40, 8))))
    inputs = Components.of(values.iloc[:20])
    np.testing.assert_allclose(inputs.train.mean(), 0, atol=1e-12)
    np.testing.assert_allclose(inputs.train.std(), 1)
    assert inputs.standardised(values.iloc[20:]).shape == (20, 8)
    assert Components.of(values.iloc[:5]).train.shape == (5, 4)
    assert Components.of(values.iloc[:1]).train.shape == (1, 0)


def test_modalities_count_alike_however_many_columns_they_have_and_features_whatever_their_unit() -> None:
    rng = np.random.default_rng(0)
    genes, features = pd.DataFrame(rng.normal(size=(40, 3))), pd.DataFrame(rng.normal(size=(40, 30)))
    features[7] = 5.0  # says nothing
    inputs = Components.of(joined(slides=features, expression=genes))
    scaled = inputs._scaled(joined(slides=features, expression=genes))
    variance = scaled.var(axis=0)
    assert variance[:30].sum() == pytest.approx(1) and variance[30:].sum() == pytest.approx(1)
    np.testing.assert_allclose(variance[[0, 29]], 1 / 29)
    other = Components.of(joined(slides=features * np.geomspace(1e-3, 1e3, 30), expression=genes))
    np.testing.assert_allclose(other.train.abs(), inputs.train.abs(), atol=1e-6)
    assert inputs.notes["components"].startswith("32 of 30 features and 3 genes in 40")


def write_slides(folder: Path, values: pd.DataFrame) -> pd.DataFrame:
    """Write a slide for each row, its tiles at two magnifications around the row's halves; return the table of slides."""
    from pathduet.features.feature_file import TileFeatures, write_features

    results, rows = Results(folder), []
    for i, (patient, row) in enumerate(values.iterrows()):
        path = results.features(f"s{i}")
        path.parent.mkdir(parents=True)
        tiles = {
            m: np.stack([half - 1, half + 1]).astype(np.float16)
            for m, half in zip(("10x", "20x"), np.split(row.to_numpy(), 2), strict=True)
        }
        place = np.zeros((2, 2), np.int32)
        write_features(path, {}, {m: TileFeatures(x, place, place, {}) for m, x in tiles.items()})
        rows.append({"slide_id": f"s{i}", "patient_id": patient, "features": str(path)})
    return pd.DataFrame(rows)


def test_a_patients_features_are_the_mean_of_the_slides_means(tmp_path: Path) -> None:
    values = pd.DataFrame([[1.0, 2, 3, 4], [3, 4, 5, 6], [9, 9, 9, 9]], index=["b", "b", "a"])
    slides = write_slides(tmp_path, values)
    found = patient_features(slides, ("10x", "20x"))
    assert found.to_numpy().tolist() == [[9, 9, 9, 9], [2, 3, 4, 5]] and list(found.index) == ["a", "b"]
    assert patient_features(slides, ("20x",)).to_numpy().tolist() == [[9, 9], [4, 5]]
    narrow = write_slides(tmp_path / "narrow", values.iloc[:, :2])
    with pytest.raises(InputError, match="s0: 2 mean features"):
        patient_features(pd.concat([slides, narrow]), ("10x", "20x"))


@pytest.mark.slow
def test_pooled_components_predict_whoever_has_both_and_hear_of_either(tmp_path: Path) -> None:
    patients, rng = cohort(), np.random.default_rng(1)
    signal = -patients["days"].astype(float).rank().to_numpy()[:, None]
    part = rng.permutation(signal)  # what the genes do not know
    patients["score"] = (signal + part)[:, 0].astype(str)
    features = pd.DataFrame(part / 20 + 0.3 * rng.normal(size=(90, 4)), patients.index)
    genes = pd.DataFrame(signal * rng.normal(size=6) + 5 * rng.normal(size=(90, 6)), patients.index)
    genes.columns = [f"g{i}" for i in range(6)]
    files = {fold: tmp_path / f"{fold}.h5ad" for fold in range(3)}
    for path in files.values():
        write_genes(path, genes.iloc[:-3])
    slides, agrees = write_slides(tmp_path, features.iloc[4:]), {}
    for model in ("components", "pooled_features", "pooled_components"):
        found = predicted(tmp_path, patients, 0, model, SCORE, genes=files, slides=slides).test
        agrees[model] = np.corrcoef(found["prediction"], patients.loc[found.index, "score"].astype(float))[
            0, 1
        ]
    there = set(patients.index[4:-3]) & set(folds(patients).query("fold == 0")["patient_id"])
    assert set(found.index) == there
    assert agrees["pooled_components"] > 0.8 > max(agrees["components"], agrees["pooled_features"])


@pytest.mark.data
def test_age_and_sex_reach_the_c_index_that_real_glioma_tables_are_known_to_give(
    test_data: Path, tmp_path: Path
) -> None:
    """569 TCGA patients in three folds: Cox on age and sex has a C-index near 0.77."""
    import zipfile

    from lifelines.utils import concordance_index

    archive = zipfile.ZipFile(test_data / "tables_tcga" / "porpoise_tcga_gbmlgg_all_clean.csv.zip")
    # A plain table inside, whatever its name says.
    with archive, archive.open(archive.namelist()[0]) as file:
        columns = ["case_id", "age", "is_female", "survival_months", "censorship"]
        raw = pd.read_csv(file, usecols=columns).drop_duplicates("case_id")
    patients = pd.DataFrame(
        {"cohort": "in", "age": raw["age"].to_numpy(), "sex": np.where(raw["is_female"] == 1, "female", "male"),
         "days": raw["survival_months"].to_numpy() * 30.4, "died": 1 - raw["censorship"].to_numpy().astype(int)},
        index=pd.Index(raw["case_id"], name="patient_id"),
    )  # fmt: skip
    patients = patients[patients["days"] > 0].sample(frac=1, random_state=0).astype(str).astype(object)
    values = []
    for fold in range(3):
        found = predicted(tmp_path, patients, fold, "cox_age_sex").test
        values.append(concordance_index(found["survival_days"], -found["risk"], found["event"]))
    assert 0.74 < np.mean(values) < 0.80

"""Tables from predictions to files, for every kind of task: cross-validated and external, with and without known labels."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pathduet.catalogue import catalogue_of, reference_model
from pathduet.cohort.labels import TRUTH
from pathduet.cohort.tasks import Task
from pathduet.evaluation.collect import read_metrics
from pathduet.evaluation.evaluate_table import evaluate_table
from pathduet.evaluation.metrics import metric_names, score
from pathduet.evaluation.predictions import at_unit, read_predictions
from pathduet.result_tables import ResultTable
from pathduet.results import Results

TASKS = {
    name: Task.of(name, entry)
    for name, entry in {
        "receptor": {"kind": "classification", "column": "her2", "classes": ["negative", "positive"], "title": "HER2"},
        "stage": {"kind": "classification", "column": "stage", "classes": ["I", "II", "III"], "ordered": True},
        "os": {"kind": "survival", "time": "months", "event": "status", "unit": "months"},
        "ki67": {"kind": "regression", "column": "ki67_percent", "title": "Ki-67"},
    }.items()
}  # fmt: skip
SECTIONS = {
    "comparison": {"own_models": {}},
    "evaluation": {"clinical_baselines": {"age": ["age"], "both": ["age", "sex"]}},
    "covariates": {"age": "numeric", "sex": "categorical"},
}
SETTINGS = {
    "protocol": "strict", "seed": 3, "seeds": 1, "bootstrap": 60, "tasks": {name: task.to_plain() for name, task in TASKS.items()},
    "catalogue": SECTIONS, "gain_over": "both", "published": None, "left_out": ["teacher", "distilled"],
}  # fmt: skip
REGRESSION = {"classification": "logistic_both", "survival": "cox_both", "regression": "ridge_both"}
N = 36


def predictions(
    task: Task, part: str, fold: int, noise: float, seed: int, slides: bool = True
) -> pd.DataFrame:
    """What a model that knows the truth up to noise says of 36 patients; the first has two slides, the last no label."""
    who = np.random.default_rng([7, fold if part == "test" else 99])
    latent = who.normal(size=N)
    shown = latent + noise * np.random.default_rng([seed, fold]).normal(size=N)
    ids = [f"{part}{fold if part == 'test' else ''}-{i:02d}" for i in range(N)]
    table = pd.DataFrame({"slide_id": [f"s{i}" if slides else "" for i in ids], "patient_id": ids,
                          "cohort": "c", "part": part, "fold": fold})  # fmt: skip
    if task.kind == "classification":
        k = len(task.classes)
        cuts = np.quantile(latent, np.arange(1, k) / k)
        table["label"] = [task.classes[i] for i in np.searchsorted(cuts, latent)]
        centres = np.linspace(-1, 1, k)
        p = np.exp(-3 * (shown[:, None] - centres) ** 2)
        p /= p.sum(axis=1, keepdims=True)
        table = table.assign(**{f"p_{name}": p[:, i] for i, name in enumerate(task.classes)})
        table.loc[N - 1, "label"] = None
    elif task.kind == "survival":
        hazards = 1 / (1 + np.exp(-(shown[:, None] - 1.0 + np.zeros(3))))
        table["survival_days"] = np.ceil(who.exponential(800 * np.exp(-latent)))
        table["event"] = (who.random(N) < 0.7).astype(float)
        table["risk"] = -np.cumprod(1 - hazards, axis=1).sum(axis=1)
        table = table.assign(**{f"h_{i + 1}": hazards[:, i] for i in range(3)})
        table.loc[N - 1, ["survival_days", "event"]] = np.nan
    else:
        table["value"] = 50 + 20 * latent
        table["prediction"] = 50 + 20 * shown
        table.loc[N - 1, "value"] = np.nan
    return (
        pd.concat([table, table.iloc[:1].assign(slide_id="second")], ignore_index=True) if slides else table
    )


def write_model(results: Results, task: Task, model: str, noise: float, **changes: Any) -> None:
    for fold in range(2):
        for part in ("test", "external"):
            slides = not model.endswith("_both")
            table = predictions(task, part, fold, noise, seed=len(model), slides=slides)
            place = (results.model if part == "test" else results.external)(task.name, model, fold)
            place.mkdir(parents=True)
            table.assign(**(changes if part == "external" else {})).to_csv(
                place / "predictions.tsv", sep="\t", index=False
            )
        record: dict[str, Any] = {"parameters": 5} if slides else {}
        if task.kind == "survival" and slides:
            record["target"] = {"kind": "survival", "edges_days": [200.0, 600.0]}
        (results.model(task.name, model, fold) / "model.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    results = Results(tmp_path_factory.mktemp("results"))
    for task in TASKS.values():
        for model, noise in (("student", 0.3), ("abmil", 1.5), (REGRESSION[task.kind], 4.0)):
            write_model(results, task, model, noise)
    return results


def rows_of(task: Task) -> list[dict[str, str]]:
    return [{"task": task.name, "model": model} for model in ("student", "abmil", REGRESSION[task.kind])]


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_a_cross_validated_table_has_every_metric_interval_test_and_section(results, task):
    table = evaluate_table(results, ResultTable(task.name, f"{task.title}, x", task.name), rows_of(task), 2, SETTINGS)  # fmt: skip
    headline = metric_names(task)[0]
    assert set(metric_names(task)) <= set(table["metric"])
    one = table[table["metric"] == headline].set_index("model")
    assert (one["ci_low"] <= one["mean"]).all() and (one["mean"] <= one["ci_high"]).all()
    assert (one["n_patients"] == 2 * (N - 1)).all()
    assert one.loc["student", "mean"] > one.loc["abmil", "mean"]
    # nothing was distilled: others are tested against the student, by the headline metric alone
    assert dict(one["compared_with"]) == {"student": "", "abmil": "student", REGRESSION[task.kind]: "student"}
    assert one.loc["abmil", "difference_ci_high"] < 0 and table["p"].isna().all()  # one training a fold
    assert set(one["gain_over"].dropna()) == {REGRESSION[task.kind]} and one.loc["student", "gain"] > 0
    assert pd.isna(one.loc[REGRESSION[task.kind], "gain"])
    text = results.table(task.name, ".md").read_text()
    for section in (
        f"# {task.title}, x",
        "## Paired differences from ours",
        "they need 3 trainings per fold",
        "## Calibration",
        "## Every fold",
    ):
        assert section in text
    assert "age + sex" in text and "The publication" not in text
    assert read_metrics(results, task.name)[(task.name, "abmil", 1)]["n_patients"] == N


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_an_external_table_has_every_folds_model_and_the_ensemble(results, task):
    name = f"external_{task.name}"
    table = evaluate_table(results, ResultTable(name, task.title, task.name, external=True), rows_of(task), 2, SETTINGS)  # fmt: skip
    one = table[table["metric"] == metric_names(task)[0]].set_index("model")
    assert list(table["metric"].unique()) == list(metric_names(task))
    assert one[["fold_0", "fold_1", "ensemble", "ensemble_ci_low"]].notna().all(axis=None)
    assert (one["n_patients"] == N - 1).all()
    ensemble = read_predictions(results.ensemble(task.name, "student") / "predictions.tsv")
    assert set(ensemble["fold"]) == {"ensemble"} and len(ensemble) == N + 1
    scored = score(at_unit(ensemble, "patient"), task).values[metric_names(task)[0]]
    assert one.loc["student", "ensemble"] == pytest.approx(scored)
    if task.kind == "regression":
        folds = [read_predictions(results.external(task.name, "student", f) / "predictions.tsv") for f in range(2)]  # fmt: skip
        assert ensemble["prediction"].to_numpy() == pytest.approx(np.mean([f["prediction"] for f in folds], axis=0))  # fmt: skip


def test_the_ensemble_counts_every_training_of_a_fold(tmp_path):
    task, rows = TASKS["ki67"], rows_of(TASKS["ki67"])[:1]
    results, headline = Results(tmp_path), metric_names(TASKS["ki67"])[0]
    write_model(results, task, "student", 0.3)
    for fold in range(2):  # a second training, much noisier
        for place, part in ((results.model, "test"), (results.external, "external")):
            folder = place(task.name, "student", fold, 1)
            folder.mkdir(parents=True)
            predictions(task, part, fold, 2.0, seed=50).to_csv(
                folder / "predictions.tsv", sep="\t", index=False
            )
    settings = {**SETTINGS, "seeds": 2, "bootstrap": 0}
    table = evaluate_table(results, ResultTable("external", "x", task.name, external=True), rows, 2, settings)
    each = []
    for seed in range(2):
        folds = [read_predictions(results.external(task.name, "student", f, seed) / "predictions.tsv") for f in range(2)]  # fmt: skip
        mean = folds[0].assign(prediction=np.mean([f["prediction"] for f in folds], axis=0))
        each.append(score(at_unit(mean, "patient"), task).values[headline])
    found = table.set_index("metric").loc[headline]
    assert found["trainings"] == 2 and abs(each[0] - each[1]) > 0.1
    assert found["ensemble"] == pytest.approx(np.mean(each))
    written = read_predictions(results.ensemble(task.name, "student") / "predictions.tsv")
    assert score(at_unit(written, "patient"), task).values[headline] == pytest.approx(each[0])


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_external_patients_labels_come_from_the_plan_alone(tmp_path, results, task):
    wanted, columns = ResultTable("external", "x", task.name, external=True), list(TRUTH[task.kind])
    own, settings = Results(tmp_path / "r"), {**SETTINGS, "bootstrap": 0}
    shutil.copytree(results.root, own.root)
    before = evaluate_table(own, wanted, rows_of(task)[:1], 2, settings)
    for fold in range(2):
        path = own.external(task.name, rows_of(task)[0]["model"], fold) / "predictions.tsv"
        table = read_predictions(path)
        truth = table.drop_duplicates("patient_id").set_index("patient_id")[columns].astype(object)
        table.assign(**dict.fromkeys(columns)).to_csv(path, sep="\t", index=False)
    given = {name: truth[name].where(truth[name].notna(), None).to_dict() for name in columns}
    after = evaluate_table(own, wanted, rows_of(task)[:1], 2, {**settings, "truth": given})
    pd.testing.assert_frame_equal(after, before)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_external_cases_without_any_label_are_holes_with_the_reason(tmp_path, task):
    results = Results(tmp_path)
    truth = {"classification": {"label": None}, "survival": {"survival_days": np.nan, "event": np.nan}, "regression": {"value": np.nan}}  # fmt: skip
    write_model(results, task, "student", 0.3, **truth[task.kind])
    table = evaluate_table(
        results, ResultTable("external", task.title, task.name, external=True), rows_of(task), 2, SETTINGS
    )
    student = table[table["model"] == "student"]
    assert student[["mean", "ensemble", "ci_low"]].isna().all(axis=None)
    assert student["holes"].str.contains("no case with a known outcome").all()
    assert "no case with a known outcome" in results.table("external", ".md").read_text()


def test_nobody_predicted_is_a_hole_even_of_the_method(tmp_path):
    results, task = Results(tmp_path), TASKS["ki67"]
    write_model(results, task, "student", 0.3)
    for fold in range(2):
        path = results.external(task.name, "student", fold) / "predictions.tsv"
        path.write_text(path.read_text().splitlines()[0] + "\n")
    table = evaluate_table(results, ResultTable("external", "x", task.name, external=True), rows_of(task)[:1], 2, SETTINGS)  # fmt: skip
    assert table["mean"].isna().all() and table["holes"].str.contains("nobody is predicted").all()
    assert read_predictions(results.ensemble(task.name, "student") / "predictions.tsv").empty


def test_patients_without_slides_are_counted_where_slides_are_the_unit(tmp_path):
    results, task = Results(tmp_path), TASKS["receptor"]
    write_model(results, task, "student", 0.3)
    for fold in range(2):
        path = results.model(task.name, "student", fold) / "predictions.tsv"
        table = pd.read_csv(path, sep="\t")
        table.loc[:4, "slide_id"] = None
        table.iloc[:-1].to_csv(path, sep="\t", index=False)
    settings = {**SETTINGS, "protocol": "paper"}
    evaluate_table(results, ResultTable("receptor", "x", "receptor"), rows_of(task)[:1], 2, settings)
    one = read_metrics(results, "receptor")[("receptor", "student", 0)]
    assert one["unit"] == "slide" and one["notes"]["slide.patients"] == "5 patients without slides left out"


@pytest.mark.slow
def test_words_come_from_tasks_and_catalogue(results):
    for name, said in (
        ("receptor", ("of the class positive", "Gain over Logistic regression: age + sex")),
        ("os", ("| Model | Of | months |", "mean months", "earlier event")),
        ("ki67", ("MAE", "R²", "| all cases |", "| group 4 |")),
        ("stage", ("Quadratic kappa", "| Student (slides only) | II |")),
    ):
        task = TASKS[name]
        evaluate_table(results, ResultTable(name, "x", name), rows_of(task), 2, {**SETTINGS, "bootstrap": 0})
        text = results.table(name, ".md").read_text()
        assert not [words for words in said if words not in text], name
    # an error in the label's own unit has three significant digits
    mae = read_metrics(results, "ki67")[("ki67", "abmil", 0)]["patient"]["mae"]
    assert f"| ABMIL | MAE | {mae:.1f} |" in results.table("ki67", ".md").read_text()
    grouped = [
        {"task": task, "model": model, "group": "models", "title": model, "base": model}
        for task in ("receptor", "ki67")
        for model in ("student", "abmil")
    ]
    evaluate_table(results, ResultTable("ablation", "Ablation"), grouped, 2, {**SETTINGS, "bootstrap": 0})
    text, figure = (results.table("ablation", suffix).read_text() for suffix in (".md", ".svg"))
    assert "## HER2: models" in text and "## Ki-67: models" in text and "Ki-67: abmil" in figure


def test_the_gain_is_over_the_wanted_set_or_else_the_tasks_first():
    catalogue = catalogue_of(SECTIONS)
    assert reference_model(catalogue, TASKS["os"], "both") == "cox_both"
    assert reference_model(catalogue, TASKS["ki67"], None) == "ridge_age"
    only = Task.of("os", {"kind": "survival", "time": "t", "event": "e", "clinical_baselines": ["age"]})
    assert reference_model(catalogue, only, "both") == "cox_age"
    none = Task.of("os", {"kind": "survival", "time": "t", "event": "e", "clinical_baselines": []})
    assert reference_model(catalogue, none, "both") == ""

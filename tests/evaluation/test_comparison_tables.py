"""The comparison's tables: tests against ours with Holm's correction, holes, escaping, the publication's numbers apart."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from pathduet.catalogue import CATALOGUE, opponent_of
from pathduet.cohort.tasks import Task
from pathduet.core.config import preset
from pathduet.core.errors import InputError
from pathduet.evaluation.calibration import (
    calibration_rows,
    calibration_slope,
    expected_calibration_error,
)
from pathduet.evaluation.collect import Collected, read_metrics
from pathduet.evaluation.evaluate_table import evaluate_table
from pathduet.evaluation.fold_metrics import evaluate_predictions
from pathduet.evaluation.metrics import score
from pathduet.evaluation.model_summary import summarise_model
from pathduet.evaluation.multiple_testing import holm
from pathduet.evaluation.paired import paired_differences
from pathduet.evaluation.predictions import at_unit
from pathduet.evaluation.published_numbers import NONE, published_numbers
from pathduet.evaluation.table_figure import caption, draw_table
from pathduet.evaluation.table_files import page
from pathduet.evaluation.table_sections import TableSection
from pathduet.evaluation.tables import result_table
from pathduet.result_tables import ResultTable
from pathduet.results import Results

CLASSES = ["a", "b"]
TYPE = Task.of("type", {"kind": "classification", "column": "type", "classes": CLASSES})
SURVIVAL = Task.of("survival", {"kind": "survival", "time": "days", "event": "event"})


def class_predictions(truth: np.ndarray, signal: np.ndarray, start: int = 0) -> pd.DataFrame:
    p = 1 / (1 + np.exp(-signal))
    return pd.DataFrame(
        {"slide_id": [f"s{start + i}" for i in range(len(truth))], "cohort": "c", "part": "test",
         "patient_id": [f"p{start + i}" for i in range(len(truth))],
         "label": [CLASSES[k] for k in truth], "p_a": 1 - p, "p_b": p}
    )  # fmt: skip


def survival_predictions(seed: int, n: int = 60, noise: float = 0.5, patients: int = 0) -> pd.DataFrame:
    """Patients of one draw (`patients`) with exponential survival, and hazards of four intervals."""
    truth = np.random.default_rng(1000 + patients)
    risk = truth.normal(size=n)
    time = np.ceil(truth.exponential(800 * np.exp(-risk)))
    event = (truth.random(n) < 0.7).astype(float)
    shown = risk + noise * np.random.default_rng(seed).normal(size=n)
    hazards = 1 / (1 + np.exp(-(shown[:, None] - 1.0 + np.zeros(4))))
    table = pd.DataFrame(hazards, columns=[f"h_{k + 1}" for k in range(4)])
    return table.assign(
        slide_id=[f"s{patients}-{i}" for i in range(n)], patient_id=[f"p{patients}-{i}" for i in range(n)],
        cohort="c", part="test", survival_days=time, event=event, risk=-np.cumprod(1 - hazards, axis=1).sum(axis=1),
    )  # fmt: skip


def write_results(root: Path, models: dict[str, float], folds: int = 3) -> None:
    """A results folder of survival models, each with its own noise."""
    for m, (model, noise) in enumerate(models.items()):
        for fold in range(folds):
            for seed in range(3):
                folder = Results(root).model("survival", model, fold, seed)
                folder.mkdir(parents=True)
                table = survival_predictions(7 * m + fold + 100 * seed, noise=noise, patients=fold)
                table.to_csv(folder / "predictions.tsv", sep="\t", index=False)
            folder = Results(root).model("survival", model, fold)
            record = {
                "model": model, "parameters": 1000 + m, "target": {"kind": "survival", "edges_days": [150.0, 400.0, 900.0]},
                "model_config": {"variant": "paper"},
            }  # fmt: skip
            (folder / "model.json").write_text(json.dumps(record))
            (folder / "cost.json").write_text(json.dumps({"seconds": 2.0 + fold, "peak_memory_mib": 300.0}))


CATALOGUE_SECTIONS = {
    "comparison": {"own_models": {}}, "evaluation": {"clinical_baselines": {}}, "covariates": {}
}  # fmt: skip
SETTINGS = {
    "protocol": "strict", "bootstrap": 100, "seed": 1, "seeds": 3, "tasks": {"survival": SURVIVAL.to_plain()},
    "catalogue": CATALOGUE_SECTIONS, "published": {**preset("glioma")["published"], "preset": "glioma", "shown": True},
}  # fmt: skip
TABLE = ResultTable("survival", "Survival, cross-validated", "survival")
TITLES = {"survival": "Survival"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[pd.DataFrame, Path]:
    root = tmp_path_factory.mktemp("results")
    write_results(root, {"teacher": 0.3, "distilled": 0.6, "abmil": 3.0, "snn": 0.35})
    rows = [
        {"task": "survival", "model": model} for model in ("teacher", "distilled", "abmil", "snn", "concat")
    ]
    return evaluate_table(Results(root), TABLE, rows, 3, SETTINGS), root / "tables"


def test_holm_is_statsmodels():
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 30):
        p = rng.random(n) ** 3
        assert holm(list(p)) == pytest.approx(multipletests(p, method="holm")[1])
    assert holm([0.04, None, 0.01, 0.04]) == pytest.approx([0.08, None, 0.03, 0.08])
    assert holm([]) == [] and holm([None]) == [None]


@pytest.mark.slow
def test_the_paired_p_is_uniform_without_a_difference_and_small_with_one():
    rng = np.random.default_rng(3)
    null, real = [], []
    for trial in range(80):
        truth = rng.integers(0, 2, 50)
        first, second, good = (
            class_predictions(truth, s * truth + rng.normal(size=50)) for s in (1.0, 1.0, 2.5)
        )
        settings = {"task": TYPE, "unit": "patient", "resamples": 100, "seed": trial}
        null.append(paired_differences([[first] * 3], [[second]], shared=True, **settings)[0]["auc"].p)
        if trial < 10:
            real.append(paired_differences([[first] * 3], [[good]], shared=True, **settings)[0]["auc"].p)
    assert kstest(null, "uniform").pvalue > 0.01
    assert np.mean(np.array(null) < 0.05) <= 0.12
    assert np.median(real) < 0.05


def test_each_model_is_opponent_of_the_one_of_ours_that_reads_the_same(written):
    table, _ = written
    rows = table[table["metric"] == "c_index"].set_index("model")
    assert dict(rows["compared_with"]) == {
        "teacher": "", "distilled": "", "abmil": "distilled", "snn": "teacher", "concat": "",
    }  # fmt: skip
    assert rows.loc["abmil", "difference"] == pytest.approx(
        rows.loc["abmil", "mean"] - rows.loc["distilled", "mean"]
    )
    assert rows.loc["abmil", "p"] < 0.1 < rows.loc["snn", "p"]
    assert rows.loc["abmil", "p_holm"] == pytest.approx(2 * rows.loc["abmil", "p"])
    assert table.loc[table["metric"] != "c_index", "p"].isna().all()
    assert opponent_of("teacher-no-cgc", "teacher", "both") == "teacher"
    assert opponent_of("snn-tumor", "snn", "expression") == "snn"
    assert opponent_of("student", "student", "slides") == "distilled"
    assert opponent_of("cox_age", "cox_age", "clinical") == opponent_of("mine", "own", "") == "teacher"
    # without expression the student is the only one of ours
    untrained = ("teacher", "distilled")
    assert opponent_of("abmil", "abmil", "slides", untrained) == "student"
    assert opponent_of("student", "student", "slides", untrained) == ""
    assert opponent_of("snn", "snn", "expression", (*untrained, "student")) == ""


def test_metrics_of_every_model_and_fold_can_be_read_again(written):
    _, out = written
    found = read_metrics(Results(out.parent), "survival")
    assert set(found) == {
        ("survival", m, f) for m in ("teacher", "distilled", "abmil", "snn", "concat") for f in range(3)
    }
    one = found[("survival", "teacher", 1)]
    assert one["n_patients"] == 60
    each = [
        score(
            at_unit(survival_predictions(1 + 100 * seed, noise=0.3, patients=1), "patient"), SURVIVAL
        ).values["c_index"]
        for seed in range(3)
    ]
    assert [of["c_index"] for of in one["by_training"]["patient"]] == pytest.approx(each)
    assert one["patient"]["c_index"] == pytest.approx(np.mean(each)) and np.std(each) > 0
    assert found[("survival", "concat", 2)]["failed"].startswith("not run")


def test_censoring_corrected_metrics_are_scikit_survivals(written):
    from sksurv.metrics import concordance_index_ipcw
    from sksurv.util import Surv

    table, _ = written
    parts = [survival_predictions(fold, noise=0.3, patients=fold) for fold in range(3)]
    train = pd.concat(parts[1:])
    trainings = [survival_predictions(100 * seed, noise=0.3, patients=0) for seed in range(3)]
    outcome = [
        Surv.from_arrays(t["event"].astype(bool), t["survival_days"].astype(float)) for t in (train, parts[0])
    ]
    horizon = np.quantile(train["survival_days"], 0.75)
    expected = np.mean(
        [concordance_index_ipcw(*outcome, t["risk"].to_numpy(), tau=horizon)[0] for t in trainings]
    )
    row = table[(table["model"] == "teacher") & (table["metric"] == "ipcw_c_index")].iloc[0]
    assert row["fold_0"] == pytest.approx(expected, abs=1e-6)
    assert row["ci_low"] < row["mean"] < row["ci_high"]
    brier = table[table["metric"] == "integrated_brier"].set_index("model")["mean"]
    assert 0 < brier["teacher"] < brier["abmil"]


def test_a_model_without_results_is_a_visible_hole_everywhere(written):
    table, out = written
    row = table[(table["model"] == "concat") & (table["metric"] == "c_index")].iloc[0]
    assert pd.isna(row["mean"]) and row["holes"].startswith("fold 0: not run")
    for name in ("survival.md", "survival.html"):
        text = (out / name).read_text()
        assert "Concat" in text and "not run, or the training failed" in text
    assert "no result" in (out / "survival.svg").read_text()
    assert "1 of 5 models without a result" in caption(table)


@pytest.mark.slow
def test_a_table_of_variations_tests_each_model_once_against_its_base(tmp_path):
    write_results(tmp_path, {"teacher": 0.3, "teacher-no-cgc": 1.0, "teacher-plain": 2.0})
    rows = [
        {"task": "survival", "model": model, "group": group, "title": title, "base": "teacher"}
        for group, model, title in (
            ("gradients", "teacher-no-cgc", "without <CGC>"), ("gradients", "teacher-gone", "never trained"),
            ("attention", "teacher-no-cgc", "deformable"), ("attention", "teacher-plain", "plain"),
        )
    ]  # fmt: skip
    results = Results(tmp_path)
    table = evaluate_table(results, ResultTable("ablation", "Ablation"), rows, 3, SETTINGS)
    first = table[table["metric"] == "c_index"].set_index(["group", "model"])
    assert (first["compared_with"].drop(("gradients", "teacher-gone")) == "teacher").all()
    p = first.loc[("attention", ["teacher-no-cgc", "teacher-plain"]), "p"].to_numpy()
    assert first.loc["attention", "p_holm"].to_numpy() == pytest.approx(holm(list(p)))
    assert (
        first.loc[("gradients", "teacher-no-cgc"), "p_holm"]
        == first.loc[("attention", "teacher-no-cgc"), "p_holm"]
    )
    text, html = results.table("ablation", ".md").read_text(), results.table("ablation", ".html").read_text()
    assert "## Survival: gradients" in text and "| never trained | – |" in text
    assert "without &lt;CGC&gt;" in html and "<CGC>" not in html


def test_a_fold_alone_has_no_censoring_of_its_training_part():
    found = Collected(SURVIVAL, ["teacher"], 3, predictions={("teacher", 0): survival_predictions(0)})
    found.metrics[("teacher", 0)] = evaluate_predictions(
        survival_predictions(0), SURVIVAL, "teacher", 0, resamples=0
    )
    summary = summarise_model(Results(Path("nowhere")), SURVIVAL, "teacher", (), CATALOGUE)
    table = result_table(found, {"teacher": summary}, resamples=0)
    row = table[table["metric"] == "ipcw_c_index"].iloc[0]
    assert pd.isna(row["mean"]) and "censoring of the training part" in row["holes"]


def test_costs_and_magnifications_stand_in_the_row(written):
    table, out = written
    row = table[table["model"] == "teacher"].iloc[0]
    assert (row["parameters"], row["train_s"], row["train_mib"]) == (1000, 3.0, 300.0)
    assert (row["reads"], row["magnifications"]) == ("both", "10x+20x")
    assert table.loc[table["model"] == "snn", "magnifications"].iloc[0] == ""
    assert (
        "## Costs" in (out / "survival.md").read_text()
        and "## Calibration" in (out / "survival.md").read_text()
    )


def test_a_record_says_more_than_a_name(tmp_path):
    folder = Results(tmp_path).model("survival", "odd", 0)
    folder.mkdir(parents=True)
    record = {"base": "abmil", "learns_from": ["slides"], "predicts_from": ["slides"], "parameters": 5,
              "network_settings": {"magnifications": ["20x"]}}  # fmt: skip
    (folder / "model.json").write_text(json.dumps(record))
    summary = summarise_model(Results(tmp_path), SURVIVAL, "odd", range(2), CATALOGUE)
    assert (summary.reads, summary.magnifications, summary.compared_with) == ("slides", "20x", "abmil")


def test_the_publications_numbers_stand_apart_and_change_nothing(written):
    table, out = written
    found = published_numbers(SETTINGS["published"])
    numbers = found.table
    assert len(numbers) == 194 and not numbers.duplicated(["table", "task", "model", "metric"]).any()
    assert numbers["mean"].between(0.3, 1).all() and numbers["sd"].dropna().between(0, 0.2).all()
    assert found.columns("external_survival", "teacher", "c_index")["published_mean"] == pytest.approx(0.6518)
    assert found.columns("diagnosis", "teacher", "auc")["published_mean"] == pytest.approx(0.9631)
    row = table[(table["model"] == "teacher") & (table["metric"] == "c_index")].iloc[0]
    assert row["published_mean"] == pytest.approx(0.7749) and "TCGA" in row["published_source"]
    assert row["mean"] == pytest.approx(np.mean([row[f"fold_{k}"] for k in range(3)]))
    # a model that only the publication has numbers for stays a hole
    concat = table[(table["model"] == "concat") & (table["metric"] == "c_index")].iloc[0]
    assert pd.isna(concat["mean"]) and concat["published_mean"] == pytest.approx(0.7610)
    first = (out / "survival.md").read_text().split("## The publication's own numbers")[0]
    assert "0.775 ± 0.026" not in first


def test_other_patients_than_the_publications_have_no_published_number(tmp_path):
    assert published_numbers(None) is NONE
    assert published_numbers({**SETTINGS["published"], "shown": False}) is NONE
    own = tmp_path / "kidney.yaml"
    own.write_text("{}")
    (tmp_path / "numbers.tsv").write_text(
        "table\ttask\tmodel\tmetric\tmean\tsd\tcohort\n1\tstage\tabmil\tauc\t70\t\tKIRC\n"
    )
    found = published_numbers({"numbers": "numbers.tsv", "preset": str(own), "shown": True})
    assert found.columns("stage", "abmil", "auc") == {
        "published_mean": 0.7, "published_sd": None, "published_source": "Table 1; KIRC",
    }  # fmt: skip
    with pytest.raises(InputError, match="cannot be read"):
        published_numbers({"numbers": "gone.tsv", "preset": str(own), "shown": True})


class _Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href")]


def test_the_page_escapes_what_it_prints_and_loads_nothing(written):
    _, out = written
    evil = "<img src=x onerror=alert(1)>"
    html = page(evil, [TableSection(evil, [evil], [[evil, "1"]], evil)], "<svg/>", evil)
    assert _Tags(html).tags.count("img") == 1 and evil not in html
    written_page = _Tags((out / "survival.html").read_text())
    assert all(address.startswith("data:") for address in written_page.addresses)
    assert written_page.tags.count("button") > 10


def test_the_figure_is_the_same_for_the_same_table_and_escapes_titles(written):
    table, _ = written
    assert draw_table(table, "Survival", TITLES) == draw_table(table, "Survival", TITLES)
    named = table.assign(title="<b>&")
    assert "<b>&" not in draw_table(named, "Survival", TITLES) and "&lt;b&gt;&amp;" in draw_table(
        named, "Survival", TITLES
    )


def test_calibration_by_hand():
    happened = np.array([1, 0, 1, 0], dtype=bool)
    assert expected_calibration_error(happened, np.array([0.5, 0.5, 0.5, 0.5])) == pytest.approx(0)
    assert expected_calibration_error(happened, np.array([0.9, 0.9, 0.9, 0.1])) == pytest.approx(
        0.75 * (0.9 - 2 / 3) + 0.25 * 0.1
    )
    table = class_predictions(np.array([0, 1]), np.array([0.0, 0.0]))
    found = {(r["of"], r["measure"]): r["value"] for r in calibration_rows(table, TYPE, "patient", None)}
    # of two classes only the positive one: the other's probability is what it leaves
    assert found == {("b", "brier"): pytest.approx(0.25), ("b", "ece"): pytest.approx(0)}


def test_a_true_survival_model_has_slope_one_and_an_exaggerated_one_less():
    rng = np.random.default_rng(5)
    risk = rng.normal(size=3000)
    time = rng.exponential(1000 * np.exp(-risk))
    survival = np.exp(-500 / 1000 * np.exp(risk))
    event = np.ones(3000)
    assert calibration_slope(time, event, survival) == pytest.approx(1, abs=0.08)
    extreme = np.exp(-500 / 1000 * np.exp(2 * risk))
    assert calibration_slope(time, event, extreme) == pytest.approx(0.5, abs=0.05)

"""Public tables become sheets and configurations, runs of the main workflow, and one table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pan_cancer.cohorts import COHORTS, write_cohort
from pan_cancer.summary import findings, markdown, read_results, write_summary

from pathduet.cohort.labels import known_labels, task_labels
from pathduet.cohort.sheets import read_patients
from pathduet.cohort.tasks import tasks_of
from pathduet.core import config as configuration
from pathduet.expression.tables import read_expression


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Made-up tables of ten patients as SurvPath has them of TCGA-BLCA."""
    folder = tmp_path / "data" / "tables_pancancer"
    (folder / "survpath_5fold_blca").mkdir(parents=True)
    ids = [f"TCGA-{i:02d}" for i in range(10)]
    endpoints = pd.DataFrame(
        {"case_id": [*ids, ids[0]], "age": 60.0, "is_female": 0.0, "oncotree_code": "BLCA"}
    )
    for name in ("", "_dss", "_pfi"):
        endpoints[f"survival_months{name}"] = 12.0
        endpoints[f"censorship{name}"] = [0, 1] * 5 + [0]
    endpoints.loc[1, "survival_months"] = 0
    endpoints.to_csv(folder / "survpath_tcga_blca_endpoints.csv")
    clinical = pd.DataFrame(
        {"case_id": ids, "stage": ["0", "N/A", *["II"] * 8], "grade": ["GX", *["G2"] * 9]}
    )
    clinical.to_csv(folder / "survpath_tcga_blca_clinical.csv")
    tpm = np.arange(30.0).reshape(10, 3)
    table = pd.DataFrame(np.log2(tpm + 0.001), index=ids, columns=["TP53", "CD8A", "HLA-A"])
    # a patient with two samples
    pd.concat([table, table.iloc[[2]]]).to_csv(folder / "survpath_tcga_blca_rna_xena.csv.gz")
    for fold in range(5):
        tested = ids[fold::5]
        parts = {"train": pd.Series([i for i in ids if i not in tested]), "val": pd.Series(tested)}
        pd.DataFrame(parts).to_csv(folder / "survpath_5fold_blca" / f"splits_{fold}.csv")
    return tmp_path / "data"


def test_the_results_page_says_what_its_table_holds(repository: Path) -> None:
    folder = repository / "docs" / "results"
    table = pd.read_csv(folder / "pan_cancer.tsv", sep="\t")
    published = pd.read_csv(repository / "examples" / "pan_cancer" / "published.tsv", sep="\t")
    page = (folder / "pan_cancer.md").read_text(encoding="utf-8")
    said = findings(table, published)
    assert len(said) > 5 and [line for line in said if line not in page] == []
    assert markdown(table, published).strip() in page


def test_a_cohort_s_tables_become_sheets_in_the_units_that_its_configuration_says(
    tables: Path, tmp_path: Path
) -> None:
    write_cohort(tables, COHORTS["blca"], tmp_path)
    before = (tmp_path / "expression.tsv.gz").read_bytes()
    write_cohort(tables, COHORTS["blca"], tmp_path)
    assert (tmp_path / "expression.tsv.gz").read_bytes() == before
    config = configuration.resolve(yaml.safe_load((tmp_path / "config.yaml").read_text()))
    patients = read_patients(tmp_path / "patients.tsv")
    assert len(patients) == 10 and set(patients["sex"]) == {"male"}
    # what is no stage and no grade is missing
    assert patients["stage"].isna().sum() == 2 and patients["grade"].isna().sum() == 1
    tasks = tasks_of(config)
    assert list(tasks) == ["os", "dss", "pfi"]
    labels = task_labels(patients, tasks["os"])
    assert list(known_labels(labels)["survival_days"].unique()) == [365.25]
    assert (
        labels.loc["TCGA-01", "reason"]
        and labels.loc["TCGA-00", "event"] == 1
        and labels.loc["TCGA-03", "event"] == 0
    )
    [entry] = config["expression"]["tables"]
    values = read_expression(tmp_path / entry["path"], entry["unit"], entry["cohort"]).values
    np.testing.assert_allclose(
        values.loc[["TP53", "CD8A", "HLA-A"], "TCGA-02"], np.log2([7, 8, 9]), rtol=1e-4
    )
    folds = pd.read_csv(tmp_path / "folds.tsv", sep="\t")
    assert len(folds) == 10 and set(folds["fold"]) == set(range(5))
    assert set(config["evaluation"]["clinical_baselines"]) == {"age_sex", "age_sex_grade", "age_sex_stage"}


def test_every_cohort_s_row_holds_its_models_and_the_published_figures(
    tmp_path: Path, repository: Path
) -> None:
    columns = {
        "task": "dss",
        "metric": "c_index",
        "sd": 0.1,
        "ci_low": 0.5,
        "ci_high": 0.7,
        "n_patients": 90,
        "n_folds": 5,
    }
    for variant, models in {"four": ["cox_age_sex", "snn"], "one": ["snn"]}.items():
        for task in ("os", "dss"):
            rows = [
                {**columns, "model": m, "title": m, "mean": 0.6 + k / 100, "holes": ""}
                for k, m in enumerate(models)
            ]
            path = tmp_path / "blca" / variant / "tables" / f"{task}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            pd.DataFrame(rows).to_csv(path, sep="\t", index=False)
    published = repository / "examples/pan_cancer/published.tsv"
    write_summary(tmp_path, ["blca"], published)
    text = (tmp_path / "table.md").read_text()
    [line] = [row for row in text.splitlines() if row.startswith("| BLCA | dss")]
    assert "| 0.600 (0.500 to 0.700) |  |  |  | 0.610 (0.500 to 0.700) |" in line and "SurvPath 0.625" in line
    assert "| BLCA | 0.600 (0.500 to 0.700) | 0.610 (0.500 to 0.700) |" in text
    assert (tmp_path / "figure.svg").stat().st_size > 5000
    assert markdown(read_results(tmp_path, ["blca"]), pd.read_csv(published, sep="\t")) == text


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_cohorts_with_and_without_expression_run_through_the_workflow(
    test_data: Path, repository: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(repository / "examples/pan_cancer/run.py"), "--cores", "1", "--out", str(tmp_path), "ucec", "kirc"],
        capture_output=True, text=True, cwd=tmp_path, timeout=800,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATHDUET_TEST_DATA": str(test_data)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(tmp_path / "table.tsv", sep="\t").set_index(["cohort", "subspaces", "task", "model"])
    assert table["mean"].notna().all() and not (tmp_path / "ucec" / "two").exists()
    assert set(table.loc[("kirc", "four")].index.get_level_values("task")) == {
        "os",
        "dss",
        "pfi",
        "grade",
        "stage",
    }
    assert table.loc[("kirc", "four", "os", "snn"), "mean"] > 0.55
    # stage says most about who dies of the tumour
    assert table.loc[("kirc", "four", "dss", "cox_age_sex_stage"), "mean"] > 0.8
    assert set(table.loc[("ucec", "four", "os")].index) == {"cox_age_sex"}

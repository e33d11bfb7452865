"""The comparison on real gliomas, in a reduced form, and its table on made-up predictions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from expression_models.entries import ENTRIES, applies
from expression_models.summary import markdown, point_values, summarise, table_iv

from pathduet.cohort.sheets import read_patients
from pathduet.cohort.who_labels import DIAGNOSES


def made_up(task: str, folds: int = 3, n: int = 40) -> list[pd.DataFrame]:
    """Predictions of every entry: age_sex is noise, every other model knows the truth with less and less noise."""
    tables = []
    for fold in range(folds):
        rng = np.random.default_rng(fold)
        ids = [f"P{i:03d}" for i in range(fold * n, (fold + 1) * n)]
        time, event = np.round(rng.exponential(500, n)) + 1, (rng.random(n) < 0.6).astype(float)
        label = rng.integers(0, 4, n)
        for k, entry in enumerate(e for e in ENTRIES if applies(e, task)):
            noise = 1 / (k + 0.01)
            table = pd.DataFrame({"model": entry.name, "slide_id": "", "patient_id": ids, "cohort": "x", "part": "test", "fold": fold})  # fmt: skip
            if task == "survival":
                table = table.assign(
                    survival_days=time, event=event, risk=-np.log(time) + noise * rng.standard_normal(n)
                )
                table["ipcw_weight"], table["brier"] = event, 0.2
            else:
                odds = np.exp(2 * np.eye(4)[label] + noise * rng.standard_normal((n, 4)))
                table["label"] = [DIAGNOSES[i] for i in label]
                for i, name in enumerate(DIAGNOSES):
                    table[f"p_{name}"] = (odds / odds.sum(axis=1, keepdims=True))[:, i]
            tables.append(table)
    whole = pd.concat(tables)
    return [part.reset_index(drop=True) for _, part in whole.groupby("fold")]


def test_the_table_holds_means_of_folds_intervals_and_gains() -> None:
    predictions = {"3-fold": {"survival": made_up("survival"), "diagnosis": made_up("diagnosis")}}
    table = summarise(predictions, resamples=100, seed=1)
    one = table[(table["model"] == "snn_all") & (table["metric"] == "c_index")].iloc[0]
    parts = [t[t["model"] == "snn_all"] for t in predictions["3-fold"]["survival"]]
    values = [point_values(part, "survival")["c_index"] for part in parts]
    assert one["mean"] == pytest.approx(np.mean(values))
    assert one["sd"] == pytest.approx(np.std(values))
    assert one["ci_low"] < one["mean"] < one["ci_high"]
    assert one["patients"] == 120
    reference = table[(table["model"] == "age_sex") & (table["metric"] == "c_index")].iloc[0]
    assert one["gain"] == pytest.approx(one["mean"] - reference["mean"])
    assert one["gain_low"] > 0 and reference["gain"] == 0
    assert one["p"] < 0.05 and one["p"] <= one["p_holm"] < 1 and np.isnan(reference["p"])
    tests = table[(table["task"] == "survival") & table["p"].notna()]
    assert len(tests) == len([e for e in ENTRIES if applies(e, "survival")]) - 1
    brier = table[(table["metric"] == "integrated_brier") & (table["model"] == "components")].iloc[0]
    assert brier["mean"] == pytest.approx(0.2) and brier["ci_low"] == pytest.approx(0.2)
    text = markdown(table)
    assert text.count("### ") == 2
    assert "0.760 ± 0.053" in text
    assert "10 % HVG" in table_iv(table)


def test_repeating_the_folds_does_not_narrow_the_interval_as_new_patients_would() -> None:
    once = made_up("survival")
    widths = []
    for parts in (once, once * 3):
        table = summarise({"x": {"survival": parts}}, resamples=300, seed=1, entries=ENTRIES[:4])
        row = table[(table["model"] == "components") & (table["metric"] == "c_index")].iloc[0]
        widths.append(row["ci_high"] - row["ci_low"])
    assert widths[1] == pytest.approx(widths[0], rel=1e-9)


@pytest.mark.data
@pytest.mark.slow
def test_two_real_folds_run_through_snakemake_and_beat_chance(
    test_data: Path, repository: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    settings = yaml.safe_load((repository / "examples/tcga_expression/config.yaml").read_text())
    settings |= {
        "results": str(results),
        "data": str(test_data),
        "training": settings["training"] | {"epochs": 20},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    targets = [f"{results}/seed-42/fold-0/survival.tsv", f"{results}/external/fold-0/survival.tsv"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", str(repository / "examples/tcga_expression/Snakefile"), "--cores", "1",
         "--configfile", str(tmp_path / "config.yaml"), "--directory", str(tmp_path), "--", *targets],
        capture_output=True, text=True, cwd=repository, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    patients = read_patients(results / "sheets" / "patients.tsv")
    assert patients["cohort"].value_counts().to_dict() == {"tcga_gbmlgg": 569, "ducray": 48, "joo": 43}
    table = pd.read_csv(targets[0], sep="\t")
    folds = pd.read_csv(results / "seed-42" / "folds.tsv", sep="\t").set_index("patient_id")["fold"]
    assert set(table["model"]) == {entry.name for entry in ENTRIES}
    for name, part in table.groupby("model"):
        assert sorted(part["patient_id"]) == sorted(folds.index[folds == 0])
        values = point_values(part, "survival")
        assert values["c_index"] > (0.7 if str(name) != "snn_random30" else 0.6), name
        assert 0.05 < values["integrated_brier"] < 0.25, name
    diagnosis = pd.read_csv(results / "seed-42" / "fold-0" / "diagnosis.tsv", sep="\t")
    for name in ("components", "snn_all", "snn_parallel"):
        assert point_values(diagnosis[diagnosis["model"] == name], "diagnosis")["auc"] > 0.85
    outside = pd.read_csv(targets[1], sep="\t")
    assert set(outside["cohort"]) == {"ducray", "joo"} and set(outside["part"]) == {"external"}
    assert np.isfinite(outside["risk"]).all()

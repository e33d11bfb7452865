"""The whole of a survival task's explanations on a small trained cohort, with regions, and with half of it missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pathduet.core import config
from pathduet.explain.files import files_of
from pathduet.explain.task_explanations import explain_task
from pathduet.expression import fold_matrix
from pathduet.report.explanation_pages import draw_explanations
from pathduet.training import predict_model, train_model
from pathduet.training.config import TrainingConfig
from pathduet.training.predict import write_representations
from training import fake_cohort

TILE = 100.0


def tables_and_features(results: Path, cohort: fake_cohort.FakeCohort) -> None:
    """Lay the cohort out as a results folder; every other tile (the other tissue) is annotated as tumor."""
    ledger = cohort.slides[["slide_id", "patient_id", "cohort"]].assign(
        status="ok", reason="", n_10x=7, n_20x=30
    )
    results.mkdir(parents=True)
    ledger.to_csv(results / "ledger.tsv", sep="\t", index=False)
    (results / "split").mkdir()
    cohort.folds.assign(stratum="").to_csv(results / "split/folds.tsv", sep="\t", index=False)
    adata = anndata.read_h5ad(cohort.expression)
    adata.var["subspace"] = np.where(adata.var["token_order_tumor"] >= 0, "tumor", "tme")
    adata.var["highly_variable"] = True
    (results / "genes").mkdir()
    fold_matrix.write(results / "genes/fold-0.h5ad", adata)
    (results / "regions").mkdir()
    for row in cohort.slides.to_dict("records"):
        folder = results / "slides" / row["slide_id"]
        folder.mkdir(parents=True)
        shutil.copy(row["features"], folder / "features.h5")
        with h5py.File(folder / "features.h5", "a") as file:
            file.attrs.update({"slide_id": row["slide_id"], "mpp_x": 0.5, "mpp_y": 0.5})
            for m in ("10x", "20x"):
                file[m].attrs.update({"tile_level0_px_x": TILE, "tile_level0_px_y": TILE})
        with h5py.File(folder / "tiles.h5", "w") as file:
            file.attrs.update({"slide_id": row["slide_id"], "width": 6 * int(TILE), "height": 5 * int(TILE)})
        labels = np.where(np.arange(6) % 2 == 0, 2, 1).astype(np.uint8)
        picture = Image.fromarray(np.tile(labels, (5, 1)), mode="L").resize(
            (60, 50), Image.Resampling.NEAREST
        )
        picture.save(results / "regions" / f"{row['slide_id']}.png")
    legend = {"regions": {"1": {"name": "leading_edge"}, "2": {"name": "cellular_tumor"}}}
    (results / "legend.json").write_text(json.dumps(legend))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """Return results folder, patients.tsv and settings."""
    folder = tmp_path_factory.mktemp("explained")
    cohort, results = fake_cohort.make(folder / "cohort", patients=18), folder / "results"
    tables_and_features(results, cohort)
    data = cohort.data("survival")
    for model in ("teacher", "student"):
        out = results / "models/survival" / model / "fold-0"
        training = TrainingConfig.start_values("survival", model, epochs=1)
        train_model(fake_cohort.to_train("survival", model, training), data, out, device="cpu")
        for part, place in (("test", out), ("external", results / "external/survival" / model / "fold-0")):
            predicted = predict_model(out, data, part, device="cpu")
            place.mkdir(parents=True, exist_ok=True)
            predicted.table.to_csv(place / "predictions.tsv", sep="\t", index=False)
            write_representations(place / "representations.h5", predicted)
        training = predict_model(out, data, "train", device="cpu").table
        training.to_csv(out / "training_predictions.tsv", sep="\t", index=False)
    rows = (
        cohort.slides.drop_duplicates("patient_id").set_index("patient_id")[["cohort"]].join(cohort.survival)
    )
    rows.drop(columns="reason").to_csv(folder / "patients.tsv", sep="\t")
    minimal = {"sheets": {"slides": "-", "patients": "-"}, "cohorts": {"internal": ["internal"]},
               "expression": {"tables": [{"cohort": "internal", "path": "-", "unit": "counts"}]}}  # fmt: skip
    chosen = config.resolve(minimal)["explanations"]
    chosen["genes"] = ["G1", "PTTG1"]
    chosen["regions"] |= {
        "annotations": str(results / "regions/{slide_id}.png"),
        "legend": str(results / "legend.json"),
    }
    settings = {"seed": 1, "bootstrap": 20, "labels": {"cdkn2a_rule": "homozygous"}, "models": ["teacher", "student"],
                "folds": 1, "external": True, "explanations": chosen}  # fmt: skip
    return results, folder / "patients.tsv", settings


def test_every_file_is_there_and_only_test_patients_are_in_it(run: tuple[Path, Path, dict[str, Any]]) -> None:
    results, patients, settings = run
    out = results / "explanations/survival"
    summary = explain_task("survival", results=results, patients=patients, settings=settings, out_dir=out)
    draw_explanations(out)
    assert {path.name for path in out.iterdir()} == set(files_of("survival", ["risk"]))
    folds = pd.read_csv(results / "split/folds.tsv", sep="\t")
    test = set(folds.loc[folds["fold"] == 0, "patient_id"])
    external = {"x0", "x1"}
    assert set(pd.read_csv(out / "embedding.tsv", sep="\t")["patient_id"]) == test
    regions = pd.read_csv(out / "region_agreement_slides.tsv", sep="\t")
    assert set(regions["patient_id"]) == test | external and set(regions["model"]) == {"student"}
    assert regions.loc[regions["part"] == "external", "patient_id"].isin(external).all()
    assert regions.groupby("magnification")["tiles"].max().to_dict() == {
        "10x": 7,
        "20x": 16,
    }  # 16 tokens of 30 tiles
    attention = pd.read_csv(out / "gene_attention.tsv", sep="\t")
    assert len(attention) == fake_cohort.TUMOR_GENES + fake_cohort.TME_GENES
    assert attention[["tumor_gain_10x", "similarity", "selection_20x"]].notna().all(axis=None)
    assert attention.groupby("subspace")["selection_10x"].mean().round(6).le(1 + 1e-6).all()
    members = pd.read_csv(out / "risk_group_patients.tsv", sep="\t")
    assert set(members.loc[members["part"] == "test", "patient_id"]) == test
    genes = pd.read_csv(out / "gene_correlation.tsv", sep="\t")
    assert genes.groupby("model")["pointed_out"].sum().to_dict() == {"student": 1, "teacher": 1}
    told = "\n".join(reason for entry in summary["explanations"] for reason in entry["reasons"])
    assert "PTTG1: not among the genes" in told


def test_what_is_missing_is_said_and_the_rest_is_there(
    run: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole, patients, settings = run
    results = tmp_path / "results"
    shutil.copytree(whole, results)
    shutil.rmtree(results / "models/survival/teacher")
    shutil.rmtree(results / "external")
    regions = settings["explanations"]["regions"] | {"annotations": str(tmp_path / "nowhere/{slide_id}.png")}
    settings = settings | {"explanations": settings["explanations"] | {"regions": regions}}
    out = tmp_path / "out"
    summary = explain_task("survival", results=results, patients=patients, settings=settings, out_dir=out)
    draw_explanations(out)
    assert {path.name for path in out.iterdir()} == set(files_of("survival", ["risk"]))
    reasons = {entry["name"]: "\n".join(entry["reasons"]) for entry in summary["explanations"]}
    assert "teacher: survival, teacher, fold 0: no predictions.tsv" in reasons["gene_correlation"]
    assert "has an annotation" in reasons["region_agreement"]
    assert "fold 0: model" in reasons["gene_attention"]
    assert "external, student, fold 0: FileNotFoundError" in reasons["survival"]
    assert "has an annotation" in (out / "region_agreement.svg").read_text()
    assert len(pd.read_csv(out / "gene_correlation.tsv", sep="\t")) == 12

"""The whole of a task's explanations on a small trained cohort, with regions, and with half of it missing."""

from __future__ import annotations

import base64
import io
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

from pathduet.catalogue import catalogue_of
from pathduet.cohort.tasks import DAYS_IN, Task
from pathduet.core import config
from pathduet.explain.files import files_of
from pathduet.explain.fold_results import TaskRun
from pathduet.explain.task_explanations import explain_task
from pathduet.explain.tile_maps import slide_maps
from pathduet.explain.top_tiles import SLIDES
from pathduet.expression import fold_matrix
from pathduet.report.explanation_pages import draw_explanations
from pathduet.results import Results
from pathduet.training import predict_model, train_model
from pathduet.training.config import TrainingConfig
from pathduet.training.predict import write_representations
from training import fake_cohort

TILE, SURVIVAL, SIZE = 100.0, fake_cohort.TASKS["survival"], fake_cohort.TASKS["size"]


def slide_picture(results: Path, slide_id: str) -> Path:
    """A raw slide: each 50 x 50 cell has a grey level of its own, by which its place is known."""
    levels = (np.arange(12)[None, :] * 16 + np.arange(10)[:, None]).astype(np.uint8)
    path = results / "slides" / slide_id / "raw.png"
    Image.fromarray(levels.repeat(50, 0).repeat(50, 1)).convert("RGB").save(path)
    return path


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
    raw = cohort.slides[["slide_id", "patient_id", "cohort"]].assign(mpp=0.5)
    raw["path"] = [str(slide_picture(results, slide)) for slide in raw["slide_id"]]
    raw.to_csv(results / "slides.tsv", sep="\t", index=False)
    legend = {"regions": {"1": {"name": "leading_edge"}, "2": {"name": "cellular_tumor"}}}
    (results / "legend.json").write_text(json.dumps(legend))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """Return results folder, patients.tsv and settings."""
    folder = tmp_path_factory.mktemp("explained")
    cohort, results = fake_cohort.make(folder / "cohort", patients=18), folder / "results"
    tables_and_features(results, cohort)
    for task, models in ((SURVIVAL, ("teacher", "student")), (SIZE, ("student",))):
        data = cohort.data(task.name)
        for model in models:
            out = results / "models" / task.name / model / "fold-0"
            training = TrainingConfig.start_values(task, model, epochs=1, min_steps=0)
            train_model(fake_cohort.to_train(task.name, model, training), data, out, device="cpu")
            external = results / "external" / task.name / model / "fold-0"
            for part, place in (("test", out), ("external", external)):
                predicted = predict_model(out, data, part, device="cpu")
                place.mkdir(parents=True, exist_ok=True)
                predicted.table.to_csv(place / "predictions.tsv", sep="\t", index=False)
                write_representations(place / "representations.h5", predicted)
            training_part = predict_model(out, data, "train", device="cpu").table
            training_part.to_csv(out / "training_predictions.tsv", sep="\t", index=False)
    rows = cohort.slides.drop_duplicates("patient_id").set_index("patient_id")[["cohort"]]
    rows = rows.assign(
        months=cohort.survival["survival_days"] / DAYS_IN["months"], event=cohort.survival["event"]
    )
    rows.astype({"event": int}).to_csv(folder / "patients.tsv", sep="\t")
    chosen = config.default("explanations")
    chosen["genes"] = ["GENE1", "PTTG1"]
    chosen["regions"] = {
        "annotations": str(results / "regions/{slide_id}.png"),
        "legend": str(results / "legend.json"),
        "frame": None,
        "structures": {"tumor": ["Cellular Tumor"], "tme": ["leading_edge"]},
    }
    settings = {
        "seed": 1, "bootstrap": 20, "models": ["teacher", "student"], "folds": 1, "external": True,
        "explanations": chosen, "subspaces": list(fake_cohort.GENES), "has_slides": True, "has_expression": True,
        "catalogue": {name: config.default(name) for name in ("comparison", "evaluation", "covariates")},
    }  # fmt: skip
    return results, folder / "patients.tsv", settings


def explained(
    task: Task, results: Path, patients: Path, settings: dict[str, Any], out: Path
) -> dict[str, Any]:
    summary = explain_task(TaskRun(task, Results(results), settings, patients, out, results / "slides.tsv"))
    draw_explanations(out, catalogue_of(settings["catalogue"]))
    return summary


@pytest.mark.slow
def test_every_file_is_there_and_only_test_patients_are_in_it(run: tuple[Path, Path, dict[str, Any]]) -> None:
    results, patients, settings = run
    out = results / "explanations/survival"
    summary = explained(SURVIVAL, results, patients, settings, out)
    assert {path.name for path in out.iterdir()} == set(files_of(SURVIVAL, True, True))
    assert summary["left_out"] == {} and summary["subspaces"] == ["tumor", "tme"]
    folds = pd.read_csv(results / "split/folds.tsv", sep="\t")
    test = set(folds.loc[folds["fold"] == 0, "patient_id"])
    external = {"x0", "x1"}
    assert set(pd.read_csv(out / "embedding.tsv", sep="\t")["patient_id"]) == test
    regions = pd.read_csv(out / "region_agreement_slides.tsv", sep="\t")
    assert set(regions["patient_id"]) == test | external and set(regions["model"]) == {"student"}
    assert regions.loc[regions["part"] == "external", "patient_id"].isin(external).all()
    tiles = regions.groupby("magnification")["tiles"].max()
    # 16 tokens of 30 tiles: the first 10x tile has three cells of the map, and one 20x tile inside to show there
    assert tiles.to_dict() == {"10x": 7, "20x": 14}
    assert (regions.groupby(["slide_id", "magnification"])["subspace_tiles"].sum() == regions.groupby(
        ["slide_id", "magnification"])["tiles"].first()).all()  # fmt: skip
    attention = pd.read_csv(out / "gene_attention.tsv", sep="\t")
    assert len(attention) == sum(fake_cohort.GENES.values())
    measured = ["tumor_gain_10x", "tme_gain_20x", "similarity", "selection_20x"]
    assert attention[measured].notna().all(axis=None)
    assert attention.groupby("subspace")["selection_10x"].mean().round(6).le(1 + 1e-6).all()
    tiles = pd.read_csv(out / "top_tiles.tsv", sep="\t")
    assert list(tiles["group"].unique()) == ["highest risk", "lowest risk"] and set(tiles["model"]) == {
        "student"
    }
    risk = (
        pd.read_csv(results / "models/survival/student/fold-0/predictions.tsv", sep="\t")
        .groupby("patient_id")["risk"]
        .mean()
    )
    assert list(tiles[tiles["group"] == "highest risk"]["patient_id"].unique()) == list(
        risk.nlargest(SLIDES).index
    )
    assert list(tiles[tiles["group"] == "lowest risk"]["patient_id"].unique()) == list(
        risk.nsmallest(SLIDES).index
    )
    for row in tiles.to_dict("records"):  # the pixels are those of the tile's place
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(row["picture"]))))
        assert picture[10, 10, 0] == int(row["x"] // 50) * 16 + int(row["y"] // 50)
    first = tiles.iloc[0]
    maps = slide_maps(
        results / "models/survival/student/fold-0", results / "slides" / first["slide_id"] / "features.h5"
    ).tiles
    weights = maps.loc[maps["magnification"] == "20x", f"merge_weight_{first['subspace']}"]
    assert first["weight"] == pytest.approx(weights.max()) and first["magnification"] == "20x"
    members = pd.read_csv(out / "risk_group_patients.tsv", sep="\t")
    assert set(members.loc[members["part"] == "test", "patient_id"]) == test
    genes = pd.read_csv(out / "gene_correlation.tsv", sep="\t")
    assert genes.groupby("model")["pointed_out"].sum().to_dict() == {"student": 1, "teacher": 1}
    told = "\n".join(reason for entry in summary["explanations"] for reason in entry["reasons"])
    assert "PTTG1: not among the subspaces' genes" in told
    # times are shown in the task's own unit
    assert "months; coloured" in (out / "risk_groups.svg").read_text()


@pytest.mark.slow
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
    summary = explained(SURVIVAL, results, patients, settings, out)
    assert {path.name for path in out.iterdir()} == set(files_of(SURVIVAL, True, True))
    reasons = {entry["name"]: "\n".join(entry["reasons"]) for entry in summary["explanations"]}
    assert "teacher: survival, teacher, fold 0: no predictions.tsv" in reasons["gene_correlation"]
    assert "no annotation" in reasons["region_agreement"]
    assert "fold 0: model" in reasons["gene_attention"]
    assert "external, student, fold 0: FileNotFoundError" in reasons["survival"]
    assert "no annotation" in (out / "region_agreement.svg").read_text()
    assert len(pd.read_csv(out / "gene_correlation.tsv", sep="\t")) == 12


@pytest.mark.slow
def test_a_regression_without_expression_has_what_slides_can_tell(
    run: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    results, patients, settings = run
    out = tmp_path / "out"
    settings = settings | {"models": ["student"], "has_expression": False}
    summary = explained(SIZE, results, patients, settings, out)
    assert {path.name for path in out.iterdir()} == set(files_of(SIZE, True, False))
    assert [entry["name"] for entry in summary["explanations"]] == [
        "embedding",
        "region_agreement",
        "top_tiles",
    ]
    why = "the run has no expression"
    assert summary["left_out"] == {"gene_correlation": why, "gene_attention": why}
    points = pd.read_csv(out / "embedding.tsv", sep="\t")
    assert points["value"].notna().all() and "class" not in points
    scores = pd.read_csv(out / "embedding_scores.tsv", sep="\t")
    assert set(scores["measure"]) == {"neighbours", "linear"}
    assert ">Size<" in (out / "embedding.svg").read_text()  # what the colours mean
    assert "separation by value" in summary["explanations"][0]["message"]


def test_where_no_network_is_explained_that_is_the_reason(
    run: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    results, patients, settings = run
    settings = settings | {"models": [], "has_slides": False}
    summary = explained(SIZE, results, patients, settings, tmp_path)
    why = "none of explanations.models is a network of this run"
    assert [entry["reasons"] for entry in summary["explanations"]] == [[why], [why]]
    assert why in (tmp_path / "embedding.svg").read_text()

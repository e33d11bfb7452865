"""`pathduet features export` of a run: AnnData, SpatialData and QuPath objects, read back with anndata, spatialdata and the frame's rule.

QuPath shows of a slide with `openslide.bounds-*` that rectangle alone and adds its corner to what it reads
(qupath/qupath, ``OpenslideImageServer.java``: `boundsX` in `readTile`, unless opened with ``--no-crop``). The form of its objects is
tested in test_pictures_and_geojson.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from explain.test_tile_maps import write_model, write_slide
from pathduet.cli import app
from pathduet.core.errors import InputError
from slides.synthetic_slides import write_scn

GLASS, PLACE, SCANNED = (6000, 5000), (500, 300), (2048, 1536)
TILES = {"10x": 16, "20x": 30}
TASKS = {"diagnosis": {"kind": "classification", "column": "diagnosis", "classes": ["a", "b"]}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two folds: slide S1 of a patient in fold 1, X1 of an external one, L1 lost; their files declare bounds."""
    folder = tmp_path_factory.mktemp("run")
    results = folder / "results"
    for seed, slide_id in enumerate(("S1", "X1")):
        for path in (
            write_slide(results / "slides" / slide_id, TILES, seed),
            results / "slides" / slide_id / "tiles.h5",
        ):
            with h5py.File(path, "r+") as file:
                file.attrs["slide_id"] = slide_id
                if path.name == "tiles.h5":
                    file.attrs["bounds"] = [*PLACE, *SCANNED]
        ground = np.full((50, 60, 3), 230, np.uint8)
        ground[3:18, 5:25] = 90  # where the file says it was scanned
        Image.fromarray(ground).save(results / "slides" / slide_id / "thumbnail.png")
    write_scn(folder / "a.scn", np.full((*SCANNED[::-1], 3), 200, np.uint8), GLASS, PLACE)
    patients = {"S1": "P1", "X1": "P2", "L1": "P3"}
    rows = [f"{s}\t{p}\tc\ta.scn" for s, p in patients.items()]
    (folder / "slides.tsv").write_text("\n".join(["slide_id\tpatient_id\tcohort\tpath", *rows]) + "\n")
    ledger = pd.DataFrame({"slide_id": list(patients), "patient_id": list(patients.values()), "cohort": "c"})
    ledger["status"], ledger["reason"] = ["ok", "ok", "failed"], ["", "", "no_tissue"]
    ledger.assign(stage="features", message="", n_10x=16, n_20x=30).to_csv(
        results / "ledger.tsv", sep="\t", index=False
    )
    (results / "split").mkdir()
    folds = "patient_id\tcohort\tfold\tstratum\nP1\tc\t1\ta\nP9\tc\t0\ta\n"
    (results / "split" / "folds.tsv").write_text(folds)
    head = "slide_id\tpatient_id\tcohort\tpart\tfold\tlabel\tpredicted\tp_a\tp_b\n"
    for fold, slide_id in enumerate(("S9", "S1")):
        place = write_model(
            results / "models" / "diagnosis" / "distilled" / f"fold-{fold}", "distilled", swap=fold == 1
        )
        described = json.loads((place / "model.json").read_text()) | {"fold": fold}
        (place / "model.json").write_text(json.dumps(described))
        (place / "predictions.tsv").write_text(
            f"{head}{slide_id}\tP{slide_id[1]}\tc\ttest\t{fold}\ta\tb\t0.25\t0.75\n"
        )
        with h5py.File(place / "representations.h5", "w") as file:
            file.create_dataset("slide_id", data=[slide_id], dtype=h5py.string_dtype())
            for m in TILES:
                file[m] = np.full((1, 4), fold + 0.5, np.float32)
    ensemble = results / "external" / "diagnosis" / "distilled" / "ensemble"
    ensemble.mkdir(parents=True)
    (ensemble / "predictions.tsv").write_text(f"{head}X1\tP2\tc\texternal\tensemble\tb\tb\t0.1\t0.9\n")
    config = {"sheets": {"slides": "slides.tsv"}, "tasks": TASKS, "labels": {"survival_bins": 4}}
    (results / "provenance.json").write_text(json.dumps({"config": config}))
    return results


def export(run: Path, out: Path, *arguments: str) -> tuple[int, str]:
    options = ["--results", str(run), "--out", str(out), "--format", *arguments]
    done = CliRunner().invoke(app, ["features", "export", *options])
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


def corners_of(run: Path, slide_id: str, m: str) -> np.ndarray:
    with h5py.File(run / "slides" / slide_id / "features.h5") as file:
        return file[m]["grid"][:] * file[m].attrs["tile_level0_px_x"]


def test_anndata_has_tiles_predictions_and_what_the_model_made_of_them(run: Path, tmp_path: Path):
    status, text = export(run, tmp_path, "anndata", "--model", "distilled")
    assert status == 3 and "L1: failed: no_tissue" in text and "2 of 3 slides" in text
    tiles = anndata.read_h5ad(tmp_path / "20x" / "S1.h5ad")
    with h5py.File(run / "slides" / "S1" / "features.h5") as file:
        assert np.array_equal(tiles.X, file["20x"]["features"][:].astype(np.float32))
    corners = corners_of(run, "S1", "20x")
    assert tiles.obs[["x", "y"]].to_numpy() == pytest.approx(corners)
    assert tiles.obsm["spatial"] == pytest.approx(corners + 224)  # centres of tiles of 448 pixels
    about = tiles.uns["pathduet"]
    assert (about["frame"], about["model"], about["fold"]) == ("level0", "distilled", "1")
    assert about["mpp_level0"].tolist() == [0.25, 0.25] and about["origin_level0_px"].tolist() == [0, 0]
    # the fold that never saw the patient, and its answer; a tile that is no token has no attention
    assert set(tiles.obs["slide_predicted"]) == {"b"} and set(tiles.obs["slide_p_b"]) == {0.75}
    attention = tiles.obs["attention_patches"]
    assert attention.sum() == pytest.approx(1) and (attention.isna() == (tiles.obs["cells"] == 0)).all()
    assert set(tiles.obs["prototype"].dropna()) <= {"tumor", "tme"}
    library = tiles.uns["spatial"]["S1"]
    assert library["scalefactors"]["tissue_hires_scalef"] == 0.01
    assert library["images"]["hires"].shape == (50, 60, 3)
    external = anndata.read_h5ad(tmp_path / "10x" / "X1.h5ad")
    assert set(external.obs["slide_p_b"]) == {0.9} and external.uns["pathduet"]["fold"] == "ensemble"
    joined = anndata.concat([tiles, anndata.read_h5ad(tmp_path / "20x" / "X1.h5ad")])
    assert joined.n_obs == 60 and joined.obs_names.is_unique
    slides = anndata.read_h5ad(tmp_path / "diagnosis-distilled.h5ad")
    assert slides.obs_names.tolist() == ["S9", "S1"] and slides.obs["p_b"].tolist() == [0.75, 0.75]
    assert slides.X.tolist() == [[0.5] * 8, [1.5] * 8]


def test_qupath_s_frame_puts_objects_on_what_it_shows(run: Path, tmp_path: Path):
    collections = {}
    for frame in ("level0", "qupath"):
        for format in ("geojson", "anndata"):
            chosen = ["--slides", "S1", "--magnification", "20x", "--frame", frame]
            if (format, frame) in (("geojson", "qupath"), ("anndata", "level0")):
                del chosen[-2:]  # what is taken where nothing is said
            status, text = export(run, tmp_path / frame, format, *chosen)
            assert status == 0, text
        collections[frame] = json.loads((tmp_path / frame / "20x" / "S1.geojson").read_text())
    said = [collections[frame]["pathduet"] for frame in ("level0", "qupath")]
    assert [one["frame"] for one in said] == ["level0", "qupath"]
    assert [one["origin_level0_px"] for one in said] == [[0, 0], list(PLACE)]
    corners = corners_of(run, "S1", "20x")
    for frame, origin in (("level0", (0, 0)), ("qupath", PLACE)):
        features = collections[frame]["features"]
        found = [one["geometry"]["coordinates"][0][0] for one in features]
        assert np.array(found) == pytest.approx(corners - origin)
        assert features[0]["properties"]["classification"]["names"] == ["Tile", "20x"]
    tiles = anndata.read_h5ad(tmp_path / "qupath" / "20x" / "S1.h5ad")
    assert tiles.obsm["spatial"] == pytest.approx(corners - PLACE + 224)
    # the picture is what QuPath shows: the dark rectangle, whole
    picture = tiles.uns["spatial"]["S1"]["images"]["hires"]
    assert picture.shape == (15, 20, 3) and (picture == 90).all()


def test_a_model_s_objects_and_heatmaps_know_the_frame_too(run: Path, tmp_path: Path):
    status, text = export(
        run, tmp_path, "geojson", "--slides", "S1", "--model", "distilled", "--frame", "qupath"
    )
    assert status == 0, text
    whole = ["S1", "--results", str(run), "--fold", "1", "--no-viewer", "--no-png"]
    done = CliRunner().invoke(app, ["heatmap", *whole, "--out", str(tmp_path / "h")])
    assert done.exit_code == 0, done.output
    both = json.loads((tmp_path / "h" / "S1" / "tiles.geojson").read_text())
    parts = [json.loads((tmp_path / m / "S1.geojson").read_text()) for m in TILES]
    assert both["pathduet"] == parts[0]["pathduet"] and both["pathduet"]["origin_level0_px"] == list(PLACE)
    by_id = {one["id"]: one for one in both["features"]}
    assert all(by_id[one["id"]] == one for part in parts for one in part["features"])
    assert len(by_id) == sum(len(part["features"]) for part in parts)
    points = [
        one["geometry"]["coordinates"] for one in both["features"] if one["geometry"]["type"] == "Point"
    ]
    assert min(x for x, _ in points) < 0  # the first column of tiles lies left of what was scanned


def test_without_bounds_in_the_artifacts_geojson_says_that_it_counts_from_level_0(run: Path, tmp_path: Path):
    results = tmp_path / "results"
    shutil.copytree(run, results)
    with h5py.File(results / "slides" / "S1" / "tiles.h5", "r+") as file:
        del file.attrs["bounds"]
    status, text = export(results, tmp_path / "o", "geojson", "--slides", "S1")
    assert status == 0, text
    assert json.loads((tmp_path / "o/20x/S1.geojson").read_text())["pathduet"]["frame"] == "level0"
    status, text = export(results, tmp_path / "p", "geojson", "--slides", "S1", "--frame", "qupath")
    assert status == 3 and "QuPath's frame is unknown" in text


def test_spatialdata_reads_tiles_table_and_picture(run: Path, tmp_path: Path):
    spatialdata = pytest.importorskip(
        "spatialdata", reason="spatialdata is not installed (extra `spatialdata`)"
    )
    for _ in range(2):  # again over what is there
        status, text = export(run, tmp_path, "spatialdata", "--slides", "S1", "--model", "distilled")
        assert status == 0, text
    found = spatialdata.read_zarr(tmp_path / "20x" / "S1.zarr")
    corners = corners_of(run, "S1", "20x")
    assert sorted(found.coordinate_systems) == ["global", "um"]
    bounds = found["tiles"].geometry.bounds.to_numpy()
    assert bounds == pytest.approx(np.hstack([corners, corners + 448]))
    assert found["table"].obs["attention_patches"].sum() == pytest.approx(1)
    assert found["table"].uns["pathduet"]["frame"] == "level0"
    joined, _ = (
        spatialdata.join_spatialelement_table(
            sdata=found, spatial_element_names=["tiles"], table_name="table"
        ),
        0,
    )
    assert len(joined[1]) == 30
    # a picture of 60 x 50 pixels lies over the whole of level 0, in micrometres over 1500 x 1250
    extent = spatialdata.get_extent(found, coordinate_system="um", elements=["thumbnail"])
    assert extent["x"] == pytest.approx((0, 1500)) and extent["y"] == pytest.approx((0, 1250))
    inside = spatialdata.bounding_box_query(
        found["tiles"],
        axes=("x", "y"),
        min_coordinate=[0, 0],
        max_coordinate=[100, 100],
        target_coordinate_system="um",
    )
    assert len(inside) == 1  # a tile is 112 um wide


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hdf7"], "'hdf7'; one of trident, clam, stamp, anndata, spatialdata, geojson"),
        (["clam", "--slides", "S7"], "slide 'S7': not in the run"),
        (["trident", "--frame", "qupath"], "trident has no place for them"),
        (["anndata", "--model", "abmil"], "not trained"),
        (["anndata", "--model", "distilled", "--task", "grading"], "'grading' is not a task"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    run: Path, tmp_path: Path, arguments: list[str], message: str
):
    out = tmp_path / "o"
    done = CliRunner().invoke(
        app, ["features", "export", "--results", str(run), "--out", str(out), "--format", *arguments]
    )
    assert isinstance(done.exception, InputError) and message in str(done.exception)
    assert not out.exists()


def test_a_frame_of_another_name_is_refused(run: Path, tmp_path: Path):
    status, text = export(run, tmp_path / "o", "geojson", "--frame", "omero")
    assert status == 2 and "omero" in text and "qupath" in text and not (tmp_path / "o").exists()


def test_the_run_s_own_folder_is_refused_and_other_slides_go_on(run: Path, tmp_path: Path):
    status, text = export(run, run / "slides", "clam")
    assert status == 1 and "choose another folder" in text
    copy = shutil.copytree(run, tmp_path / "results")
    (copy / "slides" / "S1" / "features.h5").write_bytes(b"no HDF5")
    status, text = export(copy, tmp_path / "o", "stamp", "--magnification", "10x")
    assert status == 3 and "slide S1, features.h5" in text and "1 of 3 slides" in text
    assert [path.name for path in (tmp_path / "o" / "10x").iterdir()] == ["X1.h5"]


def test_features_of_another_tool_go_out_in_any_layout(run: Path, tmp_path: Path):
    """S1's own features, exported for CLAM, TRIDENT and STAMP and read in their place: what comes out is the same."""
    status, text = export(run, tmp_path / "own", "stamp", "--slides", "S1")
    assert status == 0, text
    for layout, file in (
        ("trident", "20x_224px_0px_overlap/features_test/S1.h5"),
        ("stamp", "20x/S1.h5"),
    ):
        assert export(run, tmp_path / layout, layout, "--slides", "S1")[0] == 0
        there = next((tmp_path / layout).glob(file.replace("features_test", "features_*")))
        before = there.read_bytes()
        copy = shutil.copytree(run, tmp_path / f"run_{layout}")
        (copy / "slides" / "S1" / "features.h5").unlink()
        (copy / "slides" / "S1" / "tiles.h5").unlink()
        pointer = {
            "layout": layout,
            "files": {"20x": str(there)},
            "sha256": {},
            "stamps": {"20x": ""},
            "runs": {},
            "attributes": {"slide_id": "S1", "encoder": "test", "mpp_x": 0.25, "mpp_y": 0.25, "width": None},
        }
        (copy / "slides" / "S1" / "features.json").write_text(json.dumps(pointer))
        status, text = export(copy, tmp_path / f"again_{layout}", "stamp", "--slides", "S1")
        assert status == 0, text
        assert export(copy, tmp_path / f"again_{layout}", "anndata", "--slides", "S1")[0] == 0
        with (
            h5py.File(tmp_path / "own" / "20x" / "S1.h5") as own,
            h5py.File(tmp_path / f"again_{layout}" / "20x" / "S1.h5") as again,
        ):
            assert np.array_equal(own["feats"][:], again["feats"][:])
            assert np.array_equal(own["coords"][:], again["coords"][:])
            assert {**again.attrs, "extractor": ""} == {**own.attrs, "extractor": ""}
        assert there.read_bytes() == before
        status, text = export(copy, tmp_path / "none", "stamp", "--slides", "S1", "--magnification", "10x")
        assert status == 3 and "no features at 10x" in text


def test_features_without_a_command_still_encodes(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr("pathduet.cli._run_stages", lambda *arguments: asked.append(arguments))
    for arguments in (
        ["slides", "--workers", "2"],
        ["--workers", "2", "slides"],
        ["encode", "slides", "--workers", "2"],
    ):
        assert CliRunner().invoke(app, ["features", *arguments]).exit_code == 0
    assert asked == [("features", Path("slides"), Path("results"), None, 2)] * 3
    more = ["slides.tsv", "--results", "try", "--configfile", "mine.yaml"]
    assert CliRunner().invoke(app, ["features", *more]).exit_code == 0
    assert asked[-1] == ("features", Path("slides.tsv"), Path("try"), [Path("mine.yaml")], 1)

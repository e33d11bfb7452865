"""New slides get what the workflow would have said, with hints; a bad one costs itself only."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tiny_run
from typer.testing import CliRunner

from explain.devtools import Browser
from pathduet.cli import app
from pathduet.core.errors import InputError
from pathduet.evaluation.predictions import read_predictions
from pathduet.release.load import load_release
from pathduet.release.new_slides import gather, release_folder
from pathduet.release.predict import check_folder
from slides.synthetic_slides import stained_image, write_svs

pytestmark = pytest.mark.slow
NASTY = "<img src=x onerror=alert(1)>&'.svs"


def call(*arguments: Any) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["predict", *map(str, arguments), "--device", "cpu"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def predicted(run: tiny_run.TinyRun, released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training slide, a copy of it with a nasty name, a slide of another kind, a damaged one; P1's expression is given."""
    folder = tmp_path_factory.mktemp("new")
    raw = folder / "raw"
    raw.mkdir()
    shutil.copy(run.slide("P0"), raw / "P0-s.svs")
    shutil.copy(run.slide("P1"), raw / "P1.svs")
    odd = stained_image(256, 320, seed=77)[::8, ::8, ::-1].repeat(8, 0).repeat(8, 1)
    write_svs(raw / NASTY, np.ascontiguousarray(odd))
    (raw / "damaged.svs").write_bytes(run.slide("P0").read_bytes()[:3000])
    before = {p.name: p.stat().st_mtime_ns for p in raw.iterdir()}
    table = pd.read_csv(run.expression, sep="\t")[["gene_symbol", "P1"]]
    table.to_csv(folder / "expression.tsv", sep="\t", index=False)
    code, output = call(
        raw,
        "--model",
        released,
        "--out",
        folder / "out",
        "--expression",
        folder / "expression.tsv",
    )
    assert "expression.tsv is read as counts, the unit of the training tables" in output
    assert code == 3, output
    assert {p.name: p.stat().st_mtime_ns for p in raw.iterdir()} == before
    return folder


def answer(predicted: Path, slide: str) -> dict[str, Any]:
    return json.loads((predicted / "out" / "slides" / slide / "prediction.json").read_text())


def nasty_id(predicted: Path) -> str:
    (found,) = [p.name for p in (predicted / "out" / "slides").iterdir() if p.name.startswith("img")]
    return found


@pytest.mark.parametrize(("slide", "row", "model"), [("P0-s", "P0-s", "student"), ("P1", "P1-s", "teacher")])
def test_the_fold_that_never_saw_the_patient_says_what_the_workflow_wrote(
    run: tiny_run.TinyRun, predicted: Path, slide: str, row: str, model: str
):
    found = answer(predicted, slide)
    fold = run.fold_of(row.split("-")[0])
    assert found["hints"]["only_unseen_by_fold"] == fold
    for task in tiny_run.TASKS:
        part = found["tasks"][task]
        assert part["model"] == model
        table = read_predictions(run.results / "models" / task / model / f"fold-{fold}" / "predictions.tsv")
        wanted = table.set_index("slide_id").loc[row]
        (member,) = [one for one in part["members"] if one["fold"] == fold]
        if task == "receptor":
            got = {f"p_{name}": p for name, p in member["probabilities"].items()}
        elif task == "ki67":
            got = {"prediction": member["value"]}
        else:
            got = {"risk": member["risk"]} | {f"h_{k + 1}": h for k, h in enumerate(member["hazards"])}
        for name, value in got.items():
            assert value == pytest.approx(wanted[name], abs=1e-5), (task, name)


def test_the_ensemble_is_the_folds_mean_and_adds_up(predicted: Path):
    part = answer(predicted, "P0-s")["tasks"]["receptor"]
    assert sum(part["probabilities"].values()) == pytest.approx(1)
    for name, p in part["probabilities"].items():
        assert p == pytest.approx(np.mean([m["probabilities"][name] for m in part["members"]]))
    assert part["predicted"] == max(part["probabilities"], key=part["probabilities"].get)
    survival = answer(predicted, "P0-s")["tasks"]["pfi"]
    assert survival["curve"]["days"][0] == 0 and survival["curve"]["survival"][0] == 1
    assert (np.diff(survival["curve"]["survival"]) <= 0).all()
    assert 0 <= survival["percentile"] <= 100
    number = answer(predicted, "P0-s")["tasks"]["ki67"]
    assert number["value"] == pytest.approx(np.mean([member["value"] for member in number["members"]]))
    low, high = number["agreement"]["range"]
    assert low <= number["value"] <= high


def test_a_damaged_slide_is_lost_alone_with_its_reason(predicted: Path):
    ledger = pd.read_csv(predicted / "out" / "ledger.tsv", sep="\t", keep_default_na=False).set_index(
        "slide_id"
    )
    assert ledger["status"].value_counts().to_dict() == {"ok": 3, "failed": 1}
    assert ledger.loc["damaged", "reason"] == "unreadable"
    table = pd.read_csv(predicted / "out" / "predictions.tsv", sep="\t", keep_default_na=False)
    assert list(table["slide_id"]) == list(ledger.index) and (table["receptor"] != "").sum() == 3
    lost = answer(predicted, "damaged")
    assert lost["tasks"] == {} and lost["ledger"]["reason"] == "unreadable"
    assert "No prediction" in (predicted / "out" / "slides" / "damaged" / "prediction.html").read_text()


def test_the_page_says_research_only_runs_no_script_and_escapes_names(predicted: Path):
    for page in (predicted / "out" / "slides").glob("*/prediction.html"):
        html = page.read_text()
        assert html.count("Research use only; not for diagnosis.") == 2
        assert "<script" not in html and "default-src 'none'" in html
        assert not re.search(r'(?:src|href)="(?!data:|#|heatmaps/)', html)
    html = (predicted / "out" / "slides" / nasty_id(predicted) / "prediction.html").read_text()
    assert "<img src=x" not in html and "&lt;img src=x onerror=alert(1)&gt;&amp;&#39;.svs" in html


def test_each_slide_gets_heatmaps_of_every_task_that_its_page_links_to(predicted: Path):
    folder = predicted / "out" / "slides" / "P0-s"
    found = answer(predicted, "P0-s")["heatmaps"]
    assert list(found) == sorted(tiny_run.TASKS)
    html = (folder / "prediction.html").read_text()
    for task, files in found.items():
        assert all((folder / name).is_file() and f'href="{name}"' in html for name in files.values())
        collection = json.loads((folder / files["geojson"]).read_text())
        assert collection["pathduet"]["frame"] == "qupath"
        features = collection["features"]
        tiles = [one for one in features if one["geometry"]["type"] == "Polygon"]
        assert {one["properties"]["classification"]["names"][0] for one in tiles} <= {"Tumor", "TME"}
        with h5py.File(folder / "features.h5") as file:
            assert len(tiles) == sum(len(file[m]["grid"]) for m in ("10x", "20x")), task
    assert len(list((folder / "heatmaps").rglob("slide.dzi"))) == 1  # one pyramid for all tasks
    assert answer(predicted, "damaged")["heatmaps"] is None
    assert "Tile: 10x" in {
        ": ".join(one["properties"]["classification"]["names"])
        for one in json.loads((folder.parent / "P1" / "heatmaps" / "pfi.geojson").read_text())["features"]
    }  # the teacher, which has no prototypes


def test_a_heatmap_that_cannot_be_drawn_costs_no_prediction(
    run: tiny_run.TinyRun, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    arguments = (run.slide("P0"), "--model", released, "--out", tmp_path)
    assert call(*arguments, "--no-heatmaps")[0] == 0
    plain = _read(tmp_path)
    assert plain["heatmaps"] is None and not (tmp_path / "slides" / "P0-s" / "heatmaps").exists()
    monkeypatch.setattr("pathduet.release.heatmaps.write_viewer", fails)
    assert call(*arguments)[0] == 0
    found = _read(tmp_path)
    assert found["tasks"] == plain["tasks"] and "no heatmaps (OSError: disk full)" in found["ledger"]["notes"]
    assert not (tmp_path / "slides" / "P0-s" / "heatmaps").exists()


def _read(out: Path) -> dict[str, Any]:
    return json.loads((out / "slides" / "P0-s" / "prediction.json").read_text())


def test_a_slide_of_other_colours_and_texture_is_told_from_the_training_slides(predicted: Path):
    usual, odd = answer(predicted, "P0-s")["hints"], answer(predicted, nasty_id(predicted))["hints"]
    assert odd["verdict"] == "outside" and not odd["seen_in_training"]
    for m in ("10x", "20x"):
        far, near = odd["feature_distance"][m], usual["feature_distance"][m]
        assert far["verdict"] == "outside" and far["value"] > far["training"]["max"] >= near["value"]


def test_a_second_run_keeps_what_is_done_and_mends_what_is_not(
    run: tiny_run.TinyRun, released: Path, tmp_path: Path
):
    (tmp_path / "raw").mkdir()
    for patient in ("P0", "P2"):
        shutil.copy(run.slide(patient), tmp_path / "raw" / f"{patient}.svs")
    arguments = (tmp_path / "raw", "--model", released, "--out", tmp_path / "out")
    assert call(*arguments)[0] == 0
    folder = tmp_path / "out" / "slides"
    found = [p for p in folder.glob("*/*") if p.is_file() and p.suffix != ".sha256"]
    stamps = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in found}
    (folder / "P2" / "prediction.html").unlink()
    assert call(*arguments)[0] == 0
    for path, (stamp, data) in stamps.items():
        assert path.read_bytes() == data
        assert (path.stat().st_mtime_ns == stamp) == (
            path.name not in ("prediction.html", "prediction.json") or path.parent.name == "P0"
        )


def test_a_damaged_prediction_is_made_again(run: tiny_run.TinyRun, released: Path, tmp_path: Path):
    arguments = (run.slide("P0"), "--model", released, "--out", tmp_path / "out", "--no-heatmaps")
    assert call(*arguments)[0] == 0
    files = [tmp_path / "out/predictions.tsv", *(tmp_path / "out/slides/P0-s").glob("prediction.*")]
    whole = {path: path.read_bytes() for path in files}
    for path in files[1:]:
        path.write_bytes(path.read_bytes().replace(b"0.", b"0.9", 1))
        assert call(*arguments)[0] == 0
        assert {path: path.read_bytes() for path in files} == whole


def test_a_results_folder_is_exported_on_the_way_and_says_the_same(
    run: tiny_run.TinyRun, predicted: Path, tmp_path: Path
):
    folder = release_folder(run.results, "student", tmp_path)
    assert load_release(folder).id == answer(predicted, "P0-s")["release"]["id"]


def test_slides_beside_the_output_or_twice_under_one_id_are_refused(run: tiny_run.TinyRun, tmp_path: Path):
    slides = gather([run.slide("P0"), run.slide("P0")]).slides
    assert len(slides) == 1
    for out in (run.folder / "slides", run.folder):
        with pytest.raises(InputError, match="raw slides are in it"):
            check_folder(slides, out)
    shutil.copy(run.slide("P0"), tmp_path / "P0-s.tif")
    with pytest.raises(InputError, match="would both be 'P0-s'"):
        gather([run.slide("P0"), tmp_path / "P0-s.tif"])


def test_tables_of_several_units_in_training_leave_the_choice_to_the_user(released: Path):
    release = load_release(released)
    assert release.unit == "counts"
    release.scalings[0].units["tiny"] = "tpm"
    with pytest.raises(InputError, match="training tables were counts and tpm"):
        _ = release.unit


def test_other_encoder_weights_than_those_of_training_are_refused(
    copy: Path, forge, run: tiny_run.TinyRun, tmp_path: Path
):
    settings = json.loads((copy / "settings.json").read_text())
    settings["seed"] += 1  # the untrained encoder's weights are a function of the seed
    (copy / "settings.json").write_text(json.dumps(settings))
    forge(copy)
    with pytest.raises(InputError, match=r"encoder random.*those of training"):
        call(run.slide("P0"), "--model", copy, "--out", tmp_path / "out")


@pytest.mark.browser
def test_axe_finds_nothing_serious_on_a_prediction(chromium: str, predicted: Path, tmp_path: Path):
    with Browser(chromium, tmp_path, (1300, 900)) as browser:
        for name in ("P1", "damaged"):
            browser.open((predicted / "out" / "slides" / name / "prediction.html").as_uri())
            browser.wait("document.readyState === 'complete'")
            browser.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert browser.inaccessible() == []
            assert browser.value("document.documentElement.scrollWidth") <= 1300
        assert browser.complaints == []

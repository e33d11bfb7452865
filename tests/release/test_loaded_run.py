"""A finished run as tables and arrays, and one slide outside of it: both are what the run's files say."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from tiny_run import FOLDS, MODELS, PATIENTS, TinyRun

import pathduet
import pathduet.slides
from pathduet.core.errors import InputError, SlideError

pytestmark = pytest.mark.slow


def test_predictions_are_of_each_folds_test_part_once(run: TinyRun):
    loaded = pathduet.load_run(run.results)
    assert set(loaded.tasks) == {"receptor", "pfi", "ki67"} and loaded.models("pfi") == list(MODELS)
    found = loaded.predictions("pfi", "student")
    assert sorted(found["patient_id"]) == PATIENTS and set(found["part"]) == {"test"}
    assert dict(zip(found["patient_id"], found["fold"])) == {p: run.fold_of(p) for p in PATIENTS}
    one = pd.read_csv(loaded.results.model("pfi", "student", 1) / "predictions.tsv", sep="\t")
    assert found.loc[found["fold"] == FOLDS[1], "risk"].tolist() == pytest.approx(one["risk"].tolist())


def test_representations_have_a_row_a_prediction(run: TinyRun):
    loaded = pathduet.load_run(run.results)
    found = loaded.representations("receptor", "teacher")
    with h5py.File(loaded.results.model("receptor", "teacher", 0) / "representations.h5", "r") as file:
        first = np.concatenate([file[m][:] for m in ("10x", "20x")], axis=1)
    assert found.shape == (len(PATIENTS), first.shape[1])
    assert np.array_equal(found[: len(first)], first)


def test_what_a_run_does_not_have_is_said_with_what_it_has(run: TinyRun, tmp_path: Path):
    loaded = pathduet.load_run(run.results)
    for ask in (
        lambda: loaded.predictions("grading", "student"),
        lambda: loaded.predictions("pfi", "abmil"),
        lambda: loaded.predictions("pfi", "student", external=True),
        lambda: loaded.table("pfi"),
        lambda: loaded.features("P99-s"),
        lambda: pathduet.load_run(tmp_path),
    ):
        with pytest.raises(InputError):
            ask()
    with pytest.raises(InputError, match="one of teacher, student"):
        loaded.models("pfi") and loaded.predictions("pfi", "abmil")


def test_a_slide_opened_alone_has_the_features_of_the_run(run: TinyRun, tmp_path: Path):
    loaded = pathduet.load_run(run.results)
    with pathduet.slides.open(run.slide("P3"), config=loaded.config, folder=tmp_path) as slide:
        features = slide.features()
        for magnification, of_run in loaded.features("P3-s").items():
            assert np.array_equal(features[magnification].features, of_run.features)
            assert np.array_equal(features[magnification].known_corners, of_run.known_corners)
        assert slide.feature_file == tmp_path / "slides" / "P3-s" / "features.h5"


def test_a_slides_pixels_tissue_and_colours(run: TinyRun):
    with pathduet.slides.open(run.slide("P0"), config=run.config) as slide:
        assert slide.pixel_size.x == pytest.approx(0.5) and slide.dimensions == (320, 256)
        assert slide.thumbnail(4.0).shape == (32, 40, 3)
        assert slide.tissue.shape == (32, 40) and 0 < slide.tissue.mean() < 1
        table = slide.tiles["20x"]
        x, y = table.coords[0].tolist()
        tile = slide.tile("20x", 0)
        assert np.array_equal(tile, slide.reader.read_region_at(x, y, 64, 64, (64, 64)))
        changed = slide.normaliser(tile)
        assert changed.shape == tile.shape and not np.array_equal(changed, tile)
        folder = slide.feature_file.parent
    assert not folder.exists(), "the temporary folder goes with the slide"


def test_a_slide_that_cannot_be_used_says_why(run: TinyRun, tmp_path: Path):
    broken = tmp_path / "broken.svs"
    broken.write_bytes(b"no slide")
    with pytest.raises(SlideError, match=r"broken\.svs"):
        pathduet.slides.open(broken)
    many = {**run.config, "slides": {**run.config["slides"], "min_tiles": 500}}
    with pathduet.slides.open(run.slide("P0"), config=many) as slide, pytest.raises(SlideError, match="500"):
        slide.features()

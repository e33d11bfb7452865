"""What follows from features of other tools before any job starts: magnifications, files of a folder, what contradicts them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_cohort
from pathduet.cohort.sheets import SlideRow, read_slides
from pathduet.core.config import default
from pathduet.core.errors import InputError
from pathduet.workflow.feature_config import with_features
from pathduet.workflow.preflight import check_features

sys.path.insert(0, str(tiny_cohort.REPOSITORY / "tests" / "features"))
import foreign_files


def config(**features: Any) -> dict[str, Any]:
    parts = {name: default(name) for name in ("features", "slides", "model")}
    return {**parts, "features": {**parts["features"], **features}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """TRIDENT's files of S1 and S2 at 20x, of S3 at 10x."""
    coords = np.argwhere(np.ones((3, 4))) * 448
    for name, power in (("S1", 20), ("S2", 20), ("S3", 10)):
        foreign_files.trident(tmp_path / f"{name}.h5", np.ones((12, 8), np.float32), coords, power=power)
    return tmp_path


def test_models_follow_the_one_magnification_that_the_files_have(folder: Path) -> None:
    rows = [SlideRow(name, name, "c") for name in ("S1", "S2")]
    found, slides = with_features(config(folder=str(folder)), {}, rows)
    assert found["slides"]["magnifications"] == found["model"]["magnifications"] == "20x"
    assert [slide.foreign for slide in slides] == [{"20x": folder / "S1.h5"}, {"20x": folder / "S2.h5"}]
    for section in ("slides", "model"):
        with pytest.raises(
            InputError, match=f"{section}.magnifications: both, but the given features are at 20x"
        ):
            with_features(config(folder=str(folder)), {section: {"magnifications": "both"}}, rows)


def test_both_magnifications_change_nothing(folder: Path) -> None:
    rows = [SlideRow("S", "P", "c", features_10x=folder / "S3.h5", features_20x=folder / "S1.h5")]
    before = config()
    assert with_features(before, {}, rows) == (before, rows)


def test_slides_without_a_source_and_mixed_magnifications_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="slide S9: neither a raw slide, nor features in"):
        with_features(config(folder=str(folder)), {}, [SlideRow("S9", "P", "c")])
    rows = [
        SlideRow("S1", "P", "c", features_20x=folder / "S1.h5"),
        SlideRow("S3", "P", "c", features_10x=folder / "S3.h5"),
    ]
    with pytest.raises(InputError, match=r"10x: 1 slide \(S3, ...\); 20x: 1 slide \(S1"):
        with_features(config(), {}, rows)


def test_a_look_before_the_run_says_what_each_file_holds(folder: Path) -> None:
    stamp = foreign_files.stamp(folder / "T.h5", np.ones((12, 8)), np.argwhere(np.ones((3, 4))) * 112)
    rows = [
        SlideRow("S1", "P", "c", features_20x=folder / "S1.h5"),
        SlideRow("T", "P", "c", features_20x=stamp),
        SlideRow("gone", "P", "c", features_20x=folder / "gone.h5"),
    ]
    checked, said = check_features(rows, None)
    assert checked[0].message == (
        "12 tiles of 8 numbers, trident, unknown, 0.5 um/px, read as 20x; no raw slide: no viewer page"
    )
    assert checked[1].message.endswith("no mpp: no heatmap")
    assert checked[2].reason == "no_features" and set(said) == {"S1", "T"}


def test_a_sheet_names_raw_slides_features_or_both(tmp_path: Path, folder: Path) -> None:
    sheet = tmp_path / "slides.tsv"
    sheet.write_text("slide_id\tpatient_id\tfeatures\nS1\tP1\tS1.h5\n")
    (row,) = read_slides(sheet)
    assert row.foreign == {"": folder / "S1.h5"} and not row.has_raw
    sheet.write_text("slide_id\tpatient_id\tfeatures\tfeatures_20x\nS1\tP1\tS1.h5\tS1.h5\nS2\tP1\t\t\n")
    with pytest.raises(InputError, match="row 2, features: beside features_20x") as found:
        read_slides(sheet)
    assert "row 3, path: empty" in str(found.value)
    sheet.write_text("slide_id\tpatient_id\nS1\tP1\n")
    with pytest.raises(InputError, match="no column 'path', nor features"):
        read_slides(sheet)
    assert not read_slides(sheet, features_elsewhere=True)[0].foreign

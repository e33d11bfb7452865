"""A cohort of another tool's features and no slide on disk: the same numbers as the run that they came from."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

import tiny_cohort
from pathduet.core.files import sha256_file
from pathduet.features.feature_file import open_features
from pathduet.results import Results

sys.path.insert(0, str(tiny_cohort.REPOSITORY / "tests" / "features"))
import foreign_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

SMALL = {
    "tasks": tiny_cohort.ONLY_SURVIVAL,
    "split": {"folds": 2},
    "training": tiny_cohort.TOGETHER,
    "explanations": {"heatmaps": {"slides": 1, "models": ["student"]}},
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of slides at 20x."""
    folder = tmp_path_factory.mktemp("own")
    cohort = tiny_cohort.make_cohort(folder / "cohort")
    config = tiny_cohort.write_config(folder, cohort, slides={"magnifications": "20x"}, **SMALL)
    result = tiny_cohort.snakemake(folder, config)
    assert result.returncode == 0, result.stdout[-5000:]
    return folder


#: Layout: what the files call the encoder, and how they are named in the configuration.
LAYOUTS = {"trident": "uni_v1", "clam": "unknown", "stamp": "uni2"}


def as_layout(layout: str, run: Path, folder: Path) -> dict[str, Path]:
    """Write each slide's 20x features as another tool would."""
    results, files = Results(run / "results"), {}
    for slide in pd.read_csv(run / "results" / "ledger.tsv", sep="\t")["slide_id"]:
        path = folder / f"{slide}.h5"
        with open_features(results.features(slide)) as file:
            tile0, features, coords = file.tile_size("20x")[0], file.features("20x"), file.coords("20x")
            mpp = float(file.attributes["mpp_x"])
        if layout == "trident":
            foreign_files.trident(path, features, coords, tile0)
        elif layout == "clam":
            foreign_files.clam(path, features, coords)
        else:
            foreign_files.stamp(path, features, coords * mpp, tile0 * mpp)
        files[slide] = path
    return files


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_another_tool_give_the_numbers_of_the_run_they_came_from(
    own: Path, tmp_path: Path, layout: str
) -> None:
    folder = tmp_path / "features_uni_v1"
    files = as_layout(layout, own, folder)
    before = {slide: sha256_file(path) for slide, path in files.items()}
    cohort = own / "cohort"
    sheet = pd.read_csv(cohort / "slides.tsv", sep="\t").drop(columns="path")
    more: dict[str, object] = {}
    if layout == "trident":  # by the sheet; the others by the section
        sheet["features"] = sheet["slide_id"].map(files)
    else:
        more = {"features": {"folder": str(folder), "layout": layout, "magnification": "20x"}}
    sheet.to_csv(tmp_path / "slides.tsv", sep="\t", index=False)
    if layout == "stamp":  # micrometres need it to be laid on a picture
        sheet.assign(mpp=0.5).to_csv(tmp_path / "slides.tsv", sep="\t", index=False)
    config = tiny_cohort.write_config(
        tmp_path, cohort, sheets={"slides": str(tmp_path / "slides.tsv")}, **SMALL, **more
    )
    result = tiny_cohort.snakemake(tmp_path, config)
    assert result.returncode == 0, result.stdout[-8000:]
    for path in sorted((own / "results").glob("*/survival/*/*/predictions.tsv")):
        name = path.relative_to(own / "results")
        assert (tmp_path / "results" / name).read_bytes() == path.read_bytes(), name
    table = (own / "results/tables/survival.tsv").read_text()
    columns = {"train_s", "train_mib"}
    first, second = (
        pd.read_csv(folder / "results/tables/survival.tsv", sep="\t") for folder in (own, tmp_path)
    )
    assert "20x" in table and len(columns & set(first)) == 2
    pd.testing.assert_frame_equal(first.drop(columns=columns), second.drop(columns=columns))
    results = Results(tmp_path / "results")
    ledger = pd.read_csv(results.ledger, sep="\t", keep_default_na=False)
    assert set(ledger["status"]) == {"ok"} and set(ledger["n_10x"]) == {""}
    assert ledger["notes"].str.contains(rf"{layout} \({LAYOUTS[layout]}\)").all()
    assert results.report.is_file()
    (heatmap,) = (results.root / "explanations").rglob("heatmap.png")
    assert heatmap.stat().st_size > 10_000
    assert "there is no raw slide" in (heatmap.parent / "viewer/index.html").read_text()
    assert {slide: sha256_file(path) for slide, path in files.items()} == before
    again = tiny_cohort.snakemake(tmp_path, config, "-n")
    assert "Nothing to be done" in again.stdout, again.stdout[-3000:]

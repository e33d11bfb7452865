"""The written cohort: files, reproducibility, resuming, refusals."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pathduet.cohort.sheets import read_patients, read_slides
from pathduet.core.errors import InputError
from pathduet.phantom import cohort as cohort_module
from pathduet.phantom import simulate
from pathduet.phantom.layout import REGIONS

# whole pages, cohorts and pictures: seconds each
pytestmark = pytest.mark.slow

SIZE: dict[str, Any] = {"patients": 5, "external": 4, "workers": 1, "slide_px": 512}
SMALL: dict[str, Any] = {"patients": 4, "external": 0, "workers": 1, "slide_px": 512}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    simulate(out, seed=7, **SIZE)
    return out


def _bytes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_sheets_are_valid_and_complete(phantom: Path) -> None:
    slides, patients = read_slides(phantom / "slides.tsv"), read_patients(phantom / "patients.tsv")
    assert {s.cohort for s in slides} == {"phantom", "phantom_external"}
    assert {s.patient_id for s in slides} == set(patients.index)
    assert len(patients) == 9
    assert len(slides) == 9 + round(5 / 5) + round(4 / 5)
    assert all(s.path.is_file() and s.scanner for s in slides)
    header = (phantom / "patients.tsv").read_text().splitlines()[0].split("\t")
    assert "diagnosis" not in header and not any(c.startswith("z_") for c in header)


@pytest.mark.parametrize(
    ("slide", "mpp", "power", "side"), [("PH001-1", 0.5, 20, 512), ("PX001-1", 0.25, 40, 896)]
)
def test_openslide_reads_an_aperio_pyramid(
    phantom: Path, slide: str, mpp: float, power: int, side: int
) -> None:
    import openslide

    with openslide.OpenSlide(phantom / "slides" / f"{slide}.svs") as reader:
        assert reader.properties["openslide.vendor"] == "aperio"
        assert float(reader.properties["openslide.mpp-x"]) == mpp
        assert float(reader.properties["openslide.mpp-y"]) == mpp
        assert int(reader.properties["openslide.objective-power"]) == power
        assert reader.dimensions == (side, side)
        assert reader.level_count >= 2
        assert reader.level_downsamples[1] == pytest.approx(4.0)
        assert "thumbnail" in reader.associated_images
        base = np.asarray(reader.read_region((0, 0), 0, (side, side)).convert("RGB"), dtype=float)
        small = np.asarray(reader.read_region((0, 0), 1, (side // 4, side // 4)).convert("RGB"), dtype=float)
    averaged = base.reshape(side // 4, 4, side // 4, 4, 3).mean(axis=(1, 3))
    # Two JPEG encodings apart.
    assert np.corrcoef(averaged.ravel(), small.ravel())[0, 1] > 0.98
    assert abs(averaged.mean() - small.mean()) < 1.0


def test_region_maps_lie_on_the_slides(phantom: Path) -> None:
    import openslide

    legend = json.loads((phantom / "truth" / "regions" / "legend.json").read_text())
    assert set(legend["regions"]) == {str(i) for i in REGIONS}
    table = pd.read_csv(phantom / "truth" / "slides.tsv", sep="\t", index_col="slide_id")
    for slide in ("PH002-1", "PX002-1"):
        image = Image.open(phantom / "truth" / "regions" / f"{slide}.png")
        labels = np.asarray(image)
        assert image.mode == "P" and set(np.unique(labels)) <= set(REGIONS)
        with openslide.OpenSlide(phantom / "slides" / f"{slide}.svs") as reader:
            factor = round(8.0 / float(reader.properties["openslide.mpp-x"]))
            assert reader.dimensions == (labels.shape[1] * factor, labels.shape[0] * factor)
            rgb = np.asarray(reader.read_region((0, 0), 0, reader.dimensions).convert("RGB"), dtype=float)
        bright = rgb.mean(axis=2).reshape(labels.shape[0], factor, labels.shape[1], factor).mean(axis=(1, 3))
        assert bright[labels > 0].mean() < 215 < 225 < np.median(bright[labels == 0])
        for index, (name, _, _) in REGIONS.items():
            if index:
                assert table.loc[slide, name] == pytest.approx((labels == index).sum() / (labels > 0).sum())


def test_recorded_stains_explain_the_pixels_of_the_files(phantom: Path) -> None:
    import openslide

    stains = json.loads((phantom / "truth" / "stains.json").read_text())
    other = {"PH003-1": "PX003-1", "PX003-1": "PH003-1"}
    for slide, wrong in other.items():
        labels = np.asarray(Image.open(phantom / "truth" / "regions" / f"{slide}.png"))
        with openslide.OpenSlide(phantom / "slides" / f"{slide}.svs") as reader:
            rgb = np.asarray(reader.read_region((0, 0), 0, reader.dimensions).convert("RGB"), dtype=float)
        factor = rgb.shape[0] // labels.shape[0]
        inside = np.kron(labels > 0, np.ones((factor, factor), dtype=bool))
        record = json.loads((phantom / "truth" / "slides" / f"{slide}.json").read_text())
        for x, y, width, height in (a["box_px"] for a in record["artefacts"] if a["kind"].startswith("pen")):
            inside[y : y + height, x : x + width] = False
        rgb = rgb[inside][rgb[inside].max(axis=1) < 225]

        def out_of_plane(name: str, rgb: np.ndarray = rgb) -> float:
            stain = stains[name]
            density = -np.log(np.maximum(rgb, 1.0) / np.array(stain["glass"]))
            normal = np.cross(stain["haematoxylin"], stain["eosin"])
            return float(np.sqrt(np.mean((density @ normal / np.linalg.norm(normal)) ** 2)))

        # JPEG's coarser chroma is most of it.
        assert out_of_plane(slide) < 0.03
        assert out_of_plane(slide) < out_of_plane(wrong)


def test_expression_tables_hold_whole_counts_of_the_cohorts_patients(phantom: Path) -> None:
    patients = read_patients(phantom / "patients.tsv")
    for name, cohort in (("phantom", "phantom"), ("external", "phantom_external")):
        table = pd.read_csv(phantom / f"expression_{name}.tsv.gz", sep="\t", index_col="gene_symbol")
        assert list(table.columns) == list(patients.index[patients["cohort"] == cohort])
        assert (table.dtypes.map(lambda t: t.kind) == "i").all()
        assert table.index.is_unique and {"PTTG1", "IFNGR2"} <= set(table.index)


@pytest.mark.slow
def test_same_seed_same_bytes_whatever_the_workers(phantom: Path, tmp_path: Path) -> None:
    simulate(tmp_path, seed=7, **SIZE | {"workers": 2})
    assert _bytes(tmp_path) == _bytes(phantom)


def test_another_seed_gives_other_slides_and_counts(phantom: Path, tmp_path: Path) -> None:
    simulate(tmp_path, seed=8, **SMALL)
    here, there = _bytes(tmp_path), _bytes(phantom)
    for name in ("slides/PH001-1.svs", "expression_phantom.tsv.gz", "patients.tsv", "truth/stains.json"):
        assert here[name] != there[name]


def test_a_slide_does_not_depend_on_how_many_patients_follow_it(tmp_path: Path) -> None:
    from pathduet.phantom.appearance import Look
    from pathduet.phantom.cohort import SlidePlan, render_slide
    from pathduet.phantom.design import INTERNAL, Design

    programmes = {"tumor": 0.5, "tme": -0.5}
    look = Look(anaplasia=0.5)
    plan = SlidePlan("PH001-1", "PH001", INTERNAL, 512, programmes, Design().channels, look, 7, "key")
    render_slide(plan, tmp_path / "a")
    render_slide(SlidePlan(**plan.__dict__ | {"slide_id": "PH009-1"}), tmp_path / "b")
    render_slide(plan, tmp_path / "b")
    assert _bytes(tmp_path / "a").items() <= _bytes(tmp_path / "b").items()


def test_an_interrupted_run_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    simulate(undisturbed, seed=7, **SMALL)
    written = []
    real = cohort_module.write_svs

    def failing(path: Path, *rest: Any) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        real(path, *rest)

    monkeypatch.setattr(cohort_module, "write_svs", failing)
    with pytest.raises(KeyboardInterrupt):
        simulate(out, seed=7, **SMALL)
    assert not (out / "truth/slides.tsv").exists()

    again: list[Path] = []

    def counting(path: Path, *rest: Any) -> None:
        again.append(path)
        real(path, *rest)

    monkeypatch.setattr(cohort_module, "write_svs", counting)
    simulate(out, seed=7, **SMALL)
    assert _bytes(out) == _bytes(undisturbed)
    assert len(again) == len(read_slides(out / "slides.tsv")) - 3
    assert not set(again) & set(written)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_the_same(phantom: Path, tmp_path: Path) -> None:
    out = tmp_path / "phantom"
    code = f"from pathduet.phantom import simulate; simulate({str(out)!r}, seed=7, **{SIZE!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("truth/slides/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)  # its workers too: they would go on writing
    process.wait()
    # What a kill in the middle of a write leaves behind.
    (out / "slides" / ".PH005-1.0123abcd.tmp.svs").write_bytes(b"half")
    assert not (out / "truth/slides.tsv").exists()
    simulate(out, seed=7, **SIZE)
    assert _bytes(out) == _bytes(phantom)


def test_other_parameters_in_the_same_folder_are_refused_unless_overwritten(tmp_path: Path) -> None:
    simulate(tmp_path, seed=7, **SMALL)
    before = _bytes(tmp_path)
    with pytest.raises(InputError, match="patients: 4 there, 5 wanted"):
        simulate(tmp_path, seed=7, **SMALL | {"patients": 5})
    assert _bytes(tmp_path) == before
    simulate(tmp_path, seed=7, overwrite=True, **SMALL | {"patients": 5})
    after = _bytes(tmp_path)
    assert after["patients.tsv"] != before["patients.tsv"]
    assert {k for k in after if k.startswith("slides/")} == {
        f"slides/{s.slide_id}.svs" for s in read_slides(tmp_path / "slides.tsv")
    }


def test_files_of_others_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "slides.tsv").write_text("mine\n")
    with pytest.raises(InputError, match=r"already holds slides\.tsv"):
        simulate(tmp_path, overwrite=True, **SIZE)
    assert (tmp_path / "slides.tsv").read_text() == "mine\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "slides.tsv"]


def test_all_bad_arguments_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        simulate(tmp_path / "out", patients=2, external=1, seed=-1, workers=0, slide_px=500)
    assert [p.where for p in caught.value.problems] == ["patients", "external", "seed", "slide_px"]
    assert not (tmp_path / "out").exists()

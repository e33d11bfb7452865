from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pathduet.core.errors import SLIDE_REASONS, PathDuetError, SlideError
from pathduet.core.source_code import source_modules
from pathduet.results import STAGE_ARTIFACTS
from pathduet.slides import isolation
from pathduet.slides.batch import make_artifact, run_batch
from pathduet.slides.encoders.weights import EncoderUnavailable
from pathduet.slides.features_stage import encoded_rows
from pathduet.slides.settings import EncoderSettings, SlideSettings, StainSettings, TileSettings
from pathduet.slides.stages import run_stage
from pathduet.slides.status import STAGES, StageStatus, read_status
from pathduet.slides.tiles_file import read_tiles

from .synthetic_slides import slide_row, small_settings, spoil_tiles, stained_image, write_svs

HERE = Path(__file__).parent


def make_slide(folder: Path, name: str, seed: int = 0, **kwargs: object) -> Path:
    folder.mkdir(exist_ok=True)
    return write_svs(folder / f"{name}.svs", stained_image(512, 640, seed), **kwargs)  # type: ignore[arg-type]


def stamps(results: Path, slide_id: str) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (results / "slides" / slide_id).iterdir()}


def run_all(path: Path, results: Path, settings: SlideSettings, **row: object) -> dict[str, StageStatus]:
    return {stage: run_stage(slide_row(path, **row), stage, results, settings) for stage in STAGES}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("finished")
    path = make_slide(folder, "good")
    run_all(path, folder / "results", small_settings())
    return path, folder / "results"


def test_tiles_are_what_the_contract_says(finished: tuple[Path, Path]) -> None:
    results = finished[1]
    with h5py.File(results / "slides" / "good" / "tiles.h5") as file:
        root = dict(file.attrs)
        assert (root["mpp_x"], root["mpp_y"], root["mpp_source"]) == (0.5, 0.5, "file:openslide.mpp-x")
        assert (root["width"], root["height"], root["vendor"], root["tile_px"]) == (640, 512, "aperio", 64)
        assert json.loads(root["settings"]) == asdict(small_settings().tile)
        assert file["mask"].dtype == np.uint8 and set(np.unique(file["mask"])) == {0, 1}
        for name, footprint in (("10x", 128.0), ("20x", 64.0)):
            group = file[name]
            grid, coords, tissue = group["grid"][:], group["coords"][:], group["tissue_fraction"][:]
            assert grid.dtype == coords.dtype == np.int32 and tissue.dtype == np.float32
            assert group.attrs["tile_level0_px_x"] == group.attrs["tile_level0_px_y"] == footprint
            assert np.array_equal(coords, grid * int(footprint))
            assert np.array_equal(np.lexsort((grid[:, 0], grid[:, 1])), np.arange(len(grid)))
            assert tissue.min() >= 0.5 and tissue.max() <= 1
            # the truth: a disc
            y, x = np.mgrid[:512, :640]
            disc = np.hypot(x / 640 - 0.5, y / 512 - 0.5) < 0.4
            step = int(footprint)
            shares = disc.reshape(512 // step, step, 640 // step, step).mean((1, 3))
            expected = shares[grid[:, 1], grid[:, 0]]
            assert np.abs(expected - tissue).max() < 0.12
            assert (shares > 0.62).sum() <= len(grid) <= (shares > 0.38).sum()


def test_features_are_the_encoders_of_the_normalised_tiles(finished: tuple[Path, Path]) -> None:
    from pathduet.slides.encoders.encoder import load_encoder
    from pathduet.slides.readers.reader import SlideReader
    from pathduet.slides.stain_stage import load_normalizer

    path, results = finished
    folder = results / "slides" / "good"
    change, matrix, backend = load_normalizer(folder / "stain.json")
    encoder = load_encoder(small_settings().encoder)
    with h5py.File(folder / "features.h5") as file, SlideReader("good", path) as reader:
        assert file.attrs["encoder"] == "random" and file.attrs["encoder_stage"] == 3
        assert file.attrs["weights_sha256"] == encoder.weights_sha256
        assert file.attrs["feature_dim"] == 1024 and file.attrs["stain_backend"] == backend == "closed_form"
        assert np.array_equal(file.attrs["stain_matrix"], matrix)
        for name, tiles in read_tiles(folder / "tiles.h5").items():
            features = file[name]["features"]
            assert features.dtype == np.float16 and features.shape == (len(tiles.grid), 1024)
            assert np.array_equal(file[name]["grid"][:], tiles.grid)
            expected = encoder(change(tiles.read(reader, 2))[None])[0]
            assert np.allclose(features[2], expected, rtol=2e-3, atol=1e-2)


def test_overlapping_tiles_are_read_where_they_lie(tmp_path: Path) -> None:
    from pathduet.features.feature_file import open_features
    from pathduet.slides.readers.reader import SlideReader

    path = make_slide(tmp_path, "good")
    status = run_all(path, tmp_path / "r", small_settings(overlap_px=16))["features"]
    folder = tmp_path / "r" / "slides" / "good"
    tables = read_tiles(folder / "tiles.h5")
    assert status.status == "ok" and {name: t.step_x0 for name, t in tables.items()} == {
        "10x": 96.0,
        "20x": 48.0,
    }
    with h5py.File(folder / "features.h5") as file:
        said = [dict(file[name]["coords"].attrs) for name in tables]
        assert [one["overlap"] for one in said] == [16, 16] and [
            one["target_magnification"] for one in said
        ] == [10, 20]
        assert [one["patch_size_level0"] for one in said] == [table.width0 for table in tables.values()]
    with SlideReader("good", path) as reader, open_features(folder / "features.h5") as features:
        for name, table in tables.items():
            assert np.array_equal(table.coords, table.grid * int(table.step_x0))
            assert (
                features.step(name) == (table.step_x0,) * 2
                and features.tile_size(name) == (table.width0,) * 2
            )
            right = np.flatnonzero((table.grid == table.grid[0] + (1, 0)).all(1))[0]
            left, other = table.read(reader, 0), table.read(reader, int(right))
            assert np.abs(left[:, 48:].astype(int) - other[:, :16]).mean() < 3  # the same tissue, resampled


@pytest.mark.parametrize("read", ["10x", "20x"])
def test_one_magnification_is_read_and_encoded_alone(
    finished: tuple[Path, Path], tmp_path: Path, read: str
) -> None:
    path, both = finished
    stages = run_all(path, tmp_path / "r", small_settings(magnifications=read))
    counts = stages["features"].counts
    assert (
        stages["features"].status == "ok"
        and f"n_{read}" in counts
        and len([c for c in counts if c.startswith("n_")]) == 1
    )
    with (
        h5py.File(tmp_path / "r" / "slides" / "good" / "features.h5") as one,
        h5py.File(both / "slides" / "good" / "features.h5") as two,
    ):
        assert list(one) == [read] and np.array_equal(one[read]["coords"], two[read]["coords"])
        if read == "20x":  # whose stains and pixels are the same
            assert np.array_equal(one[read]["features"], two[read]["features"])
    assert (tmp_path / "r" / "slides" / "good" / "mask.png").is_file()


def test_previews_are_small_pictures(finished: tuple[Path, Path]) -> None:
    folder = finished[1] / "slides" / "good"
    for name in ("mask.png", "thumbnail.png"):
        with Image.open(folder / name) as picture:
            assert picture.size == (512, 410)
    assert sum((folder / n).stat().st_size for n in ("mask.png", "thumbnail.png", "stain.png")) < 600_000


def test_a_second_run_touches_nothing(finished: tuple[Path, Path]) -> None:
    path, results = finished
    before = stamps(results, "good")
    run_all(path, results, small_settings())
    assert stamps(results, "good") == before


def test_the_same_slide_gives_the_same_bytes_wherever_it_lies(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    path, results = finished
    moved = tmp_path / "good.svs"
    moved.write_bytes(path.read_bytes())
    run_all(moved, tmp_path / "other", small_settings())
    for name in (*sum(STAGE_ARTIFACTS.values(), ()), *(f"{stage}.status.json" for stage in STAGES)):
        assert (tmp_path / "other/slides/good" / name).read_bytes() == (
            results / "slides/good" / name
        ).read_bytes(), name


@pytest.mark.slow
def test_only_the_stages_behind_a_changed_setting_are_repeated(tmp_path: Path) -> None:
    path, results = make_slide(tmp_path, "a"), tmp_path / "results"
    settings = small_settings()
    run_all(path, results, settings)
    changes: list[tuple[SlideSettings, set[str]]] = [
        (replace(settings, encoder=replace(settings.encoder, seed=7)), {"features"}),
        (replace(settings, encoder=replace(settings.encoder, batch_size=3)), {"features"}),  # seed goes back
        (replace(settings, tile=replace(settings.tile, max_tiles=5)), {"features"}),
        (replace(settings, stain=StainSettings(sample_pixels=5000)), {"stain", "features"}),
        (replace(settings, tile=replace(settings.tile, min_tissue=0.7)), {"tile", "stain", "features"}),
    ]
    for changed, expected in changes:
        before = {stage: read_status(results, "a", stage) for stage in STAGES}
        run_all(path, results, changed)
        repeated = {s for s in STAGES if read_status(results, "a", s).key != before[s].key}  # type: ignore[union-attr]
        assert repeated == expected


def test_a_changed_slide_and_a_deleted_artifact_are_noticed(tmp_path: Path) -> None:
    path, results = make_slide(tmp_path, "a"), tmp_path / "results"
    first = run_stage(slide_row(path), "tile", results, small_settings())
    (results / "slides/a/mask.png").unlink()
    assert run_stage(slide_row(path), "tile", results, small_settings()) == first
    assert (results / "slides/a/mask.png").is_file()
    make_slide(tmp_path, "a", seed=5)
    assert run_stage(slide_row(path), "tile", results, small_settings()).key != first.key


def test_the_sheets_pixel_size_changes_the_tiles(tmp_path: Path) -> None:
    path = make_slide(tmp_path, "a")
    coarse = run_stage(slide_row(path), "tile", tmp_path / "r", small_settings())
    fine = run_stage(slide_row(path, mpp=0.25), "tile", tmp_path / "r", small_settings(min_tiles=1))
    assert fine.mpp_source == "sheet" and fine.counts["n_20x"] < coarse.counts["n_20x"] / 3


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("white", "no_tissue"),
        ("no mpp", "no_mpp"),
        ("truncated", "unreadable"),
        ("missing", "unreadable"),
        ("small", "too_few_tiles"),
        ("coarse", "failed"),
        ("excluded", "excluded"),
    ],
)
def test_a_slide_that_cannot_be_used_says_why_at_every_stage(tmp_path: Path, kind: str, reason: str) -> None:
    path, row = tmp_path / "x.svs", {}
    if kind == "white":
        write_svs(path, np.full((512, 512, 3), 245, np.uint8))
    elif kind == "small":
        write_svs(path, stained_image(200, 200, tissue=(0.5, 0.5, 1.0)))
    elif kind != "missing":
        mpp = {"no mpp": None, "coarse": 1.0}.get(kind, 0.5)
        write_svs(path, stained_image(512, 512), mpp)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if kind == "excluded":
        row = {"exclude": "out of focus"}
    for stage, status in run_all(path, tmp_path / "r", small_settings(), **row).items():
        assert status.reason == reason in SLIDE_REASONS
        assert status.status == ("excluded" if kind == "excluded" else "failed")
        assert status.failed_stage == "tile" and status.message
        assert read_status(tmp_path / "r", "x", stage) == status
        assert str(tmp_path) not in status.message
    # where there is something to look at
    picture = ["refused.png"] if kind in ("white", "small") else []
    known = [] if kind in ("excluded", "missing") else ["source.json"]
    assert sorted(p.name for p in (tmp_path / "r/slides/x").iterdir()) == sorted(
        [*(f"{stage}.status.json" for stage in STAGES), *picture, *known]
    )


def test_a_slide_that_fails_now_leaves_no_older_artifact(tmp_path: Path) -> None:
    path, results = make_slide(tmp_path, "a"), tmp_path / "r"
    run_stage(slide_row(path), "tile", results, small_settings())
    status = run_stage(slide_row(path), "tile", results, small_settings(min_tiles=10_000))
    assert status.reason == "too_few_tiles" and "refused.png" in status.message
    assert sorted(p.name for p in (results / "slides/a").iterdir()) == [
        "refused.png",
        "source.json",
        "tile.status.json",
    ]
    with Image.open(results / "slides/a/refused.png") as picture:
        assert picture.size == (512, 410)
    run_stage(slide_row(path), "tile", results, small_settings())
    assert not (results / "slides/a/refused.png").exists()


def test_tiles_that_fail_to_decode_are_counted_up_to_the_limit(tmp_path: Path) -> None:
    path = make_slide(tmp_path, "bad", compression="jpeg", tile=64)
    spoil_tiles(path, 44, 45)  # row 4, columns 4 and 5: in the middle of the tissue
    few = run_all(path, tmp_path / "a", small_settings(max_failed_tiles=0.9))
    assert few["features"].status == "ok" and few["features"].counts["failed_tiles"] >= 1
    assert "could not be decoded" in few["features"].notes
    with h5py.File(tmp_path / "a/slides/bad/features.h5") as file:
        assert len(file["20x/features"]) == len(file["20x/grid"]) == few["features"].counts["n_20x"]
        assert [4, 4] not in file["20x/grid"][:].tolist()
    many = run_all(path, tmp_path / "b", small_settings(max_failed_tiles=0.03))
    lost = [s for s in many.values() if s.status != "ok"]
    assert lost and all(s.reason == "unreadable" for s in lost) and many["features"].status == "failed"


def test_an_unexpected_error_fails_the_slide_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError(f"in {tmp_path}/secret")

    monkeypatch.setattr("pathduet.slides.tile_stage.tissue_mask", broken)
    status = run_stage(slide_row(make_slide(tmp_path, "a")), "tile", tmp_path / "r", small_settings())
    assert status.reason == "failed" and "ZeroDivisionError" in status.message
    assert str(tmp_path) not in status.message


@pytest.mark.slow
def test_a_damaged_status_is_not_believed(finished: tuple[Path, Path], tmp_path: Path) -> None:
    path, results = finished
    shutil.copytree(results, tmp_path / "r")
    status = tmp_path / "r/slides/good/tile.status.json"
    whole = status.read_bytes()
    edited = whole.replace(b'"status": "ok"', b'"status": "failed"').replace(
        b'"reason": ""', b'"reason": "no_tissue"'
    )
    for damaged in (edited, whole[:-20], b"[]", b""):
        status.write_bytes(damaged)
        assert read_status(tmp_path / "r", "good", "tile") is None
        with pytest.raises(
            PathDuetError, match=r"tile\.status\.json is missing or damaged.*--forcerun one_slide"
        ):
            run_stage(slide_row(path), "stain", tmp_path / "r", small_settings())
        assert run_stage(slide_row(path), "tile", tmp_path / "r", small_settings()).status == "ok"
        assert status.read_bytes() == whole


@pytest.mark.slow
def test_missing_encoder_weights_end_the_run_and_not_a_slide(
    tmp_path: Path, finished: tuple[Path, Path]
) -> None:
    path, results = finished
    settings = replace(small_settings(), encoder=EncoderSettings(weights=str(tmp_path / "gone.pth")))
    before = read_status(results, "good", "features")
    with pytest.raises(EncoderUnavailable):
        run_stage(slide_row(path), "features", results, settings)
    assert read_status(results, "good", "features") == before
    with pytest.raises(PathDuetError, match=r"gone\.pth"):
        run_batch([slide_row(path)], ["features"], results, settings, tmp_path / "m.tsv")
    assert not (tmp_path / "m.tsv").exists()


def test_beyond_max_tiles_evenly_spread_ones_are_encoded(finished: tuple[Path, Path]) -> None:
    tiles = read_tiles(finished[1] / "slides/good/tiles.h5")["20x"]
    rows = encoded_rows(tiles, 8)
    assert len(rows) == 8 and (np.diff(rows) > 0).all()
    assert len(encoded_rows(tiles, 10_000)) == len(tiles.grid)
    assert np.ptp(tiles.grid[rows], axis=0).min() >= 0.4 * np.ptp(tiles.grid, axis=0).min()


def test_without_normalisation_colours_stay(tmp_path: Path) -> None:
    from pathduet.slides.stain_stage import load_normalizer

    settings = replace(small_settings(), stain=StainSettings(backend="none"))
    run_all(make_slide(tmp_path, "a"), tmp_path / "r", settings)
    change, matrix, backend = load_normalizer(tmp_path / "r/slides/a/stain.json")
    image = stained_image(20, 20)
    assert np.array_equal(change(image), image) and np.isnan(matrix).all() and backend == "none"


def test_a_keys_code_is_that_of_its_stage_and_of_no_later_one() -> None:
    tile, stain, features = (
        set(source_modules(f"pathduet.slides.{stage}_stage")) for stage in ("tile", "stain", "features")
    )
    assert {"pathduet.slides.tissue_mask", "pathduet.slides.readers.reader"} <= tile
    assert {"pathduet.slides.stain.vahadane", "pathduet.slides.tiles_file"} <= stain
    assert {"pathduet.slides.stain.colour_table", "pathduet.slides.encoders.engines"} <= features
    for module in ("pathduet.slides.encoders", "pathduet.slides.batch", "pathduet.slides.isolation"):
        assert not any(name.startswith(module) for name in tile | stain)
    assert "pathduet.slides.stain.vahadane" not in tile


@pytest.mark.slow
def test_an_artifact_can_be_asked_for_by_name(tmp_path: Path) -> None:
    path = make_slide(tmp_path, "a")
    assert make_artifact(slide_row(path), "stain.json", tmp_path / "r", small_settings()).stage == "stain"
    assert (tmp_path / "r/slides/a/stain.json").is_file()
    assert read_status(tmp_path / "r", "a", "features") is None
    with pytest.raises(SlideError, match="no file"):
        make_artifact(slide_row(tmp_path / "b.svs"), "tiles.h5", tmp_path / "r", small_settings())
    with pytest.raises(ValueError, match=r"x\.h5"):
        make_artifact(slide_row(path), "x.h5", tmp_path / "r", small_settings())


def test_settings_are_read_from_a_whole_configuration() -> None:
    config = {
        "seed": 9,
        "slides": {"tile_px": 128, "slides_per_job": 4},
        "stain": {"backend": "none"},
        "encoder": {"name": "random"},
        "training": {"epochs": 3},
    }
    assert SlideSettings.from_mapping(config) == SlideSettings(
        TileSettings(tile_px=128), StainSettings(backend="none"), EncoderSettings(name="random", seed=9)
    )


# -- batch ----------------------------------------------------------------------------------------


def use_crashing_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        isolation, "worker_command", lambda: [sys.executable, str(HERE / "crashing_worker.py")]
    )


@pytest.mark.slow
def test_a_batch_ends_with_one_row_a_slide_in_order(tmp_path: Path) -> None:
    good = [make_slide(tmp_path, f"good{i}", i) for i in range(2)]
    truncated = tmp_path / "truncated.svs"
    truncated.write_bytes(good[0].read_bytes()[:3000])
    rows = [
        slide_row(good[0]),
        slide_row(truncated),
        slide_row(tmp_path / "gone.svs"),
        slide_row(good[1]),
        replace(slide_row(good[1], exclude="marker"), slide_id="left-out"),
    ]
    manifest = tmp_path / "r/batches/tile/000.tsv"
    statuses = run_batch(rows, ["tile"], tmp_path / "r", small_settings(), manifest, workers=2)
    table = pd.read_csv(manifest, sep="\t", dtype=str, keep_default_na=False)
    assert table["slide_id"].tolist() == [r.slide_id for r in rows] == [s.slide_id for s in statuses]
    assert table["status"].tolist() == ["ok", "failed", "failed", "ok", "excluded"]
    assert table["reason"].tolist() == ["", "unreadable", "unreadable", "", "excluded"]
    assert int(table["n_20x"][0]) == statuses[0].counts["n_20x"] > 0
    first = manifest.read_bytes()
    run_batch(rows, ["tile"], tmp_path / "r", small_settings(), manifest)
    assert manifest.read_bytes() == first


@pytest.mark.slow
def test_a_crash_costs_one_slide_and_a_passing_one_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_crashing_worker(monkeypatch)
    names = ["a", "killer", "b", "flaky", "c"]
    rows = [slide_row(make_slide(tmp_path, name, i)) for i, name in enumerate(names)]
    statuses = run_batch(rows, ["tile"], tmp_path / "r", small_settings(), tmp_path / "m.tsv", workers=2)
    assert [s.status for s in statuses] == ["ok", "failed", "ok", "ok", "ok"]
    assert statuses[1].reason == "failed" and "SIGSEGV" in statuses[1].message
    assert read_status(tmp_path / "r", "killer", "tile") == statuses[1]


@pytest.mark.slow
def test_tiles_and_stain_share_a_process_and_a_crash_is_its_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def command() -> list[str]:
        commands.append([sys.executable, str(HERE / "crashing_worker.py")])
        return commands[-1]

    monkeypatch.setattr(isolation, "worker_command", command)
    rows = [slide_row(make_slide(tmp_path, name, i)) for i, name in enumerate(["a", "b", "c"])]
    apart, together = tmp_path / "apart", tmp_path / "together"
    for stage in ("tile", "stain"):
        run_batch(rows, [stage], apart, small_settings(), tmp_path / "apart.tsv")
    assert len(commands) == 2
    run_batch(rows, ["tile", "stain"], together, small_settings(), tmp_path / "together.tsv")
    assert len(commands) == 3
    for file in ("slides/a/tiles.h5", "slides/b/stain.json", "slides/c/mask.png"):
        assert (together / file).read_bytes() == (apart / file).read_bytes()
    assert (tmp_path / "together.tsv").read_bytes() == (tmp_path / "apart.tsv").read_bytes()

    rows = [slide_row(make_slide(tmp_path, name, 3)) for name in ("faint-killer", "d")]
    statuses = run_batch(rows, ["tile", "stain"], together, small_settings(), tmp_path / "m.tsv")
    assert [(s.stage, s.status) for s in statuses] == [("stain", "failed"), ("stain", "ok")]
    assert (together / "slides/faint-killer/tiles.h5").is_file()


@pytest.mark.slow
def test_a_killed_batch_goes_on_where_it_stopped(tmp_path: Path) -> None:
    rows = [slide_row(make_slide(tmp_path, name, i)) for i, name in enumerate(["a", "slow", "b"])]
    results = tmp_path / "r"
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(HERE.parent)!r})
from pathduet.slides import batch, isolation
from slides.synthetic_slides import slide_row, small_settings
isolation.worker_command = lambda: [sys.executable, {str(HERE / "crashing_worker.py")!r}]
rows = [slide_row(Path(p)) for p in {[str(r.path) for r in rows]!r}]
batch.run_batch(rows, ["tile"], Path({str(results)!r}), small_settings(), Path({str(tmp_path / "m.tsv")!r}))
"""
    batch = subprocess.Popen([sys.executable, "-c", script])
    finished = results / "slides/a/tile.status.json"
    deadline = time.monotonic() + 60
    while not finished.exists() and time.monotonic() < deadline and batch.poll() is None:
        time.sleep(0.05)
    os.kill(batch.pid, signal.SIGKILL)
    batch.wait()
    assert finished.exists() and not (tmp_path / "m.tsv").exists()
    before = stamps(results, "a")
    statuses = run_batch(rows, ["tile"], results, small_settings(), tmp_path / "m.tsv")
    assert [s.status for s in statuses] == ["ok"] * 3 and stamps(results, "a") == before


@pytest.mark.slow
def test_features_of_a_batch_equal_those_of_its_slides_alone(
    tmp_path: Path, finished: tuple[Path, Path]
) -> None:
    path, results = finished
    shutil.copytree(results, tmp_path / "r")
    (tmp_path / "r/slides/good/features.h5").unlink()
    run_batch([slide_row(path)], ["features"], tmp_path / "r", small_settings(), tmp_path / "m.tsv", 2)
    with (
        h5py.File(tmp_path / "r/slides/good/features.h5") as ours,
        h5py.File(results / "slides/good/features.h5") as alone,
    ):
        assert ours.attrs["key"] == alone.attrs["key"]
        assert np.allclose(ours["20x/features"][:], alone["20x/features"][:], rtol=1e-2, atol=1e-2)


@pytest.mark.data
@pytest.mark.slow
def test_every_awkward_file_ends_in_the_ledger_with_a_reason_or_in_use(
    tmp_path: Path, test_data: Path
) -> None:
    files = sorted((test_data / "slides_awkward").iterdir()) + sorted((test_data / "slides").iterdir())
    rows = [slide_row(path) for path in files]
    settings = SlideSettings()
    statuses = run_batch(rows, ["tile"], tmp_path / "r", settings, tmp_path / "m.tsv")
    found = {s.slide_id: s.reason for s in statuses}
    assert found["demo_nompp"] == found["osp_boxes"] == found["gray_tiled"] == "no_mpp"
    assert found["demo_truncated"] == found["CMU_truncated_1MB"] == "unreadable"
    # OpenSlide refuses it; the second reader opens it and finds pixels of 353 um
    assert found["osp_unopenable"] == "no_mpp"
    assert found["demo_20x"] == found["CMU-1-Small-Region"] == found["demo_corrupt_tile"] == ""
    assert all(reason == "" or reason in SLIDE_REASONS for reason in found.values())

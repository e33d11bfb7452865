"""Features of other tools are read where they lie: whose they are, where tiles lie, what is refused; the files do not change."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import foreign_files
import h5py
import numpy as np
import pytest
import torch

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import InputError
from pathduet.features.check import verify_features
from pathduet.features.feature_file import TileFeatures, features_of, open_features, write_features
from pathduet.features.foreign_tiles import FeatureFileError, commonest_gap
from pathduet.features.layout import files_in, magnifications_in, open_tiles
from pathduet.features.token_map import hilbert_order, token_rows
from pathduet.results import Results
from pathduet.slides.foreign_features import ForeignSettings, take_batch

TILE0 = 448.0  # level-0 pixels: 224 pixels of 0.5 um on a scan of 0.25 um
ANY = ForeignSettings(layout=None, min_tiles=1, default_mpp=None)


@pytest.fixture
def grid() -> np.ndarray:
    """A piece of tissue with a hole, as (column, row)."""
    cells = np.argwhere(np.ones((9, 7))) + np.array([3, 5])
    return cells[np.hypot(cells[:, 0] - 7, cells[:, 1] - 8) > 1.5].astype(np.int32)


@pytest.fixture
def features(grid: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(grid), 12)).astype(np.float32)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("layout", ["trident", "clam", "stamp", "pathduet"])
def test_a_map_of_another_tools_file_is_that_of_our_own(
    tmp_path: Path, grid: np.ndarray, features: np.ndarray, layout: str
) -> None:
    coords, path = grid * TILE0, tmp_path / "features_uni_v1" / "S1.h5"
    if layout == "trident":
        foreign_files.trident(path, features, coords)
    elif layout == "clam":
        foreign_files.clam(path, features, coords)
    elif layout == "stamp":
        foreign_files.stamp(path, features, coords * 0.25)
    else:
        path.parent.mkdir()
        about = {"tile_level0_px_x": TILE0, "tile_level0_px_y": TILE0}
        one = TileFeatures(features.astype(np.float16), coords.astype(np.int32), grid, about)
        write_features(path, {"encoder": "uni_v1", "mpp_x": 0.25, "tile_px": 224}, {"20x": one})
    before = digest(path)
    with open_tiles(path) as tiles:
        assert tiles.layout == layout and (tiles.n, tiles.width) == features.shape
        for order in ("hilbert", "raster"):
            assert (token_rows(tiles.grid(), 25, order) == token_rows(grid, 25, order)).all()
        assert np.allclose(tiles.read(), features, atol=2e-3)
        assert tiles.magnification == ("" if layout == "clam" else "20x")
        assert tiles.encoder == {"clam": "unknown", "stamp": "uni2"}.get(layout, "uni_v1")
        assert tiles.spacing == (112.0 if layout == "stamp" else TILE0)
    assert digest(path) == before
    with (
        pytest.raises(FeatureFileError, match="the layout is"),
        open_tiles(path, layout="stamp" if layout != "stamp" else "trident"),
    ):
        pass


def test_trident_overlaps_and_powers(tmp_path: Path, features: np.ndarray, grid: np.ndarray) -> None:
    # TRIDENT's first step is a whole patch, all others a patch less the overlap
    step = TILE0 * (1 - 64 / 224)
    coords = np.where(grid == 0, 0, grid * step + TILE0 - step)
    path = foreign_files.trident(tmp_path / "S1.h5", features, coords, overlap=64)
    with open_tiles(path) as tiles:
        assert tiles.size == TILE0 and tiles.spacing == pytest.approx(step)
        assert (hilbert_order(tiles.grid()) == hilbert_order(grid)).all()
    for power, name in ((40, "20x"), (20, "20x"), (10, "10x"), (5, "10x")):
        path = foreign_files.trident(tmp_path / f"{power}.h5", features, coords, power=power)
        assert magnifications_in(path) == (name,)


def test_tiles_laid_by_pieces_of_tissue_keep_their_step(tmp_path: Path) -> None:
    first = np.argwhere(np.ones((4, 5))) * 512.0
    coords = np.concatenate([first, first + np.array([5000, 130])])  # CLAM starts anew in each contour
    assert commonest_gap(coords) == 512
    path = foreign_files.clam(
        tmp_path / "S1.h5", np.zeros((40, 4)), coords, patch_size=256, downsample=[2.0, 2.0]
    )
    with open_tiles(path) as tiles:
        assert tiles.size == tiles.spacing == 512
        assert len(np.unique(tiles.grid(), axis=0)) == 40
    assert commonest_gap(np.array([[3.0, 4.0]])) is None


def test_stamp_version_1_has_pixels_of_256_um_tiles(tmp_path: Path) -> None:
    path = tmp_path / "S1.h5"
    with h5py.File(path, "w") as file:
        file["feats"], file["coords"] = np.zeros((2, 4), np.float16), np.array([[0, 0], [224, 448]])
        file.attrs["extractor"] = "ctranspath"
    with open_tiles(path) as tiles:
        assert tiles.coords is not None and tiles.coords.tolist() == [[0, 0], [256, 512]]
        assert (
            tiles.unit == "um" and tiles.grid().tolist() == [[0, 0], [1, 2]] and "STAMP 1" in tiles.notes[0]
        )


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("batched", [False, True])
def test_any_precision_chunks_and_a_leading_axis(tmp_path: Path, kind: type, batched: bool) -> None:
    n = 70
    features = np.arange(n * 3).reshape(n, 3).astype(kind) / 4
    path = foreign_files.trident(
        tmp_path / "S1.h5", features[None] if batched else features, np.argwhere(np.ones((7, 10))) * 448
    )
    with open_tiles(path) as tiles:
        assert (tiles.n, tiles.width) == (n, 3)
        assert ("leading batch axis" in " ".join(tiles.notes)) == batched
        for rows in (np.array([0, 5, 69]), np.arange(0, n, 2)):
            assert (tiles.read(rows) == features[rows]).all() and tiles.read(rows).dtype == kind
        tiles.check()


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".npz", "dict.pt"])
def test_arrays_without_coordinates_keep_their_order(tmp_path: Path, suffix: str) -> None:
    features = np.arange(24, dtype=np.float32).reshape(8, 3)
    path = tmp_path / f"S1{suffix}"
    if suffix == "dict.pt":
        torch.save({"feats": torch.from_numpy(features).bfloat16(), "model_name": "uni"}, path)
    elif suffix == ".pt":
        torch.save(torch.from_numpy(features), path)
    else:
        (np.save if suffix == ".npy" else np.savez)(path, features)
    with open_tiles(path) as tiles:
        assert (tiles.read() == features).all() and tiles.coords is None and "no heatmap" in tiles.notes[0]
        assert hilbert_order(tiles.grid()).tolist() == list(range(8))  # raster order is the file's


def test_a_long_list_without_coordinates_stays_in_order() -> None:
    place = np.arange(200_000)
    assert (hilbert_order(np.stack([place, 0 * place], 1)) == place).all()


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    torch.save(Harm(), tmp_path / "S1.pt")
    np.save(tmp_path / "S1.npy", np.array([Harm()], dtype=object), allow_pickle=True)
    for name in ("S1.pt", "S1.npy"):
        with pytest.raises(FeatureFileError, match="no array that can be read"), open_tiles(tmp_path / name):
            pass
    assert not (tmp_path / "harm").exists()


def test_what_cannot_be_used_is_refused(tmp_path: Path, features: np.ndarray, grid: np.ndarray) -> None:
    coords = grid * TILE0
    spoiled = features.copy()
    spoiled[17, 3] = np.nan
    large = features.astype(np.float64)
    large[4, 0] = 1e5
    twice = coords.copy()
    twice[9] = twice[2]
    for i, (values, places, message) in enumerate(
        [
            (spoiled, coords, "NaN or infinity in tile 17"),
            (large, coords, "100000, beyond half precision in tile 4"),
            (features, twice, "1 tiles at the place of another one"),
            (features, coords[:-1], "coordinates of shape"),
            (features[:0], coords[:0], "no tile"),
            (features.astype(np.int32), coords, "not floating point"),
            (features[:, None, :], coords, "not \\(tiles, numbers\\)"),
        ]
    ):
        path = tmp_path / f"{i}.h5"
        with h5py.File(path, "w") as file:
            file["features"], file["coords"] = values, places
        with pytest.raises(FeatureFileError, match=message), open_tiles(path) as tiles:
            tiles.check()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["embeddings"] = features
    with (
        pytest.raises(FeatureFileError, match="it holds embeddings: no layout of"),
        open_tiles(tmp_path / "x.h5"),
    ):
        pass
    (tmp_path / "y.h5").write_text("no HDF5")
    with pytest.raises(FeatureFileError, match="no HDF5"), open_tiles(tmp_path / "y.h5"):
        pass


def test_a_folder_is_searched_and_two_encoders_are_told_apart(tmp_path: Path, features: np.ndarray) -> None:
    coords = np.argwhere(np.ones((len(features), 1))) * 448
    foreign_files.clam(tmp_path / "h5_files" / "S1.h5", features, coords)
    (tmp_path / "pt_files").mkdir()
    for name in ("S1", "S2"):
        torch.save(torch.from_numpy(features), tmp_path / "pt_files" / f"{name}.pt")
    found = files_in(tmp_path)
    assert {name: path.suffix for name, path in found.items()} == {"S1": ".h5", "S2": ".pt"}
    foreign_files.clam(tmp_path / "other" / "S1.h5", features, coords)
    with pytest.raises(InputError, match=r"slide S1: h5_files/S1\.h5 and other/S1\.h5"):
        files_in(tmp_path)


def test_a_batch_is_pointed_to_and_losses_have_reasons(
    tmp_path: Path, features: np.ndarray, grid: np.ndarray
) -> None:
    coords, files = grid * TILE0, tmp_path / "given"
    spoiled = features.copy()
    spoiled[3] = np.inf
    good = foreign_files.stamp(files / "good.h5", features, coords * 0.25)
    foreign_files.stamp(files / "spoiled.h5", spoiled, coords * 0.25)
    rows = [
        SlideRow("good", "P1", "c", features_20x=good, mpp=0.25),
        SlideRow("spoiled", "P2", "c", features_20x=files / "spoiled.h5"),
        SlideRow("gone", "P3", "c", features_20x=files / "gone.h5"),
        SlideRow("left-out", "P4", "c", features_20x=files / "gone.h5", exclude="marker"),
    ]
    before, out = digest(good), Results(tmp_path / "run")
    assert [SlideRow.from_plain(row.to_plain()) for row in rows] == rows
    statuses = take_batch(rows, out.root, ANY, tmp_path / "m.tsv")
    assert [status.reason for status in statuses] == ["", "unreadable", "no_features", "excluded"]
    assert "tile 3" in statuses[1].message and str(tmp_path) not in statuses[2].message
    assert statuses[0].counts == {"n_20x": len(grid)} and "stamp (uni2)" in statuses[0].notes
    assert not out.feature_pointer("spoiled").exists()
    with open_features(features_of(out, "good")) as file:
        assert file.magnifications == ("20x",) and file.width("20x") == 12
        assert np.allclose(file.coords("20x"), coords) and file.tile_size("20x") == (448, 448)
    verify_features(out, ["good"])
    assert digest(good) == before
    # other dates are no other content; other content is
    first = (tmp_path / "m.tsv").read_text()
    good.touch()
    take_batch(rows, out.root, ANY, tmp_path / "m.tsv")
    assert (tmp_path / "m.tsv").read_text().split("\t")[-1] == first.split("\t")[-1]
    with h5py.File(good, "r+") as file:
        file["feats"][0] = 0
    with pytest.raises(InputError, match=r"slide good, good\.h5: changed after"):
        verify_features(out, ["good"])
    few = ForeignSettings(layout=None, min_tiles=1000, default_mpp=None)
    assert take_batch(rows[:1], out.root, few, tmp_path / "m.tsv")[0].reason == "too_few_tiles"


def test_rows_stored_one_by_one_are_found_again_but_not_in_another_file(
    tmp_path: Path, features: np.ndarray, grid: np.ndarray
) -> None:
    path, out = tmp_path / "S1.h5", Results(tmp_path / "run")
    foreign_files.trident(path, features, grid * TILE0)
    take_batch([SlideRow("S1", "P1", "c", features_20x=path)], out.root, ANY, tmp_path / "m.tsv")
    runs = json.loads(out.feature_pointer("S1").read_text())["runs"]["20x"]
    assert sum(rows for _, rows in runs["features"]) == len(grid) == sum(rows for _, rows in runs["coords"])

    def read() -> np.ndarray:
        with open_features(features_of(out, "S1")) as file:
            return file.features("20x")

    assert (read() == features).all()
    # the known places would give these rows in the order of the old file
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("features", shape=features.shape, dtype="f4", chunks=(1, 12))
        for row in range(len(grid))[::-1]:
            stored[row] = features[row]
        file.create_dataset("coords", data=grid * TILE0, chunks=(1, 2)).attrs["patch_size_level0"] = TILE0
    assert (read() == features).all()


def test_micrometres_without_a_pixel_size_have_a_map_of_tokens_and_no_places(
    tmp_path: Path, features: np.ndarray, grid: np.ndarray
) -> None:
    path = foreign_files.stamp(tmp_path / "S1.h5", features, grid * 112.0)
    row, out = SlideRow("S1", "P1", "c", features_20x=path), Results(tmp_path / "run")
    take_batch([row], out.root, ANY, tmp_path / "m.tsv")
    with open_features(features_of(out, "S1")) as file:
        assert file.coords("20x") is None and (hilbert_order(file.grid("20x")) == hilbert_order(grid)).all()


def test_a_file_of_another_magnification_than_its_column_ends_the_batch(
    tmp_path: Path, features: np.ndarray, grid: np.ndarray
) -> None:
    path = foreign_files.trident(tmp_path / "S1.h5", features, grid * TILE0, power=10)
    rows = [SlideRow("S1", "P1", "c", features_20x=path)]
    with pytest.raises(InputError, match="nearer to 10x than to 20x"):
        take_batch(rows, tmp_path / "run", ANY, tmp_path / "m.tsv")


def batch_of(path: Path, slide: str = "S1") -> torch.Tensor:
    """Return the tokens that a network at 20x is given of one slide."""
    from pathduet.models import ModelConfig
    from pathduet.training.dataset import SlideDataset, SlideSample

    config = ModelConfig(tokens=36, magnifications="20x")
    return SlideDataset([SlideSample(slide, "P1", "c", "", path)], config).batch([0]).patches["20x"]


@pytest.mark.parametrize("layout", ["trident", "clam", "stamp"])
def test_a_network_gets_the_same_tokens_of_every_layout(
    tmp_path: Path, grid: np.ndarray, features: np.ndarray, layout: str
) -> None:
    half, coords, out = features.astype(np.float16), grid * TILE0, Results(tmp_path / "run")
    about = {"tile_level0_px_x": TILE0, "tile_level0_px_y": TILE0}
    write_features(
        tmp_path / "own.h5",
        {"encoder": "uni2"},
        {"20x": TileFeatures(half, coords.astype(np.int32), grid, about)},
    )
    writer = {"trident": foreign_files.trident, "clam": foreign_files.clam, "stamp": foreign_files.stamp}[
        layout
    ]
    path = writer(tmp_path / "given" / "S1.h5", half, coords * (0.25 if layout == "stamp" else 1))
    take_batch([SlideRow("S1", "P1", "c", features_20x=path)], out.root, ANY, tmp_path / "m.tsv")
    assert torch.equal(batch_of(features_of(out, "S1")), batch_of(tmp_path / "own.h5"))


def test_slides_of_two_widths_and_encoders_are_refused_with_both_lists(
    tmp_path: Path, grid: np.ndarray, features: np.ndarray
) -> None:
    from pathduet.models import ModelConfig
    from pathduet.training.dataset import SlideDataset, SlideSample

    out, rows = Results(tmp_path / "run"), []
    for i, (width, encoder) in enumerate([(12, "uni2"), (12, "uni2"), (8, "virchow")]):
        path = foreign_files.stamp(
            tmp_path / f"S{i}.h5", features[:, :width], grid * 112.0, extractor=encoder
        )
        rows.append(SlideRow(f"S{i}", "P1", "c", features_20x=path))
    take_batch(rows, out.root, ANY, tmp_path / "m.tsv")
    cases = [SlideSample(row.slide_id, "P1", "c", "", features_of(out, row.slide_id)) for row in rows]
    with pytest.raises(InputError) as found:
        SlideDataset(cases, ModelConfig(magnifications="20x")).encoder()
    assert "'uni2' in 2 (S0, S1); 'virchow' in 1 (S2)" in str(found.value)
    assert "12 in 2 (S0, S1); 8 in 1 (S2)" in str(found.value)

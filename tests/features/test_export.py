"""Features written for TRIDENT, CLAM and STAMP, read back as those projects read them.

The readers below are written anew from what these say (public repositories, as stored in November 2026):

- TRIDENT (mahmoodlab/TRIDENT): ``trident/IO.py`` (`read_coords`: attributes and values of the dataset `coords`, level-0 pixels;
  `coords_to_h5`: int64, the attributes' names), ``wsi_objects/WSI.py`` (`extract_slide_features`: `features`, `coords` and its
  attributes; `visualize_coords`: `patch_size`, `level0_magnification` and `target_magnification` must be there),
  ``slide_encoder_models/load.py`` (TITAN takes `patch_size_level0`; GigaPath as its tile size); folders
  ``20x_256px_0px_overlap/features_<encoder>/<slide>.h5``.
- CLAM (mahmoodlab/CLAM): ``dataset_modules/dataset_generic.py`` (`Generic_MIL_Dataset`: ``pt_files/<slide_id>.pt`` by torch.load,
  or ``h5_files/<slide_id>.h5`` with `features` and `coords`), ``extract_features_fp.py`` (float32, int32),
  ``dataset_modules/dataset_h5.py`` (`patch_level` and `patch_size` on `coords`, for read_region).
- STAMP (KatherLab/STAMP, v2): ``modeling/data.py`` (`BagDataset`: `feats` and `coords`; `get_coords`: `tile_size_um` or `tile_size` with
  `unit`, `tile_size_px`, a `stamp_version` that may be absent; `detect_feature_type`: `feat_type`), ``preprocessing/__init__.py``
  (half precision, float32 micrometres of the corners, `extractor`).
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pathduet.core.errors import InputError
from pathduet.features.export import SlideTiles, slide_tiles, write_clam, write_stamp, write_trident
from pathduet.features.feature_file import TileFeatures, write_features
from pathduet.features.patch_attributes import patch_attributes
from pathduet.results import Results

MPP, TILE_PX = (0.252, 0.252), 224
SIZE = {"10x": 224 / 0.252, "20x": 112 / 0.252}  # 888.89 and 444.44 pixels of level 0
SIZE0 = (90_000, 80_000)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A results folder with one slide whose tiles do not lie on whole pixels."""
    run = Results(tmp_path_factory.mktemp("run"))
    rng, magnifications = np.random.default_rng(0), {}
    for m, n in (("10x", 5), ("20x", 40)):
        # a wide slide: dividing rounded corners by a rounded size goes wrong far from the origin
        grid = np.stack([np.arange(n) * 4, np.arange(n) // 7], axis=1).astype(np.int32)
        corners = np.rint(grid * SIZE[m]).astype(np.int32)
        values = rng.normal(size=(n, 6)).astype(np.float16)
        about = {"tile_level0_px_x": SIZE[m], "tile_level0_px_y": SIZE[m]}
        patches = patch_attributes("S1", TILE_PX, SIZE[m], SIZE[m], MPP[0], SIZE0)
        magnifications[m] = TileFeatures(values, corners, grid, about, patches)
    attributes = {
        "slide_id": "S1",
        "mpp_x": MPP[0],
        "mpp_y": MPP[1],
        "tile_px": TILE_PX,
        "encoder": "hub/uni:v1",
    }
    write_features(run.features("S1"), attributes, magnifications)
    with h5py.File(run.slide("S1") / "tiles.h5", "w") as file:
        file.attrs.update({"width": SIZE0[0], "height": SIZE0[1]})
    return run


@pytest.fixture
def at_20x(results: Results) -> SlideTiles:
    return slide_tiles(results, "S1", ("20x",))[0]


def trident_reads(file: h5py.Group) -> tuple[np.ndarray, np.ndarray, dict]:
    """Features, coordinates and attributes as a TRIDENT slide encoder gets them."""
    known = dict(file["coords"].attrs)
    assert None not in [known.get(k) for k in ("patch_size", "level0_magnification", "target_magnification")]
    features = torch.from_numpy(file["features"][:]).float().unsqueeze(0)
    coords = torch.from_numpy(file["coords"][:]).unsqueeze(0)
    assert features.ndim == 3 and coords.dtype in (torch.int32, torch.int64)
    return features[0].numpy(), coords[0].numpy(), known


def cells_of_titan(coords: np.ndarray, patch: int) -> np.ndarray:
    """TITAN's grid: corners, from the smallest on, divided by the patch's size."""
    return (coords - coords.min(axis=0)) // patch


def test_trident_finds_features_coordinates_and_sizes(at_20x: SlideTiles, tmp_path: Path):
    path = write_trident(tmp_path, at_20x)
    assert path.relative_to(tmp_path).parts == ("20x_224px_0px_overlap", "features_hub_uni_v1", "S1.h5")
    with h5py.File(path) as file:
        features, coords, known = trident_reads(file)
        assert file["features"].attrs["encoder"] == "hub/uni:v1" and file["features"].dtype == np.float32
    assert np.array_equal(features, at_20x.features.astype(np.float32))
    assert np.abs(coords - at_20x.grid * SIZE["20x"]).max() <= 0.5
    assert known == {
        "patch_size": 224, "patch_size_level0": 444, "level0_magnification": 40, "target_magnification": 20,
        "overlap": 0, "name": "S1", "level0_width": SIZE0[0], "level0_height": SIZE0[1],
    }  # fmt: skip
    cells = cells_of_titan(coords, int(known["patch_size_level0"]))
    assert len(np.unique(cells, axis=0)) == len(coords)


def test_an_overlap_is_in_pixels_of_the_patch(at_20x: SlideTiles, tmp_path: Path):
    step = SIZE["20x"] * 0.75
    path = write_trident(tmp_path, SlideTiles(**{**vars(at_20x), "step": (step, step)}))
    assert path.parent.parent.name == "20x_224px_56px_overlap"
    with h5py.File(path) as file:
        assert file["coords"].attrs["overlap"] == 56


@pytest.mark.parametrize("m", ["10x", "20x"])
def test_our_own_file_carries_what_trident_looks_for(results: Results, m: str):
    with h5py.File(results.features("S1")) as file:
        features, coords, known = trident_reads(file[m])
    assert known["target_magnification"] == int(m[:-1]) and known["patch_size_level0"] == int(SIZE[m])
    assert len(features) == len(coords)


def test_clam_loads_tensors_and_coordinates(at_20x: SlideTiles, tmp_path: Path):
    folder = write_clam(tmp_path, at_20x).parent.parent
    bag = torch.load(folder / "pt_files" / "S1.pt", weights_only=True)
    # CLAM hands the bag to a linear layer as it is: half precision would end the training
    assert torch.nn.Linear(6, 2)(bag).shape == (40, 2)
    with h5py.File(folder / "h5_files" / "S1.h5") as file:
        features, coords = file["features"][:], file["coords"][:]
        level, patch = file["coords"].attrs["patch_level"], file["coords"].attrs["patch_size"]
    assert np.array_equal(features, bag.numpy()) and coords.dtype == np.int32
    assert np.array_equal(features, at_20x.features.astype(np.float32))
    # read_region(coord, patch_level, (patch_size, patch_size)) is the tile's footprint
    assert (level, patch) == (0, 444) and np.abs(coords - at_20x.grid * SIZE["20x"]).max() <= 0.5


def test_stamp_gets_micrometres(at_20x: SlideTiles, tmp_path: Path):
    path = write_stamp(tmp_path, at_20x)
    with h5py.File(path) as file:
        known = file.attrs
        assert known.get("feat_type") == "tile" and known.get("encoder") is None  # else features of a patient
        assert known["unit"] == "um" and known.get("stamp_version") is None
        tile_um, tile_px = float(known["tile_size_um"]), int(known["tile_size_px"])
        bag, coords = torch.from_numpy(file["feats"][:]).float(), torch.from_numpy(file["coords"][:]).float()
        assert file["feats"].dtype == np.float16 and file["coords"].dtype == np.float32
    assert (tile_um, tile_px) == (pytest.approx(112), 224) and tile_um / tile_px == pytest.approx(0.5)
    assert np.array_equal(bag.numpy(), at_20x.features.astype(np.float32))
    # its heatmaps take the smallest gap between coordinates for the stride
    assert (coords / tile_um).numpy() == pytest.approx(at_20x.grid, abs=1e-3)
    assert float(np.diff(np.unique(coords[:, 1])).min()) == pytest.approx(112, abs=1e-2)


def test_what_a_layout_needs_and_the_features_lack_is_named(
    at_20x: SlideTiles, results: Results, tmp_path: Path
):
    blind = SlideTiles(**{**vars(at_20x), "mpp": None})
    for write in (write_trident, write_stamp):
        with pytest.raises(InputError, match="slide S1, 20x: no pixel size"):
            write(tmp_path, blind)
    nowhere = SlideTiles(**{**vars(at_20x), "corners": None})
    for write in (write_trident, write_stamp, write_clam):
        with pytest.raises(InputError, match="without coordinates"):
            write(tmp_path, nowhere)
    with pytest.raises(InputError, match="no features at 40x"):
        slide_tiles(results, "S1", ("40x",))
    with pytest.raises(InputError, match="slide S9"):
        slide_tiles(results, "S9")
    assert not list(tmp_path.rglob("*.h5"))

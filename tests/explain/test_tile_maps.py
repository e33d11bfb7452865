"""Maps of tiles against cases made by hand, and their properties on networks with fresh weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pathduet.cohort.tasks import Task
from pathduet.core.errors import InputError
from pathduet.explain.sampled_points import Sampling, splat
from pathduet.explain.tile_maps import TileGrid, point_rows, slide_maps, tile_rows
from pathduet.explain.token_maps import TokenMaps
from pathduet.features.token_map import token_rows
from pathduet.models.method.config import ModelConfig
from pathduet.models.method.deformable_attention import sample_map
from pathduet.models.released import ReleasedConfig
from pathduet.training.model_folder import ModelDescription, save_model
from pathduet.training.task_targets import ClassTarget
from training.fake_cohort import ENCODER, FEATURES, SMALL

EXPRESSION = {"tumor": np.linspace(-1, 1, 5), "tme": np.linspace(2, -2, 7)}
TASK = Task.of("diagnosis", {"kind": "classification", "column": "diagnosis", "classes": ["a", "b"]})
GENES = {"tumor": tuple("ABCDE"), "tme": tuple("FGHIJKL"), "stroma": tuple("MNO")}


def write_slide(folder: Path, tiles: dict[str, int], seed: int = 0) -> Path:
    """Write features.h5 and tiles.h5 of a slide with rows of six tiles."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with h5py.File(folder / "features.h5", "w") as file:
        file.attrs.update(ENCODER | {"slide_id": "S1", "mpp_x": 0.25, "mpp_y": 0.25})
        for m, n in tiles.items():
            group = file.create_group(m)
            group.attrs["tile_level0_px_x"] = group.attrs["tile_level0_px_y"] = 896.0 if m == "10x" else 448.0
            group["features"] = rng.normal(size=(n, FEATURES)).astype(np.float16)
            group["grid"] = np.stack(np.divmod(np.arange(n), 6)[::-1], axis=1).astype(np.int32)
    with h5py.File(folder / "tiles.h5", "w") as file:
        file.attrs.update({"slide_id": "S1", "width": 6000, "height": 5000})
    return folder / "features.h5"


def write_model(folder: Path, model: str, config: ModelConfig = SMALL, swap: bool = False) -> Path:
    torch.manual_seed(3)
    genes = {name: GENES[name] for name in config.subspaces} if model.endswith("teacher") else {}
    description = ModelDescription(TASK, model, 0, config, ClassTarget(("a", "b")), ENCODER, genes)
    network = description.build()
    if hasattr(network, "order"):
        for order in network.order.values():
            if hasattr(order, "score"):  # the scorer starts from zero: any direction, or its opposite
                powers = range(3, 1 + 2 * len(config.subspaces), 2)
                direction = torch.stack([torch.linspace(-1, 1, config.width) ** power for power in powers])
                with torch.no_grad():
                    order.score.weight[:] = -direction if swap else direction
    save_model(folder, description, network, {})
    return folder


PLACES = np.array([[0, 0], [1, 0], [5, 7]])
HAND = TileGrid(PLACES, PLACES * (100.0, 50.0), 100.0, 50.0)


def test_a_tiles_cells_add_up_and_a_tile_that_is_no_token_has_no_row():
    rows = np.array([0, 2, 0, 2])  # four cells; tile 1 was not picked
    maps = TokenMaps(np.array([0, 1, 0, 1]), np.array([0.75, 0.5, 0.25, 0.5]))
    table = tile_rows("10x", HAND, rows, maps, ["tumor", "tme"])
    assert table["tile"].tolist() == [0, 2] and table["cells"].tolist() == [2, 2]
    assert table["prototype"].tolist() == ["tumor", "tme"] and table["p_tumor"].tolist() == [1.0, 0.0]
    assert table["merge_weight"].tolist() == [1.0, 1.0]
    assert table[["x", "y", "size", "size_y"]].to_numpy().tolist() == [[0, 0, 100, 50], [500, 350, 100, 50]]


def test_copies_in_both_prototypes_are_named_by_the_greater_part():
    rows = np.array([0, 0, 0, 1])
    maps = TokenMaps(np.array([0, 1, 1, 0]), np.array([0.9, 0.6, 0.4, 0.1]))
    table = tile_rows("20x", HAND, rows, maps, ["tumor", "tme"])
    assert table["prototype"].tolist() == ["tme", "tumor"]
    assert table["p_tumor"].tolist() == pytest.approx([1 / 3, 1])
    assert table["merge_weight_tumor"].tolist() == [0.9, 0.1]
    assert table["merge_weight_tme"].tolist() == [1.0, 0.0]
    equal = TokenMaps(np.array([2, 1, 1, 2]), np.array([0.5, 0.3, 0.7, 0.5]))
    three = tile_rows("20x", HAND, np.array([0, 0, 1, 1]), equal, ["tumor", "immune", "stroma"])
    assert three["prototype"].tolist() == ["stroma", "immune"]  # of equal shares the greater weight
    assert three["p_tumor"].tolist() == [0, 0] and three["merge_weight"].tolist() == [0.5, 0.7]


def test_a_points_mass_goes_to_the_cells_that_bilinear_sampling_reads():
    """Against the sampling itself: reading a map's cells one at a time gives the same proportions."""
    rng = np.random.default_rng(0)
    points, mass = rng.uniform(-1.3, 1.3, (40, 2)), rng.dirichlet(np.ones(40))
    unit = torch.eye(25, dtype=torch.float64).unsqueeze(0)  # (1, cells, channels): channel j is cell j
    read = sample_map(unit, torch.from_numpy(points).view(1, 1, 1, 40, 2))[0].numpy()  # (points, cells)
    assert splat(points, mass, 5) == pytest.approx(mass @ read, abs=1e-12)
    assert splat(points, mass, 5).sum() == pytest.approx(1, abs=1e-12)


def test_points_are_drawn_in_their_cells_tile_at_their_place_in_the_cell():
    points = np.array(
        [[[-0.5, -0.5], [0.25, 0.75]], [[-2.0, 0.5], [1.0, 1.0]]]
    )  # 2 groups, 2 keys, 2 x 2 cells
    table = point_rows(
        "10x", "tumor", HAND, np.array([2, 0, 1, 0]), Sampling(points, np.array([0.8, 0.2]), 2)
    )
    assert table["tile"].tolist() == [2, 0, 1, 0]
    assert table["x"].tolist() == [550, 25, 100, 100] and table["y"].tolist() == [375, 37.5, 25, 50]
    assert table["mass"].tolist() == [0.4, 0.1, 0.4, 0.1]


@pytest.mark.parametrize("tiles", [{"10x": 3, "20x": 30}, {"10x": 16, "20x": 17}])
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_weights_and_attention_add_up_to_one_over_the_tiles(tmp_path: Path, tiles: dict, variant: str):
    prefix, config = ("", SMALL) if variant == "paper" else ("released_", ReleasedConfig(**vars(SMALL)))
    features = write_slide(tmp_path / "S1", tiles)
    student = slide_maps(write_model(tmp_path / "student", f"{prefix}student", config), features)
    teacher = slide_maps(write_model(tmp_path / "teacher", f"{prefix}teacher", config), features, EXPRESSION)
    for m, n in tiles.items():
        table = student.tiles[student.tiles["magnification"] == m]
        order = "raster" if variant == "released" else "hilbert"
        grid = np.stack(np.divmod(np.arange(n), 6)[::-1], axis=1)
        if m == "10x" or order == "raster":
            assert table["tile"].tolist() == sorted(set(token_rows(grid, 16, order).tolist()))
        assert table["cells"].sum() == 16
        for name in ("merge_weight_tumor", "merge_weight_tme", "attention_patches"):
            assert table[name].sum() == pytest.approx(1, abs=1e-6)
        other = teacher.tiles[teacher.tiles["magnification"] == m]
        for name in ("attention_tumor", "attention_tme"):
            assert other[name].sum() == pytest.approx(1, abs=1e-6) and (other[name] >= 0).all()
    for maps in (student, teacher):
        sums = maps.points.groupby(["magnification", "attention"])["mass"].sum()
        assert len(sums) == (2 if maps is student else 4) and sums.to_numpy() == pytest.approx(1)
        assert (maps.points["x"] >= 0).all() and (maps.points["x"] <= 6 * 896).all()
    assert student.tiles.attrs["width"] == 6000 and student.tiles.attrs["slide_id"] == "S1"
    assert student.tiles.attrs["named_by"] == ("nothing" if variant == "released" else "task")


def test_one_magnification_and_plain_attention_have_maps_and_mean_pooling_has_none(tmp_path: Path):
    features = write_slide(tmp_path / "S1", {"10x": 3, "20x": 30})
    one = ModelConfig(**{**vars(SMALL), "magnifications": "20x", "attention": "plain"})
    student = slide_maps(write_model(tmp_path / "student", "student", one), features)
    teacher = slide_maps(write_model(tmp_path / "teacher", "teacher", one), features, EXPRESSION)
    assert set(student.tiles["magnification"]) == set(teacher.tiles["magnification"]) == {"20x"}
    assert student.tiles["attention_patches"].sum() == pytest.approx(1, abs=1e-6)
    assert teacher.tiles["attention_tme"].sum() == pytest.approx(1, abs=1e-6)
    assert len(student.points) == len(teacher.points) == 0  # nothing was sampled
    mean = ModelConfig(**{**vars(SMALL), "aggregation": "mean"})
    with pytest.raises(InputError, match="neither prototypes"):
        slide_maps(write_model(tmp_path / "mean", "student", mean), features)


def test_copies_of_a_tile_go_into_one_prototype(tmp_path: Path):
    table = slide_maps(
        write_model(tmp_path / "m", "student"), write_slide(tmp_path / "S", {"10x": 3, "20x": 5})
    ).tiles
    assert set(table["p_tumor"]) == {0.0, 1.0}
    assert table.groupby(["magnification", "prototype"])["merge_weight"].sum().to_numpy() == pytest.approx(1)


def test_the_slides_learned_order_names_the_prototypes(tmp_path: Path):
    """Turning the scorer round turns every name round and nothing else."""
    features = write_slide(tmp_path / "S1", {"10x": 16, "20x": 30})
    one = slide_maps(write_model(tmp_path / "one", "distilled"), features).tiles
    other = slide_maps(write_model(tmp_path / "other", "distilled", swap=True), features).tiles
    assert (one["prototype"] != other["prototype"]).all()
    assert one["merge_weight"].to_numpy() == pytest.approx(other["merge_weight"].to_numpy())
    assert one.attrs["named_by"] == "teacher"


@pytest.mark.parametrize("subspaces", [("tumor", "tme"), ("tumor", "tme", "stroma")])
def test_the_names_follow_the_networks_own_representation(tmp_path: Path, subspaces: tuple[str, ...]):
    """The tiles called by a subspace's name, merged with their weights, are its part of X_R."""
    from pathduet.features.token_map import token_rows
    from pathduet.training.dataset import SlideDataset, SlideSample
    from pathduet.training.model_folder import load_model

    features = write_slide(tmp_path / "S1", {"10x": 16, "20x": 16})
    config = replace(SMALL, subspaces=subspaces)
    orders = set()
    for swap in (False, True):
        folder = write_model(tmp_path / f"m{swap}", "distilled", config, swap=swap)
        table = slide_maps(folder, features).tiles
        network, description, _ = load_model(folder)
        batch = SlideDataset(
            [SlideSample("S1", "S1", "", "", features)], description.config, cache_mib=0
        ).batch([0])
        with torch.no_grad():
            output = network(
                batch.patches["10x"], batch.patches["20x"], batch.repeats["10x"], batch.repeats["20x"]
            )
            block = network.aggregation["10x"]
            tokens = network.patches["10x"](batch.patches["10x"])
            tokens = block.norm(tokens + block.deformation(tokens, tokens).tokens)[0]
            grid = np.stack(np.divmod(np.arange(16), 6)[::-1], axis=1)
            rows = token_rows(grid, 16)
            rows_table = table[table["magnification"] == "10x"].set_index("tile").loc[rows]
            names = [f"merge_weight_{name}" for name in subspaces]
            weight = torch.from_numpy(rows_table[names].to_numpy().T).float()
            merged = torch.tanh(network.dense["10x"](weight @ tokens))
        orders.add(tuple(output.order["10x"][0].tolist()))
        assert merged.flatten().numpy() == pytest.approx(output.representation["10x"][0].numpy(), abs=1e-5)
    assert len(orders) == 2


def test_a_teacher_of_three_subspaces_has_three_attentions(tmp_path: Path):
    features = write_slide(tmp_path / "S1", {"10x": 3, "20x": 30})
    folder = write_model(tmp_path / "t", "teacher", replace(SMALL, subspaces=tuple(GENES)))
    maps = slide_maps(folder, features, EXPRESSION | {"stroma": np.zeros(3)})
    assert maps.subspaces == ("tumor", "tme", "stroma")
    assert set(maps.points["attention"]) == set(GENES)
    sums = maps.tiles.groupby("magnification")["attention_stroma"].sum()
    assert sums.to_numpy() == pytest.approx(1, abs=1e-6)


def test_a_teacher_without_expression_and_features_of_another_encoder_are_refused(tmp_path: Path):
    features = write_slide(tmp_path / "S1", {"10x": 3, "20x": 30})
    teacher = write_model(tmp_path / "teacher", "teacher")
    with pytest.raises(InputError, match=r"S1.*5 tumor and 7 TME genes are needed, found no expression"):
        slide_maps(teacher, features)
    with pytest.raises(InputError, match="found 7 tumor and 5 TME genes"):
        slide_maps(teacher, features, {"tumor": EXPRESSION["tme"], "tme": EXPRESSION["tumor"]})
    with h5py.File(features, "a") as file:
        file.attrs["weights_sha256"] = "b" * 64
    with pytest.raises(InputError, match=r"S1, weights_sha256"):
        slide_maps(teacher, features, EXPRESSION)
    with pytest.raises(InputError, match="extract them again"):
        slide_maps(teacher, tmp_path / "nowhere" / "features.h5", EXPRESSION)

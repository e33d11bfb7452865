"""The heatmap PNG and the GeoJSON, read back."""

from __future__ import annotations

import gzip
import io
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from explain.hand_made_maps import HEIGHT, WIDTH, student_maps, three_prototypes
from pathduet.core.errors import InputError
from pathduet.explain.colours import subspace_colours
from pathduet.explain.layers import layer_values, layers_of, naming_note, strongest_points
from pathduet.explain.mean_of_folds import mean_of_folds
from pathduet.explain.tile_maps import SlideMaps
from pathduet.explain.viewer.geojson import feature_collection, write_geojson
from pathduet.explain.viewer.heatmap import ALPHA, heatmap_png
from pathduet.explain.viewer.pyramid import Pyramid
from pathduet.explain.viewer.viewer_page import viewer_data
from pathduet.slides.given_mask import given_mask

# whole pages, cohorts and pictures: seconds each
pytestmark = pytest.mark.slow

#: What QuPath 0.4 to 0.6 writes for a detection, and reads.
QUPATH = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "id", "geometry", "properties"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "Feature"},
                    "id": {"type": "string", "format": "uuid"},
                    "geometry": {
                        "oneOf": [
                            {
                                "properties": {
                                    "type": {"const": "Polygon"},
                                    "coordinates": {"items": {"minItems": 5, "items": {"$ref": "#/$defs/point"}}},
                                }
                            },
                            {
                                "properties": {
                                    "type": {"const": "Point"},
                                    "coordinates": {"$ref": "#/$defs/point"},
                                }
                            },
                        ]
                    },
                    "properties": {
                        "required": ["objectType", "classification", "measurements"],
                        "properties": {
                            "objectType": {"const": "detection"},
                            "name": {"type": "string"},
                            "classification": {
                                "required": ["names", "color"],
                                "properties": {
                                    "names": {"type": "array", "items": {"type": "string"}, "minItems": 2},
                                    "color": {
                                        "type": "array",
                                        "items": {"type": "integer", "minimum": 0, "maximum": 255},
                                        "minItems": 3,
                                        "maxItems": 3,
                                    },
                                },
                            },
                            "measurements": {"type": "object", "additionalProperties": {"type": "number"}},
                        },
                    },
                },
            },
        },
    },
    "$defs": {"point": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}},
}  # fmt: skip


def picture(maps: SlideMaps) -> np.ndarray:
    ground = np.full((300, 400, 3), 255, np.uint8)
    return np.asarray(Image.open(io.BytesIO(heatmap_png(maps, ground))).convert("RGB")).astype(int)


def share_of(image: np.ndarray, rgb: tuple[int, int, int]) -> float:
    return float((np.abs(image - rgb).max(axis=2) < 14).mean())


def test_multiples_of_an_equal_share_count_the_tiles_that_share():
    maps = student_maps()
    prototype, weight, attention = layers_of(maps)
    assert layer_values(maps, prototype).tolist() == [1, 0, 0, 1]
    assert layer_values(maps, weight).tolist() == [1, 1, 1, 1]  # one tumor tile, two sharing TME alike
    assert layer_values(maps, attention) == pytest.approx([1.8, 0.9, 0.3, 1.0])


def test_the_picture_shows_each_prototypes_share_of_the_tissue_in_its_colour():
    one, two = picture(student_maps()), picture(student_maps(tumor=(True, True, False)))
    # vermilion and blue at 62 % over white
    tumor, tme = (229, 155, 97), (103, 173, 215)
    assert share_of(two, tumor) > 1.3 * share_of(one, tumor) > 0.01
    assert share_of(one, tme) > 1.3 * share_of(two, tme) > 0.01


def test_the_same_maps_give_the_same_bytes_and_a_name_is_drawn_as_it_is_written():
    ground = np.full((300, 400, 3), 255, np.uint8)
    assert heatmap_png(student_maps(), ground) == heatmap_png(student_maps(), ground)
    formula, plain = student_maps(), student_maps()
    formula.tiles.attrs["slide_id"], plain.tiles.attrs["slide_id"] = "a$b$", "ab"
    assert heatmap_png(formula, ground) != heatmap_png(plain, ground)


def test_without_the_slides_size_nothing_is_drawn():
    maps = student_maps()
    maps.tiles.attrs["width"] = None
    with pytest.raises(InputError, match=r"slide S1: no tiles\.h5"):
        picture(maps)


def test_qupath_reads_the_geojson(tmp_path: Path):
    collection = feature_collection(student_maps())
    checker = Draft202012Validator(QUPATH)
    assert [error.message for error in checker.iter_errors(collection)] == []
    features = collection["features"]
    assert len({str(uuid.UUID(feature["id"])) for feature in features}) == len(features) == 7
    first, point = features[0]["properties"], features[4]
    assert first["classification"]["names"] == ["Tumor", "10x"]
    assert features[1]["properties"]["classification"]["names"] == ["TME", "10x"]
    assert first["measurements"]["Merge weight (share)"] == 1.0
    assert first["measurements"]["Attention of the patches (x equal share)"] == pytest.approx(1.8)
    # the point with the greatest mass comes first
    assert point["geometry"] == {"type": "Point", "coordinates": [1500.0, 1500.0]}
    assert point["properties"]["measurements"]["Attention (share)"] == 0.75
    write_geojson(tmp_path / "a.geojson", student_maps())
    write_geojson(tmp_path / "a.geojson.gz", student_maps())
    text = (tmp_path / "a.geojson").read_bytes()
    assert (
        json.loads(text) == collection and gzip.decompress((tmp_path / "a.geojson.gz").read_bytes()) == text
    )


def test_the_polygons_cover_the_tiles_in_level_0_pixels(tmp_path: Path):
    """Read by the code that reads users' own polygons."""
    collection = feature_collection(student_maps(), points=0)
    path = tmp_path / "tiles.geojson"
    path.write_text(json.dumps(collection))
    mask = given_mask("S1", path, (WIDTH, HEIGHT), (40, 30))
    expected = np.zeros((30, 40), bool)
    expected[10:20, 0:30] = True
    assert (mask == expected).all()


def test_a_teachers_tiles_have_no_prototype():
    student = student_maps()
    columns = ["prototype", "p_tumor", "p_tme", "merge_weight", "merge_weight_tumor", "merge_weight_tme"]
    tiles = student.tiles.drop(columns=[*columns, "attention_patches"])
    tiles = tiles.assign(attention_tumor=[0.5, 0.5, 0, 1], attention_tme=[0, 0.5, 0.5, 1])
    tiles.attrs = student.tiles.attrs
    maps = SlideMaps(tiles, student.points.assign(attention="tme"))
    feature = feature_collection(maps)["features"][0]["properties"]
    assert feature["classification"]["names"] == ["Tile", "10x"]
    assert {"Attention of the tumor genes (share)", "Attention of the TME genes (share)"} <= set(
        feature["measurements"]
    )
    assert len(strongest_points(maps, "tme", "10x", 1)) == 1
    picture(maps)


def test_the_mean_of_folds_is_their_share_and_still_adds_up():
    maps = [student_maps(0), student_maps(1, (True, True, False)), student_maps(2, (False, True, False))]
    mean = mean_of_folds(maps)
    ten = mean.tiles[mean.tiles["magnification"] == "10x"]
    assert ten["p_tumor"].tolist() == pytest.approx([2 / 3, 2 / 3, 0])
    assert ten["prototype"].tolist() == ["tumor", "tumor", "tme"]
    assert (
        ten["merge_weight_tumor"].tolist() == pytest.approx([0.5, 0.5, 0])
        and ten["merge_weight_tme"].sum() == 1
    )
    sums = mean.points.groupby(["magnification", "attention"])["mass"].sum()
    assert mean.tiles.attrs["fold"] == "ensemble" and sums.to_numpy() == pytest.approx(1)
    other = student_maps(1)
    other.tiles.loc[0, "tile"] = 2
    with pytest.raises(InputError, match="folds 0 and 1"):
        mean_of_folds([student_maps(0), other])


def test_three_prototypes_have_three_colours_in_picture_geojson_and_viewer():
    maps = three_prototypes()
    colours = subspace_colours(maps.subspaces)
    assert len(set(colours.values())) == 3
    assert layer_values(maps, layers_of(maps)[0]).tolist() == [0, 1, 2, 0]
    drawn = picture(maps)
    for colour in colours.values():
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        over_white = tuple(round(255 + ALPHA * (part - 255)) for part in rgb)
        assert share_of(drawn, over_white) > 0.005, colour
    tiles = [one["properties"] for one in feature_collection(maps, points=0)["features"]]
    assert [tile["classification"]["names"][0] for tile in tiles] == ["Tumor", "Immune", "Stroma", "Tumor"]
    assert len({tuple(tile["classification"]["color"]) for tile in tiles}) == 3
    assert tiles[1]["measurements"]["Immune prototype (share)"] == 1.0
    data = viewer_data(maps, Pyramid(WIDTH, HEIGHT, 3, 1.0, 0))
    layer = data["layers"][0]
    assert layer["ends"] == ["tumor", "immune", "stroma"] and layer["steps"] and layer["top"] == 2.0
    assert layer["values"] == [0, 1, 2] and len(layer["colours"]) == 3


def test_most_folds_name_one_of_three_prototypes():
    own = [("tumor", "immune", "stroma"), ("immune", "immune", "stroma"), ("immune", "stroma", "stroma")]
    mean = mean_of_folds([three_prototypes(fold, names) for fold, names in enumerate(own)])
    ten = mean.tiles[mean.tiles["magnification"] == "10x"]
    assert ten["prototype"].tolist() == ["immune", "immune", "stroma"]
    assert ten["p_immune"].tolist() == pytest.approx([2 / 3, 2 / 3, 0])
    assert ten[["p_tumor", "p_immune", "p_stroma"]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert ten["merge_weight"].tolist() == pytest.approx([2 / 3, 2 / 3, 1])


def test_names_without_a_teacher_are_said_to_be_mere_sides_and_one_prototype_is_no_layer():
    maps = three_prototypes()
    maps.tiles.attrs["named_by"] = "task"
    assert "names tumor, immune and stroma only denote" in naming_note(maps)
    maps.tiles.attrs["subspaces"] = ("tumor",)
    assert naming_note(maps) == "" and [layer.column for layer in layers_of(maps)] == [
        "merge_weight",
        "attention_patches",
    ]

"""Prototypes against regions: numbers by hand, GeoJSON and pictures that mean the same, structures by any spelling."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from explain.test_tile_maps import write_slide
from pathduet.core.errors import InputError
from pathduet.explain.annotated_slides import AnnotatedSlides, annotate
from pathduet.explain.annotations import read_annotation, read_legend
from pathduet.explain.region_agreement import agreement_table, score_slide, slide_scores

STRUCTURES = {"tumor": ["cellular_tumor"], "tme": ["LE"]}
SUBSPACES = ("tumor", "tme")


def tiles(prototypes: list[str], shown: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"prototype": prototypes, "subspace": shown, "structure": shown, "magnification": "10x"}
    )


def scored(prototypes: list[str], shown: list[str]) -> dict[str, dict[str, float]]:
    table = tiles(prototypes, shown)
    return {name: slide_scores(table, name) for name in dict.fromkeys([*SUBSPACES, *shown]) if name}


def test_dice_and_recall_by_hand() -> None:
    scores = scored(
        ["tumor", "tumor", "tumor", "tme", "tme", "tumor"], ["tumor", "tumor", "tme", "tumor", "tme", ""]
    )
    tumor, tme = scores["tumor"], scores["tme"]
    assert tumor["tiles"] == tme["tiles"] == 5 and tumor["subspace_tiles"] == 3 and tme["subspace_tiles"] == 2
    assert tumor["dice"] == pytest.approx(2 * 2 / (3 + 3)) and tme["dice"] == pytest.approx(2 * 1 / (2 + 2))
    assert tumor["recall"] == pytest.approx(2 / 3) and tme["recall"] == pytest.approx(1 / 2)
    assert tumor["recall_chance"] == pytest.approx(3 / 5) and tme["recall_chance"] == pytest.approx(2 / 5)


def test_each_of_three_subspaces_is_held_against_the_rest() -> None:
    scores = scored(["tumor", "immune", "stroma", "stroma"], ["tumor", "immune", "immune", "stroma"])
    assert scores["immune"]["recall"] == 0.5 and scores["immune"]["dice"] == pytest.approx(2 / 3)
    assert scores["stroma"]["recall"] == 1 and scores["stroma"]["dice"] == pytest.approx(2 / 3)
    assert scores["tumor"]["dice"] == 1 and scores["tumor"]["recall_chance"] == 0.25


def test_chance_is_what_shuffled_prototypes_reach() -> None:
    rng = np.random.default_rng(0)
    shown = ["tumor"] * 40 + ["tme"] * 60
    called = ["tumor"] * 30 + ["tme"] * 70
    drawn = [scored(list(rng.permutation(called)), shown) for _ in range(300)]
    for name in ("dice", "recall"):
        for subspace in SUBSPACES:
            expected = drawn[0][subspace][f"{name}_chance"]
            assert np.mean([d[subspace][name] for d in drawn]) == pytest.approx(expected, abs=0.01)


def test_slides_without_a_subspaces_structures_are_no_zero() -> None:
    scores = scored(["tumor", "tme"], ["tme", "tme"])
    assert np.isnan(scores["tumor"]["dice"]) and np.isnan(scores["tumor"]["recall"])
    assert np.isnan(scores["tumor"]["recall_chance"]) and scores["tme"]["recall"] == 0.5


def test_patients_count_once_however_many_slides() -> None:
    rows, parts = [], []
    for slide, patient, right in (("a1", "A", True), ("a2", "A", True), ("b1", "B", False)):
        called = ["tumor", "tme"] if right else ["tme", "tumor"]
        facts = {"model": "distilled", "part": "test", "fold": 0, "slide_id": slide, "patient_id": patient}
        more, structures = score_slide(tiles(called, ["tumor", "tme"]), facts, SUBSPACES)
        rows += more
        parts += structures
    table = agreement_table(pd.DataFrame(rows), pd.DataFrame(parts), seed=0, resamples=0)
    recall = table[table["measure"] == "recall"].set_index("subspace")
    assert recall["value"].to_dict() == {"tumor": 0.5, "tme": 0.5} and recall["patients"].tolist() == [2, 2]
    assert set(table.loc[table["measure"] == "structure", "value"]) == {0.5}


@pytest.fixture
def legend(tmp_path: Path) -> Path:
    path = tmp_path / "legend.json"
    path.write_text(json.dumps({"micrometres_per_pixel": 2.0, "regions": {
        "0": {"name": "glass"}, "1": {"name": "LE"}, "2": {"name": "Cellular Tumor"}, "#05d004": "Cellular Tumor"}}))  # fmt: skip
    return path


def drawing(tmp_path: Path) -> dict[str, Path]:
    """The same slide of 200 x 100 pixels three times: left edge LE, right half tumor with a hole, top strip glass."""
    labels = np.zeros((25, 50), np.uint8)
    labels[5:, :25] = 1
    labels[5:, 25:] = 2
    indexed = tmp_path / "S1.png"
    Image.fromarray(labels, mode="L").save(indexed)
    left = [[[0, 20], [100, 20], [100, 100], [0, 100], [0, 20]]]
    right = [[[100, 20], [200, 20], [200, 100], [100, 100], [100, 20]]]
    features = [
        {
            "type": "Feature",
            "properties": {"classification": {"name": "LE"}},
            "geometry": {"type": "Polygon", "coordinates": left},
        },
        {
            "type": "Feature",
            "properties": {"name": "cellular_tumor"},
            "geometry": {"type": "Polygon", "coordinates": right},
        },
    ]
    shapes = tmp_path / "S1.geojson"
    shapes.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return {"picture": indexed, "geojson": shapes}


@pytest.mark.parametrize("kind", ["picture", "geojson"])
def test_pictures_and_polygons_name_the_same_tiles(tmp_path: Path, legend: Path, kind: str) -> None:
    path = drawing(tmp_path)[kind]
    annotation = read_annotation("S1", path, (200, 100), (0.5, 0.5), read_legend(legend))
    grid = pd.DataFrame(
        {"x": [0.0, 60.0, 110.0, 160.0], "y": [0.0, 40.0, 40.0, 0.0], "size": 20.0, "size_y": 20.0}
    )
    assert annotate(grid, annotation, STRUCTURES)["subspace"].tolist() == ["", "tme", "tumor", ""]


def test_colours_of_the_legend_are_looked_up(tmp_path: Path, legend: Path) -> None:
    path = tmp_path / "S2.png"
    Image.new("RGB", (10, 10), (5, 208, 4)).save(path)
    names = read_legend(legend) | {"mpp": None}
    assert (
        read_annotation("S2", path, (100, 100), (1, 1), names).structure_of(0, 0, 30, 30) == "Cellular Tumor"
    )


@pytest.mark.parametrize(
    "content",
    ["[1, 2", '{"type": "Feature", "geometry": null}', '{"type": "Polygon", "coordinates": [[[0, 0]]]}', '"x"',
     '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"name": "LE"}, "geometry": '
     '{"type": "Polygon", "coordinates": [[[0, 0], [1, null], [2, 2]]]}}]}'],
)  # fmt: skip
def test_broken_annotations_name_their_slide(tmp_path: Path, content: str) -> None:
    path = tmp_path / "S9.geojson"
    path.write_text(content)
    with pytest.raises(InputError, match="annotation of slide S9"):
        read_annotation("S9", path, (100, 100), (1, 1), read_legend(None))


def test_a_legend_with_other_keys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "legend.json"
    path.write_text('{"regions": {"green": {"name": "LE"}}}')
    with pytest.raises(InputError, match="'green'"):
        read_legend(path)


def atlas_structures() -> dict[str, list[str]]:
    from pathduet.core import config

    structures: dict[str, list[str]] = config.preset("glioma")["explanations"]["regions"]["structures"]
    return structures


def test_the_presets_structures_hold_every_area_of_the_atlas() -> None:
    from pathduet.explain.files import plain_name

    sides = {name: {plain_name(one) for one in listed} for name, listed in atlas_structures().items()}
    areas = {"le", "lehbv", "it", "ithbv", "ct", "ctpnz", "ctpnn", "ctpan", "cthbv", "ctmvp", "ctne"}
    assert areas <= sides["tumor"] | sides["tme"] and not sides["tumor"] & sides["tme"]


#: The names that the paper and the atlas's legend write, and the side that the paper counts them to.
ATLAS = {
    "Cellular Tumor": "tumor", "Perinecrotic Zone": "tumor", "Pseudopalisading Cells Around Necrosis": "tumor",
    "Pseudopalisading Cells but No Visible Necrosis": "tumor", "Leading Edge": "tme", "Infiltrating Tumor": "tme",
    "Hyperplastic Blood Vessels": "tme", "Microvascular Proliferation": "tme", "Necrosis": "tme", "Ink": "",
}  # fmt: skip


@pytest.mark.parametrize("form", ["classification", "names", "name"])
def test_an_annotation_by_the_atlass_names_is_scored_with_the_shipped_mapping(
    tmp_path: Path, form: str
) -> None:
    features = []
    for i, name in enumerate(ATLAS):
        ring = [[100 * i, 0], [100 * i + 100, 0], [100 * i + 100, 100], [100 * i, 100], [100 * i, 0]]
        named = {
            "classification": {"classification": {"name": name, "color": [5, 208, 4]}, "name": "region 1"},
            "names": {"classification": {"names": [name]}, "objectType": "annotation"},
            "name": {"name": name},
        }[form]
        features.append(
            {"type": "Feature", "properties": named, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        )
    path = tmp_path / "ivy.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    annotation = read_annotation("S1", path, (100 * len(ATLAS), 100), (0.5, 0.5), read_legend(None))
    grid = pd.DataFrame(
        {"x": [100.0 * i for i in range(len(ATLAS))], "y": 0.0, "size": 100.0, "size_y": 100.0}
    )
    named_tiles = annotate(grid, annotation, atlas_structures())
    assert dict(zip(named_tiles["structure"], named_tiles["subspace"], strict=True)) == ATLAS
    called = ["tumor"] * 3 + ["tme"] * 6 + ["tumor"]  # one tumor structure missed; ink counts nowhere
    (tumor, tme), structures = score_slide(
        named_tiles.assign(prototype=called, magnification="10x"), {"model": "distilled"}, SUBSPACES
    )
    assert tumor["dice"] == pytest.approx(2 * 3 / (3 + 4)) and tumor["recall"] == pytest.approx(3 / 4)
    assert tme["recall"] == 1 and len(structures) == 9


def test_derived_classes_keep_both_names(tmp_path: Path) -> None:
    ring = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
    feature = {"type": "Feature", "properties": {"classification": {"names": ["Tumor", "Positive"]}},
               "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip
    path = tmp_path / "s.geojson"
    path.write_text(json.dumps([feature]))  # QuPath's older exports are a bare list
    annotation = read_annotation("S1", path, (100, 100), (1, 1), read_legend(None))
    assert annotation.structure_of(0, 0, 50, 50) == "Tumor: Positive"


def test_annotations_count_from_the_corner_that_is_stated(tmp_path: Path) -> None:
    ring = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
    feature = {
        "type": "Feature",
        "properties": {"name": "core"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    path, bounds, size0 = tmp_path / "S1.geojson", (300, 200, 400, 300), (1000, 800)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    Image.fromarray(np.pad(np.ones((1, 1), np.uint8), ((0, 2), (0, 3)))).save(tmp_path / "S1.png")
    legend = {"names": {"1": "core", "0": "glass"}, "mpp": None}
    for file in (path, tmp_path / "S1.png"):
        drawn = read_annotation("S1", file, size0, (1, 1), legend, "qupath", bounds)
        assert drawn.structure_of(300, 200, 100, 100) == "core" and drawn.structure_of(0, 0, 100, 100) == ""
        drawn = read_annotation("S1", file, size0, (1, 1), legend, "level0", bounds)
        assert drawn.structure_of(0, 0, 100, 100) == "core"
        with pytest.raises(
            InputError, match=r"400 x 300 pixels at \(300, 200\).*explanations\.regions\.frame"
        ):
            read_annotation("S1", file, size0, (1, 1), legend, "", bounds)


@pytest.mark.slow
def test_an_annotation_beside_the_tiles_is_a_problem_that_names_the_bounds(tmp_path: Path) -> None:
    features = write_slide(tmp_path / "S1", {"10x": 3, "20x": 12})
    with h5py.File(features.with_name("tiles.h5"), "r+") as file:
        file.attrs["bounds"] = [3000, 2000, 900, 900]
    ring = [[0, 0], [900, 0], [900, 900], [0, 900], [0, 0]]
    feature = {
        "type": "Feature",
        "properties": {"name": "core"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    (tmp_path / "S1.geojson").write_text(json.dumps(feature))
    found = {}
    for frame in (None, "level0", "qupath"):
        settings = {"annotations": str(tmp_path / "{slide_id}.geojson"), "legend": None, "frame": frame}
        annotated = AnnotatedSlides({**settings, "structures": {"tumor": ["core"]}})
        structures = annotated.structures("S1", features)
        found[frame] = (
            structures is not None and (structures["10x"]["structure"] == "core").any(),
            annotated.problems,
        )
    assert found["level0"] == (True, [])
    assert not found[None][0] and "does not state its frame" in found[None][1][0]
    assert found["qupath"][1] == [
        "slide S1: none of its tiles lies in S1.geojson; the slide declares a scanned part of 900 x 900 pixels at (3000, 2000) of level 0"
    ]

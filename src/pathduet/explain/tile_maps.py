"""A model's results for each tile of a slide: prototype, merge weight, attention.

A network reads a square map of tokens, not the slide. If a slide has few tiles, each fills several of its cells; if
it has many, only some are on it (:mod:`pathduet.features.token_map`). Results are mapped back by summing over a
tile's cells; tiles that are not tokens have no row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pathduet.catalogue import CATALOGUE
from pathduet.core.checksums import checked
from pathduet.core.errors import InputError
from pathduet.explain.sampled_points import Sampling
from pathduet.explain.token_maps import TokenMaps, token_maps
from pathduet.explain.words import listed, subspace_word
from pathduet.features.feature_file import open_features
from pathduet.features.foreign_tiles import FeatureFileError
from pathduet.models.method.student import Student
from pathduet.models.method.teacher import Teacher
from pathduet.training.dataset import Batch, SlideDataset, SlideSample, map_rows
from pathduet.training.model_folder import ModelDescription, load_model
from pathduet.training.predict import check_features

if TYPE_CHECKING:
    import pandas as pd

Expression = Mapping[str, NDArray[np.floating]]
NO_PLACES = "the positions of its tiles are unknown"
NO_PLACES_ADVICE = (
    "it has no map: make features with coordinates, and give its mpp in slides.tsv if they are micrometres"
)
POINT_COLUMNS = ("magnification", "attention", "group", "key", "tile", "x", "y", "mass")


class SlideMaps(NamedTuple):
    """A model's results for the tiles of a slide.

    Attributes
    ----------
    tiles : DataFrame
        One row per tile and magnification, for tiles among the model's tokens: `magnification`, `tile` (row of the
        magnification's datasets in features.h5), `x`, `y` (top-left corner), `size` (width) and `size_y`, in level-0 pixels,
        `cells` (how many cells of the token map it fills). For a student: `prototype` (the subspace that the slide's learned
        order assigns to it), by subspace `p_<subspace>` (share of the tile's cells that went into its prototype) and
        `merge_weight_<subspace>` (share in the mean of eq. 12; each adds up to 1 over a magnification's tiles), `merge_weight`
        (that of the tile's own prototype) and `attention_patches`. For a teacher: `attention_<subspace>`. Each attention adds up
        to 1. ``attrs``: `slide_id`, `width`, `height` (level 0; None without tiles.h5), `bounds` (declared, see
        :mod:`pathduet.slides.readers.frame`), `mpp` (x, y), `task` (its title inside a sentence), `model`, `fold`, `subspaces`;
        for students `named_by`: ``teacher``, ``task`` (the order then has a stable meaning, but not the subspaces') or
        ``nothing``.
    points : DataFrame
        One row per point at which deformable attention read the slide: `magnification`, `attention` (a
        subspace, or ``patches`` for a student), `group` (of channels), `key`, `tile`, `x`, `y` (level-0 pixels), `mass`
        (adds up to 1 over a magnification and attention). A point is drawn in the tile of its cell,
        at its position in that cell: neighbouring cells are mostly neighbouring tiles, but not
        everywhere, so positions between two of them do not exist on the slide.
    """

    tiles: pd.DataFrame
    points: pd.DataFrame

    @property
    def subspaces(self) -> tuple[str, ...]:
        """The model's subspaces, in their order."""
        return tuple(self.tiles.attrs["subspaces"])


@dataclass(frozen=True)
class TileGrid:
    """The encoded tiles of one magnification.

    Attributes
    ----------
    grid : (n, 2) int array
        (column, row) on the slide's lattice.
    corners : (n, 2) array
        Exact top-left corners in level-0 pixels.
    width0, height0 : float
        A tile's size in level-0 pixels.
    """

    grid: NDArray[np.int64]
    corners: NDArray[np.float64]
    width0: float
    height0: float


def slide_maps(
    model_dir: Path, features: Path, expression: Expression | None = None, device: str = "auto"
) -> SlideMaps:
    """Return a trained model's results for each tile of a slide, and the points that its attention sampled.

    Parameters
    ----------
    model_dir : Path
        Folder with ``model.json`` and ``weights.safetensors``.
    features : Path
        The slide's ``features.h5``, with ``tiles.h5`` beside it for the slide's size; or its ``features.json``.
    expression : mapping of str to array, optional
        z-scores of each subspace's genes in token order; required by a teacher.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...

    Raises
    ------
    InputError
        If model and features do not match, or a teacher gets no expression.
    """
    network, description, _ = load_model(model_dir)
    return loaded_slide_maps(network, description, features, expression, device)


def loaded_slide_maps(
    network: nn.Module,
    description: ModelDescription,
    features: Path,
    expression: Expression | None = None,
    device: str = "auto",
    *,
    attention: bool = True,
) -> SlideMaps:
    """Return :func:`slide_maps` of a loaded network, for many slides of one model; a student's `attention` only if wanted."""
    import pandas as pd
    import torch

    from pathduet.core.hardware import pick_device

    chosen = torch.device(pick_device(device))
    config = description.config
    where = f"model {description.model} of {description.task.name}, fold {description.fold}"
    pooled = isinstance(network, Student) and config.aggregation == "mean"
    if pooled or not isinstance(network, Teacher | Student):
        found = f"{description.model}: neither prototypes nor deformable attention"
        raise InputError.of(where, found, "explain a teacher or a student with `aggregation: ita`")
    network.to(chosen)
    grids, about = read_grids(Path(features))
    batch = _one_slide(Path(features), about["slide_id"], description, network, expression)
    tiles, points = [], []
    for m, maps in token_maps(network, batch.to(chosen), attention).items():
        with open_features(Path(features)) as slide:
            rows = map_rows(slide, m, config.experts, config)
        tiles.append(tile_rows(m, grids[m], rows, maps, config.subspaces))
        # plain attention does not sample: it reads every cell
        if config.attention == "deformable":
            points += [point_rows(m, name, grids[m], rows, s) for name, s in maps.samplings.items()]
    table = pd.concat(tiles, ignore_index=True)
    table.attrs.update(about)
    table.attrs.update(
        task=description.task.in_sentence,
        model=description.model,
        fold=description.fold,
        subspaces=config.subspaces,
    )
    if isinstance(network, Student):
        table.attrs["named_by"] = _named_by(network, description)
    drawn = pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=list(POINT_COLUMNS))
    return SlideMaps(table, drawn)


def read_grids(features: Path) -> tuple[dict[str, TileGrid], dict[str, Any]]:
    """Return a slide's tiles by magnification, and `slide_id`, `mpp`, `width`, `height` and declared `bounds` (None: unknown).

    For a slide with features of another tool, `mpp` is NaN if unknown, and width and height are those of its tiles'
    extent.

    Raises
    ------
    InputError
        If the features cannot be read or have no coordinates, or the tiles.h5 beside them is another slide's.
    """
    import h5py

    try:
        with open_features(features) as slide:
            known = slide.attributes
            about: dict[str, Any] = {
                "slide_id": str(known.get("slide_id", features.parent.name)),
                "mpp": tuple(float(known[name] or "nan") for name in ("mpp_x", "mpp_y")),
                "width": known.get("width"),
                "height": known.get("height"),
                "bounds": known.get("bounds"),
            }
            grids = {}
            for m in slide.magnifications:
                corners = slide.coords(m)
                if corners is None:
                    raise InputError.of(f"slide {about['slide_id']}", NO_PLACES, NO_PLACES_ADVICE)
                grids[m] = TileGrid(slide.grid(m).astype(np.int64), corners, *slide.step(m))
        tiles = features.with_name("tiles.h5")
        if features.suffix == ".json":
            if not about["width"]:
                ends = [
                    grid.corners.max(axis=0) + np.array([grid.width0, grid.height0])
                    for grid in grids.values()
                ]
                about |= dict(zip(("width", "height"), np.ceil(np.max(ends, axis=0)).astype(int).tolist()))
        elif checked(tiles).is_file():
            with h5py.File(tiles, "r") as file:
                if str(file.attrs.get("slide_id", about["slide_id"])) != about["slide_id"]:
                    raise KeyError("the tiles.h5 beside it belongs to another slide")
                about |= {"width": int(file.attrs["width"]), "height": int(file.attrs["height"])}
                about["bounds"] = file.attrs.get("bounds")
        if about["bounds"] is not None:
            about["bounds"] = tuple(int(v) for v in about["bounds"])
    except (OSError, KeyError, FeatureFileError) as error:
        raise InputError.of(f"features {features}", str(error), "extract them again") from None
    return grids, about


def tile_rows(
    magnification: str, grid: TileGrid, rows: NDArray[np.int64], maps: TokenMaps, subspaces: Sequence[str]
) -> pd.DataFrame:
    """Return the rows of one magnification.

    Parameters
    ----------
    grid : TileGrid
        n tiles.
    rows : (N,) int array
        Tile of each cell of the token map.
    maps : TokenMaps
        The network's results at the cells.
    subspaces : sequence of str
        Names of the prototypes, in the order of the indices in `maps`.
    """
    import pandas as pd

    n = len(grid.grid)
    cells = np.bincount(rows, minlength=n)
    used = np.flatnonzero(cells)

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(rows, weights=values, minlength=n)[used].astype(np.float64)

    columns: dict[str, Any] = {
        "magnification": magnification,
        "tile": used,
        "x": grid.corners[used, 0],
        "y": grid.corners[used, 1],
        "size": grid.width0,
        "size_y": grid.height0,
        "cells": cells[used],
    }
    if maps.prototype is not None and maps.weight is not None:
        members = [maps.prototype == place for place in range(len(subspaces))]
        share = np.stack([total(inside) / cells[used] for inside in members])
        weight = np.stack([total(maps.weight * inside) for inside in members])
        # copies in several prototypes (only if equal tokens get different positions): the majority names the tile
        named = np.where(share == share.max(axis=0), weight, -1.0).argmax(axis=0)
        columns |= {
            "prototype": np.array(subspaces)[named],
            **{f"p_{name}": share[place] for place, name in enumerate(subspaces)},
            "merge_weight": weight[named, np.arange(len(used))],
            **{f"merge_weight_{name}": weight[place] for place, name in enumerate(subspaces)},
        }
    columns |= {f"attention_{name}": total(s.cells()) for name, s in maps.samplings.items()}
    return pd.DataFrame(columns)


def point_rows(
    magnification: str, attention: str, grid: TileGrid, rows: NDArray[np.int64], sampling: Sampling
) -> pd.DataFrame:
    """Return the points of one attention as rows of :attr:`SlideMaps.points`."""
    import pandas as pd

    cell, place = sampling.nearest_cells()
    groups, keys = cell.shape
    tile = rows[cell.ravel()]
    corner = grid.corners[tile] + place.reshape(-1, 2) * (grid.width0, grid.height0)
    return pd.DataFrame(
        {
            "magnification": magnification,
            "attention": attention,
            "group": np.repeat(np.arange(groups), keys),
            "key": np.tile(np.arange(keys), groups),
            "tile": tile,
            "x": corner[:, 0],
            "y": corner[:, 1],
            "mass": np.tile(sampling.mass / groups, groups),
        }
    )


class _GivenExpression:
    """One slide's expression, with the interface that :class:`SlideDataset` needs."""

    def __init__(self, description: ModelDescription, rows: Expression) -> None:
        self.genes, self.rows = description.genes, rows

    def row_for(self, patient_id: str, slide_id: str) -> Expression:
        return self.rows


def _one_slide(
    features: Path,
    slide_id: str,
    description: ModelDescription,
    network: Teacher | Student,
    expression: Expression | None,
) -> Batch:
    given = None
    if isinstance(network, Teacher):
        wanted = {name: len(genes) for name, genes in description.genes.items()}
        found = None if expression is None else {name: len(values) for name, values in expression.items()}
        if expression is None or found != wanted:
            text = f"{_counts(wanted)} are needed, found {_counts(found) if found else 'no expression'}"
            advice = "give the expression in the model's token order, or explain a student"
            raise InputError.of(f"slide {slide_id}, model {description.model}", text, advice)
        given = _GivenExpression(description, expression)
    case = SlideSample(slide_id, slide_id, "", "", features)
    dataset = SlideDataset([case], description.config, given, cache_mib=0)
    check_features(dataset, description, f"slide {slide_id}")
    return dataset.batch([0])


def _counts(genes: Mapping[str, int]) -> str:
    """Return numbers of genes as text: ``5 tumor and 7 TME genes``."""
    return listed([f"{count} {subspace_word(name)}" for name, count in genes.items()]) + " genes"


def _named_by(network: Student, description: ModelDescription) -> str:
    if not network.learns_order:
        return "nothing"
    return "teacher" if CATALOGUE[description.choice.base].role == "distilled" else "task"

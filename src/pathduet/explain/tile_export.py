"""A slide's tiles with a model's maps as AnnData, SpatialData and GeoJSON for QuPath; a model's slides as AnnData."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathduet.cohort.tasks import Task
from pathduet.core.checksums import checked
from pathduet.core.files import atomic_path
from pathduet.evaluation.predictions import read_predictions
from pathduet.explain.fold_results import read_representations
from pathduet.explain.tile_maps import POINT_COLUMNS, SlideMaps
from pathduet.explain.viewer.geojson import write_geojson
from pathduet.explain.viewer.slide_heatmaps import read_picture
from pathduet.features.export import SlideTiles
from pathduet.results import PREDICTIONS, REPRESENTATIONS, Results
from pathduet.slides.readers.frame import LEVEL0, Frame

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

#: Columns of the maps that a model computed for a tile; the others give its position.
_OF_MODEL = ("cells", "prototype", "p_", "merge_weight", "attention_")


@dataclass(frozen=True)
class ModelView:
    """A model's results for a slide.

    Attributes
    ----------
    maps : SlideMaps
    prediction : dict
        The slide's row of predictions.tsv; empty if it has none.
    """

    maps: SlideMaps
    prediction: dict[str, Any]


def tile_anndata(
    tiles: SlideTiles,
    frame: Frame = LEVEL0,
    view: ModelView | None = None,
    thumbnail: Path | None = None,
) -> AnnData:
    """Return a slide's tiles as AnnData: observations are tiles, variables are feature dimensions.

    Parameters
    ----------
    tiles : SlideTiles
        With coordinates.
    frame : Frame
        The frame of the coordinates.
    view : ModelView, optional
        Adds the maps' columns (missing for non-token tiles) and the prediction, as ``slide_<column>``.
    thumbnail : Path, optional
        A picture of the whole of level 0, for plots.

    Returns
    -------
    AnnData
        ``X`` float32; ``obs``: `slide_id`, `magnification`, `column`, `row`, `x`, `y` (top-left corner), `width`, `height`
        (pixels); ``obsm["spatial"]``: the tiles' centres; ``uns["pathduet"]``: the frame, pixel size, encoder and model;
        ``uns["spatial"][slide_id]``: picture and scale factors, as scanpy and squidpy read them.
    """
    import pandas as pd
    from anndata import AnnData

    corners = tiles.known_corners - np.array([frame.x, frame.y])
    n, (width, height) = len(corners), tiles.size
    names = [f"{tiles.slide_id}:{tiles.magnification}:{row}" for row in range(n)]
    columns = {
        "slide_id": pd.Categorical([tiles.slide_id] * n),
        "magnification": pd.Categorical([tiles.magnification] * n),
        "column": tiles.grid[:, 0],
        "row": tiles.grid[:, 1],
        "x": corners[:, 0],
        "y": corners[:, 1],
        "width": width,
        "height": height,
    }
    obs = pd.DataFrame(columns, index=names)
    about: dict[str, Any] = {
        "slide_id": tiles.slide_id,
        "magnification": tiles.magnification,
        "encoder": tiles.encoder,
        **frame.about,
    }
    if tiles.mpp is not None:
        about["mpp_level0"] = list(tiles.mpp)
    if view is not None:
        obs = obs.join(_of_model(view.maps, tiles.magnification, names))
        for name, value in view.prediction.items():
            obs[f"slide_{name}"] = pd.Categorical([value] * n) if isinstance(value, str) else value
        about |= {name: str(view.maps.tiles.attrs[name]) for name in ("task", "model", "fold")}
    found = AnnData(
        tiles.features.astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=[f"feature_{i}" for i in range(tiles.features.shape[1])]),
        obsm={"spatial": corners + np.array([width, height]) / 2},
        uns={"pathduet": about},
    )
    if thumbnail is not None and checked(thumbnail).is_file() and tiles.size0 is not None:
        picture, scale = _picture(thumbnail, tiles.size0, frame)
        factors = {"tissue_hires_scalef": scale, "spot_diameter_fullres": float(min(width, height))}
        library = {"images": {"hires": picture}, "scalefactors": factors}
        found.uns["spatial"] = {tiles.slide_id: library}
    return found


def _of_model(maps: SlideMaps, magnification: str, names: list[str]) -> pd.DataFrame:
    """Return the maps' columns of one magnification, one row for each tile that is a token."""
    table = maps.tiles[maps.tiles["magnification"] == magnification]
    chosen = table[[c for c in table if str(c).startswith(_OF_MODEL)]]
    chosen.index = [names[row] for row in table["tile"]]
    chosen = chosen.reindex(names)
    if "prototype" in chosen:
        chosen["prototype"] = chosen["prototype"].astype("category")
    return chosen.assign(cells=chosen["cells"].fillna(0).astype(np.int64))


def _picture(thumbnail: Path, size0: tuple[int, int], frame: Frame) -> tuple[NDArray[np.uint8], float]:
    """Return the part of a slide's picture that the frame shows, and its pixels per level-0 pixel."""
    picture = read_picture(thumbnail)
    scale = picture.shape[1] / size0[0]
    if frame.size is not None:
        left, top, width, height = (round(v * scale) for v in (frame.x, frame.y, *frame.size))
        picture = picture[max(top, 0) : top + height, max(left, 0) : left + width]
    return picture, scale


def write_anndata(path: Path, found: AnnData) -> None:
    """Write AnnData as compressed h5ad."""
    with atomic_path(path) as temporary:
        found.write_h5ad(temporary, compression="gzip")


def write_spatialdata(path: Path, found: AnnData) -> None:
    """Write a slide's tiles as a SpatialData store: polygons `tiles`, the table that annotates them, the picture.

    Coordinates are the AnnData's pixels (coordinate system ``global``) and, where the pixel size is known, micrometres (``um``).

    Parameters
    ----------
    path : Path
        Folder ``*.zarr``; replaced if it exists.
    found : AnnData
        From :func:`tile_anndata`.
    """
    import geopandas
    from shapely import box
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import BaseTransformation, Identity, Scale, Sequence

    obs, about = found.obs, found.uns["pathduet"]
    systems: dict[str, BaseTransformation] = {"global": Identity()}
    if "mpp_level0" in about:
        systems["um"] = Scale(about["mpp_level0"], axes=("x", "y"))
    x, y = obs["x"].to_numpy(), obs["y"].to_numpy()
    polygons = box(x, y, x + obs["width"].to_numpy(), y + obs["height"].to_numpy())
    shapes = ShapesModel.parse(geopandas.GeoDataFrame(geometry=list(polygons)), transformations=systems)
    table = found.copy()
    for key in [key for key in table.uns if key != "pathduet"]:
        del table.uns[key]
    table.obs["region"], table.obs["tile"] = "tiles", np.arange(len(obs))
    table.obs["region"] = table.obs["region"].astype("category")
    table = TableModel.parse(table, region="tiles", region_key="region", instance_key="tile")
    images = {}
    for library in found.uns.get("spatial", {}).values():
        up = Scale([1 / library["scalefactors"]["tissue_hires_scalef"]] * 2, axes=("x", "y"))
        placed = {name: Sequence([up, step]) for name, step in systems.items()}
        images["thumbnail"] = Image2DModel.parse(
            library["images"]["hires"], dims=("y", "x", "c"), transformations=placed
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    SpatialData(images=images, shapes={"tiles": shapes}, tables={"table": table}).write(temporary)
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)


def write_objects(
    path: Path, tiles: SlideTiles, frame: Frame = LEVEL0, view: ModelView | None = None
) -> None:
    """Write a slide's tiles at one magnification as QuPath objects: with a model's maps, or as outlines."""
    import pandas as pd

    if view is not None:
        maps = SlideMaps(*(table[table["magnification"] == tiles.magnification] for table in view.maps))
        write_geojson(path, maps, frame=frame)
        return
    corners = tiles.known_corners
    table = pd.DataFrame(
        {
            "magnification": tiles.magnification,
            "tile": np.arange(len(corners)),
            "x": corners[:, 0],
            "y": corners[:, 1],
            "size": tiles.size[0],
            "size_y": tiles.size[1],
        }
    )
    table.attrs.update(slide_id=tiles.slide_id, task="", model="", fold="", subspaces=())
    write_geojson(path, SlideMaps(table, pd.DataFrame(columns=list(POINT_COLUMNS))), frame=frame)


def slides_anndata(results: Results, task: Task, model: str, folds: Sequence[int]) -> AnnData:
    """Return a model's slides as AnnData, each from the fold whose test part contains it.

    Returns
    -------
    AnnData
        ``X``: representations, float32 (no variables if the model has none); ``obs``: the columns of predictions.tsv,
        including `fold`. Representations of different folds come from different networks: compare them within a fold.
    """
    import pandas as pd
    from anndata import AnnData

    tables, values = [], []
    for fold in folds:
        folder = results.model(task.name, model, fold)
        table = read_predictions(folder / PREDICTIONS)
        test = (table["part"] == "test").to_numpy()
        tables.append(table[test])
        if checked(folder / REPRESENTATIONS).is_file():
            values.append(read_representations(folder / REPRESENTATIONS)[1][test])
    obs = pd.concat(tables, ignore_index=True)
    obs.index = [slide or patient for slide, patient in zip(obs["slide_id"], obs["patient_id"])]
    for column in obs.select_dtypes("object"):
        obs[column] = obs[column].astype("category")  # what is missing stays missing
    matrix = np.concatenate(values).astype(np.float32) if values else np.zeros((len(obs), 0), np.float32)
    var = pd.DataFrame(index=[f"representation_{i}" for i in range(matrix.shape[1])])
    return AnnData(matrix, obs=obs, var=var, uns={"pathduet": {"task": task.name, "model": model}})

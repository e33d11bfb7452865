"""Stage ``features``: reads, normalises and encodes every kept tile and writes features.h5."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pathduet import __version__
from pathduet.cohort.sheets import SlideRow
from pathduet.core.checksums import checked
from pathduet.core.errors import SlideError
from pathduet.core.provenance import origin
from pathduet.features.feature_file import TileFeatures, write_features
from pathduet.features.patch_attributes import patch_attributes
from pathduet.features.token_map import hilbert_order, token_indices
from pathduet.slides.encoders.encoder import load_encoder
from pathduet.slides.encoders.engines import Encoder
from pathduet.slides.settings import SlideSettings
from pathduet.slides.source import SOURCE, read_content, slide_files
from pathduet.slides.stain.colour_table import Normalizer
from pathduet.slides.stain_stage import load_normalizer
from pathduet.slides.status import StageResult
from pathduet.slides.tile_loader import LoadedTile, Loader, ProcessTileLoader, TileLoader
from pathduet.slides.tiles_file import TileTable, read_tiles

_MAX_FLOAT16 = 65504.0


def encoded_rows(
    tiles: TileTable, max_tiles: int, tried: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return the rows of the tiles to encode: all, or evenly spaced along the tissue's Hilbert order.

    Rows already `tried` are left out.
    """
    order = hilbert_order(tiles.grid)
    if tried is not None:
        order = order[~np.isin(order, tried)]
    most = min(len(order), max_tiles)
    return np.sort(order[token_indices(len(order), most)] if most else order[:0])


@dataclass
class EncodedTiles:
    """The features of one magnification.

    Attributes
    ----------
    features : (n, dim) float16 array
    rows : (n,) int64 array
        Encoded rows of the tile table, ascending.
    flaws : dict of str to int
        Number of tiles left out as ``failed``, ``blank`` and ``blurred``.
    tried : int
        Number of tiles read.
    """

    features: NDArray[np.float16]
    rows: NDArray[np.int64]
    flaws: dict[str, int]
    tried: int


def encode_slide(
    slide: SlideRow,
    settings: SlideSettings,
    folder: Path,
    key: str,
    threads: int = 1,
    encoder: Encoder | None = None,
) -> StageResult:
    """Encode a slide's tiles at each magnification and write features.h5 into `folder`.

    Parameters
    ----------
    slide : SlideRow
    settings : SlideSettings
    folder : Path
        Folder of tiles.h5 and stain.json.
    key : str
        Cache key to record.
    threads : int
        Threads that read and normalise tiles; processes if the encoder is on a GPU.
    encoder : Encoder, optional
        The configured encoder by default.

    Returns
    -------
    StageResult
        Counts: encoded tiles of each magnification (n_20x); failed_tiles; rejected_blank_10x and so on; tiles_left_out
        (beyond ``max_tiles``).

    Raises
    ------
    SlideError
        ``unreadable`` if too many tiles cannot be decoded; ``too_few_tiles`` if too few are left; ``failed`` if
        features are not finite in float16.
    """
    encoder = encoder or load_encoder(settings.encoder)
    tables = read_tiles(folder / "tiles.h5")
    normalise, matrix, backend = load_normalizer(folder / "stain.json")
    most = settings.tile.max_tiles
    with _loader(slide, settings, folder, tables, normalise, threads, encoder) as loader:
        encoded = encode_tiles(
            slide, tables, most, loader, encoder, settings.encoder.batch_size, settings.tile.max_failed_tiles
        )
    _check_enough(slide, encoded, settings.tile.min_tiles)
    with h5py.File(checked(folder / "tiles.h5"), "r") as file:
        attributes = {name: file.attrs[name] for name in ("mpp_x", "mpp_y", "mpp_source", "tile_px")}
        size0 = int(file.attrs["width"]), int(file.attrs["height"])
        magnifications = {
            name: TileFeatures(
                tiles.features,
                tables[name].coords[tiles.rows],
                tables[name].grid[tiles.rows],
                dict(file[name].attrs),
                patch_attributes(
                    slide.slide_id,
                    int(file.attrs["tile_px"]),
                    tables[name].width0,
                    tables[name].step_x0,
                    float(file.attrs["mpp_x"]),
                    size0,
                ),
            )
            for name, tiles in encoded.items()
        }
    attributes |= {
        "slide_id": slide.slide_id,
        "encoder": encoder.name,
        "encoder_stage": encoder.stage,
        "weights_sha256": encoder.weights_sha256,
        "weights_source": encoder.weights_source,
        "precision": encoder.precision,
        "engine": encoder.engine,
        "input_px": encoder.input_px or int(attributes["tile_px"]),
        "preprocessing_mean": encoder.mean,
        "preprocessing_std": encoder.std,
        "feature_dim": encoder.dim,
        "stain_matrix": matrix,
        "stain_backend": backend,
        "package_version": __version__,
        "provenance": json.dumps(_made_of(slide, settings, folder), sort_keys=True),
        "key": key,
    }
    write_features(folder / "features.h5", attributes, magnifications)
    left_out = {name: len(tables[name].grid) - tiles.tried for name, tiles in encoded.items()}
    return _result(encoded, left_out)


def _loader(
    slide: SlideRow,
    settings: SlideSettings,
    folder: Path,
    tables: Mapping[str, TileTable],
    normalise: Normalizer,
    threads: int,
    encoder: Encoder,
) -> Loader:
    if threads > 1 and encoder.device.startswith("cuda"):
        return ProcessTileLoader(slide, folder, threads, settings.tile.min_sharpness)
    return TileLoader(slide, tables, normalise, threads, settings.tile.min_sharpness)


def _check_enough(slide: SlideRow, encoded: Mapping[str, EncodedTiles], min_tiles: int) -> None:
    if all(len(tiles.rows) >= min_tiles for tiles in encoded.values()):
        return
    found = "; ".join(
        f"{len(t.rows)} tiles remain at {name} ({t.flaws['blurred']} blurred, {t.flaws['blank']} blank, "
        f"{t.flaws['failed']} damaged)"
        for name, t in encoded.items()
    )
    raise SlideError(
        slide.slide_id,
        "too_few_tiles",
        f"{found}; at least {min_tiles} are needed",
        "lower slides.min_sharpness or slides.min_tiles, or exclude the slide",
    )


def _result(encoded: Mapping[str, EncodedTiles], left_out: Mapping[str, int]) -> StageResult:
    counts = {
        "failed_tiles": sum(tiles.flaws["failed"] for tiles in encoded.values()),
        "tiles_left_out": sum(left_out.values()),
    }
    for name, tiles in encoded.items():
        counts[f"n_{name}"] = len(tiles.rows)
        counts[f"rejected_blank_{name}"] = tiles.flaws["blank"]
        counts[f"rejected_blurred_{name}"] = tiles.flaws["blurred"]
    flawed = {
        "tiles could not be decoded": "failed",
        "blurred tiles dropped": "blurred",
        "blank tiles dropped": "blank",
    }
    totals = {text: sum(t.flaws[flaw] for t in encoded.values()) for text, flaw in flawed.items()}
    return StageResult(counts, tuple(f"{n} {text}" for text, n in totals.items() if n))


def encode_tiles(
    slide: SlideRow,
    tables: Mapping[str, TileTable],
    max_tiles: int,
    loader: Loader,
    encoder: Encoder,
    batch_size: int,
    max_failed: float,
) -> dict[str, EncodedTiles]:
    """Encode the tiles of each magnification as they arrive; leave out and count flawed tiles.

    If there are more tiles than `max_tiles`, others replace the flawed tiles, so blank glass does not use up the limit.

    Raises
    ------
    SlideError
        ``unreadable`` if more than the share `max_failed` of a magnification's tiles fail to decode; ``failed`` if
        features are not finite in float16.
    """
    rows = {name: encoded_rows(tiles, max_tiles) for name, tiles in tables.items()}
    found = {name: _Collected(encoder.dim) for name in rows}
    while any(map(len, rows.values())):
        for name, wanted in rows.items():
            found[name].want(wanted)
        _encode_rows(slide, rows, found, loader, encoder, batch_size, max_failed)
        rows = {
            name: encoded_rows(tiles, max_tiles - found[name].count, found[name].rows)
            for name, tiles in tables.items()
        }
    return {name: one.encoded() for name, one in found.items()}


def _encode_rows(
    slide: SlideRow,
    rows: Mapping[str, NDArray[np.int64]],
    found: Mapping[str, _Collected],
    loader: Loader,
    encoder: Encoder,
    batch_size: int,
    max_failed: float,
) -> None:
    pending: list[tuple[list[LoadedTile], Callable[[], NDArray[np.float32]]]] = []
    for batch in _batches(slide, loader.tiles(rows, 2 * batch_size), found, batch_size, max_failed):
        images = np.stack([tile.image for tile in batch if tile.image is not None])
        pending.append((batch, encoder.start(images)))
        if len(pending) > 1:  # collects the previous batch only now, so that the GPU never waits
            _take_in(slide, *pending.pop(0), found)
    for batch, wait in pending:
        _take_in(slide, batch, wait, found)


class _Collected:
    """What is known so far about the wanted tiles of one magnification."""

    def __init__(self, dim: int) -> None:
        self.rows, self.flaws = np.empty(0, np.int64), dict.fromkeys(("failed", "blank", "blurred"), 0)
        self._place: dict[int, int] = {}
        self._features = np.empty((0, dim), np.float16)
        self._kept = np.empty(0, bool)

    @property
    def count(self) -> int:
        """Number of tiles kept."""
        return int(self._kept.sum())

    def want(self, rows: NDArray[np.int64]) -> None:
        """Make room for further tiles."""
        self._place |= {row: len(self.rows) + i for i, row in enumerate(rows.tolist())}
        self.rows = np.concatenate([self.rows, rows])
        self._features = np.pad(self._features, ((0, len(rows)), (0, 0)))
        self._kept = np.pad(self._kept, (0, len(rows)))

    def keep(self, row: int, vector: NDArray[np.float32]) -> None:
        """Keep a tile's features."""
        self._features[self._place[row]], self._kept[self._place[row]] = vector, True

    def encoded(self) -> EncodedTiles:
        """Return the kept tiles, sorted by row."""
        order = np.argsort(self.rows)
        order = order[self._kept[order]]
        return EncodedTiles(self._features[order], self.rows[order], self.flaws, len(self.rows))


def _batches(
    slide: SlideRow,
    tiles: Iterable[LoadedTile],
    found: Mapping[str, _Collected],
    batch_size: int,
    max_failed: float,
) -> Iterator[list[LoadedTile]]:
    """Yield the tiles to encode in batches; count the others."""
    batch: list[LoadedTile] = []
    for tile in tiles:
        if tile.flaw:
            known = found[tile.magnification]
            known.flaws[tile.flaw] += 1
            if known.flaws["failed"] > max_failed * len(known.rows):
                raise SlideError(
                    slide.slide_id,
                    "unreadable",
                    f"more than {100 * max_failed:g} % of the {len(known.rows)} tiles of {slide.path.name} at "
                    f"{tile.magnification} cannot be decoded",
                    "copy the file again, or raise slides.max_failed_tiles",
                )
            continue
        batch.append(tile)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _take_in(
    slide: SlideRow,
    batch: list[LoadedTile],
    wait: Callable[[], NDArray[np.float32]],
    found: Mapping[str, _Collected],
) -> None:
    for tile, vector in zip(batch, wait()):
        if not (np.abs(vector) <= _MAX_FLOAT16).all():
            raise SlideError(
                slide.slide_id, "failed", "the encoder returned numbers that float16 cannot hold"
            )
        found[tile.magnification].keep(tile.row, vector)


def _made_of(slide: SlideRow, settings: SlideSettings, folder: Path) -> dict[str, Any]:
    """Return the provenance of a slide's features: its file, settings, seed and code; the encoder has its own attributes."""
    return {
        "inputs": {slide.path.name: read_content(slide_files(slide.path), folder / SOURCE)},
        "settings": {
            "tile": asdict(settings.tile),
            "stain": asdict(settings.stain) | {"target": Path(settings.stain.target).name},
        },
        "seed": settings.encoder.seed,
        **origin(),
    }

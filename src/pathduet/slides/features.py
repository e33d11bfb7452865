"""Stage ``features``: every kept tile read, normalised and encoded; written as features.h5."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pathduet import __version__
from pathduet.atomic import atomic_path
from pathduet.errors import SlideError
from pathduet.sheets import SlideRow
from pathduet.slides.encoders import Encoder
from pathduet.slides.reader import SlideReader
from pathduet.slides.settings import SlideSettings
from pathduet.slides.sharpness import flaw
from pathduet.slides.stain_stage import load_normalizer
from pathduet.slides.stains import Normalizer, tabulated
from pathduet.slides.tile_blocks import Block, ReadTile, plan_blocks, read_block, share_pixels
from pathduet.slides.tile_table import TileTable, read_tiles
from pathduet.slides.tokens import hilbert_order, token_indices

_CHUNK_ROWS = 256
_MAX_FLOAT16 = 65504.0
_TABLE_PAYS = (
    1500  # tiles of a slide from which on a table of all colours is quicker to fill than to do without
)


def encoded_rows(tiles: TileTable, max_tiles: int) -> NDArray[np.int64]:
    """Return which tiles are encoded, row by row: all, or evenly spaced ones along the tissue's Hilbert order."""
    order = hilbert_order(tiles.grid)
    return np.sort(order[token_indices(len(order), min(len(order), max_tiles))])


@dataclass(frozen=True)
class LoadedTile:
    """A tile on its way to the encoder.

    Attributes
    ----------
    magnification : {"10x", "20x"}
    row : int
        In the magnification's tile table.
    image : (tile_px, tile_px, 3) uint8 array or None
        Normalised; None if it is not to be encoded.
    flaw : str
        Why not: ``failed`` (cannot be decoded), ``blank`` or ``blurred``; empty otherwise.
    """

    magnification: str
    row: int
    image: NDArray[np.uint8] | None
    flaw: str


class TileLoader:
    """Reads, checks and normalises tiles in threads, ahead of the encoder; the decoders release the interpreter lock.

    Each thread has a reader of its own. Tiles come in the order of :func:`pathduet.slides.tile_blocks.plan_blocks`.
    """

    def __init__(
        self,
        slide: SlideRow,
        tables: Mapping[str, TileTable],
        normalise: Normalizer,
        threads: int,
        min_sharpness: float = 0.0,
    ) -> None:
        self._slide, self._tables, self._normalise = slide, tables, normalise
        self._min_sharpness = min_sharpness
        self._threads = max(1, threads)
        self._local = threading.local()
        self._readers: list[SlideReader] = []
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=self._threads, thread_name_prefix="tiles")
        self._shared = share_pixels(tables, self._reader())

    def _reader(self) -> SlideReader:
        reader: SlideReader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = SlideReader(self._slide.slide_id, self._slide.path)
            with self._lock:
                self._readers.append(reader)
        return reader

    def _load(self, block: Block) -> list[LoadedTile]:
        return [
            self._prepared(tile) for tile in read_block(block, self._tables, self._reader(), self._shared)
        ]

    def _prepared(self, tile: ReadTile) -> LoadedTile:
        if tile.image is None:
            return LoadedTile(tile.magnification, tile.row, None, "failed")
        found = flaw(tile.image, self._tables[tile.magnification].mpp, self._min_sharpness)
        image = None if found else self._normalise(tile.image)
        return LoadedTile(tile.magnification, tile.row, image, found)

    def tiles(self, rows: Mapping[str, NDArray[np.int64]], ahead: int) -> Iterator[LoadedTile]:
        """Yield the tiles of `rows`, with about `ahead` of them waiting in memory."""
        waiting: deque[Future[list[LoadedTile]]] = deque()
        blocks = plan_blocks(self._tables, rows, self._shared)
        each = max(1.0, sum(map(len, rows.values())) / max(1, len(blocks)))
        most = max(self._threads, round(ahead / each))
        for block in blocks:
            waiting.append(self._pool.submit(self._load, block))
            if len(waiting) > most:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()

    def close(self) -> None:
        """Stop the threads and close their readers."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for reader in self._readers:
            reader.close()

    def __enter__(self) -> TileLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class EncodedTiles:
    """The features of one magnification.

    Attributes
    ----------
    features : (n, dim) float16 array
    rows : (n,) int64 array
        Rows of the tile table that were encoded, ascending.
    flaws : dict of str to int
        How many tiles were left out as ``failed``, ``blank`` and ``blurred``.
    """

    features: NDArray[np.float16]
    rows: NDArray[np.int64]
    flaws: dict[str, int]


def encode_tiles(
    slide: SlideRow,
    rows: Mapping[str, NDArray[np.int64]],
    loader: TileLoader,
    encoder: Encoder,
    batch_size: int,
    max_failed: float,
) -> dict[str, EncodedTiles]:
    """Encode tiles of both magnifications as they come; flawed ones are left out and counted.

    Raises
    ------
    SlideError
        ``unreadable`` if more than the share `max_failed` of a magnification's tiles fails to decode; ``failed`` if
        features are not finite in float16.
    """
    place = {name: {row: i for i, row in enumerate(wanted.tolist())} for name, wanted in rows.items()}
    features = {name: np.zeros((len(wanted), encoder.dim), np.float16) for name, wanted in rows.items()}
    kept = {name: np.zeros(len(wanted), bool) for name, wanted in rows.items()}
    flaws = {name: dict.fromkeys(("failed", "blank", "blurred"), 0) for name in rows}
    batch: list[LoadedTile] = []
    started: list[tuple[list[LoadedTile], Callable[[], NDArray[np.float32]]]] = []

    def encode() -> None:
        """Start the batch, then take in the one before it: a GPU is never left waiting for that."""
        if batch:
            images = np.stack([tile.image for tile in batch if tile.image is not None])
            started.append((batch.copy(), encoder.start(images)))
        if len(started) > 1 or not batch:
            take_in(*started.pop(0))
        batch.clear()

    def take_in(tiles: list[LoadedTile], wait: Callable[[], NDArray[np.float32]]) -> None:
        for tile, vector in zip(tiles, wait()):
            if not (np.abs(vector) <= _MAX_FLOAT16).all():
                raise SlideError(
                    slide.slide_id, "failed", "the encoder gave numbers that float16 cannot hold"
                )
            i = place[tile.magnification][tile.row]
            features[tile.magnification][i] = vector
            kept[tile.magnification][i] = True

    for tile in loader.tiles(rows, 2 * batch_size):
        name = tile.magnification
        if tile.flaw:
            flaws[name][tile.flaw] += 1
            if flaws[name]["failed"] > max_failed * len(rows[name]):
                raise SlideError(
                    slide.slide_id,
                    "unreadable",
                    f"more than {100 * max_failed:g} % of the {len(rows[name])} tiles of {slide.path.name} at "
                    f"{name} cannot be decoded",
                    "copy the file again, or raise slides.max_failed_tiles",
                )
            continue
        batch.append(tile)
        if len(batch) == batch_size:
            encode()
    if batch:
        encode()
    while started:
        encode()
    return {
        name: EncodedTiles(features[name][kept[name]], wanted[kept[name]], flaws[name])
        for name, wanted in rows.items()
    }


def encode_slide(
    slide: SlideRow, settings: SlideSettings, encoder: Encoder, folder: Path, key: str, threads: int = 1
) -> dict[str, int]:
    """Encode a slide's tiles at both magnifications and write features.h5 into `folder`.

    Parameters
    ----------
    slide : SlideRow
    settings : SlideSettings
    encoder : Encoder
    folder : Path
        Where tiles.h5 and stain.json are.
    key : str
        Cache key, recorded.
    threads : int
        Threads that read and normalise tiles.

    Returns
    -------
    dict
        n_10x, n_20x (encoded tiles); failed_tiles; rejected_blank_10x and the like; tiles_left_out (beyond
        ``max_tiles``).

    Raises
    ------
    SlideError
        ``unreadable`` if too many tiles cannot be decoded; ``too_few_tiles`` if too few are left; ``failed`` if
        features are not finite in float16.
    """
    tables = read_tiles(folder / "tiles.h5")
    normalise, matrix, backend = load_normalizer(folder / "stain.json")
    rows = {name: encoded_rows(tiles, settings.tile.max_tiles) for name, tiles in tables.items()}
    if backend == "closed_form" and sum(map(len, rows.values())) >= _TABLE_PAYS:
        normalise = tabulated(normalise)
    with TileLoader(slide, tables, normalise, threads, settings.tile.min_sharpness) as loader:
        encoded = encode_tiles(
            slide, rows, loader, encoder, settings.encoder.batch_size, settings.tile.max_failed_tiles
        )
    counts = {"failed_tiles": 0, "tiles_left_out": 0}
    for name, tiles in encoded.items():
        counts[f"n_{name}"] = len(tiles.rows)
        counts["failed_tiles"] += tiles.flaws["failed"]
        counts["tiles_left_out"] += len(tables[name].grid) - len(rows[name])
        counts[f"rejected_blank_{name}"] = tiles.flaws["blank"]
        counts[f"rejected_blurred_{name}"] = tiles.flaws["blurred"]
    if any(len(tiles.rows) < settings.tile.min_tiles for tiles in encoded.values()):
        raise SlideError(
            slide.slide_id,
            "too_few_tiles",
            "; ".join(
                f"{len(t.rows)} tiles left at {name} ({t.flaws['blurred']} blurred, {t.flaws['blank']} blank, "
                f"{t.flaws['failed']} damaged)"
                for name, t in encoded.items()
            )
            + f"; at least {settings.tile.min_tiles} are needed",
            "lower slides.min_sharpness or slides.min_tiles, or exclude the slide",
        )
    with (
        h5py.File(folder / "tiles.h5", "r") as source,
        atomic_path(folder / "features.h5") as temporary,
        h5py.File(temporary, "w") as file,
    ):
        for name in ("mpp_x", "mpp_y", "mpp_source", "tile_px"):
            file.attrs[name] = source.attrs[name]
        file.attrs.update(
            {
                "slide_id": slide.slide_id,
                "encoder": encoder.name,
                "encoder_stage": encoder.stage,
                "weights_sha256": encoder.weights_sha256,
                "weights_source": encoder.weights_source,
                "precision": encoder.precision,
                "engine": encoder.engine,
                "input_px": encoder.input_px or int(source.attrs["tile_px"]),
                "preprocessing_mean": encoder.mean,
                "preprocessing_std": encoder.std,
                "feature_dim": encoder.dim,
                "stain_matrix": matrix,
                "stain_backend": backend,
                "package_version": __version__,
                "key": key,
            }
        )
        for name, tiles in encoded.items():
            group = file.create_group(name)
            for attribute, value in source[name].attrs.items():
                group.attrs[attribute] = value
            group.create_dataset(
                "features",
                data=tiles.features,
                chunks=(min(_CHUNK_ROWS, len(tiles.rows)), encoder.dim),
                track_times=False,
            )
            group["coords"] = tables[name].coords[tiles.rows]
            group["grid"] = tables[name].grid[tiles.rows]
    return counts

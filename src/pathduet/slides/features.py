"""Stage ``features``: every kept tile read, normalised and encoded; written as features.h5."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pathduet import __version__
from pathduet.atomic import atomic_path
from pathduet.errors import SlideError
from pathduet.sheets import SlideRow
from pathduet.slides.encoders import Encoder
from pathduet.slides.reader import RegionError, SlideReader
from pathduet.slides.settings import SlideSettings
from pathduet.slides.stain_stage import load_normalizer
from pathduet.slides.stains import Normalizer
from pathduet.slides.tile_table import TileTable, read_tiles
from pathduet.slides.tokens import hilbert_order, token_indices

_CHUNK_ROWS = 256
_MAX_FLOAT16 = 65504.0


def encoded_rows(tiles: TileTable, max_tiles: int) -> NDArray[np.int64]:
    """Return which tiles are encoded, row by row: all, or evenly spaced ones along the tissue's Hilbert order."""
    order = hilbert_order(tiles.grid)
    return np.sort(order[token_indices(len(order), min(len(order), max_tiles))])


class TileLoader:
    """Reads and normalises tiles in threads, ahead of the encoder; OpenSlide releases the interpreter lock.

    Each thread has a reader of its own. Tiles come in the order asked for; one that fails to decode comes as None.
    """

    def __init__(self, slide: SlideRow, normalise: Normalizer, threads: int) -> None:
        self._slide, self._normalise = slide, normalise
        self._local = threading.local()
        self._readers: list[SlideReader] = []
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="tiles")

    def _load(self, tiles: TileTable, row: int) -> NDArray[np.uint8] | None:
        reader: SlideReader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = SlideReader(self._slide.slide_id, self._slide.path)
            with self._lock:
                self._readers.append(reader)
        try:
            return self._normalise(tiles.read(reader, row))
        except RegionError:
            return None

    def tiles(self, tiles: TileTable, rows: Sequence[int], ahead: int) -> Iterator[NDArray[np.uint8] | None]:
        """Yield the tiles of `rows`, at most `ahead` of them waiting in memory."""
        waiting: deque[Future[NDArray[np.uint8] | None]] = deque()
        for row in rows:
            waiting.append(self._pool.submit(self._load, tiles, row))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        """Stop the threads and close their readers."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for reader in self._readers:
            reader.close()

    def __enter__(self) -> TileLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def encode_tiles(
    slide: SlideRow,
    tiles: TileTable,
    rows: NDArray[np.int64],
    loader: TileLoader,
    encoder: Encoder,
    batch_size: int,
    max_failed: float,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Encode tiles; those that cannot be decoded are left out.

    Returns
    -------
    features : (n, dim) float32 array
    rows : (n,) int64 array
        The rows that were encoded.

    Raises
    ------
    SlideError
        ``unreadable`` if more than the share `max_failed` of the tiles fails.
    """
    features: list[NDArray[np.float32]] = []
    read: list[int] = []
    batch: list[NDArray[np.uint8]] = []
    failed = 0
    for row, tile in zip(rows.tolist(), loader.tiles(tiles, rows.tolist(), 2 * batch_size)):
        if tile is None:
            failed += 1
            if failed > max_failed * len(rows):
                raise SlideError(
                    slide.slide_id,
                    "unreadable",
                    f"more than {100 * max_failed:g} % of the {len(rows)} tiles of {slide.path.name} at "
                    f"{tiles.mpp:g} um cannot be decoded",
                    "copy the file again, or raise slides.max_failed_tiles",
                )
            continue
        read.append(row)
        batch.append(tile)
        if len(batch) == batch_size:
            features.append(encoder(np.stack(batch)))
            batch = []
    if batch:
        features.append(encoder(np.stack(batch)))
    return np.concatenate(features), np.array(read, np.int64)


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
        n_10x, n_20x (encoded tiles), failed_tiles, tiles_left_out (beyond ``max_tiles``).

    Raises
    ------
    SlideError
        ``unreadable`` if too many tiles cannot be decoded; ``failed`` if features are not finite in float16.
    """
    tables = read_tiles(folder / "tiles.h5")
    normalise, matrix, backend = load_normalizer(folder / "stain.json")
    counts = {"failed_tiles": 0, "tiles_left_out": 0}
    encoded: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
    with TileLoader(slide, normalise, threads) as loader:
        for name, tiles in tables.items():
            rows = encoded_rows(tiles, settings.tile.max_tiles)
            features, read = encode_tiles(
                slide,
                tiles,
                rows,
                loader,
                encoder,
                settings.encoder.batch_size,
                settings.tile.max_failed_tiles,
            )
            if not np.isfinite(features).all() or np.abs(features).max() > _MAX_FLOAT16:
                raise SlideError(
                    slide.slide_id, "failed", "the encoder gave numbers that float16 cannot hold"
                )
            encoded[name] = features, read
            counts[f"n_{name}"] = len(read)
            counts["failed_tiles"] += len(rows) - len(read)
            counts["tiles_left_out"] += len(tiles.grid) - len(rows)
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
                "preprocessing_mean": encoder.mean,
                "preprocessing_std": encoder.std,
                "feature_dim": encoder.dim,
                "stain_matrix": matrix,
                "stain_backend": backend,
                "package_version": __version__,
                "key": key,
            }
        )
        for name, (features, read) in encoded.items():
            group = file.create_group(name)
            for attribute, value in source[name].attrs.items():
                group.attrs[attribute] = value
            group.create_dataset(
                "features",
                data=features.astype(np.float16),
                chunks=(min(_CHUNK_ROWS, len(features)), encoder.dim),
                track_times=False,
            )
            group["coords"] = tables[name].coords[read]
            group["grid"] = tables[name].grid[read]
    return counts

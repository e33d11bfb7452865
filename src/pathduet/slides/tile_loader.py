"""Loading of tiles: they are read, checked and normalised ahead of the encoder, by threads or by processes.

Threads share one decoder cache budget and one copy of everything; they suit CPUs, where the encoder is the bottleneck. For
a GPU each reader is a process, so that Python's lock does not limit it; reader processes are reused for the next slide.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathduet.cohort.sheets import SlideRow
from pathduet.core import parent_process
from pathduet.core.errors import SlideError
from pathduet.core.faults import MachineFault
from pathduet.core.hardware import keep_freed_memory
from pathduet.slides.blur import flaw
from pathduet.slides.isolation import CRASHES
from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.stain.colour_table import Normalizer
from pathduet.slides.stain_stage import load_normalizer
from pathduet.slides.tile_blocks import Block, ReadTile, plan_blocks, read_block, share_pixels
from pathduet.slides.tiles_file import TileTable, read_tiles


@dataclass(frozen=True)
class LoadedTile:
    """A tile on its way to the encoder.

    Attributes
    ----------
    magnification : {"10x", "20x"}
    row : int
        Row of the magnification's tile table.
    image : (tile_px, tile_px, 3) uint8 array or None
        Normalised; None if it is not to be encoded.
    flaw : str
        Why it is not encoded: ``failed`` (cannot be decoded), ``blank`` or ``blurred``; empty otherwise.
    """

    magnification: str
    row: int
    image: NDArray[np.uint8] | None
    flaw: str


@dataclass(frozen=True)
class _Preparation:
    """How the tiles of one slide are prepared."""

    tables: Mapping[str, TileTable]
    normalise: Normalizer
    min_sharpness: float
    shared: bool

    def load(self, block: Block, reader: SlideReader) -> list[LoadedTile]:
        return [self._prepared(tile) for tile in read_block(block, self.tables, reader, self.shared)]

    def _prepared(self, tile: ReadTile) -> LoadedTile:
        if tile.image is None:
            return LoadedTile(tile.magnification, tile.row, None, "failed")
        found = flaw(tile.image, self.tables[tile.magnification].mpp, self.min_sharpness)
        image = None if found else self.normalise(tile.image)
        return LoadedTile(tile.magnification, tile.row, image, found)


class Loader(ABC):
    """Yields a slide's tiles in the order of :func:`pathduet.slides.tile_blocks.plan_blocks`."""

    def __init__(self, tables: Mapping[str, TileTable], shared: bool, readers: int) -> None:
        self._tables, self._shared, self._count = tables, shared, max(1, readers)
        self._waiting: deque[Future[list[LoadedTile]]] = deque()

    @abstractmethod
    def _submit(self, block: Block) -> Future[list[LoadedTile]]: ...

    def tiles(self, rows: Mapping[str, NDArray[np.int64]], ahead: int) -> Iterator[LoadedTile]:
        """Yield the tiles of `rows`, with about `ahead` of them waiting in memory."""
        blocks = plan_blocks(self._tables, rows, self._shared)
        each = max(1.0, sum(map(len, rows.values())) / max(1, len(blocks)))
        most = max(self._count, round(ahead / each))
        for block in blocks:
            self._waiting.append(self._submit(block))
            if len(self._waiting) > most:
                yield from self._loaded(self._waiting.popleft())
        while self._waiting:
            yield from self._loaded(self._waiting.popleft())

    def _loaded(self, block: Future[list[LoadedTile]]) -> list[LoadedTile]:
        return block.result()

    def close(self) -> None:
        """Cancel pending reads."""
        while self._waiting:
            self._waiting.popleft().cancel()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TileLoader(Loader):
    """Reads in threads, each with its own reader; decoders and resampling release the interpreter's lock."""

    def __init__(
        self,
        slide: SlideRow,
        tables: Mapping[str, TileTable],
        normalise: Normalizer,
        threads: int,
        min_sharpness: float = 0.0,
    ) -> None:
        self._slide = slide
        self._local = threading.local()
        self._readers: list[SlideReader] = []
        self._lock = threading.Lock()
        super().__init__(tables, share_pixels(tables, self._reader()), threads)
        self._preparation = _Preparation(tables, normalise, min_sharpness, self._shared)
        self._pool = ThreadPoolExecutor(max_workers=self._count, thread_name_prefix="tiles")

    def _reader(self) -> SlideReader:
        reader: SlideReader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = SlideReader(
                self._slide.slide_id, self._slide.path, self._slide.scene
            )
            with self._lock:
                self._readers.append(reader)
        return reader

    def _submit(self, block: Block) -> Future[list[LoadedTile]]:
        return self._pool.submit(lambda: self._preparation.load(block, self._reader()))

    def close(self) -> None:
        """Stop the threads and close their readers."""
        super().close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for reader in self._readers:
            reader.close()


@dataclass(frozen=True)
class _Job:
    """What a reader process needs to prepare a slide's tiles."""

    token: str
    slide: SlideRow
    folder: Path
    min_sharpness: float
    shared: bool


class ProcessTileLoader(Loader):
    """Reads in separate processes, which are reused for the next slide.

    Parameters
    ----------
    slide : SlideRow
    folder : Path
        Folder of the slide's tiles.h5 and stain.json.
    processes : int
    min_sharpness : float

    Raises
    ------
    SlideError
        ``failed`` from :meth:`tiles` if a reader process ends during the slide; the next slide gets new processes.
    """

    def __init__(self, slide: SlideRow, folder: Path, processes: int, min_sharpness: float = 0.0) -> None:
        tables = read_tiles(folder / "tiles.h5")
        with SlideReader(slide.slide_id, slide.path, slide.scene) as reader:
            shared = share_pixels(tables, reader)
        super().__init__(tables, shared, processes)
        self._job = _Job(uuid.uuid4().hex, slide, folder, min_sharpness, shared)

    def _submit(self, block: Block) -> Future[list[LoadedTile]]:
        return _processes(self._count).submit(_load_in_process, self._job, block)

    def _loaded(self, block: Future[list[LoadedTile]]) -> list[LoadedTile]:
        while True:
            try:
                return block.result(_LOOK_EVERY_S)
            except TimeoutError:
                if block.done():  # of the read itself
                    raise
                _end_if_one_died()

    def tiles(self, rows: Mapping[str, NDArray[np.int64]], ahead: int) -> Iterator[LoadedTile]:
        """Yield the tiles of `rows`, with about `ahead` of them waiting in memory."""
        try:
            yield from super().tiles(rows, ahead)
        except BrokenExecutor as error:
            if not CRASHES & end_processes():
                raise MachineFault(
                    "a reader process could not start or was killed, usually for memory"
                ) from error
            raise SlideError(
                self._job.slide.slide_id,
                "failed",
                "a reader process ended while reading it",
                "the file is probably damaged",
            ) from error


_LOOK_EVERY_S = 1.0
_pool: tuple[int, ProcessPoolExecutor] | None = None


def _processes(count: int) -> ProcessPoolExecutor:
    global _pool
    if _pool is None or _pool[0] != count:
        end_processes()
        # spawned, not forked: a fork of a process that uses a GPU cannot use it
        context = multiprocessing.get_context("spawn")
        _pool = (count, ProcessPoolExecutor(count, context, _start_process, (os.getpid(),)))
    return _pool[1]


def _start_process(parent: int) -> None:
    parent_process.end_with(parent)
    keep_freed_memory()


def _end_if_one_died() -> None:
    """Break the pool if a process was killed while it sent tiles: Python's pool would wait for the rest of them for ever."""
    assert _pool is not None
    processes = list((_pool[1]._processes or {}).values())
    if any(process.exitcode is not None for process in processes):
        for process in processes:
            process.kill()
        _pool[1]._result_queue._writer.close()  # type: ignore[attr-defined]


def end_processes() -> set[int]:
    """End the reader processes, if any; return the signals that ended some of them before."""
    global _pool
    if _pool is None:
        return set()
    processes = list((_pool[1]._processes or {}).values())
    _pool[1].shutdown(wait=True, cancel_futures=True)
    _pool = None
    return {-process.exitcode for process in processes if process.exitcode}


_opened: tuple[_Job, _Preparation, SlideReader] | None = None


def _load_in_process(job: _Job, block: Block) -> list[LoadedTile]:
    global _opened
    if _opened is None or _opened[0] != job:
        if _opened is not None:
            _opened[2].close()
            _opened = None
        normalise, _, _ = load_normalizer(job.folder / "stain.json")
        preparation = _Preparation(
            read_tiles(job.folder / "tiles.h5"),
            normalise,
            job.min_sharpness,
            job.shared,
        )
        _opened = (job, preparation, SlideReader(job.slide.slide_id, job.slide.path, job.slide.scene))
    return _opened[1].load(block, _opened[2])

"""Readers in threads and in processes give the encoder the same tiles; a reader that dies costs one slide."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import SlideError
from pathduet.core.faults import MachineFault
from pathduet.core.hardware import resident_bytes
from pathduet.slides import tile_loader
from pathduet.slides.features_stage import encode_slide
from pathduet.slides.stages import run_stage
from pathduet.slides.stain_stage import load_normalizer
from pathduet.slides.tile_loader import Loader, ProcessTileLoader, TileLoader
from pathduet.slides.tiles_file import read_tiles

from .synthetic_slides import slide_row, small_settings, stained_image, write_svs


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[SlideRow, Path]:
    folder = tmp_path_factory.mktemp("loader")
    slide = slide_row(write_svs(folder / "a.svs", stained_image(512, 640), compression="jpeg"))
    for stage in ("tile", "stain"):
        assert run_stage(slide, stage, folder / "r", small_settings()).status == "ok"
    return slide, folder / "r/slides/a"


@pytest.fixture(autouse=True)
def end_readers() -> Iterator[None]:
    yield
    tile_loader.end_processes()


def tiles_of(loader: Loader, folder: Path) -> dict[tuple[str, int], bytes]:
    rows = {name: np.arange(len(table.grid)) for name, table in read_tiles(folder / "tiles.h5").items()}
    with loader:
        found = list(loader.tiles(rows, 8))
    assert len(found) == sum(map(len, rows.values()))
    return {(t.magnification, t.row): b"" if t.image is None else t.image.tobytes() for t in found}


def test_processes_and_threads_load_the_same_tiles(prepared: tuple[SlideRow, Path]) -> None:
    slide, folder = prepared
    change, _, _ = load_normalizer(folder / "stain.json")
    threads = TileLoader(slide, read_tiles(folder / "tiles.h5"), change, 2)
    expected = tiles_of(threads, folder)
    assert tiles_of(ProcessTileLoader(slide, folder, 2), folder) == expected
    # and the next slide is read by the processes that are there
    before = {child.pid for child in multiprocessing.active_children()}
    assert tiles_of(ProcessTileLoader(slide, folder, 2), folder) == expected
    assert before == {child.pid for child in multiprocessing.active_children()} and len(before) == 2


def test_a_reader_process_that_dies_costs_its_slide_and_no_other(prepared: tuple[SlideRow, Path]) -> None:
    slide, folder = prepared
    loader = ProcessTileLoader(slide, folder, 1)
    rows = {name: np.arange(len(table.grid)) for name, table in read_tiles(folder / "tiles.h5").items()}
    with loader, pytest.raises(SlideError, match="reader process ended") as error:
        for i, _ in enumerate(loader.tiles(rows, 1)):
            if i == 0:
                for child in multiprocessing.active_children():
                    os.kill(child.pid or 0, signal.SIGSEGV)
                    child.join()
    assert error.value.reason == "failed"
    assert len(tiles_of(ProcessTileLoader(slide, folder, 1), folder)) == sum(map(len, rows.values()))


def dies_while_sending() -> None:
    def half(pipe: Any, message: bytes) -> None:
        os.write(pipe.fileno(), struct.pack("!i", len(message)) + bytes(message[:1]))
        os.kill(os.getpid(), signal.SIGKILL)

    multiprocessing.connection.Connection._send_bytes = half


def test_a_reader_process_killed_while_it_sends_tiles_is_noticed(
    prepared: tuple[SlideRow, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    slide, folder = prepared
    rows = {name: np.arange(len(table.grid)) for name, table in read_tiles(folder / "tiles.h5").items()}
    with ProcessTileLoader(slide, folder, 2) as loader, monkeypatch.context() as patch:
        patch.setattr(loader, "_submit", lambda block: tile_loader._processes(2).submit(dies_while_sending))
        with pytest.raises(MachineFault, match="killed"):
            list(loader.tiles(rows, 1))
    assert len(tiles_of(ProcessTileLoader(slide, folder, 2), folder)) == sum(map(len, rows.values()))


class OnTheGpu:
    """An encoder that says it is on a GPU and gives each tile's mean colour."""

    device, dim, name, stage, weights_sha256, weights_source = "cuda:0", 3, "mean", 0, "", "none"
    precision, engine, input_px, mean, std = "float32", "torch", None, (0.0,) * 3, (1.0,) * 3

    def start(self, tiles: np.ndarray) -> object:
        return lambda: tiles.mean((1, 2)).astype(np.float32)


def test_in_front_of_a_gpu_readers_are_processes(prepared: tuple[SlideRow, Path]) -> None:
    slide, folder = prepared
    found = []
    for threads in (1, 2):  # one is a thread beside the encoder
        encode_slide(slide, small_settings(), folder, "key", threads, OnTheGpu())  # type: ignore[arg-type]
        assert len(multiprocessing.active_children()) == (2 if threads == 2 else 0)
        with h5py.File(folder / "features.h5") as file:
            found.append([file[name]["features"][:] for name in ("10x", "20x")])
    assert all(np.array_equal(one, two) for one, two in zip(*found))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_the_memory_of_reader_processes_counts() -> None:
    code = (
        "import subprocess, sys;"
        "subprocess.run([sys.executable, '-c', 'x = bytearray(200 * 2**20); print(flush=True); input()'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert resident_bytes(process.pid) > 200 * 2**20
    finally:
        process.communicate(b"\n")
    assert resident_bytes(process.pid) == 0

"""Cost of the slide engine, compared with common alternatives and with the encoder alone.

    python benchmarks/slide_engine.py --out docs/results/slide_engine.txt

One run, one thread. CPU seconds are printed, since they do not depend on other work of the machine; repeated measurements
give the median. ``--encoder`` names the encoder of both sides of every comparison (unavailable weights are replaced by
untrained ones of the same network, which cost the same).
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tifffile

from pathduet.cohort.sheets import SlideRow
from pathduet.core.hardware import limit_threads, peak_memory_mib
from pathduet.slides.encoders.encoder import load_encoder
from pathduet.slides.features_stage import encode_tiles, encoded_rows
from pathduet.slides.readers.openslide_source import OpenSlideSource
from pathduet.slides.settings import EncoderSettings, SlideSettings, StainSettings, TileSettings
from pathduet.slides.stages import run_stage
from pathduet.slides.stain.colour_table import normalizer
from pathduet.slides.stain.stain_matrix import fit_stains, stained_pixels, target_stains
from pathduet.slides.stain_stage import load_normalizer
from pathduet.slides.status import STAGES
from pathduet.slides.tile_loader import ProcessTileLoader, TileLoader, end_processes
from pathduet.slides.tiles_file import TileTable, read_tiles

REPOSITORY = Path(__file__).resolve().parent.parent
GPU_TILES_A_SECOND = 2_000  # of a ResNet50 on a fast GPU


def cpu(action: Callable[[], object], repeats: int = 3) -> float:
    """Return the median CPU seconds of an action."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        action()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def made_slide(
    path: Path, edge: int, texture: np.ndarray, mpp: float = 0.5, factors: tuple[int, ...] = (1, 4, 16)
) -> Path:
    """Write an Aperio-like slide of `edge` pixels: a disk of tissue that repeats a texture at random offsets.

    Coarser levels are means of level 0's pixels, so that all levels show the same tissue. `edge` is a multiple of 4,096, the
    texture larger than 256 pixels.
    """
    rng = np.random.default_rng(edge)
    height, width = texture.shape[:2]
    reduced = {f: np.empty((edge // f, edge // f, 3), np.uint8) for f in factors[1:]}
    place = (np.arange(edge) + 0.5) / edge - 0.5

    def base() -> Iterator[np.ndarray]:
        for top in range(0, edge, 256):
            for left in range(0, edge, 256):
                x, y = rng.integers(0, width - 256), rng.integers(0, height - 256)
                inside = np.hypot(place[left : left + 256], place[top : top + 256, None]) < 0.46
                tile = np.where(inside[..., None], texture[y : y + 256, x : x + 256], np.uint8(244))
                for f, level in reduced.items():
                    mean = tile.reshape(256 // f, f, 256 // f, f, 3).mean((1, 3))
                    level[top // f : (top + 256) // f, left // f : (left + 256) // f] = np.rint(mean)
                yield tile

    with tifffile.TiffWriter(path) as writer:
        for factor in factors:
            size = edge // factor
            writer.write(
                reduced.get(factor, base()), shape=(size, size, 3), dtype=np.uint8, tile=(256, 256),
                photometric="rgb", compression="jpeg", compressionargs={"level": 80}, metadata=None,
                description=f"Aperio Image Library v12.0.0\n{edge}x{edge}|AppMag = {10 / mpp:g}|MPP = {mpp:.4f}",
            )  # fmt: skip
    return path


def stain_times(tiles: list[np.ndarray], say: Callable[[str], None]) -> None:
    """Compare stain normalisation per tile."""
    settings = StainSettings()
    target = target_stains(settings)
    pixels = stained_pixels(np.concatenate([tile.reshape(-1, 3) for tile in tiles]), settings)
    stains = fit_stains(pixels, settings)
    ours = cpu(lambda: _stacked(normalizer(stains, target), tiles), 5) / len(tiles)
    table = cpu(lambda: normalizer(stains, target), 5)
    fit = cpu(lambda: fit_stains(pixels, settings))
    say(f"fit of a slide ({len(pixels):,} pixels): {fit * 1e3:.0f} ms")
    say(
        f"closed form, {len(tiles)} distinct tiles, put together as batches: {ours * 1e3:.3f} ms a tile, of which the table "
        f"{table / len(tiles) * 1e3:.3f} (filled once a slide, {table * 1e3:.0f} ms)"
    )
    try:
        import staintools
    except ImportError:
        say("staintools is not installed: not compared")
        return
    reference = staintools.StainNormalizer(method="vahadane")
    reference.fit(tiles[0].copy())
    per_tile = cpu(lambda: reference.transform(tiles[1].copy()), 3)
    fitted = normalizer(fit_stains(pixels, StainSettings(backend="staintools")), target, "staintools")
    once = cpu(lambda: [fitted(tile) for tile in tiles[:8]], 5) / len(tiles[:8])
    spread = ours + fit / len(tiles)
    for label, theirs in (
        ("per tile, as documented", per_tile),
        ("fitted once a slide, its lasso and exp() per tile", once),
    ):
        say(
            f"staintools {label}: {theirs * 1e3:.1f} ms a tile = {theirs / ours:,.0f} x, "
            f"{theirs / spread:,.0f} x with the fit spread over these tiles"
        )


def _stacked(change: Callable[[np.ndarray], np.ndarray], tiles: list[np.ndarray]) -> None:
    for i in range(0, len(tiles), 32):
        np.stack([change(tile) for tile in tiles[i : i + 32]])


def reading_times(
    slide: SlideRow, results: Path, settings: SlideSettings, say: Callable[[str], None]
) -> float:
    """Time reading, checking and normalising both magnifications; return tiles per CPU second."""
    folder = results / "slides" / slide.slide_id
    tables = read_tiles(folder / "tiles.h5")
    change, _, _ = load_normalizer(folder / "stain.json")
    rows = {name: encoded_rows(table, 400) for name, table in tables.items()}
    total = sum(map(len, rows.values()))
    rates = {}
    for label, normalise, sharp in (
        ("read + resample", lambda rgb: rgb, 0.0),
        ("read + resample + normalise", change, 0.0),
        ("read + resample + check + normalise", change, 0.45),
    ):

        def run(normalise: Callable = normalise, sharp: float = sharp) -> None:
            with TileLoader(slide, tables, normalise, 1, sharp) as loader:
                for _ in loader.tiles(rows, 64):
                    pass

        rates[label] = total / cpu(run)
        say(f"{label}: {rates[label]:,.0f} tiles per CPU second ({total} tiles, both magnifications)")
    fine = tables["20x"]
    source = OpenSlideSource(slide.path, direct=False)

    def openslide_alone() -> None:
        for x, y in fine.coords[:: max(1, len(fine.coords) // 400)][:400]:
            source.read(0, int(x), int(y), 224, 224)

    say(
        f"OpenSlide, 20x tiles one by one, nothing else: {400 / cpu(openslide_alone):,.0f} tiles per CPU second"
    )
    source.close()
    return rates["read + resample + check + normalise"]


def readers_for_a_gpu(
    slide: SlideRow, results: Path, tables: dict[str, TileTable], readers: int, say: Callable[[str], None]
) -> None:
    """Run the reader processes that feed a GPU (here a sleep) and report a tile's cost on each side of the pipe."""
    rows = {name: encoded_rows(table, 10**9) for name, table in tables.items()}
    total, batch, asleep = sum(map(len, rows.values())), 256, 0.0

    def consumed(some: dict[str, np.ndarray]) -> None:
        nonlocal asleep
        images: list[np.ndarray] = []
        with ProcessTileLoader(slide, results / "slides" / slide.slide_id, readers, 0.45) as loader:
            for tile in loader.tiles(some, 2 * batch):
                if tile.image is not None:
                    images.append(tile.image)
                if len(images) == batch:
                    np.stack(images)
                    began = time.perf_counter()
                    time.sleep(batch / GPU_TILES_A_SECOND)
                    asleep += time.perf_counter() - began
                    images.clear()

    consumed({name: some[:64] for name, some in rows.items()})  # the processes start
    asleep, before = 0.0, (time.perf_counter(), time.process_time(), _children_cpu())
    consumed(rows)
    wall, ours, theirs = (
        now - then for now, then in zip((time.perf_counter(), time.process_time(), _children_cpu()), before)
    )
    end_processes()
    cores = GPU_TILES_A_SECOND * (theirs + ours) / total
    say(
        f"{readers} reader processes, {total} tiles: {theirs / total * 1e3:.2f} CPU ms a tile = {total / theirs:,.0f} tiles/s a core; in the "
        f"process of the encoder {ours / total * 1e3:.2f} ms"
    )
    say(
        f"a GPU of {GPU_TILES_A_SECOND:,} tiles/s (a sleep in its place, batches of {batch}) was busy {100 * asleep / wall:.0f} % of {wall:.1f} s "
        f"on these {os.cpu_count()} shared cores; by CPU time it takes {cores:.1f} cores to keep it busy (extrapolated)"
    )


def _children_cpu() -> float:
    """Return the CPU seconds of running child processes."""
    ticks = 0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def real_slide(
    path: Path, results: Path, settings: SlideSettings, alone: float, say: Callable[[str], None]
) -> None:
    """Time each stage of a real slide, and all stages compared with the encoder alone (seconds per tile)."""
    slide = SlideRow(path.stem, "real", "bench", path)
    taken = []
    for stage in STAGES[:2]:
        began = time.process_time()
        status = run_stage(slide, stage, results, settings)
        taken.append(time.process_time() - began)
        if status.status != "ok":
            say(f"{path.name}: {status.reason}: {status.message}")
            return
    folder = results / "slides" / slide.slide_id
    tables = read_tiles(folder / "tiles.h5")
    rows = {name: encoded_rows(table, settings.tile.max_tiles) for name, table in tables.items()}
    count = sum(map(len, rows.values()))
    change = load_normalizer(folder / "stain.json")[0]
    encoder = load_encoder(settings.encoder)

    def read() -> None:
        with TileLoader(slide, tables, change, 1, 0.45) as loader:
            for _ in loader.tiles(rows, 64):
                pass

    def whole_way() -> None:
        with TileLoader(slide, tables, change, 1, 0.45) as loader:
            encode_tiles(slide, tables, settings.tile.max_tiles, loader, encoder, 32, 0.1)

    reading, whole = cpu(read) / count, cpu(whole_way, 1) / count
    say(
        f"{path.name}: {len(tables['20x'].grid)} tiles at 20x; tile {taken[0]:.2f} s, stain {taken[1]:.2f} s; {count} tiles read, checked and "
        f"normalised in {reading * 1e3:.2f} ms each, whole way {whole * 1e3:.2f} ms; encoder alone / whole way = {alone / whole:.2f}"
    )


def plain_loop(slide: SlideRow, results: Path, settings: SlideSettings, tiles: int) -> tuple[float, float]:
    """Return CPU seconds per tile of a plain script (OpenSlide per tile, staintools, torch eager), and staintools' part."""
    import openslide
    import staintools
    import torch
    from torchvision import transforms

    encoder = load_encoder(
        SlideSettings.from_mapping({"encoder": {**_encoder(settings), "engine": "torch"}}).encoder
    )
    network = _unfused(settings)
    prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize(encoder.mean, encoder.std)])
    table = read_tiles(results / "slides" / slide.slide_id / "tiles.h5")["20x"]
    handle = openslide.OpenSlide(str(slide.path))
    reference = staintools.StainNormalizer(method="vahadane")
    first = np.asarray(handle.read_region(tuple(table.coords[0].tolist()), 0, (224, 224)).convert("RGB"))
    reference.fit(first.copy())
    normalising = 0.0
    began = time.process_time()
    # spread over the whole slide: the first tiles are at the edge of the tissue
    places = table.coords[np.linspace(0, len(table.coords) - 1, tiles).astype(int)]
    for x, y in places.tolist():
        tile = np.asarray(handle.read_region((x, y), 0, (224, 224)).convert("RGB"))
        before = time.process_time()
        tile = reference.transform(tile.copy())
        normalising += time.process_time() - before
        with torch.no_grad():
            network(prepare(tile)[None])
    return (time.process_time() - began) / tiles, normalising / tiles


def _encoder(settings: SlideSettings) -> dict[str, object]:
    return {"name": settings.encoder.name, "device": "cpu", "batch_size": settings.encoder.batch_size}


def _unfused(settings: SlideSettings) -> object:
    if settings.encoder.name == "efficientnet_lite0":
        from pathduet.slides.encoders.efficientnet_lite0 import EfficientNetLite0

        return EfficientNetLite0().eval()
    from pathduet.slides.encoders.encoder import resnet50_trunk

    return resnet50_trunk(settings.encoder.stage)[0].eval()


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="random", help="random: an untrained ResNet50, stage 3")
    parser.add_argument("--edge", type=int, default=8192, help="pixels of the made slide's edge")
    parser.add_argument("--loop-tiles", type=int, default=6)
    parser.add_argument("--encoded-tiles", type=int, default=200, help="per magnification")
    parser.add_argument("--growth", type=int, nargs="*", default=[2048, 4096, 8192, 16384])
    parser.add_argument("--slide", type=Path, help="a real slide whose texture the made ones get")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="real slides to measure as they are")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines: list[str] = []

    def say(text: str = "") -> None:
        lines.append(text)
        print(text, flush=True)

    limit_threads(1)  # and keep freed memory, as slide workers do
    names = (
        "openslide-python",
        "openslide-bin",
        "tifffile",
        "imagecodecs",
        "torch",
        "onnxruntime",
        "staintools",
    )
    say("$ python benchmarks/slide_engine.py " + " ".join(sys.argv[1:]))
    say(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores (shared), no GPU, load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, " + ", ".join(f"{n} {_version(n)}" for n in names))  # fmt: skip
    commit = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    say(f"commit {commit.stdout.strip()}; CPU seconds of one thread")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texture = _texture(arguments.slide)
        slide = SlideRow("made", "made", "bench", made_slide(folder / "made.svs", arguments.edge, texture))
        settings = SlideSettings(
            tile=TileSettings(max_tiles=arguments.encoded_tiles, min_sharpness=0.0),
            encoder=EncoderSettings(name=arguments.encoder, device="cpu", batch_size=32),
        )
        results = folder / "results"
        say(
            f"\nA made slide of {arguments.edge} x {arguments.edge} pixels, JPEG, {slide.path.stat().st_size / 1e6:.0f} MB"
        )
        for stage in STAGES[:2]:
            began = time.process_time()
            status = run_stage(slide, stage, results, settings)
            if status.status != "ok":
                raise SystemExit(f"stage {stage}: {status.reason}: {status.message}")
            say(
                f"stage {stage}: {time.process_time() - began:.2f} s ({status.counts.get('n_20x')} tiles at 20x)"
            )
        tables = read_tiles(results / "slides/made/tiles.h5")
        rows = {k: encoded_rows(t, arguments.encoded_tiles) for k, t in tables.items()}
        change, _, _ = load_normalizer(results / "slides/made/stain.json")
        with TileLoader(slide, tables, lambda rgb: rgb, 1) as loader:
            raw = [
                t.image
                for t in loader.tiles({k: r[:400] for k, r in rows.items()}, 64)
                if t.image is not None
            ]
        say("\nStain normalisation")
        stain_times(raw, say)
        say("\nReading")
        rate = reading_times(slide, results, settings, say)
        say("\nReaders in front of a GPU")
        readers_for_a_gpu(slide, results, tables, os.cpu_count() or 1, say)
        say("\nEncoder and the whole way")
        encoder = load_encoder(settings.encoder)
        batch = np.stack((raw * 4)[:32])
        encoder(batch)
        alone = cpu(lambda: encoder(batch), 5) / len(batch)
        say(f"encoder alone, tiles in memory ({encoder.name}, {encoder.engine}): {alone * 1e3:.2f} ms a tile")
        count = sum(map(len, rows.values()))

        def whole_way() -> None:
            with TileLoader(slide, tables, change, 1, 0.45) as loader:
                encode_tiles(slide, tables, arguments.encoded_tiles, loader, encoder, 32, 0.1)

        whole = cpu(whole_way, 3) / count
        say(
            f"slide -> features: {whole * 1e3:.2f} ms a tile; encoder alone / whole way = {alone / whole:.2f} (wanted: 0.9)"
        )
        say(f"of it reading, checking and normalising {1e3 / rate:.2f} ms")
        loop, staining = plain_loop(slide, results, settings, arguments.loop_tiles)
        say(
            f"plain loop (openslide, staintools per tile, torch eager, batch 1): {loop * 1e3:.0f} ms a tile = "
            f"{loop / whole:.0f} x the whole way (wanted: 20); of it staintools {staining * 1e3:.0f} ms"
        )
        # spams.trainDL runs for one second of wall time: beside other jobs it gets less CPU time than that
        idle = loop - staining + max(staining, 1.0)
        say(
            f"the same where staintools' second is a second of a core: {idle * 1e3:.0f} ms = {idle / whole:.0f} x"
        )
        if arguments.real:
            say(f"\nReal slides (all stages, {arguments.encoded_tiles} tiles a magnification at most)")
        for path in arguments.real:
            real_slide(path, folder / "real", settings, alone, say)
        say("\nGrowth (all stages but the encoder's forward pass; own process each)")
        for edge in arguments.growth:
            path = made_slide(folder / f"grow{edge}.svs", edge, texture)
            done = subprocess.run(
                [sys.executable, __file__, "--grow", str(path), str(folder / f"r{edge}")],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            say(f"{edge} px: {done.stdout.strip()}")
            path.unlink()
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _texture(slide: Path | None) -> np.ndarray:
    if slide is None:
        sys.path.insert(0, str(REPOSITORY / "tests"))
        from slides.synthetic_slides import stained_image  # type: ignore[import-not-found]

        return stained_image(1024, 1024, tissue=(0.5, 0.5, 2.0))
    source = OpenSlideSource(slide)
    width, height = source.level_dimensions[0]
    box = (0, width // 4, height // 4, min(2000, width // 2), min(2000, height // 2))
    image, _, _ = source.read(*box)
    source.close()
    return image


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "-"


def grow(path: Path, results: Path) -> None:
    """Tile, fit and read every tile of one slide; print time per tile and peak memory."""
    slide = SlideRow("grow", "grow", "bench", path)
    settings = SlideSettings(tile=TileSettings(max_tiles=10**9))
    began = time.process_time()
    for stage in STAGES[:2]:
        run_stage(slide, stage, results, settings)
    setup = time.process_time() - began
    tables = read_tiles(results / "slides/grow/tiles.h5")
    change, _, _ = load_normalizer(results / "slides/grow/stain.json")
    rows = {name: np.arange(len(table.grid)) for name, table in tables.items()}
    count = sum(map(len, rows.values()))
    began = time.process_time()
    with TileLoader(slide, tables, change, 1, 0.45) as loader:
        for _ in loader.tiles(rows, 64):
            pass
    taken = time.process_time() - began
    peak = peak_memory_mib()
    print(
        f"{count} tiles, tile + stain {setup:.2f} s, reading {taken:.2f} s = {1e3 * taken / count:.2f} ms a tile, peak {peak:.0f} MiB"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--grow":
        grow(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()

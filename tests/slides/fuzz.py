"""Damaged slides by the hundred: each must end as a ledger reason or as good features.

By hand, the long form (about a quarter of an hour):

    PATHDUET_TEST_DATA=... nice python tests/slides/fuzz.py --variants 600 --seed 1

The tests run a short one with the same checks.
"""

from __future__ import annotations

import argparse
import io
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import SLIDE_REASONS
from pathduet.slides.batch import run_batch
from pathduet.slides.settings import EncoderSettings, LimitSettings, SlideSettings, TileSettings
from pathduet.slides.status import STAGES, StageStatus, read_status
from slides.synthetic_slides import stained_image, write_svs  # type: ignore[import-not-found]

TIME_LIMIT_S, MEMORY_LIMIT_MIB = 60.0, 2048
REAL = (
    "slides/demo_2240.svs", "slides/CMU-1-Small-Region.svs", "slides_awkward/demo_jp2k_33003.svs",
    "slides_awkward/osp_boxes.tiff", "slides_awkward/osp_boxes_0.dcm", "slides_awkward/gray_tiled.tiff",
    "slides_awkward/libvips_subsampled.tif", "slides_awkward/tcga-green-pen.png",
)  # fmt: skip
_HUGE = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 100_000, 3_000_000)
_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}


@dataclass
class Layout:
    """Where the directories of a TIFF are, so that they can be damaged on purpose."""

    endian: str = "<"
    big: bool = False
    directories: list[tuple[int, int]] = field(default_factory=list)  # (first entry, entries)
    links: list[int] = field(default_factory=list)  # where each directory points to the next
    entries: dict[int, list[int]] = field(default_factory=dict)  # tag -> places of its entries


def layout(data: bytes) -> Layout | None:
    """Return the layout of a TIFF; None for other files."""
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    found = Layout("<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+"))
    kind, size, head, entry = ("Q", 8, 8, 20) if found.big else ("I", 4, 2, 12)
    link = 8 if found.big else 4
    for _ in range(64):
        found.links.append(link)
        offset = struct.unpack_from(found.endian + kind, data, link)[0]
        if not offset or offset + head > len(data):
            break
        count = struct.unpack_from(found.endian + ("Q" if found.big else "H"), data, offset)[0]
        found.directories.append((offset + head, count))
        for i in range(count):
            place = offset + head + i * entry
            tag = struct.unpack_from(found.endian + "H", data, place)[0]
            found.entries.setdefault(tag, []).append(place)
        link = offset + head + count * entry
        if link + size > len(data):
            break
    return found


def _flip(data: bytearray, start: int, end: int, rng: random.Random, bits: int) -> None:
    for _ in range(bits):
        data[rng.randrange(start, max(start + 1, min(end, len(data))))] ^= 1 << rng.randrange(8)


def truncated(data: bytearray, tiff: Layout | None, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))]


def header(data: bytearray, tiff: Layout | None, rng: random.Random) -> bytearray:
    _flip(data, 0, 64, rng, rng.randint(1, 4))
    return data


def directory(data: bytearray, tiff: Layout | None, rng: random.Random) -> bytearray:
    if tiff is None or not tiff.directories:
        return header(data, tiff, rng)
    start, count = rng.choice(tiff.directories)
    _flip(data, start, start + count * (20 if tiff.big else 12), rng, rng.randint(1, 6))
    return data


def _values(data: bytes, tiff: Layout, place: int) -> tuple[int, int, int]:
    """Return where an entry's values lie, how many and how wide they are."""
    kind = struct.unpack_from(tiff.endian + "H", data, place + 2)[0]
    wide = _BYTES.get(kind, 1)
    count = struct.unpack_from(tiff.endian + ("Q" if tiff.big else "I"), data, place + 4)[0]
    inline = place + (12 if tiff.big else 8)
    if wide * count <= (8 if tiff.big else 4):
        return inline, count, wide
    return struct.unpack_from(tiff.endian + ("Q" if tiff.big else "I"), data, inline)[0], count, wide


def offsets(data: bytearray, tiff: Layout | None, rng: random.Random) -> bytearray:
    """Damage tile or strip offsets and sizes."""
    tags = [t for t in (273, 279, 324, 325) if tiff and t in tiff.entries]
    if tiff is None or not tags:
        return truncated(data, tiff, rng)
    start, count, wide = _values(data, tiff, rng.choice(tiff.entries[rng.choice(tags)]))
    for _ in range(rng.randint(1, max(1, count // 2))):
        place = start + rng.randrange(max(1, count)) * wide
        if place + wide <= len(data):
            data[place : place + wide] = rng.randbytes(wide) if rng.random() < 0.7 else b"\0" * wide
    return data


def tiles(data: bytearray, tiff: Layout | None, rng: random.Random) -> bytearray:
    """Flip bits, or blank pieces, in the compressed pixels."""
    for _ in range(rng.randint(1, 20)):
        start = rng.randrange(len(data))
        if rng.random() < 0.5:
            _flip(data, start, start + 200, rng, 8)
        else:
            size = min(rng.randrange(1, 5000), len(data) - start)
            data[start : start + size] = b"\0" * size
    return data


def _set(data: bytearray, tiff: Layout, tag: int, value: int, rng: random.Random) -> None:
    start, count, wide = _values(data, tiff, rng.choice(tiff.entries[tag]))
    if count and start + wide <= len(data):
        order = "little" if tiff.endian == "<" else "big"
        data[start : start + wide] = (value % 256**wide).to_bytes(wide, order)  # type: ignore[arg-type]


def dimensions(data: bytearray, tiff: Layout | None, rng: random.Random) -> bytearray:
    """Declare other, often absurd, image, tile or strip sizes, samples, codecs."""
    if tiff is None or not tiff.entries:
        if data[:4] == b"\x89PNG":
            struct.pack_into(">I", data, rng.choice((16, 20)), rng.choice(_HUGE))
            return data
        return header(data, tiff, rng)
    for _ in range(rng.randint(1, 3)):
        tags = [t for t in (256, 257, 258, 259, 262, 277, 278, 284, 322, 323, 339) if t in tiff.entries]
        value = rng.choice(_HUGE) if rng.random() < 0.6 else rng.randrange(1, 70_000)
        _set(data, tiff, rng.choice(tags), value, rng)
    return data


def cyclic(data: bytearray, tiff: Layout | None, rng: random.Random) -> bytearray:
    """Make a directory its own successor, or that of a later one; or its own subdirectory."""
    if tiff is None or not tiff.directories:
        return truncated(data, tiff, rng)
    link = rng.choice(tiff.links[1:] or tiff.links)
    target = rng.choice(tiff.directories)[0] - (8 if tiff.big else 2)
    struct.pack_into(tiff.endian + ("Q" if tiff.big else "I"), data, link, target)
    return data


MUTATIONS: tuple[Callable[[bytearray, Layout | None, random.Random], bytearray], ...] = (
    truncated, header, directory, offsets, tiles, dimensions, cyclic,
)  # fmt: skip


def made_slides(folder: Path) -> list[Path]:
    """Write one small slide of each kind that the second reader handles, and an Aperio-like one."""
    image = stained_image(900, 900)
    files = [write_svs(folder / "made.svs", image, factors=(4,), compression="jpeg")]
    meta = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "axes": "YXS"}
    tifffile.imwrite(folder / "made.ome.tif", image, metadata=meta, tile=(256, 256), compression="jpeg")
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER", "photometric": "rgb"}
    tifffile.imwrite(folder / "striped.tif", image, rowsperstrip=32, compression="deflate", **resolution)
    tifffile.imwrite(folder / "big.tif", image, bigtiff=True, tile=(128, 128), **resolution)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90, dpi=(50_800, 50_800))
    (folder / "region.jpg").write_bytes(buffer.getvalue())
    return [*files, *(folder / name for name in ("made.ome.tif", "striped.tif", "big.tif", "region.jpg"))]


@dataclass
class Outcome:
    """What became of the variants."""

    reasons: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def fuzz(
    sources: list[Path], folder: Path, variants: int, seed: int, encoder: EncoderSettings, workers: int = 1
) -> Outcome:
    """Damage slides and run them through all stages.

    Parameters
    ----------
    sources : list of Path
        Sound slides.
    folder : Path
        Scratch folder; its name must appear in no message.
    variants, seed : int
    encoder : EncoderSettings
    workers : int

    Returns
    -------
    Outcome
        ``problems`` is empty if every variant ended as it should.
    """
    rng = random.Random(seed)
    hidden = folder / "folder-that-no-message-may-name"
    hidden.mkdir(parents=True)
    rows, outcome = [], Outcome()
    contents = {source: source.read_bytes() for source in sources}
    for i in range(variants):
        source = sources[i % len(sources)]
        mutate = MUTATIONS[(i // len(sources)) % len(MUTATIONS)]
        data = bytearray(contents[source])
        damaged = mutate(data, layout(bytes(data)), rng)
        # a folder each: OpenSlide looks for the other files of a DICOM slide beside it
        path = hidden / str(i) / f"{mutate.__name__}-{i:04d}{''.join(source.suffixes[-1:])}"
        path.parent.mkdir()
        path.write_bytes(damaged)
        outcome.kinds[mutate.__name__] += 1
        rows.append(SlideRow(path.stem, path.stem, "fuzz", path, mpp=None if rng.random() < 0.5 else 0.5))
    settings = SlideSettings(
        tile=TileSettings(tile_px=128, min_tiles=1, max_tiles=6, max_failed_tiles=0.2),
        encoder=replace(encoder, batch_size=8),
        limits=LimitSettings(TIME_LIMIT_S, MEMORY_LIMIT_MIB),
    )
    results = folder / "results"
    for stage in STAGES:
        started = time.monotonic()
        statuses = run_batch(rows, [stage], results, settings, folder / f"{stage}.tsv", workers=workers)
        outcome.slowest_s = max(outcome.slowest_s, (time.monotonic() - started) / max(1, len(rows)))
    for status in statuses:
        outcome.reasons[status.reason or "ok"] += 1
        outcome.problems += _problems(status, results, hidden.name)
    return outcome


def _problems(status: StageStatus, results: Path, hidden: str) -> list[str]:
    import h5py

    found = []
    if read_status(results, status.slide_id, "features") != status:
        found.append("its status file says something else")
    if hidden in status.message + status.notes or str(results) in status.message:
        found.append(f"its message names a folder: {status.message}")
    if status.status == "ok":
        with h5py.File(results / "slides" / status.slide_id / "features.h5") as file:
            for name in ("10x", "20x"):
                values = file[name]["features"][:]
                if not len(values) or not np.isfinite(values).all():
                    found.append(f"bad features at {name}")
    elif status.reason not in SLIDE_REASONS or not status.message:
        found.append(f"reason {status.reason!r}, message {status.message!r}")
    return [f"{status.slide_id}: {problem}" for problem in found]


def main() -> int:
    """Run the long form and print what became of the variants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--encoder", default="efficientnet_lite0")
    parser.add_argument(
        "--data", type=Path, help="folder with slides/ and slides_awkward/; else $PATHDUET_TEST_DATA"
    )
    arguments = parser.parse_args()
    import os

    data = arguments.data or Path(os.environ.get("PATHDUET_TEST_DATA", "."))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        real = [data / part for part in REAL if (data / part).is_file()]
        (folder / "made").mkdir()
        sources = real + made_slides(folder / "made")
        started = time.monotonic()
        encoder = EncoderSettings(name=arguments.encoder, device="cpu")
        outcome = fuzz(
            sources, folder / "fuzz", arguments.variants, arguments.seed, encoder, arguments.workers
        )
        taken = time.monotonic() - started
    print(
        f"{arguments.variants} variants of {len(sources)} slides ({len(real)} real), seed {arguments.seed}, {taken:.0f} s"
    )
    print("damage:", ", ".join(f"{n} {kind}" for kind, n in sorted(outcome.kinds.items())))
    print("ended as:", ", ".join(f"{n} {reason}" for reason, n in outcome.reasons.most_common()))
    print(f"problems: {len(outcome.problems)}")
    for problem in outcome.problems:
        print(" ", problem)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

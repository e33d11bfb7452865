"""A slide of 100,000 x 100,000 pixels full of tissue in a few megabytes: every tile is the same one in the file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tifffile

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from slides.synthetic_slides import slide_row, stained_image  # type: ignore[import-not-found]

_TILE = 256


def write_huge(
    path: Path, edge: int = 100_000, mpp: float = 0.5, factors: tuple[int, ...] = (1, 4, 16)
) -> Path:
    """Write a pyramid whose levels repeat one stored tile; a white margin of one tile remains."""
    tissue = stained_image(_TILE, _TILE, tissue=(0.5, 0.5, 2.0))
    per_cm = (10_000 / mpp, 10_000 / mpp)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for factor in factors:
            size = edge // factor
            side = -(-size // _TILE)
            # one white tile, one of tissue, the rest left out: filled in below
            tiles = (b"" for _ in range(side * side - 2))
            stored = (np.full_like(tissue, 255).tobytes(), tissue.tobytes(), *tiles)
            writer.write(
                iter(stored), shape=(size, size, 3), dtype=np.uint8, tile=(_TILE, _TILE), photometric="rgb",
                resolution=per_cm, resolutionunit="CENTIMETER", metadata=None,
            )  # fmt: skip
    with tifffile.TiffFile(path) as file:
        pages = [(page.tags["TileOffsets"], page.tags["TileByteCounts"]) for page in file.pages]  # type: ignore[union-attr]
        tables = [
            (o.valueoffset, o.dtype, np.array(o.value), c.valueoffset, c.dtype, np.array(c.value))
            for o, c in pages
        ]
    with path.open("r+b") as handle:
        for offsets_at, offsets_type, offsets, counts_at, counts_type, counts in tables:
            side = round(len(offsets) ** 0.5)
            inner = np.zeros((side, side), bool)
            inner[1:-1, 1:-1] = True
            for at, kind, values in ((offsets_at, offsets_type, offsets), (counts_at, counts_type, counts)):
                filled = np.where(inner.ravel(), values[1], values[0])
                handle.seek(at)
                handle.write(filled.astype({3: "<u2", 4: "<u4", 13: "<u4", 16: "<u8"}[int(kind)]).tobytes())
    return path


def measure(path: Path, results: Path, max_tiles: int, encoder: str) -> dict[str, object]:
    """Run all stages in this process; return statuses, kept tiles and the peak resident memory in MiB."""
    from pathduet.core.hardware import peak_memory_mib
    from pathduet.slides.settings import EncoderSettings, SlideSettings, TileSettings
    from pathduet.slides.stages import run_stage
    from pathduet.slides.status import STAGES

    settings = SlideSettings(
        tile=TileSettings(max_tiles=max_tiles, min_sharpness=0.0),
        encoder=EncoderSettings(name=encoder, device="cpu", batch_size=32),
    )
    statuses = [run_stage(slide_row(path), stage, results, settings) for stage in STAGES]
    return {
        "status": [s.status for s in statuses],
        "message": statuses[-1].message,
        "tiles": statuses[0].counts.get("n_20x"),
        "encoded": statuses[-1].counts.get("n_20x"),
        "peak_mib": peak_memory_mib(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))

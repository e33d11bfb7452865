"""Loading features from other tools, compared with PathDuet's own at equal bytes.

    python benchmarks/foreign_features.py                      # 2,387 slides of width 1,536: 18 GB on disk
    python benchmarks/foreign_features.py --slides 40 --tiles 500

Synthetic features in half precision at 20x, in the format of features.h5, of TRIDENT (chunks of one row) and of STAMP
(not chunked). Each slide is read as in training: opened, put in the map's order, checked. The kinds alternate; the
median of the rounds is printed, and its ratio to the own format.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from pathduet.cohort.sheets import SlideRow
from pathduet.features.feature_file import TileFeatures, features_of, write_features
from pathduet.models import ModelConfig
from pathduet.results import Results
from pathduet.slides.foreign_features import ForeignSettings, take_batch
from pathduet.training.dataset import SlideDataset, SlideSample

TILE0 = 448
KINDS = ("pathduet", "trident", "stamp")


def write(folder: Path, slides: int, tiles: int, width: int) -> dict[str, list[SlideSample]]:
    """Write every format and return its samples."""
    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(tiles)))
    grid = np.argwhere(np.ones((side, side)))[:tiles].astype(np.int32)
    own, rows = Results(folder / "own"), {kind: [] for kind in KINDS[1:]}
    about = {"tile_level0_px_x": float(TILE0), "tile_level0_px_y": float(TILE0)}
    for i in range(slides):
        name = f"S{i:05d}"
        values = rng.standard_normal((tiles, width), np.float32).astype(np.float16)
        one = TileFeatures(values, grid * TILE0, grid, about)
        write_features(own.features(name), {"encoder": "uni2_h", "mpp_x": 0.25, "mpp_y": 0.25}, {"20x": one})
        for kind in rows:
            path = folder / kind / f"{name}.h5"
            path.parent.mkdir(exist_ok=True)
            with h5py.File(path, "w") as file:
                if kind == "trident":
                    file.create_dataset("features", data=values, chunks=(1, width))
                    file.create_dataset("coords", data=grid * TILE0, chunks=(1, 2))
                    file["coords"].attrs.update(
                        {
                            "patch_size": 224,
                            "patch_size_level0": TILE0,
                            "target_magnification": 20,
                            "overlap": 0,
                        }
                    )
                else:
                    file["feats"], file["coords"] = values, (grid * 112).astype(np.float32)
                    file.attrs.update({"unit": "um", "tile_size_um": 112.0, "tile_size_px": 224})
            rows[kind].append(SlideRow(name, name, "c", features_20x=path))
    samples = {
        "pathduet": [SlideSample(f"S{i:05d}", "", "", "", own.features(f"S{i:05d}")) for i in range(slides)]
    }
    for kind, listed in rows.items():
        out = Results(folder / f"run-{kind}")
        took = time.perf_counter()
        take_batch(listed, out.root, ForeignSettings(None, 1, None), folder / f"{kind}.tsv")
        print(f"{kind}: looked through once in {time.perf_counter() - took:.2f} s")
        samples[kind] = [SlideSample(r.slide_id, "", "", "", features_of(out, r.slide_id)) for r in listed]
    return samples


def load(samples: list[SlideSample], tokens: int) -> float:
    """Read every slide once; return the CPU seconds, which exclude other work on the machine."""
    dataset = SlideDataset(samples, ModelConfig(tokens=tokens, magnifications="20x"), cache_mib=0)
    start = time.process_time()
    for i in range(len(samples)):
        dataset.tiles(i, "20x")
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=int, default=2387)
    parser.add_argument("--tiles", type=int, default=2500, help="tiles of each slide")
    parser.add_argument("--width", type=int, default=1536)
    parser.add_argument("--tokens", type=int, default=2500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where files are written and removed; else a temporary folder"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        samples = write(Path(folder), options.slides, options.tiles, options.width)
        times: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(options.rounds):
            for kind in KINDS:
                times[kind].append(load(samples[kind], options.tokens))
    ours = statistics.median(times["pathduet"])
    size = options.slides * options.tiles * options.width * 2 / 2**20
    print(f"{options.slides} slides, {options.tiles} tiles of {options.width}: {size:.0f} MiB a kind")
    for kind, taken in times.items():
        median = statistics.median(taken)
        print(f"{kind:9} {median:8.2f} s, {size / median:7.0f} MiB/s, {median / ours:5.2f} times ours")


if __name__ == "__main__":
    main()

"""PathDuet with its default settings, only 20x tiles like the peers; PATHDUET_STAIN=none omits normalisation."""

import os
import shutil
from pathlib import Path

import numpy as np
from measure import ENCODED, beside, main

from pathduet.cohort.sheets import SlideRow
from pathduet.core.hardware import keep_freed_memory
from pathduet.slides import previews, stages, tile_stage
from pathduet.slides.encoders.encoder import load_encoder
from pathduet.slides.encoders.engines import Encoder
from pathduet.slides.features_stage import encode_slide
from pathduet.slides.readers import reader
from pathduet.slides.settings import EncoderSettings, SlideSettings, StainSettings, TileSettings
from pathduet.slides.stages import run_stage
from pathduet.slides.stain_stage import load_normalizer
from pathduet.slides.tile_loader import TileLoader
from pathduet.slides.tiles_file import read_tiles

SETTINGS = SlideSettings(
    tile=TileSettings(magnifications="20x"),
    stain=StainSettings(backend=os.environ.get("PATHDUET_STAIN", "closed_form")),
)
keep_freed_memory()  # as slide workers do
# pictures and the slide's checksum, which most peers do without
for module, name in (
    (tile_stage, "_preview"),
    (tile_stage, "_overlay"),
    (previews, "save_png"),
    (stages, "_identity"),
):
    setattr(module, name, beside(getattr(module, name)))


class FreeEncoder:
    """Replaces an encoder: torch's part of the work, with a network that costs nothing."""

    name, stage, dim, precision, engine, device = "free", 0, 48, "float32", "torch", "cpu"
    weights_sha256 = weights_source = ""
    mean, std, input_px = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), None
    _session, start = None, Encoder.start

    def __init__(self, network):
        self._model = network
        self._scale, self._shift = Encoder._normalisation(self)


class PathDuet:
    def row(self, slide):
        return SlideRow("slide", "patient", "bench", Path(slide))

    def stage(self, name, slide):
        status = run_stage(self.row(slide), name, Path("results"), SETTINGS)
        if status.status != "ok":
            raise SystemExit(f"{status.reason}: {status.message}")

    def tile(self, slide):
        shutil.rmtree("results", ignore_errors=True)
        reader._judgements.cache_clear()  # a slide's levels are compared again, as in its first run
        self.stage("tile", slide)
        return self.row(slide), read_tiles(Path("results/slides/slide/tiles.h5"))

    def count(self, tiles):
        return len(tiles[1]["20x"].grid)

    def read(self, tiles, numbers):
        with TileLoader(*tiles, lambda rgb: rgb, 1) as loader:
            for tile in loader.tiles({"20x": np.array(numbers)}, 64):
                yield tile.image

    def normaliser(self, tiles):
        self.stage("stain", tiles[0].path)
        return lambda: load_normalizer(Path("results/slides/slide/stain.json"))[0]

    def network(self):
        import torch

        torch.set_num_threads(1)
        encoder = load_encoder(EncoderSettings(name="random", stage=4, device="cpu"))
        images = np.random.default_rng(0).integers(0, 256, (ENCODED, 224, 224, 3), dtype=np.uint8)
        return lambda: encoder(images)

    def whole(self, slide, network):
        self.tile(slide)
        self.stage("stain", slide)
        folder = Path("results/slides/slide")
        return encode_slide(self.row(slide), SETTINGS, folder, "key", 1, FreeEncoder(network)).counts["n_20x"]


main(PathDuet)

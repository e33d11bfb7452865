"""TIAToolbox: tissue mask, SlidingWindowPatchExtractor, VahadaneNormalizer and DeepFeatureExtractor, 224 px at 0.5 um."""

import shutil

import torch
from measure import main
from tiatoolbox.data import stain_norm_target
from tiatoolbox.models.engine.deep_feature_extractor import DeepFeatureExtractor
from tiatoolbox.models.engine.io_config import IOPatchPredictorConfig
from tiatoolbox.models.models_abc import ModelABC
from tiatoolbox.tools.patchextraction import SlidingWindowPatchExtractor
from tiatoolbox.tools.stainnorm import get_normalizer
from tiatoolbox.wsicore.wsireader import WSIReader

AT = [{"units": "mpp", "resolution": 0.5}]


class Network(ModelABC):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)

    @staticmethod
    def infer_batch(model, batch, device="cpu"):
        model.eval()
        with torch.inference_mode():
            return [model(batch.permute(0, 3, 1, 2).float()).numpy()]


class TIAToolbox:
    NORMALISED = 3  # over a second per tile

    def tile(self, slide):
        return SlidingWindowPatchExtractor(
            WSIReader.open(slide),
            patch_size=(224, 224),
            input_mask="otsu",
            resolution=0.5,
            units="mpp",
            within_bound=True,
        )

    def count(self, tiles):
        return len(tiles)

    def read(self, tiles, numbers):
        return (tiles[i] for i in numbers)

    def normaliser(self, tiles):
        normaliser = get_normalizer("vahadane")
        normaliser.fit(stain_norm_target())
        return lambda: lambda tile: normaliser.transform(tile.copy())

    def whole(self, slide, network):
        shutil.rmtree("features", ignore_errors=True)
        extractor = DeepFeatureExtractor(Network(network), batch_size=32, verbose=False)
        config = IOPatchPredictorConfig(
            input_resolutions=AT, output_resolutions=AT, patch_input_shape=(224, 224), stride_shape=(224, 224)
        )
        found = extractor.run(
            [slide],
            patch_mode=False,
            save_dir="features",
            output_type="zarr",
            ioconfig=config,
            auto_get_mask=True,
        )
        import zarr

        return zarr.open(str(next(iter(found.values()))))["features"].shape[0]


main(TIAToolbox)

"""Mussel: segment_tissue and extract_patch_features with their defaults, 224 px at 0.5 um, in one process."""

from measure import main
from mussel.datasets.h5 import WholeSlideImageH5Dataset
from mussel.models import ModelType
from mussel.models.base import TorchModel
from mussel.utils import feature_extract
from mussel.utils.segment import segment_tissue


class Mussel:
    def tile(self, slide):
        if segment_tissue(slide, patch_size=224, output_h5_path="tiles.h5") is None:
            raise SystemExit("no tissue found by its defaults")
        return WholeSlideImageH5Dataset("tiles.h5", slide, init_wsi_in_worker=False)

    def count(self, tiles):
        return len(tiles)

    def read(self, tiles, numbers):
        return (tiles[i][0] for i in numbers)

    def whole(self, slide, network):
        self.tile(slide)
        model = TorchModel(None, network, use_gpu=False)
        model.get_preprocessing_fun = lambda: None  # like its ResNet50's, whose weights would be downloaded
        feature_extract._load_model = lambda *_, **__: model
        feature_extract.extract_patch_features(
            "tiles.h5",
            slide,
            "features.h5",
            ModelType.RESNET50,
            use_gpu=False,
            num_workers=0,
            pin_memory=False,
        )
        import h5py

        with h5py.File("features.h5") as file:
            return len(file["features"])


main(Mussel)

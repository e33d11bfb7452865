"""TRIDENT: run_single_slide's steps with its defaults but 224 px at 20x, its Otsu segmenter, and one process."""

import os
import sys

import h5py
from measure import beside, main
from PIL import Image

sys.path.insert(0, os.environ["PEER_CHECKOUT"])
from trident import load_wsi
from trident.IO import read_coords
from trident.segmentation_models import segmentation_model_factory
from trident.wsi_objects import WSI as steps

steps.overlay_gdf_on_thumbnail = beside(steps.overlay_gdf_on_thumbnail)
Image.Image.save = beside(Image.Image.save)


class Trident:
    def tile(self, slide):
        wsi = load_wsi(slide, max_workers=0)
        wsi.get_thumbnail = beside(wsi.get_thumbnail)
        segmenter = segmentation_model_factory("otsu")
        wsi.segment_tissue(segmenter, target_mag=segmenter.target_mag, job_dir=".", device="cpu")
        if not len(wsi.gdf_contours):
            raise SystemExit("no tissue found by its Otsu segmenter")
        coords = wsi.extract_tissue_coords(target_mag=20, patch_size=224, save_coords=".")
        beside(wsi.visualize_coords)(coords, "visualization")
        return wsi, coords

    def count(self, tiles):
        with h5py.File(tiles[1]) as file:
            return len(file["coords"])

    def read(self, tiles, numbers):
        wsi, coords = tiles
        patcher = wsi.create_patcher(
            224, src_mag=wsi.mag, dst_mag=20, custom_coords=read_coords(coords)[1], pil=True
        )
        return (patcher[i][0] for i in numbers)

    def whole(self, slide, network):
        from torchvision.transforms import InterpolationMode
        from trident.patch_encoder_models.utils.transform_utils import get_eval_transforms

        # like its ResNet50's, whose weights would be downloaded
        network.eval_transforms = get_eval_transforms(
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
            target_img_size=224,
            interpolation=InterpolationMode.BILINEAR,
            max_size=None,
            antialias=True,
        )
        wsi, coords = self.tile(slide)
        file = wsi.extract_patch_features(network, coords, "features", device="cpu", batch_limit=32)
        with h5py.File(file) as features:
            return len(features["features"])


main(Trident)

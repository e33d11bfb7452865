"""CLAM: create_patches_fp's steps with its defaults, 224 px at 0.5 um: contours, their picture, tile coordinates."""

import multiprocessing
import os
import sys
from pathlib import Path

import h5py
from measure import beside, main

sys.path.insert(0, os.environ["PEER_CHECKOUT"])
from wsi_core.WholeSlideImage import WholeSlideImage

SEGMENTATION = {"sthresh": 8, "mthresh": 7, "close": 4, "use_otsu": False, "keep_ids": [], "exclude_ids": []}
FILTER = {"a_t": 100, "a_h": 16, "max_n_holes": 8}


class Clam:
    TILING_ONLY = True

    def tile(self, slide):
        wsi = WholeSlideImage(slide)
        level = wsi.getOpenSlide().get_best_level_for_downsample(64)
        wsi.segmentTissue(seg_level=level, filter_params=FILTER, **SEGMENTATION)
        beside(lambda: wsi.visWSI(vis_level=level, line_thickness=250).save("mask.jpg"))()
        # it has no pixel sizes, only level 0's pixels
        edge = round(224 * 0.5 / float(wsi.getOpenSlide().properties["openslide.mpp-x"]))
        wsi.process_contours(
            ".", patch_level=0, patch_size=edge, step_size=edge, use_padding=True, contour_fn="four_pt"
        )
        for child in multiprocessing.active_children():  # its pools': their CPU seconds count
            child.join()
        tiles = Path(f"{Path(slide).stem}.h5")
        if not tiles.exists():
            raise SystemExit("no tissue found by its defaults")
        return tiles

    def count(self, tiles):
        with h5py.File(tiles) as file:
            return len(file["coords"])


if __name__ == "__main__":
    main(Clam)

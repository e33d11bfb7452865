"""hs2p: tile_slide with the README's settings, 224 px at 0.5 um; it has no encoder, so a plain loop of batches follows."""

from pathlib import Path

import numpy as np
from hs2p import SegmentationConfig, SlideSpec, TilingConfig, save_tiling_result, tile_slide
from hs2p.wsi.streaming import iter_tile_arrays_from_result
from measure import main


class Hs2p:
    def tile(self, slide):
        result = tile_slide(
            SlideSpec(sample_id="slide", image_path=Path(slide)),
            tiling=TilingConfig(
                backend="openslide",
                mask_backend="openslide",
                requested_spacing_um=0.5,
                requested_tile_size_px=224,
                tolerance=0.07,
                overlap=0.0,
            ),
            segmentation=SegmentationConfig(method="hsv", downsample=64),
        )
        save_tiling_result(result, output_dir=Path())
        return result

    def count(self, result):
        return len(result.x)

    def read(self, result, numbers):
        wanted = set(numbers)
        last = max(wanted)
        for i, tile in enumerate(iter_tile_arrays_from_result(result=result)):
            if i in wanted:
                yield tile
            if i == last:
                break

    def whole(self, slide, network):
        import torch

        mean, std = (
            torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        features, batch = [], []

        def encode():
            x = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
            with torch.inference_mode():
                features.append(network(x).numpy())
            batch.clear()

        for tile in iter_tile_arrays_from_result(result=self.tile(slide)):
            batch.append(tile)
            if len(batch) == 32:
                encode()
        if batch:
            encode()
        np.save("features.npy", np.concatenate(features))
        return sum(map(len, features))


main(Hs2p)

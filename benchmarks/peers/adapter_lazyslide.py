"""LazySlide: find_tissues, tile_tissues and feature_extraction with their defaults, 224 px at 0.5 um."""

import lazyslide as zs
import numpy as np
from measure import main
from wsidata import open_wsi


class LazySlide:
    def tile(self, slide):
        wsi = open_wsi(slide, store=None)
        zs.pp.find_tissues(wsi)
        zs.pp.tile_tissues(wsi, 224, mpp=0.5)
        return wsi

    def count(self, wsi):
        return len(wsi.shapes["tiles"])

    def read(self, wsi, numbers):
        tiles = wsi.ds.tile_images(tile_key="tiles")
        return (np.asarray(tiles[i]["image"]) for i in numbers)

    def whole(self, slide, network):
        import torch
        from torchvision.transforms import v2

        transform = v2.Compose(
            [
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )
        wsi = self.tile(slide)
        features = zs.tl.feature_extraction(
            wsi,
            network,
            model_name="free",
            transform=transform,
            device="cpu",
            pbar=False,
            return_features=True,
        )
        np.save("features.npy", features)
        return len(features)


main(LazySlide)

"""Where on a slide a model looked: prototypes, merge weights and attention of its tokens, mapped back to tiles."""

from pathduet.explain.tile_maps import SlideMaps, slide_maps, tile_maps

__all__ = ["SlideMaps", "slide_maps", "tile_maps"]

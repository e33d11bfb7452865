"""From a raw slide to features: reading, tissue, tiles, stain normalisation, encoders, batches."""

from pathduet.core.lazy_names import lazy_names

__all__ = ["Slide", "open"]

__getattr__ = lazy_names(__name__, dict.fromkeys(__all__, "slide"))

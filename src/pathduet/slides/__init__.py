"""From a raw slide to features: reading, tissue, tiles, stain normalisation, encoders, batches."""

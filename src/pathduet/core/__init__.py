"""The ground: errors, files, configuration, provenance, progress, hardware. It imports nothing of the other packages."""

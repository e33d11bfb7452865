"""Foundations: errors, files, configuration, provenance, progress, hardware. It imports none of the other packages."""

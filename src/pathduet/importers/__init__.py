"""Converts cohorts as downloaded into the input sheets; everything left out has a recorded reason."""

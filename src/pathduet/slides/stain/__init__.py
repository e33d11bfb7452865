"""Stain matrices and their normalisation."""

"""Tile encoders, their weights and engines."""

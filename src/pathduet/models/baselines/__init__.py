"""Baselines: networks that others proposed."""

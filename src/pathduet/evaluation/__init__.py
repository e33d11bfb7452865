"""Metrics with their spread, clinical baselines and tables, all from the predictions of a fold."""

"""Metrics with their spread, clinical baselines and tables, all from the predictions of a fold."""

from pathduet.core.lazy_names import lazy_names

__all__ = ["Estimate", "classification_estimates", "regression_estimates", "survival_estimates"]

__getattr__ = lazy_names(__name__, dict.fromkeys(__all__, "estimates"))

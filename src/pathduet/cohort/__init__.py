"""Patients: WHO labels, survival intervals and cross-validation folds."""

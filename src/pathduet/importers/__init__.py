"""Cohorts as people download them, turned into the input sheets; nothing is left out without a reason."""

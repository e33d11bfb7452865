"""A phantom: synthetic patients, slides and counts with known truth."""

from pathduet.phantom.cohort import simulate
from pathduet.phantom.latents import simulate_patients

__all__ = ["simulate", "simulate_patients"]

"""Expression-only models of a fold: clinical and component Cox models and self-normalising networks, side by side."""

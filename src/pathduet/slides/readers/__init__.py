"""Pixels of every slide format behind one reader."""

"""Layouts in which tools write the features of a slide's tiles, one module per layout."""

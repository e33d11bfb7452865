"""Heatmaps of one slide: pictures, GeoJSON, a page to zoom into."""

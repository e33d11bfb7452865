"""Heatmaps of one slide: pictures, GeoJSON and a zoomable page."""

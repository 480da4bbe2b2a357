"""Converts raw data set folders into `.beton` files with manifests. Uses no loader and no model."""

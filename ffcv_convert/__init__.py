"""Converts raw data set folders into `.beton` files with manifests, without any loader or model."""

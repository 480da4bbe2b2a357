"""Defines the published augmentations: recipes, random parameters, and two ways to apply them (any device, CPU)."""

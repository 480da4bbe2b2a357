"""The published augmentations: recipes, the drawing of parameters, and two forms of applying them."""

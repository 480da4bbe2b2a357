"""The codes that a `.beton` stores in the place of names, which every reader of it shares."""

from enum import IntEnum


class Modality(IntEnum):
    VISIBLE = 0
    INFRARED = 1
    SKETCH = 2


STYLES = "ABCDEF"  # artists of Market-Sketch-1K: a sketch's camera is its artist's number, from 1
# The published sets: their recipes' augmentations, in pipelines/augment/recipes.py, bear these names.
PUBLISHED_SETS = ("sysu", "llcm", "regdb", "market_sketch_1k", "pku_sketch")

"""Defines the numbers that a `.beton` stores instead of names, for every reader."""

from enum import IntEnum


class Modality(IntEnum):
    VISIBLE = 0
    INFRARED = 1
    SKETCH = 2


# The camera of an image that names none, in a part where others do. A part without cameras has 0 throughout, as the
# published sets without them: one camera for all, or none, is the same to every protocol.
UNKNOWN_CAMERA = -1
STYLES = "ABCDEF"  # the artists of Market-Sketch-1K; the camera of a sketch is its artist's number, from 1
# pipelines/augment/recipes.py names the published augmentations after these sets.
PUBLISHED_SETS = ("sysu", "llcm", "regdb", "market_sketch_1k", "pku_sketch")
VIDEO_SETS = ("hitsz_vcm", "buptcampus")  # published too, but by no author of a method that is here
# The official draws of SYSU-MM01 and LLCM have ten trials, and ten images per folder in multi-shot testing.
TRIALS, SHOTS = 10, 10
# The share of queries with a match from which a mean counts as one of all queries. Below it, conversion and results
# warn.
ENOUGH_MATCHED = 0.95

"""Synthetic people (see ffcv_convert/synthetic) in LLCM's exact folder layout (see llcm.py)."""

from ffcv_convert.datasets import llcm
from ffcv_convert.datasets.dataset import Dataset

DATASET = Dataset(
    name="synthetic",
    folders=("synthetic",),
    list_records=llcm.list_records,
    how_to_get="draw it: python -m ffcv_convert synthesise",
    reads=llcm.READS,
    height_px=96,
    width_px=48,
)

"""Synthetic people in the exact folder layouts of the real data sets: test, demonstration and benchmark data."""

from ffcv_convert.synthetic.draw import synthesise
from ffcv_convert.synthetic.options import FOLDERS, Options

__all__ = ["FOLDERS", "Options", "synthesise"]

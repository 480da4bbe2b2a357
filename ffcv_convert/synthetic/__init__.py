"""Draws synthetic people in the exact folder layouts of the real data sets, for tests, demos and benchmarks."""

from ffcv_convert.synthetic.draw import synthesise
from ffcv_convert.synthetic.footage import draw_footage
from ffcv_convert.synthetic.options import FOLDERS, HELP, Options

__all__ = ["FOLDERS", "HELP", "Options", "draw_footage", "synthesise"]

"""Draws small sets in this process: to start a drawing process takes longer than what it then draws."""

from pathlib import Path

import cv2
import pytest

from ffcv_convert.synthetic import Options, draw


def draw_here(root: Path, options: Options) -> None:
    """Do what synthesise(root, options, workers=1) does, without the process."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "_draw", lambda root, images, options, workers: draw._draw_images(root, images, options))
        draw.synthesise(root, options, workers=1)
    cv2.setNumThreads(threads)

"""Serves TensorBoard as a sink of the log: run.tensorboard=true, with the extra `tensorboard`.

tensorboard --logdir runs
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dns.training.log import Line
from ffcv_convert.common.errors import ConfigError

FOLDER = "tensorboard"
PLACES = ("kind", "step", "epoch", "iteration")  # keys that say where a line stands, not what it measures


class TensorBoard:
    """A sink that writes into `folder`, from the first line on. A run that goes on hides what it had logged beyond its
    checkpoint. Raises ConfigError where TensorBoard is not installed."""

    def __init__(self, folder: Path):
        if find_spec("tensorboard") is None:
            raise ConfigError(
                "run.tensorboard = true, but TensorBoard is not installed. Add it (.venv/bin/pip install "
                "'.[tensorboard]'), or leave the option out"
            )
        self._folder = folder
        self._writer: Any = None

    def write(self, line: Line) -> None:
        writer = self._opened(line["step"])
        for name, value in line.items():
            if name not in PLACES and isinstance(value, (int, float)):
                writer.add_scalar(f"{line['kind']}/{name}", value, line["step"])
        writer.flush()

    def show(self, name: str, picture: Path, step: int) -> None:
        """Show a picture, a file that Pillow reads."""
        writer = self._opened(step)
        writer.add_image(name, np.asarray(Image.open(picture).convert("RGB")), step, dataformats="HWC")
        writer.flush()

    def _opened(self, step: int) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # not above: it takes seconds, and may be missing

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        return self._writer

"""Holds tools that augment with operators of their own, as near to the published recipe as these come, for
benchmarks/pipeline.py to compare with ours: what a user would build today.

Each delivers batches that are ready for the network, float32 (2 P K, 3, H, W), visible half first, normalised with
ImageNet's statistics, from decoded uint8 images in memory. Each is the fastest form on two cores that we found with the
documentation of the tool and of PyTorch; torchvision also has the form that its documentation shows. The modules'
docstrings name every difference from the recipe, and what was slower. Common to all:

- the padding is always the same, so the images are padded once, when they are put into memory;
- the hue of grey infrared images is not shifted, which would change nothing: our own loader does not either;
- no tool exchanges channels, so a few lines do it (shared.py).

pool.py starts worker processes that fill reused batches in shared memory; worker.py is what they run.

kornia and albumentations were measured too. Both were slower than torchvision's functions. Commit 24f1a79 was the last
to hold them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from benchmarks.harness import importable
from benchmarks.own_operators import dali_operators, torchvision_classes, torchvision_functions
from benchmarks.own_operators.pool import Ready
from pipelines.augment.recipes import Recipe


@dataclass(frozen=True)
class Tool:
    """A tool. open: (images uint8 (N, H, W, 3), recipe) -> batches. module: must be importable. slow: gets fewer
    batches."""

    module: str
    open: Callable[[np.ndarray, Recipe], AbstractContextManager[Ready]]
    slow: bool = False


TOOLS: Mapping[str, Tool] = {
    "torchvision v2, its own operators": Tool("torchvision", torchvision_functions.opened),
    "torchvision v2, its own classes in DataLoader": Tool("torchvision", torchvision_classes.opened, slow=True),
    "DALI (CPU), its own operators": Tool("nvidia.dali", dali_operators.opened),
}


def installed() -> dict[str, Tool]:
    """Return the tools that can be used here, by their name in the tables."""
    return {name: tool for name, tool in TOOLS.items() if importable(tool.module)}


@contextmanager
def open_tools(images_NHWC: np.ndarray, recipe: Recipe) -> Iterator[dict[str, Ready]]:
    """Open every installed tool. Leaving the block ends their threads and processes."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(tool.open(images_NHWC, recipe)) for name, tool in installed().items()}

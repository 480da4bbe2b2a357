"""Reads golden values of the published code, see tests/data/README.md."""

import functools
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.support.golden_weights import golden_array

DATA = Path(__file__).parent.parent / "data"


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / name) as file:
        return dict(file)


def read_json(name: str) -> dict:
    return json.loads((DATA / name).read_text())


def relative_error(actual: Tensor | np.ndarray | float, expected: np.ndarray) -> float:
    """Return the largest difference divided by the largest expected magnitude."""
    actual = actual.detach().numpy() if isinstance(actual, Tensor) else np.asarray(actual)
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))


@functools.cache
def published_net() -> dict[str, Tensor]:
    """Return the goldens' network, 632 tensors in the published names. All calls share its 270 MB: do not change it."""
    shapes = read_json("model_float64.json")["state_dict_shapes"]
    return {name: tensor(golden_array(name, shape)) for name, shape in shapes.items()}

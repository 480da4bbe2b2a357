"""Golden values of the published code, see tests/data/README.md."""

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
    """Largest difference over the largest expected magnitude."""
    actual = actual.detach().numpy() if isinstance(actual, Tensor) else np.asarray(actual)
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))


@functools.cache
def published_net() -> dict[str, Tensor]:
    """The goldens' network, 632 tensors in the published names. 270 MB: made once, not to be changed."""
    shapes = read_json("model_float64.json")["state_dict_shapes"]
    return {name: tensor(golden_array(name, shape)) for name, shape in shapes.items()}

"""Holds what the benchmarks of training share: a training that is assembled as train_ffcv.py's is."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from dns.training.config import read_config
from dns.training.setup import Training, open_training

REPOSITORY = Path(__file__).parent.parent
# The published step as its authors run it: everything eager, NCHW, float images already on the device, torch's own
# choice of optimiser kernels (fused=None), cuDNN trying its algorithms.
PUBLISHED = {
    "channels_last": "false", "compile": "false", "fused": "false", "graph": "false", "augment": "host",
    "cudnn_benchmark": "true",
}  # fmt: skip


def one_batch(training: Training) -> tuple[Tensor, Tensor, Tensor]:
    """Return copies of the first batch's images, augmentation parameters and identities, for repeated steps."""
    with training.loader.epoch(0) as batches:
        batch = next(batches)
        return batch.images.clone(), batch.augmentation.clone(), batch.person_B.clone()


def options(beton_root: Path, more: Sequence[str] = ()) -> list[str]:
    """Return options of SYSU-MM01's recipe for a converted set below beton_root, with random initial weights."""
    recipe = str(REPOSITORY / "configs" / "sysu.yaml")
    return ["--config-file", recipe, f"--data.beton_root={beton_root}", "--model.pretrained=none", *more]


def assemble(arguments: Sequence[str]) -> Training:
    """Assemble a training. arguments: as on train_ffcv.py's command line."""
    training = open_training(read_config(arguments, description=""))
    training.model.train()
    return training


def engine_options(**switches: str) -> list[str]:
    return [f"--engine.{name}={value}" for name, value in switches.items()]

"""What the benchmarks of training share: a training, put together by train_ffcv.py's own functions."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from dns.training import config
from train_ffcv import Training, open_loader, start_engine
from train_ffcv import assemble as assemble_training

REPOSITORY = Path(__file__).parent.parent
# One step as published: everything eager, NCHW, float images already on the device. A CPU has no fast fp16.
PUBLISHED = {"channels_last": "false", "compile": "false", "fused": "false", "graph": "false", "augment": "host"}


def one_batch(training: Training) -> tuple[Tensor, Tensor, Tensor]:
    """Images, augmentation parameters and identities of the first batch, to be given to the step again and again."""
    with training.loader.epoch(0) as batches:
        batch = next(batches)
        return batch.images.clone(), batch.augmentation.clone(), batch.person_B.clone()


def options(beton_root: Path, more: Sequence[str] = ()) -> list[str]:
    """SYSU-MM01's recipe on a converted set below beton_root, from random weights."""
    recipe = str(REPOSITORY / "configs" / "sysu.yaml")
    return ["--config-file", recipe, f"--data.beton_root={beton_root}", "--model.pretrained=none", *more]


def assemble(arguments: Sequence[str]) -> Training:
    """arguments: as of train_ffcv.py."""
    asked, world, engine = start_engine(config.read(arguments, description=""))
    training = assemble_training(asked, world, engine, open_loader(asked, world, engine), resumed=False)
    training.model.train()
    return training


def engine_options(**switches: str) -> list[str]:
    return [f"--engine.{name}={value}" for name, value in switches.items()]

"""What the benchmarks of training share: the trainer's own parts, put together as train_ffcv.py does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dns import config
from dns.evaluation.protocols import PROTOCOLS
from dns.model import DNS
from dns.optim import make_optimiser
from dns.options import declare
from dns.step import Engine, Step, make_engine, make_step
from eval import build_model
from pipelines.augment import RECIPES
from train_ffcv import Loader, make_loader

REPOSITORY = Path(__file__).parent.parent
# One step as published: everything eager, NCHW, float images already on the device. A CPU has no fast fp16.
PUBLISHED = {"channels_last": "false", "compile": "false", "fused": "false", "graph": "false", "augment": "host"}


@dataclass(frozen=True)
class Training:
    """A network in training and what feeds it."""

    engine: Engine
    loader: Loader
    model: DNS
    step: Step

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images, augmentation table and persons of the first batch, to be given to the step again and again."""
        with self.loader.epoch(0) as batches:
            batch = next(batches)
            return batch.images.clone(), batch.augmentation.clone(), batch.person_B.clone()


def options(beton_root: Path, more: Sequence[str] = ()) -> list[str]:
    """SYSU-MM01's recipe on a converted set below beton_root, from random weights."""
    recipe = str(REPOSITORY / "configs" / "sysu.yaml")
    return ["--config-file", recipe, f"--data.beton_root={beton_root}", "--model.pretrained=none", *more]


def assemble(arguments: Sequence[str]) -> Training:
    """arguments: as of train_ffcv.py."""
    values = config.read(declare(list(PROTOCOLS), list(RECIPES)), arguments, description="")
    engine = make_engine(**values["engine"])
    torch.manual_seed(values["run"]["seed"])
    loader = make_loader(values, engine)
    model = engine.place(build_model(values, loader.identities)).train()
    optimiser = make_optimiser(
        model, multipliers=values["multiplier"], fused=engine.fused,
        **{key: values["optim"][key] for key in ("name", "lr", "momentum", "weight_decay")},
    )  # fmt: skip
    return Training(engine, loader, model, make_step(model, optimiser, engine.scaler(), loader.augment, engine))


def engine_options(**switches: str) -> list[str]:
    return [f"--engine.{name}={value}" for name, value in switches.items()]

"""Trains three steps in float64 on a fixed batch, with the losses over the batches of all ranks: python -m ... FILE

A single process takes the batches of both ranks, joined. Rank 0 writes the weights to FILE, by method: outputs of two
blocks of rows, of three (two views of each visible image) and of six.
"""

import sys

import torch
from torch import Tensor, nn

from dns import exchange, ranks
from dns.engine import Engine
from dns.methods import METHODS
from dns.optim import OptimOptions, make_optimiser
from dns.step import make_step
from ffcv_convert.common.world import World
from tests.support.golden_weights import golden_array

IDENTITIES, RANKS, IMAGES = 6, 2, 6  # images of each modality on a rank
VIEWS = {"dns": 1, "caj": 2, "deen": 1}  # of each visible image
RATES = {"deen": 1e-4}  # its first losses are large without batch norms in training
WITHOUT_DROPOUT = {"dropout": 0.0}


def one_view(images: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    visible, other = images.chunk(2)
    return visible, other


def two_views(images: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    visible, other = images.chunk(2)
    return torch.cat([visible, visible.flip(3)]), other


def trained(name: str, world: World) -> dict[str, Tensor]:
    """Return a method's weights after three steps."""
    method, engine = METHODS[name], Engine(world.device, "fp64", channels_last=False, compile=False)
    more = WITHOUT_DROPOUT if "dropout" in method.model.__dataclass_fields__ else {}
    options = method.model(method=name, architecture="resnet10_half", **more)
    model = method.network(IDENTITIES, options, method.loss())
    for key, tensor in model.state_dict().items():
        # DEEN's attention explodes where no batch norm in training follows it.
        scale = 1e-6 if name == "deen" and key.endswith("step.norm.weight") else 1.0
        tensor.copy_(scale * torch.from_numpy(golden_array(key, tensor.shape)))
    model = engine.place(model).train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()  # the statistics of a rank's batch differ from the joined batch's
    optimiser = make_optimiser(
        model,
        OptimOptions(name="sgd", lr=RATES.get(name, 1e-3), momentum=0.9, weight_decay=5e-4),
        method.multiplier(**dict.fromkeys(model.groups(), 1.0)),
        fused=False,
    )
    step = make_step(
        model, optimiser, torch.amp.GradScaler("cpu", enabled=False), one_view if VIEWS[name] == 1 else two_views,
        engine, average=exchange.Mean(world, 1), **({"gather": exchange.Gather(world)} if world.size > 1 else {}),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        images = torch.randn(2, RANKS, IMAGES, 3, 64, 32, generator=generator, dtype=torch.float64)
        person = torch.arange(IDENTITIES).repeat_interleave(RANKS).view(RANKS, IMAGES).repeat(2, 1, 1)
        mine = slice(None) if world.size == 1 else slice(world.rank, world.rank + 1)
        step(images[:, mine].flatten(0, 2), torch.empty(0), person[:, mine].flatten())
    return model.state_dict()


def main(file: str) -> None:
    torch.set_num_threads(1)
    world = ranks.join(torch.device("cpu"))
    found = {name: trained(name, world) for name in VIEWS}
    if world.is_main:
        torch.save(found, file)


if __name__ == "__main__":
    with ranks.leaving():
        main(sys.argv[1])

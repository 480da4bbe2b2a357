"""Trains three steps in float64 on a fixed batch, with the losses over the batches of all ranks: python -m ... FILE

A single process takes the batches of both ranks, joined. Rank 0 writes the weights to FILE.
"""

import sys

import torch
from torch import nn

from dns import exchange, ranks
from dns.engine import Engine
from dns.losses import LossOptions
from dns.model import DNS, ModelOptions
from dns.optim import MultiplierOptions, OptimOptions, make_optimiser
from dns.step import make_step
from tests.support.golden_weights import golden_array

IDENTITIES, RANKS, IMAGES = 6, 2, 6  # images of each modality on a rank
GROUPS = ("rest", "layer3", "layer4", "neck", "classifier", "distillation")


def main(file: str) -> None:
    torch.set_num_threads(1)
    engine = Engine(torch.device("cpu"), "fp64", channels_last=False, compile=False)
    world = ranks.join(engine.device)
    model = DNS(IDENTITIES, ModelOptions(architecture="resnet10_half", dropout=0.0), LossOptions())
    for name, tensor in model.state_dict().items():
        tensor.copy_(torch.from_numpy(golden_array(name, tensor.shape)))
    model = engine.place(model).train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()  # the statistics of a rank's batch differ from the joined batch's
    optimiser = make_optimiser(
        model,
        OptimOptions(name="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4),
        MultiplierOptions(**dict.fromkeys(GROUPS, 1.0)),
        fused=False,
    )
    step = make_step(
        model, optimiser, torch.amp.GradScaler("cpu", enabled=False), lambda images, _: images.chunk(2), engine,
        average=exchange.Mean(world, 1), **({"gather": exchange.Gather(world)} if world.size > 1 else {}),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        images = torch.randn(2, RANKS, IMAGES, 3, 64, 32, generator=generator, dtype=torch.float64)
        person = torch.arange(IDENTITIES).repeat_interleave(RANKS).view(RANKS, IMAGES).repeat(2, 1, 1)
        mine = slice(None) if world.size == 1 else slice(world.rank, world.rank + 1)
        step(images[:, mine].flatten(0, 2), torch.empty(0), person[:, mine].flatten())
    if world.is_main:
        torch.save(model.state_dict(), file)


if __name__ == "__main__":
    with ranks.leaving():
        main(sys.argv[1])

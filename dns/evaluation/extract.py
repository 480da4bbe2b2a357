"""Embed every test image once, whatever the number of trials and protocols."""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from dns.model import DNS
from dns.step import Engine

Flip = Literal["published", "normalised", "off"]


@torch.inference_mode()
def embed_images(
    model: DNS,
    batches: Iterable[tuple[Tensor, Tensor]],
    prepare: Callable[[Tensor], Tensor],
    embedding_ND: Tensor,
    *,
    visible: bool,
    flip: Flip,
    engine: Engine,
) -> int:
    """Fill the rows of embedding_ND (float32, N x D) that the batches name; returns how many.

    batches: (images_BHWC uint8, sample numbers of the first of them); images beyond those are padding. prepare makes
    (B, 3, H, W) float32 of the images. The embedding is the L2-normalised BN(Z). flip: "published" adds that of the
    mirrored image without normalising again, "normalised" normalises the sum, "off" takes the image alone.
    """
    count = 0
    for images_BHWC, samples in batches:
        images = engine.arrange(prepare(images_BHWC))
        with engine.autocast():
            embedding = model.embed(images, visible=visible)[1]
            if flip != "off":
                embedding = embedding + model.embed(images.flip(3), visible=visible)[1]
        if flip == "normalised":
            embedding = functional.normalize(embedding, dim=1)
        embedding_ND[samples.to(embedding_ND.device)] = embedding[: len(samples)]
        count += len(samples)
    return count

"""Embed each test image that is asked for once, whatever the number of trials and protocols."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dns.evaluation import report
from dns.evaluation.protocols import TestSet
from dns.model import DNS
from dns.step import Engine

Flip = Literal["published", "normalised", "off"]


class Embeddings(NamedTuple):
    """Both published test features, L2-normalised, float32 (N, D): after the BN neck, which the papers report, and
    before it."""

    bn: Tensor
    z: Tensor


FEATURES = {"bn": "BN(Z)", "z": "Z"}  # field of Embeddings -> name in reports


@torch.inference_mode()
def embed_images(
    model: DNS,
    batches: Iterable[tuple[Tensor, Tensor]],
    prepare: Callable[[Tensor], Tensor],
    embeddings: Embeddings,
    *,
    visible: bool,
    flip: Flip,
    engine: Engine,
) -> int:
    """Fill the rows of `embeddings` that the batches name; returns how many.

    batches: (images_BHWC uint8, rows, int64, of the first of them), both on the embeddings' device; images beyond those
    are padding. prepare makes (B, 3, H, W) float32 of the images. flip: "published" adds the mirrored image's embedding
    without normalising again, "normalised" normalises the sum, "off" takes the image alone.
    """
    count, embed = 0, engine.compiled(model.embed)
    for images_BHWC, rows in batches:
        images = engine.arrange(prepare(images_BHWC))
        with engine.autocast():
            z, bn = embed(images, visible=visible)
            if flip != "off":
                mirrored_z, mirrored_bn = embed(images.flip(3), visible=visible)
                z, bn = z + mirrored_z, bn + mirrored_bn
        for target, embedding in zip(embeddings, (bn, z), strict=True):
            if flip == "normalised":
                embedding = functional.normalize(embedding, dim=1)
            target[rows] = embedding[: len(rows)]
        count += len(rows)
    return count


def save_features(path: Path, embeddings: Embeddings, test: TestSet) -> None:
    """Write an .npz, whole or not at all: embeddings (after the BN neck) and before_neck, float32 (N, D); persons,
    cameras, modality, int64; paths. Raises ReportError."""
    with report.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with report.replacing(path) as file:
        np.savez(
            file,
            embeddings=embeddings.bn.cpu().numpy(),
            before_neck=embeddings.z.cpu().numpy(),
            persons=test.person_N,
            cameras=test.camera_N,
            modality=test.modality_N,
            paths=np.array(test.path_N),
        )

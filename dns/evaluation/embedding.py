"""Turns uint8 test images into the features that are compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from dns.engine import Engine
from dns.evaluation import results
from dns.evaluation.protocols import TestSet
from dns.network import Network

Flip = Literal["published", "normalised", "off"]


class Embeddings(NamedTuple):
    """Both published test features, L2-normalised, float32 (N, D): after the BN neck, which the papers report, and
    before it."""

    bn: Tensor
    z: Tensor


FEATURES = {"bn": "BN(Z)", "z": "Z"}  # field of Embeddings -> name in reports


class Embedder(nn.Module):
    """Turns uint8 images into L2-normalised features: normalisation, the modality's stem, the trunk, the neck, flip.

    normalise: images uint8 (B, H, W, 3) -> float32 (B, 3, H, W). flip: "published" adds the mirrored image's feature
    without normalising again, "normalised" normalises the sum, "off" takes only the image itself.
    """

    def __init__(self, model: Network, normalise: Callable[[Tensor], Tensor], engine: Engine, *, flip: Flip):
        super().__init__()
        self.model, self.width = model, model.width
        self._normalise, self._engine, self._flip = normalise, engine, flip
        self._embed = engine.compiled(model.embed)

    def forward(self, images_BHWC: Tensor, *, visible: bool) -> Embeddings:
        """Return both features, (B, D) each, of images of one modality, on the images' device."""
        images = self._engine.arrange(self._normalise(images_BHWC))
        with self._engine.autocast():
            z, bn = self._embed(images, visible=visible)
            if self._flip != "off":
                mirrored_z, mirrored_bn = self._embed(images.flip(3), visible=visible)
                z, bn = z + mirrored_z, bn + mirrored_bn
        if self._flip == "normalised":
            z, bn = functional.normalize(z, dim=1), functional.normalize(bn, dim=1)
        return Embeddings(bn.float(), z.float())  # from float64 as well: what is compared is float32


def save_features(path: Path, embeddings: Embeddings, test: TestSet) -> None:
    """Write an .npz, whole or not at all: embeddings (after the BN neck) and before_neck, float32 (N, D); persons,
    cameras, modality, int64; paths. Raises ReportError."""
    with results.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with results.replacing(path) as file:
        np.savez(
            file,
            embeddings=embeddings.bn.cpu().numpy(),
            before_neck=embeddings.z.cpu().numpy(),
            persons=test.person_N,
            cameras=test.camera_N,
            modality=test.modality_N,
            paths=np.array(test.path_N),
        )

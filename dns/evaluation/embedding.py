"""Turns uint8 test images into the features that are compared."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dns.engine import Engine
from dns.evaluation import results
from dns.evaluation.some_rows import EmbeddedRows, SomeRows
from dns.evaluation.trial import TestSet
from dns.network import Embeds

Flip = Literal["published", "normalised", "off"]


# What can be compared -> its name in reports. The last two compare both embeddings at once, and add up similarities.
FEATURES = {"bn": "BN(Z)", "z": "Z", "sum": "Z + BN(Z)", "weighted": "0.1 Z + 0.9 BN(Z)"}
COUNTERPART = {"bn": "z", "z": "bn", "sum": "weighted", "weighted": "sum"}  # what the authors' tests print beside it
WEIGHTS = {"sum": (1.0, 1.0), "weighted": (0.1, 0.9)}  # of the similarities of Z and BN(Z)


class Embeddings(NamedTuple):
    """Both published test embeddings, L2-normalised, float32 (N, D): after the BN neck, which most papers report, and
    before it. Of a network with several parts, each part is L2-normalised."""

    bn: Tensor
    z: Tensor

    def compared(self, feature: str) -> Tensor:
        """Return the matrix whose rows are compared by their dot products, (N, D) or (N, 2 D). feature: one of
        FEATURES."""
        if feature not in WEIGHTS:
            return self.z if feature == "z" else self.bn
        of_z, of_bn = (weight**0.5 for weight in WEIGHTS[feature])
        return torch.cat([of_z * self.z, of_bn * self.bn], dim=1)


class EmbeddedSet(NamedTuple):
    """Embeddings of the images of a test set. row_M: the rows of the set that were embedded, int64, ascending; None:
    all of them."""

    both: Embeddings
    row_M: np.ndarray | None

    @property
    def bn(self) -> Tensor:
        return self.both.bn

    @property
    def z(self) -> Tensor:
        return self.both.z

    def compared(self, feature: str) -> EmbeddedRows:
        """Return what is compared, see Embeddings.compared, by the rows of the test set."""
        matrix = self.both.compared(feature)
        return matrix if self.row_M is None else SomeRows(self.row_M, matrix)


def compared_width(width: int, feature: str) -> int:
    """Return the numbers in a row of Embeddings.compared. width: an embedding's."""
    return 2 * width if feature in WEIGHTS else width


class Embedder(nn.Module):
    """Turns uint8 images into L2-normalised features: normalisation, the modality's stem, the trunk, the neck, flip.

    prepare: images uint8 (B, H, W, 3) -> what the network takes, (B, 3, H, W): normalised float32. flip: "published"
    adds the mirrored image's feature without normalising again, "normalised" normalises the sum (of each part), "off"
    takes only the image itself.
    """

    def __init__(self, model: Embeds, prepare: Callable[[Tensor], Tensor], engine: Engine, *, flip: Flip):
        super().__init__()
        self.model, self.width = model, model.width
        self._prepare, self._engine, self._flip = prepare, engine, flip
        self._embed = engine.compiled(model.embed)

    def forward(self, images_BHWC: Tensor, *, visible: bool) -> Embeddings:
        """Return both features, (B, D) each, of images of one modality, on the images' device."""
        images = self._engine.arrange(self._prepare(images_BHWC))
        with self._engine.autocast():
            z, bn = self._embed(images, visible=visible)
            if self._flip != "off":
                mirrored_z, mirrored_bn = self._embed(images.flip(3), visible=visible)
                z, bn = z + mirrored_z, bn + mirrored_bn
        if self._flip == "normalised":
            z, bn = self._normalised(z), self._normalised(bn)
        return Embeddings(bn.float(), z.float())  # from float64 as well: what is compared is float32

    def _normalised(self, embedding: Tensor) -> Tensor:
        return functional.normalize(embedding.unflatten(1, (self.model.parts, -1)), dim=2).flatten(1)


def save_features(path: Path, embeddings: Embeddings, test: TestSet, features: Sequence[str]) -> None:
    """Write an .npz, whole or not at all: embeddings (after the BN neck) and before_neck, float32 (N, D); persons,
    cameras, modality, int64; paths; `compared`, those of FEATURES that the method compares. Raises ReportError."""
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
            compared=np.array(features),
        )

"""Embeds a set's test images with exported networks, in onnxruntime, and makes them small for the page."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from dns.demo.exported import Exported
from dns.export.description import AGAIN
from dns.export.runtime import open_session, run
from dns.report.html import HEIGHTS_PX, jpeg
from dns.training.selection import check_same_size
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import CheckpointError, ConfigError
from pipelines.data import TestImages

BATCH = 32


class Gallery(NamedTuple):
    """All test images. embedding_ND: float32, rows of length 1; thumbnails: a JPEG each, or none at all."""

    images: TestImages
    embedding_ND: np.ndarray
    thumbnails: list[bytes]

    def rows(self, modality: Modality) -> np.ndarray:
        """Return the rows of a modality's images."""
        return np.flatnonzero(self.images.modality_N == modality)


def modalities(exported: Exported, images: TestImages) -> tuple[Modality, Modality]:
    """Return the set's modalities, visible last. Raises ConfigError, DataError where images and networks do not fit."""
    found = sorted({Modality(number) for number in images.modality_N.tolist()}, reverse=True)
    names = [modality.name.lower() for modality in found]
    if len(found) != 2 or found[1] != Modality.VISIBLE:
        raise ConfigError(
            f"{images.path}: has {', '.join(names)} test images. The page searches visible ones and others"
        )
    for modality in found:
        network_of(exported, modality, images)
    check_same_size(str(exported.folder), exported.size_px, images.path, images.size_px)
    return found[0], found[1]


def network_of(exported: Exported, modality: Modality, images: TestImages) -> Path:
    """Return the file of a modality's network. Raises ConfigError where there is none."""
    path = exported.network(modality)
    if path is None:
        name = modality.name.lower()
        raise ConfigError(
            f"{exported.folder}: has no network for {name} images, as {images.path} has. Name another set"
        )
    return path


def embed(exported: Exported, images: TestImages, *, thumbnails: bool) -> Gallery:
    """Embed every test image. Raises CheckpointError where a network cannot be run, ConfigError without onnxruntime."""
    count, both = len(images.modality_N), modalities(exported, images)
    gallery = Gallery(images, np.zeros((count, exported.width), dtype=np.float32), [b""] * count if thumbnails else [])
    with tqdm(total=count, desc="embedding", unit="images", dynamic_ncols=True) as bar:
        for modality in both:
            path, rows = network_of(exported, modality, images), gallery.rows(modality)
            session = open_session(path, torch.get_num_threads())
            for begin in range(0, len(rows), BATCH):
                some = rows[begin : begin + BATCH]
                pixels = images.pixels(some)
                gallery.embedding_ND[some] = _embedded(session, np.stack(pixels), path, exported.width)
                for row, one in zip(some.tolist(), pixels, strict=True) if thumbnails else ():
                    gallery.thumbnails[row] = jpeg(one, HEIGHTS_PX[0])
                bar.update(len(some))
    return gallery


def _embedded(session: Any, images_BHWC: np.ndarray, path: Path, width: int) -> np.ndarray:
    (embedding_BD,) = run(session, images_BHWC, "embedding")
    if embedding_BD.shape != (len(images_BHWC), width):
        raise CheckpointError(f"{path}: gives {embedding_BD.shape[1:]} numbers, not {width}. {AGAIN}")
    norm_B1 = np.linalg.norm(embedding_BD, axis=1, keepdims=True)
    if not (np.isfinite(norm_B1) & (norm_B1 > 0)).all():
        raise CheckpointError(f"{path}: gives embeddings that cannot be compared. Name another checkpoint")
    return embedding_BD / norm_B1

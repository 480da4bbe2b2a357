"""Embeds crops of people, by a checkpoint or by networks that were exported from one."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from dns.engine import Engine
from dns.evaluation.embedding import Embedder, compared_width
from dns.evaluation.evaluator import channels_first
from dns.export import description
from dns.export.runtime import ExportedNetwork
from dns.network import Embeds
from dns.training import checkpoint
from dns.training.config import METHOD, given_options
from dns.training.options import Config
from dns.training.selection import config_for_checkpoint, other_modalities
from dns.training.setup import open_network, start_engine
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import CheckpointError, ConfigError
from pipelines.augment.apply import normalise

# Compiling takes longer than embedding some images, and the last batch has another size.
ENGINE = ("--engine.compile=false", "--engine.graph=false")


class SearchNetwork:
    """A network that embeds crops. size_px: their height and width; about: what the index says of it; modalities: those
    that it was trained on."""

    def __init__(self, model: Embeds, engine: Engine, config: Config, size_px: Sequence[int], about: dict[str, Any]):
        exported = isinstance(model, ExportedNetwork)
        own = partial(normalise, normalisation=config.normalisation)
        prepare = channels_first if exported else own  # an exported one normalises by itself
        self.size_px = (int(size_px[0]), int(size_px[1]))
        self._feature, self._device, self._name = config.method.feature, engine.device, about["path"]
        self._embedder = Embedder(model, prepare, engine, flip=config.eval.flip).eval()
        self.width = compared_width(model.width, self._feature)
        others = other_modalities(config)
        self.modalities = {Modality.VISIBLE, *others} if others else set(Modality)
        precision = model.precision if isinstance(model, ExportedNetwork) else str(engine.precision)
        self.about = about | {
            "feature": self._feature, "flip": config.eval.flip, "precision": precision, "size_px": list(self.size_px),
            "method": config.model.method, "architecture": config.model.architecture,
            "normalisation": config.normalisation_name,
        }  # fmt: skip

    def check(self, modality: Modality) -> None:
        """Raise ConfigError for a modality that the network was not trained on."""
        if modality not in self.modalities:
            known = " and ".join(one.name.lower() for one in sorted(self.modalities))
            raise ConfigError(
                f"{self._name}: was trained on {known} images, and cannot embed {modality.name.lower()} ones. Name "
                "another checkpoint, or correct the modality"
            )

    def check_made(self, folder: Path, stored: Mapping[str, Any]) -> None:
        """Raise CheckpointError where another network embedded the rows of an index. stored: what it says of that."""
        if stored["path"] is None:
            raise CheckpointError(
                f"{self._name}: cannot add to {folder}, whose rows were embedded elsewhere ({stored['file']}). Make "
                "another index"
            )
        before = {"normalisation": self.about["normalisation"], **stored}  # an earlier version did not store it
        if any(before[name] != self.about[name] for name in ("sha256", "feature", "flip", "normalisation")):
            how = (
                f"{before['file']} (SHA-256 {str(before['sha256'])[:12]}, flip {before['flip']}, normalisation "
                f"{before['normalisation']})"
            )
            raise CheckpointError(
                f"{self._name}: is another network than {how}, which embedded the rows of {folder}. Name that one "
                "(--checkpoint=FILE), or make another index"
            )

    @torch.inference_mode()
    def embed(self, crops_BHWC: np.ndarray, modality: Modality) -> np.ndarray:
        """Embed uint8 RGB crops of one modality: float32 (B, D), rows of length 1, which are compared by their dot
        products. Raises CheckpointError where that gives no vectors."""
        self.check(modality)
        images = torch.from_numpy(crops_BHWC).to(self._device)
        embeddings = self._embedder(images, visible=modality == Modality.VISIBLE)
        compared_BD = functional.normalize(embeddings.compared(self._feature), dim=1)
        if not (torch.linalg.vector_norm(compared_BD, dim=1) > 0.5).all():  # NaN or zero
            raise CheckpointError(f"{self._name}: gives embeddings that cannot be compared. Name another checkpoint")
        return compared_BD.cpu().numpy()


def open_search_network(path: Path, options: Sequence[str]) -> SearchNetwork:
    """Open a checkpoint or a folder of exported networks. options: those of eval.py, such as "--data.set=sysu", which a
    published checkpoint needs. Raises CheckpointError, ConfigError."""
    options = (*options, *ENGINE)
    content = checkpoint.load_to_test(path, given_options(options).get(METHOD))
    config = config_for_checkpoint(options, content, 0, "")
    _, engine = start_engine(config.engine)
    size_px = content["size_px"] or config.data.published_px
    engine.check_width(size_px[1])
    model = open_network(path, content, config, engine)
    sha256 = description.read(path)["checkpoint"]["sha256"] if path.is_dir() else description.digest(path)
    about = {
        "path": str(path.absolute()), "file": content["file"], "epoch": content["epoch"], "sha256": sha256,
        "dataset": config.data.set, "trial": config.data.trial,
    }  # fmt: skip
    return SearchNetwork(model, engine, config, size_px, about)

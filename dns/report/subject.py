"""What a report is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from dns.evaluation.embedding import FEATURES, Embeddings
from dns.evaluation.evaluator import Evaluator
from dns.model import DNS
from dns.training.options import Config


@dataclass(frozen=True)
class Subject:
    """A network, in evaluation mode, and what it was tested on. checkpoint: its file; embeddings: of
    every test image; command: that made the report."""

    config: Config
    evaluator: Evaluator
    model: DNS
    embeddings: Embeddings
    protocols: Sequence[str]
    checkpoint: Path
    command: str

    @property
    def feature(self) -> str:
        """That the figures show: after the BN neck, unless it is left out of the tables."""
        features = self.config.eval.features
        return "bn" if "bn" in features else features[0]

    @property
    def feature_name(self) -> str:
        return FEATURES[self.feature]

    @property
    def embedding_ND(self) -> Tensor:
        return getattr(self.embeddings, self.feature)

    @property
    def size_px(self) -> tuple[int, int]:
        height, width, _ = self.evaluator.images.pixels(np.array([0]))[0].shape
        return height, width

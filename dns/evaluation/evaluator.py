"""Embeds a set's test images, ranks them under the named protocols, and makes the rows of reports."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dns import ranks
from dns.engine import Engine
from dns.evaluation.embedding import FEATURES, EmbeddedSet, Embedder, Embeddings, Flip
from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.ranking import Ranking, rank_trials
from dns.evaluation.some_rows import EmbeddedRows
from dns.evaluation.tables import Measured, Row, joined, ranked_row
from dns.evaluation.trial import TestSet
from dns.network import Embeds
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.world import World
from pipelines.data import TestImages


class Evaluator:
    """An evaluator of one set. Every rank calls it: each embeds a part of the images, and rank 0 ranks them.

    images: what is tested; dataset: its name in reports; flip: the tables', see Embedder; feature: the method's, by
    which training chooses an epoch, one of FEATURES; about: what else each row says, such as how the network was
    trained.
    """

    def __init__(
        self, images: TestImages, world: World, engine: Engine, *, dataset: str, flip: Flip,
        feature: str = "bn", about: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        self.test_set = test_set_of(images)
        self.images, self._world, self.engine = images, world, engine
        self.dataset, self.flip, self.feature, self.about = dataset, flip, feature, dict(about or {})
        self.prepare, self.precision = images.normalise, str(engine.precision)

    def take_exported(self, precision: str) -> None:
        """Make ready for a network that normalises by itself: it gets uint8 images. precision: that of its rows."""
        self.prepare, self.precision = channels_first, precision

    @torch.inference_mode()
    def embed(self, model: Embeds, row_M: np.ndarray | None = None, flip: Flip | None = None) -> EmbeddedSet:
        """Return the features of every test image, or only of those of `row_M`, ascending, on the device. flip: that of
        the tables unless another is given. Leaves the model in evaluation mode."""
        embedder = Embedder(model, self.prepare, self.engine, flip=flip or self.flip).eval()
        rows = np.arange(len(self.test_set.person_N)) if row_M is None else row_M
        shape, ascending_M = (len(rows), embedder.width), torch.from_numpy(rows).to(self._world.device)
        embeddings = Embeddings(*(torch.zeros(shape, device=self._world.device) for _ in Embeddings._fields))
        for modality in np.unique(self.test_set.modality_N[rows]):
            visible = bool(modality == Modality.VISIBLE)
            with self.images.batches(rows[self.test_set.modality_N[rows] == modality]) as batches:
                for images_BHWC, batch_rows in batches:
                    places = torch.searchsorted(ascending_M, batch_rows)
                    for target, feature in zip(embeddings, embedder(images_BHWC, visible=visible), strict=True):
                        target[places] = feature[: len(batch_rows)]
        ranks.add_up(self._world, embeddings)  # each row is one rank's, and 0 on the others
        return EmbeddedSet(embeddings, row_M)

    def rows(self, protocols: Sequence[str]) -> np.ndarray | None:
        """Return the test images that these protocols need, ascending; None for all. Of video they are few of many."""
        if self.test_set.tracklets is None:
            return None
        return np.unique(np.concatenate([PROTOCOLS[protocol].rows(self.test_set) for protocol in protocols]))

    def rankings(
        self,
        embedding_ND: EmbeddedRows,
        protocol: str,
        trials: Sequence[int] | None = None,
        *,
        re_ranking: bool = False,
    ) -> list[Ranking]:
        """Rank the trials of a protocol, see rank_trials."""
        return rank_trials(PROTOCOLS[protocol], self.test_set, embedding_ND, trials, re_ranking=re_ranking)

    def choosing_rank1(self, model: Embeds, protocol: str) -> float:
        """Return the number by which the published code chooses an epoch: Rank-1 of `feature` on trial 0, without flip.

        It embeds only the queries and that trial's gallery: 4,104 of SYSU-MM01's 10,578 images.
        """
        embeddings = self.embed(model, PROTOCOLS[protocol].rows(self.test_set, [0]), flip="off")
        embedding_ND = embeddings.compared(self.feature)
        return ranks.on_main(self._world, lambda: self.rankings(embedding_ND, protocol, [0])[0].metrics.cmc[0])

    def measured(self, model: Embeds, checkpoint: str) -> Measured:
        """Return what rows of this network on this evaluator's images are of. checkpoint: its name in reports."""
        return Measured(checkpoint, model.digest(), joined(self.images.digests().values()))

    def own_row(self, model: Embeds, protocol: str, checkpoint: str) -> Row:
        """Return a report's row of the method's own `feature`, over every trial."""
        embeddings, tested = self.embed(model, self.rows([protocol])), self.measured(model, checkpoint)
        embedding_ND = embeddings.compared(self.feature)
        return ranks.on_main(
            self._world, lambda: self.row(self.rankings(embedding_ND, protocol), protocol, self.feature, tested)
        )

    def row(
        self, rankings: Sequence[Ranking], protocol: str, feature: str, tested: Measured, *, re_ranking: bool = False
    ) -> Row:
        """Return a report's row, see ranked_row. feature: one of FEATURES."""
        how = self.how(feature, re_ranking=re_ranking)
        return ranked_row(protocol, rankings, dataset=self.dataset, **how, **tested._asdict(), **self.about)

    def how(self, feature: str, *, re_ranking: bool) -> dict[str, str]:
        """Return what a row says of how its features were made and compared."""
        again = "k-reciprocal" if re_ranking else "off"
        how = {"feature": FEATURES[feature], "flip": self.flip, "re_ranking": again}
        return {**how, "precision": self.precision}


def test_set_of(images: TestImages) -> TestSet:
    """Return what protocols know of the test images."""
    labels = (images.person_N, images.camera_N, images.modality_N)
    return TestSet(*labels, images.path_N, images.draws, images.tracklets)


def channels_first(images_BHWC: Tensor) -> Tensor:
    """(B, H, W, 3) -> (B, 3, H, W), the same numbers."""
    return images_BHWC.permute(0, 3, 1, 2)

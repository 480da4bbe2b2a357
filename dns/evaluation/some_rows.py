"""Embeddings of some rows of a test set: a protocol of video reads few of its frames."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SomeRows:
    """Embeddings that are read by rows of the test set, as those of a matrix of all rows are, which may not fit into
    memory. row_M: the rows that are there, int64, ascending; embedding_MD: theirs."""

    row_M: np.ndarray
    embedding_MD: Tensor

    def __getitem__(self, row_B: np.ndarray) -> Tensor:
        """Return the embeddings of these rows, (B, D). Raises KeyError where one is not there."""
        place_B = np.searchsorted(self.row_M, row_B)
        known_B = self.row_M[np.minimum(place_B, len(self.row_M) - 1)] == row_B
        if not known_B.all():
            raise KeyError(f"row {row_B[~known_B][0]} of the test set was not embedded")
        return self.embedding_MD[torch.from_numpy(place_B)]

    @property
    def device(self) -> torch.device:
        return self.embedding_MD.device

    @property
    def shape(self) -> torch.Size:
        return self.embedding_MD.shape


EmbeddedRows = Tensor | SomeRows  # row n embeds row n of the test set; of a Tensor, NaN where nothing is known

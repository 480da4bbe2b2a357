"""Defines the paper's modules: HSS shifts both modalities into one space, CSS both to a common one in training."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class HeterogeneousSpaceShifting(nn.Module):
    """HSS: attention over height and width, from a map shifted towards its strongest rows and columns.

    (B, C, H, W) -> same. The attention multiplies the input itself, not the shifted map (as in the published code).
    """

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(8, channels // 32)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.norm.num_batches_tracked = None
        self.expand_height = nn.Conv2d(hidden, channels, 1, bias=False)
        self.expand_width = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows = x.amax(dim=3, keepdim=True).softmax(dim=2)
        columns = x.amax(dim=2, keepdim=True).softmax(dim=3)
        # The published map is x + rows @ columns. Only its means are used, and a softmax sums to 1.
        by_row = x.mean(dim=3, keepdim=True) + rows / width
        by_column = x.mean(dim=2, keepdim=True) + columns / height
        profile = torch.cat([by_row, by_column.transpose(2, 3)], dim=2)
        hidden = functional.hardswish(self.norm(self.squeeze(profile)))
        of_height = self.expand_height(hidden[:, :, :height]).sigmoid()
        of_width = self.expand_width(hidden[:, :, height:]).sigmoid().transpose(2, 3)
        return x * of_height * of_width


class CommonSpaceShifting(nn.Module):
    """CSS: v -> MLP(v + softmax(v)), (B, D) -> (B, D), hidden width 4 D. Runs in training only."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.project = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vector: Tensor) -> Tensor:
        hidden = self.expand(self.norm(vector + vector.softmax(dim=1)))
        return self.dropout(self.project(self.dropout(functional.gelu(hidden))))

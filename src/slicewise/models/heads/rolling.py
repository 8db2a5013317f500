"""The rolling mean of the slice logits, its weights tuned label by label."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slicewise.config import FusionConfig
from slicewise.models.features import SliceFeatures
from slicewise.models.heads.axis import at
from slicewise.models.heads.base import FusionHead, register_head


@register_head("rolling")
class RollingMean(FusionHead):
    """A weighted sum of the logits of the k neighbours on either side, with weights and an offset for every label.

    Beyond the ends of a series its first or last slice repeats.
    """

    is_random = False

    def __init__(self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> None:
        super().__init__(config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels)
        weights = torch.zeros(2 * config.neighbours + 1, labels)
        weights[config.neighbours] = 1.0
        self.weights = nn.Parameter(weights)
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns logits (B, S, L)."""
        offsets = range(-self.config.neighbours, self.config.neighbours + 1)
        seen = torch.stack([at(features.slice_logits, features, offset) for offset in offsets], dim=2)
        return (seen * self.weights).sum(dim=2) + self.bias

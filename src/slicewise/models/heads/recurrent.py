"""A small GRU in either direction over the whole series."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slicewise.config import FusionConfig
from slicewise.models.features import SliceFeatures
from slicewise.models.heads.axis import axial_inputs, differences, turned
from slicewise.models.heads.base import register_head, zero_output
from slicewise.models.heads.inputs import ProjectedHead


@register_head("bigru")
class BidirectionalGRU(ProjectedHead):
    """Reads every slice with its neighbourhood.

    A slice enters with its projected features, their differences to both neighbours, the distances to them and its
    position relative to the middle of the series.
    """

    def __init__(self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> None:
        super().__init__(config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels)
        size = config.hidden_size
        # Two one-way networks instead of one two-way network: the backward one reads each series reversed by its own
        # length, so that padding, which stays last, is never read before a slice.
        self.forward_gru = nn.GRU(3 * size + 3, size, batch_first=True)
        self.backward_gru = nn.GRU(3 * size + 3, size, batch_first=True)
        self.output = zero_output(3 * size, labels)

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns logits (B, S, L)."""
        projected = self.projection(features)
        inputs = torch.cat([projected, *differences(projected, features), axial_inputs(features)], dim=-1)
        onward, _ = self.forward_gru(inputs)
        backward, _ = self.backward_gru(turned(inputs, features))
        hidden = torch.cat([onward, turned(backward, features), projected], dim=-1)
        correction: Tensor = self.output(hidden)
        return features.slice_logits + correction

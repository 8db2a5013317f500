"""A small transformer whose attention knows distances on the axial unit, not indices."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from slicewise.config import FusionConfig
from slicewise.models.features import SliceFeatures
from slicewise.models.heads.axis import TYPICAL_SPACING, axial_inputs
from slicewise.models.heads.base import register_head, zero_output
from slicewise.models.heads.inputs import ProjectedHead

ATTENTION_HEADS, LAYERS = 4, 2


class AxialAttention(nn.Module):
    """One transformer layer; attention fades with distance at a learned rate (as ALiBi, Press et al. 2022, in mm).

    Args:
        size: Number of features, a multiple of the attention heads.
        dropout: Dropout on either branch.
    """

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(2))
        self.query_key_value = nn.Linear(size, 3 * size)
        self.joined = nn.Linear(size, size)
        self.feed_forward = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))
        self.fading = nn.Parameter(torch.linspace(-3.0, 1.0, ATTENTION_HEADS))
        self.direction = nn.Parameter(torch.zeros(ATTENTION_HEADS))
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, features: SliceFeatures) -> Tensor:
        """Returns features (B, S, size) from features (B, S, size)."""
        values = values + self.dropout(self._attend(self.norms[0](values), features))
        fed: Tensor = self.dropout(self.feed_forward(self.norms[1](values)))
        return values + fed

    def _attend(self, values: Tensor, features: SliceFeatures) -> Tensor:
        batch, slices, size = values.shape
        shape = (batch, slices, ATTENTION_HEADS, size // ATTENTION_HEADS)
        query, key, value = (part.reshape(shape).transpose(1, 2) for part in self.query_key_value(values).chunk(3, -1))
        scores = query @ key.transpose(-1, -2) / math.sqrt(shape[-1])
        distance = (features.positions[:, None, :] - features.positions[:, :, None])[:, None] / TYPICAL_SPACING
        fading = nn.functional.softplus(self.fading)[:, None, None]
        scores = scores - fading * distance.abs() + self.direction[:, None, None] * torch.tanh(distance)
        scores = scores.masked_fill(~features.mask[:, None, None, :], -torch.inf)
        # Padding may hold anything, and nothing times infinity is not nothing.
        value = torch.where(features.mask[:, None, :, None], value, torch.zeros_like(value))
        seen = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, slices, size)
        joined: Tensor = self.joined(seen)
        return joined


@register_head("transformer")
class Transformer(ProjectedHead):
    """Two transformer layers over the whole series."""

    def __init__(self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> None:
        # The attention heads share the features evenly.
        size = math.ceil(config.hidden_size / ATTENTION_HEADS) * ATTENTION_HEADS
        super().__init__(config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels, size=size)
        self.distances = nn.Linear(3, size)
        self.layers = nn.ModuleList(AxialAttention(size, config.dropout) for _ in range(LAYERS))
        self.output = zero_output(size, labels)

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns logits (B, S, L)."""
        hidden = self.projection(features) + self.distances(axial_inputs(features))
        for layer in self.layers:
            hidden = layer(hidden, features)
        correction: Tensor = self.output(hidden)
        return features.slice_logits + correction

"""Convolutions along the axis."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slicewise.config import FusionConfig
from slicewise.models.features import SliceFeatures
from slicewise.models.heads.axis import axial_inputs
from slicewise.models.heads.base import register_head, zero_output
from slicewise.models.heads.inputs import ProjectedHead


class AxialConvolution(nn.Module):
    """A convolution along the axis with a residual path; padding counts as zero, as what lies beyond a series does.

    Args:
        size: Number of features.
        dilation: Slices from one tap to the next.
    """

    def __init__(self, size: int, dilation: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(size, size, kernel_size=3, dilation=dilation, padding=dilation)
        self.norm = nn.LayerNorm(size)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Returns features (B, S, size) from features (B, S, size) and the mask of slices (B, S)."""
        # Not a product: padding may hold anything.
        slices = torch.where(mask[..., None], values, torch.zeros_like(values))
        found: Tensor = self.convolution(slices.transpose(1, 2)).transpose(1, 2)
        return values + nn.functional.gelu(self.norm(found))


@register_head("conv")
class Convolutions(ProjectedHead):
    """Three convolutions of growing dilation: a slice sees seven neighbours on either side."""

    def __init__(self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> None:
        super().__init__(config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels)
        size = config.hidden_size
        self.distances = nn.Linear(3, size)
        self.layers = nn.ModuleList(AxialConvolution(size, dilation) for dilation in (1, 2, 4))
        self.output = zero_output(size, labels)

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns logits (B, S, L)."""
        hidden = self.projection(features) + self.distances(axial_inputs(features))
        for layer in self.layers:
            hidden = layer(hidden, features.mask)
        correction: Tensor = self.output(hidden)
        return features.slice_logits + correction

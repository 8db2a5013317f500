"""The k neighbours on either side, side by side: the plain reading of Ngo et al. 2022."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slicewise.config import FusionConfig
from slicewise.models.features import SliceFeatures
from slicewise.models.heads.axis import TYPICAL_SPACING, at
from slicewise.models.heads.base import register_head, zero_output
from slicewise.models.heads.inputs import ProjectedHead


@register_head("window")
class Window(ProjectedHead):
    """One hidden layer over the projected features of neighbours, with their distances.

    Beyond the ends of a series its first or last slice repeats.
    """

    def __init__(self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> None:
        super().__init__(config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels)
        slices = 2 * config.neighbours + 1
        self.hidden = nn.Linear(slices * (config.hidden_size + 1), config.hidden_size)
        self.output = zero_output(config.hidden_size, labels)

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns logits (B, S, L)."""
        projected = self.projection(features)
        positions = features.positions[..., None]
        seen = []
        for offset in range(-self.config.neighbours, self.config.neighbours + 1):
            distance = at(positions, features, offset) - positions
            seen += [at(projected, features, offset), distance / TYPICAL_SPACING]
        hidden = nn.functional.gelu(self.hidden(torch.cat(seen, dim=-1)))
        correction: Tensor = self.output(hidden)
        return features.slice_logits + correction

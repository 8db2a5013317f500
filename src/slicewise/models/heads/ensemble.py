"""The mean of several heads that differ in their initial weights and in noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slicewise.models.features import SliceFeatures
from slicewise.models.heads.base import FusionHead


class Ensemble(FusionHead):
    """Averages logits; every member is trained on its own loss.

    Args:
        members: Heads of one configuration.
    """

    def __init__(self, members: Sequence[FusionHead]) -> None:
        first = members[0]
        super().__init__(
            first.config,
            descriptor_size=first.descriptor_size,
            summary_size=first.summary_size,
            labels=first.labels,
        )
        self.members = nn.ModuleList(members)

    def fit_scale(self, descriptors: Tensor, spacing: float) -> None:
        """Tells every member."""
        for member in self._heads():
            member.fit_scale(descriptors, spacing)

    def _heads(self) -> list[FusionHead]:
        return [member for member in self.members if isinstance(member, FusionHead)]

    def member_logits(self, features: SliceFeatures) -> Tensor:
        """Returns the logits of every member, shape (members, B, S, L)."""
        return torch.stack([member(features) for member in self._heads()])

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns the mean of the logits, shape (B, S, L)."""
        return self.member_logits(features).mean(dim=0)

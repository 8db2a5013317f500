"""The single-slice baseline."""

from __future__ import annotations

from torch import Tensor

from slicewise.models.features import SliceFeatures
from slicewise.models.heads.base import FusionHead, register_head


@register_head("none")
class SingleSlice(FusionHead):
    """The logits of the slice classifier as they are."""

    is_random = False

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns the slice logits (B, S, L)."""
        return features.slice_logits

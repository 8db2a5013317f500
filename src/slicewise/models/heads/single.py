"""The single-slice baseline, and what stands below a chain alone."""

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


@register_head("chain")
class ChainAlone(SingleSlice):
    """The same logits; `slicewise.models.fusion.build_head` always puts the Markov chain on top of them."""

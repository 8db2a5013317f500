"""The contract between the stages: what stage 1 says about the slices of a series."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class SliceFeatures(NamedTuple):
    """Features of a batch of series, padded at the end to the longest one.

    Attributes:
        descriptors: Pooled features of every slice, shape (B, S, D).
        slice_logits: Logits of the slice classifier of stage 1, shape (B, S, L).
        summaries: Summary of the occupancy maps (peak, area), shape (B, S, M); M is 0 where stage 1 has no maps.
        positions: Position of every slice on the axial unit of the task (mm or index), ascending, shape (B, S).
        mask: True for slices, False for padding, shape (B, S).
    """

    descriptors: Tensor
    slice_logits: Tensor
    summaries: Tensor
    positions: Tensor
    mask: Tensor

    @property
    def lengths(self) -> Tensor:
        """Slices of every series, shape (B,)."""
        return self.mask.sum(dim=1)

    @classmethod
    def of_one_series(
        cls, descriptors: Tensor, slice_logits: Tensor, summaries: Tensor, positions: Tensor
    ) -> SliceFeatures:
        """Returns a batch that holds one series without padding; the arguments lack the batch axis."""
        return cls(
            descriptors=descriptors[None],
            slice_logits=slice_logits[None],
            summaries=summaries[None],
            positions=positions[None],
            mask=torch.ones_like(slice_logits[:, 0], dtype=torch.bool)[None],
        )

"""Along the axis of padded series: neighbours, reversal, differences and distances."""

from __future__ import annotations

import torch
from torch import Tensor

from slicewise.models.features import SliceFeatures

TYPICAL_SPACING = 5.0
"""Typical distance of adjacent slices in mm: brings differences of positions to about 1."""


def steps(features: SliceFeatures) -> Tensor:
    """Returns the index of every slice, shape (1, S)."""
    return torch.arange(features.mask.shape[1], device=features.mask.device)[None]


def at(values: Tensor, features: SliceFeatures, offset: int) -> Tensor:
    """Returns the values (B, S, F) of the slice `offset` further up; at the ends the last one repeats."""
    last = features.lengths[:, None] - 1
    return _take(values, torch.minimum((steps(features) + offset).clamp_min(0).expand_as(features.mask), last))


def turned(values: Tensor, features: SliceFeatures) -> Tensor:
    """Returns values (B, S, F) with every series in reverse order by its own length; padding stays last."""
    # Padding reads slice 0; it follows all slices of its series, so nothing reads it.
    return _take(values, (features.lengths[:, None] - 1 - steps(features)).clamp_min(0))


def differences(values: Tensor, features: SliceFeatures) -> tuple[Tensor, Tensor]:
    """Returns the differences of values (B, S, F) to the slice below and to the slice above."""
    return values - at(values, features, -1), at(values, features, 1) - values


def axial_inputs(features: SliceFeatures) -> Tensor:
    """Returns the distances to both neighbours and the position relative to the middle of the series, (B, S, 3)."""
    positions = features.positions[..., None]
    below, above = differences(positions, features)
    first, last = positions[:, :1], at(positions, features, features.mask.shape[1])[:, -1:]
    relative = (positions - (first + last) / 2) / (10 * TYPICAL_SPACING)
    return torch.cat([below / TYPICAL_SPACING, above / TYPICAL_SPACING, relative], dim=-1)


def _take(values: Tensor, index: Tensor) -> Tensor:
    return torch.gather(values, 1, index[..., None].expand(-1, -1, values.shape[-1]))

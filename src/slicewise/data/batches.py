"""Batches of training slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SliceItem:
    """One training slice.

    Attributes:
        channels: In [0, 1], shape (C, H, W).
        labels: 0 or 1, 0 where unknown, shape (L,).
        known: False where the label is unknown, shape (L,).
        weight: Weight in the loss.
        key: Its key in the dataset that it comes from.
        occupancy: Share of every cell that a finding fills, shape (L, H / OCCUPANCY_STRIDE, W / OCCUPANCY_STRIDE), None
            where the series has no masks or they are not asked for.
    """

    channels: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    weight: float
    key: int
    occupancy: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class SliceBatch:
    """Several training slices.

    Attributes:
        channels: In [0, 1], shape (B, C, H, W).
        labels: From 0 to 1, 0 where unknown, shape (B, L).
        known: False where the label is unknown, shape (B, L).
        weights: Weight of every slice in the loss, shape (B,).
        occupancy: Share of every cell that a finding fills, 0 where unknown, shape (B, L, H / OCCUPANCY_STRIDE,
            W / OCCUPANCY_STRIDE); (B, L, 0, 0) where no slice has masks.
        has_masks: False where the occupancy is unknown, shape (B,).
    """

    channels: Tensor
    labels: Tensor
    known: Tensor
    weights: Tensor
    occupancy: Tensor
    has_masks: Tensor


def stack_items(items: list[SliceItem]) -> SliceBatch:
    """Makes a batch of slices."""
    return SliceBatch(
        channels=torch.from_numpy(np.stack([item.channels for item in items])),
        labels=torch.from_numpy(np.stack([item.labels for item in items])),
        known=torch.from_numpy(np.stack([item.known for item in items])),
        weights=torch.tensor([item.weight for item in items], dtype=torch.float32),
        occupancy=_stack_occupancy(items),
        has_masks=torch.tensor([item.occupancy is not None for item in items]),
    )


def _stack_occupancy(items: list[SliceItem]) -> Tensor:
    known = [item.occupancy for item in items if item.occupancy is not None]
    unknown = np.zeros(known[0].shape if known else (len(items[0].labels), 0, 0), dtype=np.float32)
    return torch.from_numpy(np.stack([unknown if item.occupancy is None else item.occupancy for item in items]))

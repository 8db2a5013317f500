"""The training losses: of slice labels in both stages, of occupancy maps in stage 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def bce_total(known: Tensor, label_weights: Tensor, row_weights: Tensor) -> Tensor:
    """Returns what all known labels weigh: the divisor of `weighted_bce`.

    Args:
        known: Shape (..., L).
        label_weights: Shape (L,).
        row_weights: Shape (...).
    """
    return _bce_weights(known, label_weights, row_weights).sum()


def weighted_bce(
    logits: Tensor, targets: Tensor, known: Tensor, label_weights: Tensor, row_weights: Tensor, *, total: Tensor
) -> Tensor:
    """Binary cross-entropy with the label weights of the RSNA 2019 challenge, over known labels alone.

    Args:
        logits: Shape (..., L).
        targets: From 0 to 1, any value where unknown, shape (..., L).
        known: True where a label enters the loss; False for unknown labels and padding, shape (..., L).
        label_weights: Shape (L,).
        row_weights: Weight of every slice, shape (...).
        total: `bce_total` of the whole batch, of which this may be a part.

    Returns:
        The weighted mean over all known labels, a scalar; of a part its share of that; 0 where none is known.
    """
    weights = _bce_weights(known, label_weights, row_weights)
    # Padding may hold anything: a weight of zero alone would let NaN through.
    zeros = torch.zeros_like(logits)
    losses = nn.functional.binary_cross_entropy_with_logits(
        torch.where(known, logits, zeros), torch.where(known, targets, zeros), reduction="none"
    )
    return (losses * weights).sum() / total.clamp_min(torch.finfo(logits.dtype).tiny)


def series_logits(logits: Tensor, mask: Tensor) -> Tensor:
    """Returns logits of a series: the mean of its slices' logits, weighted by their softmax.

    Close to the highest one, which is the study rule, but the slices beside it learn too.

    Args:
        logits: Shape (B, S, L).
        mask: True for slices, False for padding, shape (B, S).

    Returns:
        Shape (B, L).
    """
    slices = torch.where(mask[..., None], logits, torch.zeros_like(logits))
    weights = slices.masked_fill(~mask[..., None], -torch.inf).softmax(dim=1)
    return (weights * slices).sum(dim=1)


def smooth(targets: Tensor, smoothing: float) -> Tensor:
    """Draws targets towards one half by a share: label smoothing (Szegedy et al. 2016) of two classes."""
    return targets + smoothing * (0.5 - targets)


def _bce_weights(known: Tensor, label_weights: Tensor, row_weights: Tensor) -> Tensor:
    return known.to(label_weights.dtype) * label_weights * row_weights[..., None]


# What taught the prototype of the phantom: cells that hold a finding are few, so their mean error is small.
_CROSS_ENTROPY_WEIGHT, _DICE_WEIGHT = 8.0, 0.3


def occupancy_loss(maps: Tensor, occupancy: Tensor, has_masks: Tensor, total: Tensor) -> Tensor:
    """Cross-entropy and soft Dice loss (Milletari et al. 2016) of occupancy maps.

    Args:
        maps: Occupancy logits, shape (B, L, H, W).
        occupancy: Share of every cell that a finding fills, shape (B, L, H, W).
        has_masks: False for slices whose occupancy is not known, shape (B,).
        total: Slices of the whole batch, of which this may be a part.

    Returns:
        A scalar, of the slices with masks times their share of the batch; 0 where no slice has masks.
    """
    share = has_masks.sum() / total
    maps, occupancy = maps[has_masks], occupancy[has_masks]
    if len(maps) == 0:
        return maps.sum()
    cross_entropy = nn.functional.binary_cross_entropy_with_logits(maps, occupancy)
    shares = maps.sigmoid()
    over = (0, 2, 3)
    # One more cell on either side: a label that the batch lacks only draws its map towards nothing.
    overlap = 2 * (shares * occupancy).sum(over) + 1
    dice = 1 - overlap / (shares.sum(over) + occupancy.sum(over) + 1)
    return share * (_CROSS_ENTROPY_WEIGHT * cross_entropy + _DICE_WEIGHT * dice.mean())

"""The training loss of both stages."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def weighted_bce(logits: Tensor, targets: Tensor, known: Tensor, label_weights: Tensor, row_weights: Tensor) -> Tensor:
    """Binary cross-entropy with the label weights of the RSNA 2019 challenge, over known labels alone.

    Args:
        logits: Shape (..., L).
        targets: 0 or 1, any value where unknown, shape (..., L).
        known: True where a label enters the loss; False for unknown labels and padding, shape (..., L).
        label_weights: Shape (L,).
        row_weights: Weight of every slice, shape (...).

    Returns:
        The weighted mean over all known labels, a scalar; 0 where none is known.
    """
    weights = known.to(logits.dtype) * label_weights * row_weights[..., None]
    # Padding may hold anything: a weight of zero alone would let NaN through.
    zeros = torch.zeros_like(logits)
    losses = nn.functional.binary_cross_entropy_with_logits(
        torch.where(known, logits, zeros), torch.where(known, targets, zeros), reduction="none"
    )
    return (losses * weights).sum() / weights.sum().clamp_min(torch.finfo(logits.dtype).tiny)

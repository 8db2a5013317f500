"""Mixup and CutMix: training slices that are blends or patchworks of two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from slicewise.data.batches import SliceBatch
from slicewise.task import OCCUPANCY_STRIDE


def mix(batch: SliceBatch, rng: np.random.Generator, *, mixup: float, cutmix: float) -> SliceBatch:
    """Mixes every slice of a batch with another one of it.

    A label of the result is known where both are; so is its occupancy.

    Args:
        batch: The slices.
        rng: Decides partners and shares.
        mixup: Parameter of the beta distribution of mixup (Zhang et al. 2018), 0 for none.
        cutmix: Parameter of the beta distribution of CutMix (Yun et al. 2019), 0 for none. With both, a coin decides.
    """
    if mixup <= 0 and cutmix <= 0:
        return batch
    partners = torch.from_numpy(rng.permutation(len(batch.labels)))
    if cutmix > 0 and (mixup <= 0 or rng.random() < 0.5):
        return _paste(batch, partners, rng, share=rng.beta(cutmix, cutmix))
    return _blend(batch, partners, share=rng.beta(mixup, mixup))


def _blend(batch: SliceBatch, partners: Tensor, *, share: float) -> SliceBatch:
    return replace(
        _mix_labels(batch, partners, share),
        channels=_average(batch.channels, partners, share),
        occupancy=_average(batch.occupancy, partners, share),
    )


def _paste(batch: SliceBatch, partners: Tensor, rng: np.random.Generator, *, share: float) -> SliceBatch:
    """Replaces a rectangle of whole cells of the occupancy grid by that of the partner."""
    rows, columns = (size // OCCUPANCY_STRIDE for size in batch.channels.shape[-2:])
    top, bottom = _interval(rows, np.sqrt(1 - share), rng)
    left, right = _interval(columns, np.sqrt(1 - share), rng)
    kept = 1 - (bottom - top) * (right - left) / (rows * columns)
    return replace(
        _mix_labels(batch, partners, kept),
        channels=_replace_box(batch.channels, partners, (top, bottom, left, right), OCCUPANCY_STRIDE),
        occupancy=_replace_box(batch.occupancy, partners, (top, bottom, left, right), 1),
    )


def _mix_labels(batch: SliceBatch, partners: Tensor, share: float) -> SliceBatch:
    weights = _average(batch.weights, partners, share)
    # Either slice counts by its weight: mixing leaves the weighted frequencies of the labels as they are.
    labels = _average(batch.labels * batch.weights[:, None], partners, share) / weights[:, None]
    return replace(
        batch,
        labels=labels,
        known=batch.known & batch.known[partners],
        weights=weights,
        has_masks=batch.has_masks & batch.has_masks[partners],
    )


def _average(values: Tensor, partners: Tensor, share: float) -> Tensor:
    return share * values + (1 - share) * values[partners]


def _interval(length: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    cells = round(length * share)
    start = int(rng.integers(length - cells + 1))
    return start, start + cells


def _replace_box(values: Tensor, partners: Tensor, box: tuple[int, int, int, int], scale: int) -> Tensor:
    top, bottom, left, right = (edge * scale for edge in box)
    result = values.clone()
    result[..., top:bottom, left:right] = values[partners][..., top:bottom, left:right]
    return result

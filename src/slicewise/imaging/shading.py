"""Shading correction of a head CT: takes the cupping of beam hardening away (numpy and scipy only).

Brain near the inner table reads up to some 20 HU too high, and the excess fades with the distance to the bone. How much
differs from scanner to scanner, and what is left looks like thin subdural blood. Here one curve, `Cupping`, is fitted
to a whole series and subtracted within the skull: an offset that depends on nothing but the distance to the bone, so
that blood keeps its contrast to the brain beside it.

Blood beside the bone must not be taken for cupping, nor fluid hide it. So brain is measured apart in sectors around the
head. In each, what lies outside of a fall towards the bone is left out: cupping only rises. Over the sectors a low
quantile is fitted, which blood on more than half of the circumference hardly moves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from slicewise.imaging.skull import Skull, find_skull
from slicewise.volume import FloatImages

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

NODE_MM = 2.6
"""The field is worked out on nodes of about this distance, and is linear between them: it is smooth."""

_BRAIN_HU = (15.0, 52.0)
"""What counts as brain once corrected: above cerebrospinal fluid, below blood and the blurred edge of bone."""

_DEEP_BRAIN_HU = 30.0
_HIGHEST_EXCESS_HU = 50.0
_CORTEX_HU = 6.0
"""So much of the excess is anatomy and stays: grey matter lies outside, white matter deep."""

_EDGES_MM = np.array([2.0, 4.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 30.0, 40.0])
_CENTRES_MM = (_EDGES_MM[1:] + _EDGES_MM[:-1]) / 2
_DECAYS_MM = np.arange(5.0, 16.5, 0.5)
_DECAY_PENALTY = 0.03 * ((_DECAYS_MM - 10.0) / 3.0) ** 2
"""Added to the mean squared error in HU^2: decides where the brain near the bone says little, as in atrophy."""

_SECTORS = 12
_SECTOR_QUANTILE = 0.3
_CELLS = _SECTORS * len(_CENTRES_MM)
_LEAST_NODES, _LEAST_BRAIN, _LEAST_SECTORS, _LEAST_BINS = 8, 0.5, 4, 5
"""Nodes and share of brain that make a cell count, cells that make a bin count, bins that make a profile."""

_FALL_HU, _FALL_WITHIN_MM = 3.0, 20.0
"""A fall of the medians towards the bone by more than this, so near to it, is fluid or chronic blood."""

_ROUNDS = 5

_HU_RANGE, _HU_STEP = (-20.0, 110.0), 0.5
_HU_BINS = int((_HU_RANGE[1] - _HU_RANGE[0]) / _HU_STEP)


@dataclass(frozen=True)
class Cupping:
    """What brain reads at a distance d from the bone: deep_hu + excess_hu * exp(-d / decay_mm).

    Attributes:
        excess_hu: Excess at the bone, 0 or above.
        decay_mm: Distance over which it falls to a third (1/e).
        deep_hu: Brain far from the bone.
    """

    excess_hu: float
    decay_mm: float
    deep_hu: float

    def excess(self, distance_mm: FloatImages) -> FloatImages:
        """Returns the excess in HU at distances to the bone in mm, in the shape given."""
        excess: FloatImages = np.exp(distance_mm * np.float32(-1 / self.decay_mm))
        excess *= np.float32(self.excess_hu)
        return excess


def correct_shading(
    values: FloatImages, positions_mm: Floats, pixel_mm: float, *, limit_hu: float, deep_hu: float, deep_limit_hu: float
) -> tuple[FloatImages, Cupping | None]:
    """Subtracts the cupping of a series within the skull, and brings its deep brain towards a common value.

    Args:
        values: HU, shape (slices, size, size), on square pixels.
        positions_mm: Position of every slice along the normal, shape (slices,), ascending.
        pixel_mm: Side of a pixel.
        limit_hu: Largest excess at the bone that is subtracted.
        deep_hu: What brain far from the bone is brought to.
        deep_limit_hu: Largest offset by which it is brought there; 0 for none.

    Returns:
        The corrected values, and the cupping that was found; the values as they are and None where no skull with brain
        in it is found.
    """
    skull = find_skull(values, positions_mm, (pixel_mm, pixel_mm), NODE_MM)
    cupping = fit_cupping(skull)
    if cupping is None:
        return values, None
    offset = np.float32(np.clip(deep_hu - cupping.deep_hu, -deep_limit_hu, deep_limit_hu))
    too_much = replace(cupping, excess_hu=min(max(cupping.excess_hu - _CORTEX_HU, 0.0), limit_hu))
    field = np.where(skull.inside | skull.bone, offset - too_much.excess(skull.distance_mm), 0).astype(np.float32)
    weights = _between_nodes(values.shape[1], skull.pixels_a_node[0])
    corrected = np.empty_like(values)
    for image, nodes, result in zip(values, field, corrected, strict=True):
        np.add(image, (weights @ np.ascontiguousarray((weights @ nodes).T)).T, out=result)
    return corrected, cupping


def fit_cupping(skull: Skull) -> Cupping | None:
    """Fits the cupping of a series to its brain, None where there is too little of it.

    What counts as brain depends on the cupping, so both are found in turns.
    """
    levels = skull.brain_slices
    nodes = skull.inside[levels] & (skull.distance_mm[levels] > _EDGES_MM[0])
    nodes &= skull.distance_mm[levels] < _EDGES_MM[-1]
    hu, distance = skull.hu[levels][nodes], skull.distance_mm[levels][nodes]
    cell = _cells(distance, nodes)
    least = np.maximum(_LEAST_NODES, _LEAST_BRAIN * np.bincount(cell, minlength=_CELLS))
    cupping = Cupping(0.0, 1.0, _DEEP_BRAIN_HU)
    low, high = _BRAIN_HU[0], _BRAIN_HU[1] + _HIGHEST_EXCESS_HU
    for _ in range(_ROUNDS):
        corrected = hu - cupping.excess(distance) - (cupping.deep_hu - _DEEP_BRAIN_HU)
        brain = (corrected > low) & (corrected < high)
        profile = _profile(hu[brain], cell[brain], least)
        if profile is None:
            return None
        cupping = _fit(*profile)
        low, high = _BRAIN_HU
    return cupping


def _cells(distance: FloatImages, nodes: Mask) -> npt.NDArray[np.int64]:
    """Numbers the cells of distance and of direction around the head that nodes lie in."""
    _, row, column = np.nonzero(nodes)
    if not len(row):
        return np.zeros(0, dtype=np.int64)
    angle = np.arctan2(row - row.mean(), column - column.mean())
    sector = np.minimum(((angle / np.pi + 1) * _SECTORS / 2).astype(np.int64), _SECTORS - 1)
    cells: npt.NDArray[np.int64] = (np.searchsorted(_EDGES_MM, distance) - 1).astype(np.int64) * _SECTORS + sector
    return cells


def _profile(
    hu: FloatImages, cell: npt.NDArray[np.int64], least: npt.NDArray[np.floating]
) -> tuple[Floats, Floats] | None:
    """Returns HU and weight of every bin of distance, or None.

    Args:
        hu: Nodes of brain.
        cell: The cell of each.
        least: How many nodes of brain a cell needs to count. A bin needs some cells, else its weight is 0; the profile
            needs some bins, else there is none.
    """
    level = np.clip((hu - _HU_RANGE[0]) / _HU_STEP, 0, _HU_BINS - 1).astype(np.int64)
    counts = np.bincount(cell * _HU_BINS + level, minlength=_CELLS * _HU_BINS).reshape(-1, _SECTORS, _HU_BINS)
    nodes = counts.sum(axis=2)
    medians = np.where(nodes >= least.reshape(nodes.shape), _medians(counts), np.nan)
    highest = np.full(_SECTORS, -np.inf)
    for index in np.flatnonzero(_EDGES_MM[1:] <= _FALL_WITHIN_MM)[::-1]:  # from the depth towards the bone
        medians[: index + 1, medians[index] < highest - _FALL_HU] = np.nan
        highest = np.fmax(highest, medians[index])
    counted = ~np.isnan(medians)
    counts_much = counted.sum(axis=1) >= _LEAST_SECTORS
    values = np.where(counts_much, _low_quantiles(medians), 0.0)
    weights = np.where(counts_much, np.sqrt((nodes * counted).sum(axis=1)), 0.0)
    return (values, weights) if np.count_nonzero(weights) >= _LEAST_BINS else None


def _low_quantiles(medians: Floats) -> Floats:
    """Returns the `_SECTOR_QUANTILE` of every row, NaN left aside.

    Linear in between as `numpy.quantile`, which takes ten times as long for so few values.
    """
    ordered = np.sort(medians, axis=1)  # NaN last
    last = np.maximum((~np.isnan(medians)).sum(axis=1) - 1, 0)
    place = _SECTOR_QUANTILE * last
    below = np.floor(place).astype(np.int64)
    row = np.arange(len(medians))
    low, high = ordered[row, below], ordered[row, np.minimum(below + 1, last)]
    share = place - below
    quantiles: Floats = np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))
    return quantiles


def _medians(counts: npt.NDArray[np.int64]) -> Floats:
    """Returns the medians of histograms along the last axis, linear within a bin."""
    total = counts.cumsum(axis=-1)
    half = total[..., -1:] / 2
    place = np.argmax(total >= half, axis=-1)[..., None]
    there = np.take_along_axis(counts, place, axis=-1)
    before = np.take_along_axis(total, place, axis=-1) - there
    share = (half - before) / np.maximum(there, 1)
    medians: Floats = (_HU_RANGE[0] + (place + share) * _HU_STEP)[..., 0]
    return medians


def _fit(values: Floats, weights: Floats) -> Cupping:
    """Least squares for every decay in turn; the best one counts."""
    weights = weights / weights.sum()
    shapes = np.exp(-_CENTRES_MM / _DECAYS_MM[:, None])
    centred = shapes - (shapes @ weights)[:, None]
    mean = values @ weights
    excess = centred @ (weights * (values - mean)) / (centred**2 @ weights)
    excess = np.clip(excess, 0, _HIGHEST_EXCESS_HU)
    error = (values - mean - excess[:, None] * centred) ** 2 @ weights
    best = int((error + _DECAY_PENALTY).argmin())
    deep = float(mean - excess[best] * (shapes[best] @ weights))
    return Cupping(float(excess[best]), float(_DECAYS_MM[best]), deep)


def _between_nodes(size: int, step: int) -> sparse.csr_array:
    """Weights of linear interpolation from nodes to pixels, shape (size, nodes); constant beyond the last nodes."""
    nodes = size // step
    place = np.clip((np.arange(size) - (step - 1) / 2) / step, 0, nodes - 1)
    low = np.minimum(place.astype(np.int64), max(nodes - 2, 0))
    share = place - low
    pixel = np.arange(size)
    entries = (
        np.concatenate([1 - share, share]).astype(np.float32),
        (np.tile(pixel, 2), np.concatenate([low, np.minimum(low + 1, nodes - 1)])),
    )
    return sparse.csr_array(entries, shape=(size, nodes))

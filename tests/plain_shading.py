"""The shading correction as one would write it down: on every pixel, nothing coarse and nothing fast."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from slicewise.volume import FloatImages

BONE_HU, LOWEST_BRAIN_HU, HIGHEST_BRAIN_HU, HIGHEST_EXCESS_HU, CORTEX_HU = 250.0, 15.0, 52.0, 50.0, 6.0
EDGES_MM = (2.0, 4.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 30.0, 40.0)
SECTORS = 12


def plain_field(
    values: FloatImages, spacing_mm: float, pixel_mm: float, *, limit_hu: float, deep_hu: float, deep_limit_hu: float
) -> npt.NDArray[np.float64]:
    """Returns what the correction adds within the skull, shape (slices, rows, columns), for evenly spaced slices."""
    smooth = ndimage.uniform_filter(values, (0, round(2.6 / pixel_mm), round(2.6 / pixel_mm)))
    bone = smooth > BONE_HU
    sides = [bone[:, :, ::-1].cumsum(2)[:, :, ::-1], bone.cumsum(2), bone[:, ::-1].cumsum(1)[:, ::-1], bone.cumsum(1)]
    inside = ~bone & (sum((side > 0).astype(int) for side in sides) >= 3)
    distance = ndimage.distance_transform_edt(~bone, sampling=(spacing_mm, pixel_mm, pixel_mm))
    distance = np.maximum(distance - pixel_mm / 2, 0)
    deep = (inside & (distance > 20)).sum(axis=(1, 2))
    measured = inside & (2 * deep >= deep.max())[:, None, None]
    rows, columns = np.nonzero(measured.any(axis=0))
    row, column = np.mgrid[: values.shape[1], : values.shape[2]]
    angle = np.arctan2(row - rows.mean(), column - columns.mean())
    sector = np.broadcast_to(np.floor((angle + np.pi) / (2 * np.pi / SECTORS)), values.shape)

    excess, decay, deep_brain = 0.0, 10.0, 30.0
    highest = HIGHEST_BRAIN_HU + HIGHEST_EXCESS_HU
    for _ in range(5):
        corrected = smooth - excess * np.exp(-distance / decay) - (deep_brain - 30)
        brain = measured & (corrected > LOWEST_BRAIN_HU) & (corrected < highest)
        rings = []
        for low, high in pairwise(EDGES_MM):
            ring = brain & (distance > low) & (distance <= high)
            medians = [np.median(smooth[ring & (sector == number)]) for number in range(SECTORS)]
            rings.append(((low + high) / 2, np.quantile(medians, 0.3), ring.sum() ** 0.25))
        bounds = ([0, 5, -50], [HIGHEST_EXCESS_HU, 16, 100])
        start = (20, 10, 30)
        excess, decay, deep_brain = optimize.least_squares(_misfit, start, bounds=bounds, args=(np.array(rings).T,)).x
        highest = HIGHEST_BRAIN_HU
    offset = np.clip(deep_hu - deep_brain, -deep_limit_hu, deep_limit_hu)
    excess = min(max(excess - CORTEX_HU, 0.0), limit_hu)
    return np.where(inside | bone, offset - excess * np.exp(-distance / decay), 0.0)


def _misfit(curve: npt.NDArray[np.float64], rings: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    excess, decay, deep_brain = curve
    middle, level, weight = rings
    misses: npt.NDArray[np.float64] = (deep_brain + excess * np.exp(-middle / decay) - level) * weight
    return misses

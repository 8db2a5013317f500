"""Where the skull is in a head CT, on coarse nodes: what head box and shading correction both start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from slicewise.volume import FloatImages

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

BONE_HU = 250.0
"""Nodes above this are bone: above any blood, below thin bone that fills half a node."""

FARTHEST_MM = 45.0
"""Distances to the bone are told up to here."""

_DEEP_MM = 20.0


@dataclass(frozen=True, eq=False)
class Skull:
    """The skull of a series; all arrays have the shape (slices, node rows, node columns).

    Attributes:
        hu: Mean of the pixels of a node.
        bone: Nodes of bone.
        inside: Nodes enclosed by bone.
        distance_mm: Distance in space to the surface of the nearest bone, 0 in bone, at most `FARTHEST_MM`.
        pixels_a_node: Pixels that lie in a node, along rows and along columns.
    """

    hu: FloatImages
    bone: Mask
    inside: Mask
    distance_mm: FloatImages
    pixels_a_node: tuple[int, int]

    @property
    def brain_slices(self) -> Mask:
        """The slices in the middle of the brain: at least half as much far from bone as in the one with most of it."""
        deep = np.count_nonzero(self.inside & (self.distance_mm > _DEEP_MM), axis=(1, 2))
        chosen: Mask = (deep > 0) & (2 * deep >= deep.max())
        return chosen


def find_skull(values: FloatImages, positions_mm: Floats, pixel_mm: tuple[float, float], node_mm: float) -> Skull:
    """Finds the bone of a series, what it encloses, and how far every place is from it.

    A place is enclosed where bone lies in at least three of the four directions along rows and columns: that holds in
    a head with a bone flap removed or cut off by the edge of the image, and not in the scalp.

    Args:
        values: HU, shape (slices, rows, columns).
        positions_mm: Position of every slice along the normal, shape (slices,).
        pixel_mm: Distance between rows and between columns.
        node_mm: Wanted distance between nodes; they lie a whole number of pixels apart.
    """
    steps = (max(1, round(node_mm / pixel_mm[0])), max(1, round(node_mm / pixel_mm[1])))
    hu = _mean_of_blocks(values, steps)
    bone = hu > BONE_HU
    distance = _distance_to(bone, positions_mm, (steps[0] * pixel_mm[0], steps[1] * pixel_mm[1]))
    return Skull(hu, bone, _enclosed(bone), distance, steps)


def _mean_of_blocks(values: FloatImages, steps: tuple[int, int]) -> FloatImages:
    """Averages pixels of every node, at most three along either side; what is left at the end belongs to no node."""
    rows, columns = (size // step for size, step in zip(values.shape[1:], steps, strict=True))
    places = [np.unique(np.linspace(0, step - 1, min(step, 3)).astype(int)) for step in steps]
    total = np.zeros((len(values), rows, columns), dtype=np.float32)
    for row in places[0]:
        for column in places[1]:
            total += values[:, row : rows * steps[0] : steps[0], column : columns * steps[1] : steps[1]]
    total /= np.float32(len(places[0]) * len(places[1]))
    return total


def _enclosed(bone: Mask) -> Mask:
    directions = np.zeros(bone.shape, dtype=np.int8)
    for axis in (1, 2):
        directions += np.logical_or.accumulate(bone, axis=axis)
        directions += np.flip(np.logical_or.accumulate(np.flip(bone, axis), axis=axis), axis)
    enclosed: Mask = (directions >= 3) & ~bone
    return enclosed


def _distance_to(bone: Mask, positions_mm: Floats, node_mm: tuple[float, float]) -> FloatImages:
    """Returns the distance to the surface of bone: within each slice, then over the slices around it."""
    squared = np.full(bone.shape, FARTHEST_MM**2, dtype=np.float32)
    for index in np.flatnonzero(bone.any(axis=(1, 2))).tolist():
        within = ndimage.distance_transform_edt(~bone[index], sampling=node_mm) - min(node_mm) / 2
        squared[index] = np.clip(within, 0, FARTHEST_MM) ** 2
    nearest = squared.copy()
    for index, position in enumerate(positions_mm):
        across = (positions_mm - position) ** 2
        for other in np.flatnonzero((across > 0) & (across < FARTHEST_MM**2)).tolist():
            np.minimum(nearest[index], squared[other] + np.float32(across[other]), out=nearest[index])
    return np.sqrt(nearest)

"""Where the skull is in a head CT, on coarse nodes: what head box and shading correction both start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    hu = mean_of_blocks(values, steps)
    bone = hu > BONE_HU
    distance = _distance_to(bone, positions_mm, (steps[0] * pixel_mm[0], steps[1] * pixel_mm[1]))
    return Skull(hu, bone, enclosed(bone), distance, steps)


def mean_of_blocks(values: npt.NDArray[Any], steps: tuple[int, int]) -> FloatImages:
    """Averages pixels of every node, at most three along either side; what is left at the end belongs to no node.

    Args:
        values: Shape (slices, rows, columns).
        steps: Rows and columns of a node.
    """
    rows, columns = (size // step for size, step in zip(values.shape[1:], steps, strict=True))
    places = [np.unique(np.linspace(0, step - 1, min(step, 3)).astype(int)) for step in steps]
    total = np.zeros((len(values), rows, columns), dtype=np.float32)
    for row in places[0]:
        for column in places[1]:
            total += values[:, row : rows * steps[0] : steps[0], column : columns * steps[1] : steps[1]]
    total /= np.float32(len(places[0]) * len(places[1]))
    return total


def enclosed(bone: Mask) -> Mask:
    """Returns what lies between bone, without it, in at least three of the four directions of its slice.

    Args:
        bone: Shape (slices, rows, columns).
    """
    directions = np.zeros(bone.shape, dtype=np.int8)
    for axis in (1, 2):
        directions += np.logical_or.accumulate(bone, axis=axis)
        directions += np.flip(np.logical_or.accumulate(np.flip(bone, axis), axis=axis), axis)
    between: Mask = (directions >= 3) & ~bone
    return between


def _distance_to(bone: Mask, positions_mm: Floats, node_mm: tuple[float, float]) -> FloatImages:
    """Returns the distance to the surface of bone: within each slice, then over the slices around it."""
    squared = _squared_within(bone, node_mm)
    nearest = squared.copy()
    for step in range(1, len(positions_mm)):
        across = (positions_mm[step:] - positions_mm[:-step]) ** 2
        if across.min() >= FARTHEST_MM**2:
            break
        # A slice at the same position is another image of the same place, and has its own bone.
        added = np.where(across > 0, across, np.inf).astype(np.float32)[:, None, None]
        np.minimum(nearest[step:], squared[:-step] + added, out=nearest[step:])
        np.minimum(nearest[:-step], squared[step:] + added, out=nearest[:-step])
    return np.sqrt(nearest)


def _squared_within(bone: Mask, node_mm: tuple[float, float]) -> FloatImages:
    """Returns the squared distance to the surface of bone in the same slice, at most that of `FARTHEST_MM`."""
    if node_mm[0] != node_mm[1]:
        squared = np.full(bone.shape, FARTHEST_MM**2, dtype=np.float32)
        for index in np.flatnonzero(bone.any(axis=(1, 2))).tolist():
            to_centre = ndimage.distance_transform_edt(~bone[index], sampling=node_mm)
            squared[index] = _squared_to_surface(to_centre, node_mm)
        return squared
    reach = int((FARTHEST_MM + node_mm[0] / 2) / node_mm[0]) + 1
    nodes = _squared_nodes(bone, reach)
    to_centre = node_mm[0] * np.sqrt(np.arange(int(nodes.max()) + 1))
    return _squared_to_surface(to_centre, node_mm).astype(np.float32)[nodes]


def _squared_to_surface(to_centre: Floats, node_mm: tuple[float, float]) -> Floats:
    squared: Floats = np.clip(to_centre - min(node_mm) / 2, 0, FARTHEST_MM) ** 2
    return squared


def _squared_nodes(bone: Mask, reach: int) -> npt.NDArray[np.int16]:
    """Returns the squared distance to the nearest bone in the slice, in nodes, right up to `reach` and above beyond.

    Whole numbers of 16 bits are several times as fast as a transform in general: the nearest bone in the row first,
    then the best of the rows around.
    """
    place = np.arange(bone.shape[2], dtype=np.int16)
    far = np.int16(reach + 1)
    before = np.maximum.accumulate(np.where(bone, place, -far), axis=2)
    after = np.minimum.accumulate(np.where(bone, place, len(place) + far)[:, :, ::-1], axis=2)[:, :, ::-1]
    in_row = np.minimum(np.minimum(place - before, after - place), far) ** 2
    nearest = in_row.copy()
    for step in range(1, min(reach, bone.shape[1] - 1) + 1):
        added = np.int16(step**2)
        np.minimum(nearest[:, step:], in_row[:, :-step] + added, out=nearest[:, step:])
        np.minimum(nearest[:, :-step], in_row[:, step:] + added, out=nearest[:, :-step])
    return nearest

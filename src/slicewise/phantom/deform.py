"""How one brain differs from the template in shape: a smooth displacement of the coordinates it is drawn at.

Everything that moves tissue goes into one displacement, made on a coarse grid: random differences between people,
ventricles that widen (tissue moves away, it does not vanish), and mass effect. The brain's maps are then gathered at
the displaced coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from slicewise.phantom import template
from slicewise.phantom.fields import Field, HeadGrid, Point, smooth_noise
from slicewise.phantom.template import BRAIN_BOX, Box

_COARSE = Box(BRAIN_BOX.low, (39, 47, 41), (4, 4, 4))
_SOURCE_STEPS = (0.5, 0.5, 1.0)
_MARGIN_MM = 9.0
"""Within this distance of the wall the displacement fades: the brain stays in the skull."""


@dataclass(frozen=True)
class Push:
    """Mass effect: the brain around a place is displaced and its sulci are narrowed.

    Attributes:
        center: Where the mass is.
        displacement: Largest displacement of the brain in mm.
        reach_mm: SD of the Gaussian with which it fades.
    """

    center: Point
    displacement: Point
    reach_mm: float


@dataclass(frozen=True, eq=False)
class Deformation:
    """A displacement on `BRAIN_BOX`.

    Attributes:
        inner: Coordinates of the template at which every sample of the brain is drawn.
        effacement: How far sulci are pressed shut, 0 (not) to 1.
    """

    inner: HeadGrid
    effacement: Field


def deformation(
    rng: np.random.Generator,
    *,
    shape_mm: float,
    gyri_mm: float,
    ventricles_mm: Point,
    pushes: Sequence[Push],
) -> Deformation:
    """Draws the deformation of one brain.

    Args:
        rng: Draws the random part.
        shape_mm: SD of its coarse part (correlation length 32 mm).
        gyri_mm: SD of its fine part (12 mm), which gives everyone their own sulci.
        ventricles_mm: How far the walls of the right and left lateral and of the third and fourth ventricles move
            outwards.
        pushes: Mass effect.
    """
    wall, depth, slopes = _coarse_maps()
    grid = _COARSE.grid()
    room = 1 - np.exp(-np.maximum(wall, 0) / np.float32(_MARGIN_MM))
    parts = []
    for axis in range(3):
        noise = smooth_noise(rng, wall.shape, _COARSE.spacing_mm, 32.0) * np.float32(shape_mm)
        noise += smooth_noise(rng, wall.shape, _COARSE.spacing_mm, 12.0) * np.float32(gyri_mm)
        if axis == 0:
            noise *= 1 - np.exp(-((grid.x / 9) ** 2)) * np.float32(0.55)  # the midline stays near the midline
        parts.append(noise)
    widening = _widening(grid, ventricles_mm)
    widening *= np.where(depth < 0, np.exp(depth / np.float32(20)), np.maximum(1 - depth / np.float32(5), 0))
    parts = [part + slope * widening for part, slope in zip(parts, slopes, strict=True)]
    effacement = np.zeros(wall.shape, dtype=np.float32)
    for push in pushes:
        squared = sum(
            (axis - np.float32(at)) ** 2 for axis, at in zip((grid.x, grid.y, grid.z), push.center, strict=True)
        )
        fade = np.exp(np.asarray(squared, dtype=np.float32) * np.float32(-0.5 / push.reach_mm**2))
        parts = [part - fade * np.float32(by) for part, by in zip(parts, push.displacement, strict=True)]
        strength = min(float(np.linalg.norm(push.displacement)) / 6, 1.0)
        np.maximum(effacement, fade * np.float32(strength), out=effacement)
    fine = [_upsampled(part * room) for part in parts]
    whole = BRAIN_BOX.grid()
    inner = HeadGrid(whole.x + fine[0], whole.y + fine[1], whole.z + fine[2], BRAIN_BOX.spacing_mm)
    return Deformation(inner, _upsampled(effacement))


def gathered(inner: HeadGrid) -> npt.NDArray[np.uint8]:
    """Returns the template's maps of the brain at displaced coordinates, shape (planes, rows, columns, 8)."""
    base = template.base_maps()
    flat = np.zeros(inner.x.shape, dtype=np.int32)
    for axis, low, step, count in zip(
        (inner.z, inner.y, inner.x), BRAIN_BOX.low[::-1], _SOURCE_STEPS[::-1], base.packed_shape, strict=True
    ):
        place = axis * np.float32(1 / step)
        place += np.float32(0.5 - low / step)
        np.clip(place, 0, count - 1, out=place)
        flat *= np.int32(count)
        flat += place.astype(np.int32)
    packed = base.packed[flat]
    return packed.view(np.uint8).reshape(*packed.shape, 8)


def _widening(grid: HeadGrid, ventricles_mm: Point) -> Field:
    """How far the nearest ventricle's wall moves outwards: right and left lateral, then third and fourth."""
    right, left, middle = (np.float32(value) for value in ventricles_mm)
    side = np.clip(0.5 + grid.x / np.float32(8), 0, 1)
    lateral = right + (left - right) * side
    center = np.exp(-((grid.x / 10) ** 2)) * np.clip((4 - grid.z) / 10, 0, 1)
    return np.asarray(lateral + (middle - lateral) * center, dtype=np.float32)


@lru_cache(maxsize=1)
def _coarse_maps() -> tuple[Field, Field, tuple[Field, Field, Field]]:
    """Distance to the wall, signed distance to the ventricles, and its slope along x, y, z."""
    base = template.base_maps()
    wall = base.wall_mm[BRAIN_BOX.within(template.HEAD_BOX)][::2, ::4, ::4]
    bytes_ = base.packed.view(np.uint8).reshape(*base.packed_shape, 8)[::4, ::8, ::8, template.VENTRICLE]
    depth = template.distance(bytes_, template.VENTRICLE_ZERO)
    # Smooth, so that the slope turns slowly within a ventricle; it need not be a unit vector there.
    down, back, left = np.gradient(ndimage.gaussian_filter(depth, 1.0), 4.0)
    length = np.maximum(np.sqrt(down**2 + back**2 + left**2), 0.7)
    return wall, depth, (left / length, back / length, down / length)


@lru_cache(maxsize=1)
def _interpolation() -> tuple[Field, ...]:
    """Linear interpolation from the coarse grid, one matrix an axis (planes, rows, columns)."""
    found = []
    for axis in (2, 1, 0):
        place = (BRAIN_BOX.axis(axis) - _COARSE.low[axis]) / _COARSE.steps[axis]
        nodes = np.arange(_COARSE.counts[axis])
        found.append(np.maximum(1 - np.abs(place[:, None] - nodes[None, :]), 0).astype(np.float32))
    return tuple(found)


def _upsampled(coarse: Field) -> Field:
    for matrix in _interpolation():
        coarse = np.tensordot(coarse, matrix, axes=([0], [1]))
    return coarse

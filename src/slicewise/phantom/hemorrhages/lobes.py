"""The shape of a hematoma: overlapping ellipsoids with a ragged border."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from slicewise.phantom.fields import Field, HeadGrid, Window, smooth_noise
from slicewise.phantom.hemorrhages.model import Hemorrhage, point


def lobed_depth(
    grid: HeadGrid, one: Hemorrhage, rng: np.random.Generator, *, lobes: int, grown_mm: float = 0.0
) -> tuple[Window, Field]:
    """Returns the distance to the border of a lobed body, positive inside, to first order.

    Args:
        grid: A regular grid.
        one: Gives place and half axes.
        rng: Draws lobes and their border.
        lobes: Number of ellipsoids; a single one has the half axes themselves.
        grown_mm: How far the border lies outside: added to the half axes.

    Returns:
        The part of the grid around it, and the distance there.
    """
    radii = np.array(one.size_mm) + grown_mm
    reach = 1.45 * float(radii.max()) + 4
    window = grid.window(point(np.array(one.center) - reach), point(np.array(one.center) + reach))
    place = np.stack([axis - np.float32(at) for axis, at in zip(grid.at(window), one.center, strict=True)])
    depth = np.full(place.shape[1:], -99, dtype=np.float32)
    for number in range(lobes):
        away = rng.normal(size=3)
        away *= (0.0 if number == 0 else 0.62) * radii / np.linalg.norm(away)
        size = radii * (1.0 if lobes == 1 else rng.uniform(0.6, 0.88))
        np.maximum(depth, _ellipsoid_depth(place, away, size, _rotation(rng)), out=depth)
    smallest = float(radii.min()) - grown_mm
    depth += smooth_noise(rng, depth.shape, grid.spacing_mm, 2.2 + 0.42 * smallest) * np.float32(0.13 * smallest)
    if smallest > 5:
        depth += smooth_noise(rng, depth.shape, grid.spacing_mm, 3.0) * np.float32(0.5)
    return window, depth


def _rotation(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draws a rotation by some 25 degrees about z and about y, shape (3, 3)."""
    angles = np.deg2rad(rng.normal(0, 25, size=2))
    (c, d), (s, t) = np.cos(angles), np.sin(angles)
    rotation: npt.NDArray[np.float64] = np.array([[d, 0, t], [0, 1, 0], [-t, 0, d]]) @ np.array(
        [[c, s, 0], [-s, c, 0], [0, 0, 1]]
    )
    return rotation


def _ellipsoid_depth(
    place: Field, center: npt.NDArray[np.float64], radii: npt.NDArray[np.float64], rotation: npt.NDArray[np.float64]
) -> Field:
    """Distance to the surface of a rotated ellipsoid to first order, positive inside; `place` has x, y, z first."""
    scaled = (rotation / radii[:, None]).astype(np.float32)
    offset = (scaled @ center).astype(np.float32)
    unit = np.tensordot(scaled, place, axes=1)
    unit -= offset[:, None, None, None]
    reach = np.sqrt(np.einsum("izyx,izyx->zyx", unit, unit)) + np.float32(1e-3)
    unit *= (1 / radii).astype(np.float32)[:, None, None, None]
    slope = np.sqrt(np.einsum("izyx,izyx->zyx", unit, unit)) + np.float32(1e-3 / float(radii.max()))
    depth: Field = reach * (1 - reach) / slope
    return depth

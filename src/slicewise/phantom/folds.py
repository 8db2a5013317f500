"""Sulci of the convexity, another pattern in every head: the average template has blurred all but the largest.

A sulcus is a sheet that stands on the inner table: where a random field over the convexity is zero, carried inwards
along the rays from the middle of the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from slicewise.phantom.anatomy import Anatomy
from slicewise.phantom.fields import Field, HeadGrid, Point, smooth_noise, soft
from slicewise.phantom.template import BRAIN_BOX, HEAD_BOX, base_maps

_MIDDLE: Point = (0.0, 0.0, 8.0)
_RADII: Point = (67.0, 87.0, 70.0)
_STEP_MM = 2.0
_MARGIN = 1.1
_REACH_MM = 26.0
"""How deep the shell reaches in which sulci are looked for."""

_SHUT_MM, _GAPING_MM = -1.3, 3.3
"""Half of the width of a sulcus at the surface: pressed shut in the young, 2 mm and more in atrophy."""

_RIBBON_MM = 3.2
"""Thickness of the cortex, with half of the transition to white matter."""


_FADING_MM = np.float32(10)
"""How far from a sulcus the surface is said to be where folds give way to what the template shows."""


@dataclass(frozen=True, eq=False)
class Folds:
    """Sulci in the shell below the convexity, as flat arrays.

    Attributes:
        places: Flat index into `BRAIN_BOX`.
        depth_mm: Distance to the inner table, positive in the cavity.
        pial_mm: Distance to the wall of the nearest sulcus, negative within.
        share: How far the folds take the place of what the template shows, in [0, 1].
    """

    places: npt.NDArray[np.intp]
    depth_mm: Field
    pial_mm: Field
    share: Field


def draw_folds(anatomy: Anatomy, rng: np.random.Generator, inner: HeadGrid, effacement: Field) -> Folds:
    """Draws the sulci of one head.

    Args:
        anatomy: Whose head.
        rng: Draws the pattern.
        inner: The place of every sample of `BRAIN_BOX` in the template: what moves the brain bends its sulci.
        effacement: Share by which mass effect presses sulci shut, on `BRAIN_BOX`.
    """
    shell = _shell()
    samples, narrowing = _along_rays(inner, shell.places)
    middle = np.abs(ndimage.map_coordinates(_signed_distance(rng, anatomy.fold_mm), samples, order=1, mode="nearest"))
    middle *= narrowing
    uneven = smooth_noise(rng, (12, 12, 12), (1.0, 1.0, 1.0), 1.6)
    local = ndimage.map_coordinates(uneven, samples * np.float32(_STEP_MM / 15.0), order=1, mode="nearest")
    reach = np.float32(anatomy.fold_depth_mm) + np.float32(4.0) * local
    opening = np.float32(_SHUT_MM + _GAPING_MM * anatomy.sulci + anatomy.fold_gape_mm) + np.float32(0.45) * local
    opening = opening - np.float32(0.035) * shell.depth - np.float32(0.3) * np.maximum(shell.depth - reach, 0)
    opening -= np.float32(3.0) * effacement.reshape(-1)[shell.places]
    return Folds(
        places=shell.places,
        depth_mm=shell.depth,
        pial_mm=middle - opening,
        share=shell.share,
    )


def cut_folds(folds: Folds, pial: Field) -> None:
    """Cuts the sulci into the surface of the brain, in place.

    Args:
        folds: The sulci.
        pial: Distance to the surface of the brain, on `BRAIN_BOX`.
    """
    flat = pial.reshape(-1)
    flat[folds.places] = np.minimum(flat[folds.places], folds.pial_mm + _FADING_MM * (1 - folds.share))


def cortex(folds: Folds, white: Field, rim_mm: float) -> None:
    """Lines the sulci with cortex and leaves white matter in the middle of the gyri, in place.

    Args:
        folds: The sulci.
        white: Share of white matter, on `BRAIN_BOX`.
        rim_mm: CSF between inner table and convexity.
    """
    share = folds.share
    within = np.minimum(folds.pial_mm, folds.depth_mm - np.float32(rim_mm))
    gyral: Field = soft(within - np.float32(_RIBBON_MM), 2.0)
    flat = white.reshape(-1)
    flat[folds.places] += share * (gyral - flat[folds.places])


@dataclass(frozen=True, eq=False)
class _Shell:
    """Where sulci are looked for."""

    places: npt.NDArray[np.intp]
    depth: Field
    share: Field


@lru_cache(maxsize=1)
def _shell() -> _Shell:
    grid = BRAIN_BOX.grid()
    wall = base_maps().wall_mm[BRAIN_BOX.within(HEAD_BOX)]
    above = np.minimum(grid.z + 20, 40 - grid.y + np.maximum(grid.z, 0) * 4)  # not the posterior fossa
    places = np.flatnonzero((wall > -2) & (wall < _REACH_MM) & (above > -6))
    depth, above = (np.ascontiguousarray(part).reshape(-1)[places] for part in (wall, above))
    return _Shell(places, depth, soft(above, 8.0) * soft(np.float32(_REACH_MM - 3) - depth, 6.0))


def _along_rays(inner: HeadGrid, places: npt.NDArray[np.intp]) -> tuple[Field, Field]:
    """Where rays from the middle of the head through places of the brain meet the convexity.

    Returns:
        Index on the grid of the random field, shape (3, places), and how far away from the middle the places lie
        relative to the convexity: rays meet, so the pattern narrows with the depth.
    """
    scaled = [
        (axis.reshape(-1)[places] - np.float32(at)) * np.float32(1 / radius)
        for axis, at, radius in zip((inner.z, inner.y, inner.x), _MIDDLE[::-1], _RADII[::-1], strict=True)
    ]
    length = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
    samples = np.stack(
        [
            (part / length + np.float32(_MARGIN)) * np.float32(radius / _STEP_MM)
            for part, radius in zip(scaled, _RADII[::-1], strict=True)
        ]
    )
    return samples, np.minimum(length, 1.1)


def _signed_distance(rng: np.random.Generator, length_mm: float) -> Field:
    """A random field around the head, as the distance to where it is zero."""
    shape = [int(2 * _MARGIN * radius / _STEP_MM) + 1 for radius in _RADII[::-1]]
    noise = smooth_noise(rng, shape, (_STEP_MM,) * 3, length_mm)
    along = np.gradient(noise, _STEP_MM)
    slope = np.sqrt(along[0] ** 2 + along[1] ** 2 + along[2] ** 2)
    distance: Field = (noise / np.maximum(slope, 0.35 / length_mm)).astype(np.float32)
    return distance

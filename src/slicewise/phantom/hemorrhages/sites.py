"""Where bleeds lie: landmarks of the brain in MNI coordinates, sutures, and points on the inner table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slicewise.phantom.fields import Field, HeadGrid, Point
from slicewise.phantom.hemorrhages.model import point
from slicewise.phantom.template import template_point

MIDDLE: Point = (0.0, 0.0, 8.0)
"""Looked from here, the cranial vault is seen in all directions."""

FOSSA: Point = (0.0, 36.0, -36.0)
"""Middle of the posterior fossa."""

_VAULT_RADII = (67.0, 87.0, 70.0)
_FOSSA_RADII = (52.0, 46.0, 24.0)
_BREGMA, _PTERION = (0.0, 12.0, 76.0), (58.0, 26.0, -8.0)
_LAMBDA, _ASTERION = (0.0, -96.0, 26.0), (58.0, -74.0, -30.0)


def vault_point(azimuth: float, elevation: float, side: float, origin: Point = MIDDLE) -> Point:
    """Returns about where a ray meets the inner table, good enough for mass effect before the head is drawn.

    Args:
        azimuth: Degrees from the side (0) to the back (90) or the front (-90).
        elevation: Degrees above the axial plane.
        side: 1 for the patient's left, -1 for the right.
        origin: `MIDDLE` or `FOSSA`.
    """
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    ray = np.array([side * np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)])
    radii = np.array(_FOSSA_RADII if origin == FOSSA else _VAULT_RADII)
    return point(np.array(origin) + ray / np.linalg.norm(ray / radii))


def origin_of(center: Point, *, below_tentorium: bool) -> Point:
    """Returns from where `center` is looked at, moved so that rays meet the table at right angles."""
    return FOSSA if below_tentorium else point([0.25 * center[0], 0.45 * center[1], 0.35 * center[2]])


def table_point(grid: HeadGrid, wall_mm: Field, center: Point, origin: Point) -> Point:
    """Returns where the ray from an origin through a planned centre meets the inner table.

    Args:
        grid: A regular grid.
        wall_mm: Distance to the inner table, positive in the cavity.
        center: The planned centre.
        origin: A place in the cavity.
    """
    ray = np.subtract(center, origin)
    ray = ray / np.linalg.norm(ray)
    steps = np.arange(5.0, 130.0, 0.5)
    samples = np.asarray(origin) + steps[:, None] * ray
    depth = np.full(len(steps), -1.0)
    index, inside = _indices(grid, samples)
    depth[inside] = wall_mm[tuple(index[inside].T)]
    outside = np.flatnonzero(depth <= 0)
    return point(samples[max(int(outside[0]) - 1, 0) if len(outside) else -1])


def moved_inside(grid: HeadGrid, wall_mm: Field, center: Point, depth_mm: float) -> Point:
    """Returns a place at least so deep below the inner table: the first on the way to the middle of the cavity."""
    origin = FOSSA if center[2] < -20 and center[1] > 0 else MIDDLE
    samples = np.asarray(center) + np.linspace(0, 1, 60)[:, None] * np.subtract(origin, center)
    index, inside = _indices(grid, samples)
    depth = np.full(len(samples), -1.0)
    depth[inside] = wall_mm[tuple(index[inside].T)]
    deep = np.flatnonzero(depth >= depth_mm)
    return point(samples[int(deep[0])]) if len(deep) else center


@dataclass(frozen=True)
class Suture:
    """The plane of a suture.

    Attributes:
        normal: Unit vector in front of a coronal or lambdoid suture, to the left of the sagittal one.
        offset: Distance of the plane from the origin along it.
    """

    normal: Point
    offset: float

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """Returns the signed distance to the plane."""
        u, v, w = (np.float32(value) for value in self.normal)
        distance: Field = u * x + v * y + w * z - np.float32(self.offset)
        return distance

    def distance_of(self, place: Point) -> float:
        """Returns the signed distance of one place."""
        return float(np.dot(self.normal, place)) - self.offset


SAGITTAL = Suture((1.0, 0.0, 0.0), 0.0)


def sutures_of(side: float) -> tuple[Suture, Suture]:
    """Returns the coronal and the lambdoid suture of one side."""
    return _suture(_BREGMA, _PTERION, side), _suture(_LAMBDA, _ASTERION, side)


def _suture(upper: Point, lower: Point, side: float) -> Suture:
    """The plane through the middle of the head and two landmarks of a suture."""
    a, b = template_point(upper), template_point((-side * lower[0], lower[1], lower[2]))
    normal = np.cross(np.subtract(a, MIDDLE), np.subtract(b, MIDDLE))
    normal *= -np.sign(normal[1]) / np.linalg.norm(normal)
    return Suture(point(normal), float(normal @ MIDDLE))


def _indices(grid: HeadGrid, samples: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Nearest voxels (plane, row, column) of points (x, y, z), and which of them lie on the grid."""
    start = np.array([grid.z[0, 0, 0], grid.y[0, 0, 0], grid.x[0, 0, 0]])
    index = np.rint((samples[:, ::-1] - start) / np.array(grid.spacing_mm)).astype(np.intp)
    return index, ((index >= 0) & (index < np.array(grid.x.shape))).all(axis=1)

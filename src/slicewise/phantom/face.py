"""Shapes around the brain that every head shares: skin of face and neck, bones of base and face, air, muscles.

The template is skull-stripped, so these are analytic shapes in its millimetres, fitted to the cavity. They are signed
distances (positive inside), computed once a process; `skull` shifts and roughens them for every head.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from slicewise.phantom.fields import Ellipsoid, Field, HeadGrid, Point, Shape, Tube, mirrored, soft
from slicewise.phantom.template import HEAD_BOX, Box, base_maps

LOWER_BOX = Box(HEAD_BOX.low, (HEAD_BOX.counts[0], HEAD_BOX.counts[1], 68))
"""Where face, base and neck lie: up to z = 14."""

FAR = -30.0
VAULT_MM = 30.0

_CONTOUR = np.array(
    [  # z, half width, front, back, exponent
        (-120, 60, -86, 74, 2.3),
        (-104, 64, -97, 78, 2.2),
        (-90, 66, -99, 82, 2.2),
        (-74, 68, -100, 86, 2.3),
        (-60, 70, -99, 88, 2.4),
        (-46, 71, -96, 88, 2.5),
        (-34, 72, -95, 86, 2.5),
        (-22, 70, -92, 84, 2.4),
        (-10, 62, -80, 76, 2.2),
        (0, 45, -60, 60, 2.0),
    ]
)
"""Outline of face and neck; above, the scalp is an offset of the vault."""

_NOSE = (
    Tube(((0.0, -93.0, -34.0), (0.0, -104.0, -52.0), (0.0, -113.0, -68.0)), (6.0, 7.0, 9.0)),
    Tube(((-9.0, -104.0, -72.0), (9.0, -104.0, -72.0)), (7.0, 7.0)),
)
_BONES: tuple[Shape, ...] = (
    Tube(((0.0, -14.0, -34.0), (0.0, 0.0, -50.0), (0.0, 11.0, -65.0)), (8.0, 6.0, 4.5)),  # clivus
    Tube(((0.0, -24.0, -36.0), (0.0, -40.0, -34.0)), (15.0, 13.0)),  # body of the sphenoid
    Tube(((0.0, 9.0, -74.0), (0.0, 12.0, -92.0), (0.0, 12.0, -122.0)), (5.0, 8.0, 9.5)),  # dens, bodies of C2 and C3
    Tube(((0.0, 47.0, -84.0), (0.0, 62.0, -102.0)), (3.0, 4.0)),  # spinous process
    Tube(((0.0, -94.0, -34.0), (0.0, -101.0, -48.0)), (3.5, 3.0)),  # nasal bones
)
_PAIRED_BONES: tuple[Shape, ...] = (
    Tube(((11.0, 2.0, -37.0), (32.0, 10.0, -34.0), (58.0, 26.0, -38.0)), (6.5, 9.0, 12.0)),  # petrous pyramid
    Ellipsoid((61.0, 33.0, -50.0), (11.0, 15.0, 19.0)),  # mastoid
    Tube(((30.0, 14.0, -52.0), (24.0, 24.0, -70.0)), (6.0, 6.5)),  # jugular process and occipital condyle
    Tube(((24.0, 22.0, -80.0), (27.0, 24.0, -88.0)), (7.5, 7.5)),  # lateral mass of the atlas
    Tube(((24.0, 24.0, -84.0), (14.0, 46.0, -84.0), (0.0, 51.0, -84.0)), (3.5, 3.5, 3.5)),  # its arches
    Tube(((18.0, 8.0, -83.0), (0.0, 1.0, -83.0)), (3.0, 3.5)),
    Tube(((18.0, 20.0, -98.0), (18.0, 26.0, -122.0)), (6.5, 6.5)),  # articular pillars
    Tube(((18.0, 30.0, -102.0), (0.0, 46.0, -104.0)), (4.0, 4.5)),  # laminae of C2
    Tube(((51.0, -4.0, -55.0), (49.0, -12.0, -80.0), (46.0, -24.0, -122.0)), (5.0, 4.0, 5.0)),  # ramus of the mandible
    Tube(((65.0, -2.0, -49.0), (69.0, -26.0, -51.0), (55.0, -64.0, -56.0)), (2.5, 2.5, 4.5)),  # zygomatic arch
    Tube(((50.0, -70.0, -30.0), (52.0, -70.0, -54.0)), (4.0, 4.0)),  # lateral orbital rim
    Tube(((40.0, -38.0, -26.0), (26.0, -36.0, -32.0)), (3.0, 4.5)),  # greater wing of the sphenoid
    Tube(((10.0, -20.0, -24.0), (40.0, -40.0, -22.0)), (2.2, 2.0)),  # lesser wing
    Tube(((13.0, -28.0, -50.0), (14.0, -32.0, -86.0)), (3.0, 2.5)),  # pterygoid process
    Tube(((14.0, -92.0, -88.0), (34.0, -66.0, -90.0)), (5.0, 6.0)),  # alveolar process
    Tube(((8.0, -101.0, -24.0), (36.0, -96.0, -23.0), (50.0, -74.0, -24.0)), (4.5, 4.0, 4.0)),  # supraorbital rim
)
_ORBIT = Tube(((15.0, -40.0, -31.0), (25.0, -62.0, -37.0), (32.0, -82.0, -41.0)), (5.0, 14.0, 18.5))
_ORBIT_FRONT = -93.0
_AIR: tuple[Shape, ...] = (
    Ellipsoid((0.0, -66.0, -71.0), (13.0, 36.0, 15.0)),  # nasal cavity
    Tube(((0.0, -100.0, -78.0), (0.0, -88.0, -76.0)), (5.0, 8.0)),  # nostrils
    Ellipsoid((0.0, -20.0, -76.0), (13.0, 12.0, 14.0)),  # nasopharynx
    Tube(((0.0, -16.0, -84.0), (0.0, -10.0, -122.0)), (9.0, 9.0)),  # oropharynx
)
_PAIRED_AIR: tuple[Shape, ...] = (
    Ellipsoid((7.5, -30.0, -37.0), (7.0, 12.0, 8.5)),  # sphenoid sinus
    Tube(((6.0, -50.0, -42.0), (7.0, -84.0, -42.0)), (7.0, 6.5)),  # ethmoid cells
    Tube(((6.0, -50.0, -51.0), (7.0, -80.0, -51.0)), (6.5, 6.5)),
    Ellipsoid((31.0, -70.0, -69.0), (14.0, 18.0, 15.0)),  # maxillary sinus
)
_EAR_AIR: tuple[Shape, ...] = (
    Tube(((49.0, 10.0, -42.0), (64.0, 11.0, -43.0), (100.0, 12.0, -43.0)), (3.5, 3.2, 5.0)),  # ear canal
    Tube(((45.0, 11.0, -40.0), (50.0, 18.0, -37.0)), (3.5, 4.5)),  # middle ear and antrum
)
_EAR = Tube(((76.0, 14.0, -58.0), (79.0, 22.0, -38.0), (80.0, 25.0, -20.0)), (5.0, 8.0, 7.0))
_MASTOID_CELLS = (
    Ellipsoid((60.0, 33.0, -50.0), (9.5, 13.0, 18.0)),
    Tube(((48.0, 20.0, -36.0), (62.0, 30.0, -36.0)), (5.0, 9.0)),
)
_MUSCLES: tuple[Shape, ...] = (
    Tube(((58.0, -14.0, -62.0), (57.0, -28.0, -122.0)), (9.0, 11.0)),  # masseter
    Ellipsoid((60.0, -34.0, -44.0), (13.0, 24.0, 18.0)),  # temporalis below the arch
    Tube(((36.0, -20.0, -62.0), (36.0, -26.0, -112.0)), (10.0, 9.0)),  # pterygoids
    Tube(((10.0, 56.0, -74.0), (12.0, 56.0, -122.0)), (14.0, 15.0)),  # suboccipital, semispinalis
    Tube(((30.0, 58.0, -66.0), (30.0, 48.0, -122.0)), (15.0, 15.0)),  # splenius
    Tube(((60.0, 38.0, -70.0), (54.0, 20.0, -122.0)), (9.0, 9.0)),  # sternocleidomastoid
    Tube(((14.0, -4.0, -70.0), (14.0, -2.0, -122.0)), (8.0, 8.0)),  # prevertebral
    Tube(((0.0, -56.0, -104.0), (0.0, -30.0, -108.0)), (22.0, 20.0)),  # tongue
    Tube(((30.0, 2.0, -84.0), (32.0, 4.0, -122.0)), (7.0, 7.0)),  # carotid sheath
)


@dataclass(frozen=True, eq=False)
class Vault:
    """What lies within `VAULT_MM` of the cavity, as flat arrays.

    Attributes:
        places: Flat index into `HEAD_BOX`.
        wall: Distance to the inner table, positive in the cavity.
        smooth_wall: The same, smoothed: the outer table does not follow the inner one.
        thickness: Thickness of the bone relative to the usual.
        vertex: Near 1 at the vertex, 0 below.
        temporalis: Thickness of the temporalis muscle relative to the usual.
        suture: Share of suture.
        face: Distance to the skin of face and neck, positive inside.
    """

    places: npt.NDArray[np.intp]
    wall: Field
    smooth_wall: Field
    thickness: Field
    vertex: Field
    temporalis: Field
    suture: Field
    face: Field


@dataclass(frozen=True, eq=False)
class Flesh:
    """Face and neck, as flat arrays. Distances are positive inside.

    Attributes:
        places: Flat index into `HEAD_BOX`.
        face: Distance to the skin.
        muscle: Distance to the surface of large muscles.
        wall: Distance to the inner table.
    """

    places: npt.NDArray[np.intp]
    face: Field
    muscle: Field
    wall: Field


@dataclass(frozen=True, eq=False)
class Base:
    """Bones and air of base, face and neck, as flat arrays. Distances are positive inside.

    Attributes:
        places: Flat index into `HEAD_BOX`.
        x: Left coordinate.
        y: Posterior coordinate.
        z: Superior coordinate.
        bone: Distance to the surface of bones.
        air: Of paranasal sinuses and airway.
        ear_air: Of ear canal and middle ear.
        mastoid: Of the part that mastoid cells may fill.
        orbit: Of the bony orbits.
    """

    places: npt.NDArray[np.intp]
    x: Field
    y: Field
    z: Field
    bone: Field
    air: Field
    ear_air: Field
    mastoid: Field
    orbit: Field


@lru_cache(maxsize=1)
def vault() -> Vault:
    """Returns the surroundings of the cavity; computed at the first call of a process."""
    whole, wall = HEAD_BOX.grid(), base_maps().wall_mm
    face = np.full(wall.shape, FAR, dtype=np.float32)
    face[LOWER_BOX.within(HEAD_BOX)] = _skin()
    # Deep in the face, bone near the cavity is all that there is of the vault.
    places = np.flatnonzero((wall < 1.5) & (wall > -VAULT_MM) & ((face < 8) | (wall > -14)))
    x, y, z = (np.ascontiguousarray(axis).reshape(-1)[places] for axis in (whole.x, whole.y, whole.z))
    smooth = np.maximum(ndimage.gaussian_filter(wall, (2.5, 5.0, 5.0)), wall)
    temporal = np.exp(-(((y + 26) / 30) ** 2) - ((z + 20) / 30) ** 2) * soft(np.abs(x) - 46, 16.0)
    near = wall.reshape(-1)[places]
    return Vault(
        places=places,
        wall=near,
        smooth_wall=smooth.reshape(-1)[places],
        thickness=_thickness(x, y, z),
        vertex=soft(z - 50, 40.0),
        temporalis=temporal.astype(np.float32),
        suture=_sutures(x, y, z) * (near > -25),
        face=face.reshape(-1)[places],
    )


@lru_cache(maxsize=1)
def flesh() -> Flesh:
    """Returns face and neck; computed at the first call of a process."""
    lower = LOWER_BOX.grid()
    face, wall = _skin(), base_maps().wall_mm[LOWER_BOX.within(HEAD_BOX)]
    places = np.flatnonzero((face > -2) & (wall < 1.5))
    muscle = _union(lower, _both(_MUSCLES))
    # The lower box is the first part of the whole one: flat indices are the same.
    return Flesh(places, face.reshape(-1)[places], muscle.reshape(-1)[places], wall.reshape(-1)[places])


@lru_cache(maxsize=1)
def base() -> Base:
    """Returns bones and air of base, face and neck; computed at the first call of a process."""
    lower = LOWER_BOX.grid()
    orbit = np.minimum(_union(lower, mirrored(_ORBIT)), lower.y - np.float32(_ORBIT_FRONT))
    parts = [_union(lower, (*one, *_both(two))) for one, two in ((_BONES, _PAIRED_BONES), (_AIR, _PAIRED_AIR))]
    parts += [_union(lower, _both(shapes)) for shapes in (_EAR_AIR, _MASTOID_CELLS)]
    near = np.maximum.reduce([*parts, orbit]) > -4
    places = np.flatnonzero(near)
    axes = [np.ascontiguousarray(axis).reshape(-1)[places] for axis in (lower.x, lower.y, lower.z)]
    bone, air, ear, mastoid = (part.reshape(-1)[places] for part in parts)
    return Base(places, axes[0], axes[1], axes[2], bone, air, ear, mastoid, orbit.reshape(-1)[places])


@lru_cache(maxsize=1)
def _skin() -> Field:
    """Distance to the skin of face and neck on `LOWER_BOX`, positive inside."""
    lower = LOWER_BOX.grid()
    return np.maximum(_outline(lower), _union(lower, (*_NOSE, *mirrored(_EAR))))


def _both(shapes: Iterable[Shape]) -> tuple[Shape, ...]:
    return tuple(side for shape in shapes for side in mirrored(shape))


def _union(grid: HeadGrid, shapes: Iterable[Shape]) -> Field:
    depth = np.full(grid.x.shape, FAR, dtype=np.float32)
    for shape in shapes:
        window = grid.window(*shape.box(10.0))
        np.maximum(depth[window], shape.depth(*grid.at(window)), out=depth[window])
    return depth


def _outline(grid: HeadGrid) -> Field:
    """Distance to the skin of face and neck: a squarish ellipse whose axes change with height."""
    z = grid.z[:, :1, :1]
    width, front, back, power = (np.interp(z, _CONTOUR[:, 0], column) for column in _CONTOUR[:, 1:].T)
    width, middle, half, power = (
        np.asarray(value, dtype=np.float32) for value in (width, (front + back) / 2, (back - front) / 2, power)
    )
    u, v = np.abs(grid.x[:, :1] / width), np.abs((grid.y[:, :, :1] - middle) / half)
    reach = (u**power + v**power) ** (1 / power)
    depth: Field = (1 - reach) * np.minimum(width, half)
    return np.minimum(depth, 2 - z)


def _thickness(x: Field, y: Field, z: Field) -> Field:
    """The vault is thick in front and behind; squama, orbital roof and middle fossa are thin."""
    side = np.abs(x)

    def bump(center: Point, widths: Point) -> Field:
        squared = (
            ((side - center[0]) / widths[0]) ** 2
            + ((y - center[1]) / widths[1]) ** 2
            + ((z - center[2]) / widths[2]) ** 2
        )
        return np.asarray(np.exp(-squared), dtype=np.float32)

    factor: Field = 1 - 0.45 * bump((74, -8, -10), (26, 42, 34))
    factor += 0.7 * bump((0, -95, -16), (24, 18, 20)) + 0.9 * bump((0, 90, -24), (12, 22, 14))
    factor -= 0.68 * soft(-z - 18, 6.0) * soft(-y - 28, 8.0) * soft(58 - side, 12.0) * soft(y + 84, 6.0)
    factor -= 0.45 * soft(-z - 26, 8.0) * soft(side - 18, 8.0) * soft(10 - y, 12.0) * soft(y + 40, 10.0)
    factor -= 0.25 * soft(-z - 36, 8.0) * soft(y - 20, 10.0)
    return np.clip(factor, 0.25, 2.6).astype(np.float32)


def _sutures(x: Field, y: Field, z: Field) -> Field:
    """Coronal, sagittal and lambdoid sutures, with teeth."""
    teeth = 1.5 * np.sin(x * 0.9 + 0.6 * z) + 1.0 * np.sin(0.41 * x - 0.77 * z + 1.0)
    coronal = (y + 34 + 0.38 * (70 - z) - teeth) * np.float32(0.9)
    lambdoid = (y - 58 + 0.35 * (z - 30) - 0.55 * (40 - np.abs(x)) - teeth) * np.float32(0.75)
    sagittal = x - np.float32(0.8) * np.sin(y * 0.8) - np.float32(0.5) * np.sin(0.37 * y + 1)
    sagittal = np.where((y > -34) & (y < 78) & (z > 20), sagittal, np.float32(9))
    lambdoid = np.where((y > 30) & (z > -22), lambdoid, np.float32(9))
    coronal = np.where((z > 0) & (y < 10), coronal, np.float32(9))
    nearest = np.minimum(np.minimum(np.abs(coronal), np.abs(lambdoid)), np.abs(sagittal))
    return soft(np.float32(0.9) - nearest)

"""Bones of the skull base, face and neck, the air in them, and the orbits, in template millimetres."""

from __future__ import annotations

import numpy as np

from slicewise.phantom import face
from slicewise.phantom.anatomy import Anatomy
from slicewise.phantom.face import LOWER_BOX, Base
from slicewise.phantom.fields import Ellipsoid, Field, HeadGrid, Shape, Tube, blend, mirrored, soft

_AIR_HU, _FAT_HU, _MUCOSA_HU = -1000.0, -95.0, 45.0
_COCHLEA = Ellipsoid((34.0, 9.0, -38.0), (5.0, 5.0, 4.0))
_PITUITARY = Ellipsoid((0.0, -18.0, -26.0), (16.0, 12.5, 7.0))  # with the cavernous sinuses beside it
_SELLA: tuple[Shape, ...] = (
    Tube(((-6.0, -9.5, -24.0), (6.0, -9.5, -24.0)), (1.5, 1.5)),  # dorsum
    *mirrored(Ellipsoid((11.0, -22.0, -23.0), (2.2, 4.5, 1.8))),  # anterior clinoid processes
)
_SPINAL_CANAL = Tube(((0.0, 29.0, -70.0), (0.0, 33.0, -124.0)), (9.0, 7.5))
_SPINAL_CORD = Tube(((0.0, 29.0, -66.0), (0.0, 33.0, -124.0)), (5.5, 4.5))
_AUDITORY_CANAL = Tube(((8.0, 12.0, -37.0), (22.0, 10.0, -37.0)), (2.6, 2.2))


def paint_base(hu: Field, anatomy: Anatomy, rough: Field, uneven: Field, rng: np.random.Generator) -> None:
    """Paints bones and air onto an image on `HEAD_BOX`, in place.

    Args:
        hu: The image.
        anatomy: Densities and pneumatisation.
        rough: Fine noise on `LOWER_BOX`, flat: marrow, cells, septa.
        uneven: Coarse noise, likewise: no two sinuses look alike.
        rng: Draws which sinus holds fluid.
    """
    shapes = face.base()
    values = hu.reshape(-1)[shapes.places]
    rough, uneven = rough[shapes.places], uneven[shapes.places]
    bone = shapes.bone + np.float32(0.5) * rough
    bone += uneven
    marrow = soft(bone - np.float32(3.2), 2.0)
    density: Field = np.float32(anatomy.table_hu - 250) - marrow * np.float32(0.7 * anatomy.table_hu - 250)
    density += rough * np.float32(110)
    blend(values, soft(bone), density)
    rim = np.minimum(np.minimum(shapes.orbit + 2.0, -shapes.orbit), shapes.y + 88)
    blend(values, soft(rim) * np.float32(0.85), 750.0)
    blend(values, soft(shapes.orbit), _FAT_HU)
    _paint_air(values, anatomy, shapes, space=shapes.air + uneven, rough=rough, rng=rng)
    blend(values, soft(shapes.ear_air), _AIR_HU)
    cells = np.abs(rough - np.float32(0.1)) * 4 - np.float32(9.0 - 8.3 * anatomy.mastoid)
    phase = (
        np.float32(0.8) * shapes.x + np.float32(0.55) * shapes.y + np.float32(0.5) * shapes.z + np.float32(1.7) * rough
    )
    np.minimum(cells, np.abs(np.sin(phase)) * np.float32(2.6) - np.float32(0.7), out=cells)
    blend(values, soft(np.minimum(shapes.mastoid - 1, cells)), _AIR_HU + 120)
    hu.reshape(-1)[shapes.places] = values
    lower, grid = hu[: LOWER_BOX.counts[2]], LOWER_BOX.grid()
    for shape, value in ((_COCHLEA, 1700.0), (_AUDITORY_CANAL, 20.0)):
        for side in mirrored(shape):
            _paint(lower, grid, side, value)
    _paint(lower, grid, _PITUITARY, 42.0)
    for process in _SELLA:
        _paint(lower, grid, process, anatomy.table_hu - 400)
    _paint(lower, grid, _SPINAL_CANAL, 12.0)
    _paint(lower, grid, _SPINAL_CORD, 35.0)
    _paint_frontal_sinuses(lower, anatomy, grid, rng)


def paint_orbits(hu: Field, anatomy: Anatomy) -> None:
    """Paints what lies in the orbital fat onto an image on `HEAD_BOX`, in place."""
    grid, lower = LOWER_BOX.grid(), hu[: LOWER_BOX.counts[2]]
    across, up = anatomy.gaze
    for side in (-1.0, 1.0):
        x, z = side * 32.0, -41.0
        muscles = (
            ((x + side * 12, -78.0, z), (x + side * 6, -60.0, z)),
            ((x - side * 12, -80.0, z), (side * 15.0, -62.0, z + 2)),
            ((x, -80.0, z + 11), (x - side * 5, -60.0, -27.0)),
            ((x, -80.0, z - 11), (x - side * 5, -60.0, -50.0)),
        )
        for insertion, belly in muscles:
            _paint(lower, grid, Tube((insertion, belly, (side * 16.0, -40.0, -31.0)), (1.5, 2.5, 1.8)), 52.0)
        nerve = Tube(((x - side, -74.0, z), (side * 25.0, -58.0, -37.0), (side * 15.0, -38.0, -30.0)), (2.1, 2.0, 2.2))
        contents: tuple[tuple[Shape, float], ...] = (
            (nerve, 38.0),
            (Ellipsoid((side * 44.0, -86.0, z + 8), (4.0, 6.0, 6.0)), 45.0),  # lacrimal gland
            (Tube(((x - 12, -92.0, z), (x, -97.0, z), (x + 12, -91.0, z)), (4.0, 4.0, 4.0)), 40.0),  # lids
            (Ellipsoid((x, -84.0, z), (12.6, 12.6, 12.6)), 55.0),
            (Ellipsoid((x, -84.0, z), (11.2, 11.2, 11.2)), 9.0),
            (Ellipsoid((x + 0.6 * across, -91.5, z + 0.6 * up), (4.8, 2.3, 4.8)), 85.0),  # lens
        )
        for shape, value in contents:
            _paint(lower, grid, shape, value)


def _paint_air(
    values: Field, anatomy: Anatomy, shapes: Base, *, space: Field, rough: Field, rng: np.random.Generator
) -> None:
    """Sinuses and airway, with septa, turbinates, mucosa and fluid."""
    walls = np.minimum(space + 1.6, -space)
    blend(values, soft(walls) * (shapes.z > -88) * np.float32(0.75), 650.0)
    nasal = (np.abs(shapes.x) < 14) & (shapes.y < -40) & (shapes.z > -86)
    low = nasal & (shapes.z < -56)
    septum = np.abs(shapes.x + np.float32(0.7) * rough) - np.float32(0.9)
    conchae = np.abs(np.abs(shapes.x) - 6.5 - np.float32(0.05) * (shapes.z + 70) - 1.5 * rough) - np.float32(2.4)
    cells = np.abs(rough) * np.float32(5.0) - np.float32(0.8)
    free = np.where(nasal, np.minimum(np.minimum(space, septum), np.where(low, conchae, cells)), space)
    blend(values, soft(space) * low, _MUCOSA_HU)
    air = soft(free - np.float32(0.4) - np.float32(0.25) * rough)
    if anatomy.sinus_fluid > 0:
        level = np.float32(np.interp(anatomy.sinus_fluid, (0, 1), (-54, -88)))
        middle = float(rng.choice([-31.0, 0.0, 31.0]))  # one maxillary sinus, or ethmoid and sphenoid
        filled = (shapes.y > (level if middle else level + 30)) & (np.abs(shapes.x - np.float32(middle)) < 15)
        filled &= (shapes.z > -56) if middle == 0 else ~nasal
        filled &= shapes.z > -86
        blend(values, soft(free) * filled, 24.0)
        air *= ~filled
    blend(values, air, _AIR_HU)


def _paint_frontal_sinuses(lower: Field, anatomy: Anatomy, grid: HeadGrid, rng: np.random.Generator) -> None:
    if anatomy.frontal_sinus == 0:
        return
    for side in (-1.0, 1.0):
        size = anatomy.frontal_sinus * float(rng.uniform(0.6, 1.2))
        shape = Ellipsoid((side * (5 + 5 * size), -93.5, -18.0), (8 * size + 2, 2.6 + size, 12 * size + 3))
        window = grid.window(*shape.box())
        inside = shape.depth(*grid.at(window))
        blend(lower[window], soft(np.minimum(inside + 2, -inside)), 1000.0)
        blend(lower[window], soft(inside), _AIR_HU)


def _paint(image: Field, grid: HeadGrid, shape: Shape, value: float) -> None:
    window = grid.window(*shape.box())
    blend(image[window], soft(shape.depth(*grid.at(window))), value)

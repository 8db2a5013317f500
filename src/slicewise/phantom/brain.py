"""What lies in the cranial cavity: brain, ventricles, CSF and dura, without hemorrhage.

Hounsfield units are those of textbooks: grey matter 37 to 41, white matter 27 to 31, CSF 4 to 9, falx and tentorium
48 to 60.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slicewise.phantom.anatomy import Anatomy
from slicewise.phantom.fields import (
    Ellipsoid,
    Field,
    HeadGrid,
    Point,
    Shape,
    Tube,
    blend,
    mirrored,
    smooth_noise,
    soft,
)

CORTEX_MM = 3.2
_DEEP_GREY = (
    Ellipsoid((10.0, 7.0, 2.0), (7.5, 13.0, 9.0)),  # thalamus
    Ellipsoid((24.0, -7.0, 0.0), (6.0, 15.0, 9.0)),  # lentiform nucleus
    Ellipsoid((13.0, -24.0, 8.0), (4.5, 7.5, 8.0)),  # head of the caudate nucleus
)
_BRAINSTEM = (
    Ellipsoid((0.0, 6.0, -20.0), (17.0, 12.0, 11.0)),  # midbrain
    Ellipsoid((0.0, 10.0, -40.0), (14.0, 13.0, 15.0)),  # pons
    Tube(((0.0, 16.0, -50.0), (0.0, 27.0, -75.0), (0.0, 30.0, -130.0)), (10.0, 7.0, 6.0)),  # medulla and cord
)
_LATERAL_VENTRICLE = (
    Tube(((6.0, -34.0, 5.0), (7.5, -22.0, 12.0), (10.0, -2.0, 20.0), (15.0, 16.0, 18.0)), (3.0, 5.5, 4.8, 5.0)),
    Tube(((15.0, 16.0, 18.0), (24.0, 28.0, 5.0), (27.0, 52.0, 3.0)), (5.0, 6.5, 2.0)),
    Tube(((24.0, 28.0, 5.0), (31.0, 10.0, -16.0), (30.0, -8.0, -24.0)), (5.0, 2.4, 2.0)),
)
_MIDLINE_VENTRICLES = (
    Ellipsoid((0.0, -2.0, -4.0), (2.6, 14.0, 9.0)),  # third
    Ellipsoid((0.0, 26.0, -42.0), (6.5, 5.0, 10.0)),  # fourth
)


@dataclass(frozen=True, eq=False)
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
class Brain:
    """What hemorrhages need to know of a rendered head; all fields have the shape of the grid.

    Attributes:
        wall_mm: Distance to the inner table, positive in the cranial cavity.
        pial_mm: Distance to the surface of the brain: negative in sulci, fissures, cisterns and the outer rim.
        ventricle_mm: Distance to the wall of the ventricles, positive inside.
        tent_mm: Height above the tentorium.
    """

    wall_mm: Field
    pial_mm: Field
    ventricle_mm: Field
    tent_mm: Field


def render_brain(
    hu: Field,
    grid: HeadGrid,
    anatomy: Anatomy,
    rng: np.random.Generator,
    *,
    cavity_mm: Field,
    pushes: tuple[Push, ...],
) -> Brain:
    """Paints everything inside the skull onto an image.

    Args:
        hu: Image of the skull and what is around it, changed in place.
        grid: Warped coordinates.
        anatomy: Sizes and densities.
        rng: Draws sulci and texture.
        cavity_mm: Distance to the inner table, positive inside.
        pushes: Mass effect of the hemorrhages to come.
    """
    inner, effacement = _displaced(grid, pushes)
    tent = grid.z - _tent_height(grid)
    ventricle = _ventricle_depth(inner, anatomy.ventricle_size)
    pial = _pial_depth(inner, anatomy, rng, wall=cavity_mm, tent=tent, effacement=effacement)
    brain = Brain(cavity_mm, pial, ventricle, tent)
    blend(hu, soft(cavity_mm), _tissue(inner, anatomy, brain, rng))
    _paint_dura(grid, anatomy, brain, hu)
    for shape, value in anatomy.calcifications:
        window = inner.window(*shape.box())
        blend(hu[window], soft(shape.depth(*inner.at(window))), value)
    return brain


def _tissue(grid: HeadGrid, anatomy: Anatomy, brain: Brain, rng: np.random.Generator) -> Field:
    grey = soft(CORTEX_MM - brain.pial_mm, 2.5)
    for nucleus in _DEEP_GREY:
        for shape in mirrored(nucleus):
            window = grid.window(*shape.box())
            np.maximum(grey[window], soft(shape.depth(*grid.at(window)), 5.0), out=grey[window])
    cerebellum = soft(-brain.tent_mm, 3.0)
    np.maximum(grey, 0.75 * cerebellum, out=grey)
    for shape in _BRAINSTEM:
        window = grid.window(*shape.box())
        blend(grey[window], soft(shape.depth(*grid.at(window)), 3.0), 0.3)
    white: Field = np.full((1, 1, 1), anatomy.white_hu, dtype=np.float32)
    if anatomy.leukoaraiosis_hu > 1:
        near = np.exp(np.minimum(brain.ventricle_mm, 0) * np.float32(1 / 7))
        white = np.asarray(white - np.float32(anatomy.leukoaraiosis_hu) * near, dtype=np.float32)
    tissue: Field = white + grey * (np.float32(anatomy.grey_hu) - white)
    tissue += smooth_noise(rng, tissue.shape, grid.spacing_mm, 7.0) * np.float32(0.8)
    for infarct in anatomy.infarcts:
        window = grid.window(*infarct.box(6.0))
        ragged = smooth_noise(rng, tissue[window].shape, grid.spacing_mm, 8.0) * np.float32(2.5)
        blend(tissue[window], soft(infarct.depth(*grid.at(window)) + ragged, 2.5), anatomy.csf_hu + 9)
    blend(tissue, soft(-brain.pial_mm), anatomy.csf_hu)
    blend(tissue, soft(brain.ventricle_mm), anatomy.csf_hu)
    return tissue


def _paint_dura(grid: HeadGrid, anatomy: Anatomy, brain: Brain, hu: Field) -> None:
    """Falx, tentorium, and the superior sagittal and transverse sinuses: dense, normal, and like a thin bleed."""
    cavity = soft(brain.wall_mm)
    window = grid.window((-6.0, -90.0, -40.0), (6.0, 95.0, 85.0))
    x, y, _ = grid.at(window)
    wall = brain.wall_mm[window]
    depth = np.minimum(np.float32(0.9) - np.abs(x), 20.0 + np.clip(y + 60, 0, 60) * np.float32(0.45) - wall)
    sinus = np.float32(4.5) - wall - np.float32(1.1) * np.abs(x)
    depth = np.maximum(depth, np.where(y > -30, sinus, np.float32(-9)))
    above = soft(brain.tent_mm[window], 3.0)
    blend(hu[window], soft(depth) * cavity[window] * above, anatomy.dura_hu)
    window = grid.window((-70.0, 5.0, -42.0), (70.0, 95.0, 12.0))
    x, y, z = grid.at(window)
    notch = np.sqrt((x / 17) ** 2 + ((y - 10) / 24) ** 2) - 1
    sheet = np.minimum(np.float32(0.8) - np.float32(0.85) * np.abs(brain.tent_mm[window]), notch * 12)
    sinus = 5.0 - np.sqrt(brain.wall_mm[window] ** 2 + (z + 31) ** 2)
    depth = np.maximum(sheet, np.where(y > 35, sinus, np.float32(-9)))
    blend(hu[window], soft(depth) * cavity[window] * soft(y - 8, 4.0), anatomy.dura_hu)


def _pial_depth(
    grid: HeadGrid, anatomy: Anatomy, rng: np.random.Generator, *, wall: Field, tent: Field, effacement: Field
) -> Field:
    """Distance to the nearest CSF outside the ventricles: outer rim, sulci, fissures, cisterns."""
    half_width = np.float32(anatomy.sulcus_mm) * effacement
    rim = np.float32(anatomy.rim_mm) * effacement
    sheet = _sulcus_distance(grid, rng)
    deeper = np.maximum(wall - 17, 0)
    cerebral = np.sqrt(sheet * sheet + deeper * deeper) - half_width
    cerebral += np.float32(8) * soft(-tent, 3.0)
    pial: Field = np.minimum(wall - rim, cerebral)
    wide = float(0.8 + 1.6 * anatomy.age)
    for shape in _cisterns(wide):
        window = grid.window(*shape.box(4.0))
        np.minimum(pial[window], -shape.depth(*grid.at(window)), out=pial[window])
    for shape in _BRAINSTEM:  # a thin coat of CSF around the brainstem
        window = grid.window(*shape.box(6.0))
        patchy = smooth_noise(rng, pial[window].shape, grid.spacing_mm, 9.0) * np.float32(1.2)
        coat = np.abs(shape.depth(*grid.at(window)) + 1.5) - np.float32(0.7 * wide) + patchy
        np.minimum(pial[window], np.maximum(coat, grid.z[window] + 14), out=pial[window])
    window = grid.window((-10.0, -90.0, -30.0), (10.0, 95.0, 85.0))
    x, y, z = grid.at(window)
    fissure = np.maximum(np.abs(x) - half_width[window] - 0.6, 37 - np.hypot(y - 2, z + 6))
    np.minimum(pial[window], fissure + 8 * soft(-tent[window], 3.0), out=pial[window])
    return pial


def _cisterns(wide: float) -> list[Shape]:
    sylvian = Tube(((37.0, -14.0, -12.0), (36.0, -6.0, 2.0), (37.0, 8.0, 10.0)), (0.5 + wide, 0.7 + wide, 0.4 + wide))
    stem = Tube(((38.0, -14.0, -10.0), (48.0, -18.0, -12.0), (58.0, -18.0, -10.0)), (0.4 + wide, 0.6 + wide, 1 + wide))
    posterior = Tube(((37.0, 6.0, 8.0), (50.0, 12.0, 12.0), (62.0, 18.0, 14.0)), (0.4 + wide, 0.4 + wide, 0.8 + wide))
    return [
        *(shape for one in (sylvian, stem, posterior) for shape in mirrored(one)),
        Ellipsoid((0.0, -13.0, -23.0), (9.0 + 2 * wide, 7.0 + wide, 4.5)),  # suprasellar
        *mirrored(Tube(((8.0, -14.0, -23.0), (24.0, -16.0, -19.0), (37.0, -14.0, -12.0)), (2.0, 1.2, 0.4 + wide))),
        Ellipsoid((0.0, 22.0, -13.0), (9.0 + wide, 3.0 + wide, 5.0)),  # quadrigeminal
        Ellipsoid((0.0, -4.0, -38.0), (10.0, 1.5 + wide, 12.0)),  # prepontine
        Ellipsoid((0.0, 56.0, -58.0), (9.0 + 3 * wide, 4.0 + 2 * wide, 7.0)),  # cisterna magna
    ]


def _sulcus_distance(grid: HeadGrid, rng: np.random.Generator) -> Field:
    """Distance to the nearest sulcal sheet: zero lines of noise on the sphere, so that sulci run inwards radially.

    Directions are mapped to the plane by Lambert's equal-area projection around the vertex.
    """
    length, half, count = 7.5, 135.0, 271
    table = smooth_noise(rng, (count, count), (1.0, 1.0), length)
    y, z = grid.y - 5, grid.z + 12
    reach = np.sqrt(grid.x * grid.x + y * y + z * z) + np.float32(1e-3)
    factor = np.float32(74) * np.sqrt(2 / np.maximum(1 + z / reach, np.float32(0.3))) / reach
    wiggle = smooth_noise(rng, reach.shape, grid.spacing_mm, 9.0) * np.float32(2.5)
    column = np.clip(grid.x * factor + wiggle + np.float32(half + 0.5), 0, count - 1).astype(np.int16)
    row = np.clip(y * factor - wiggle + np.float32(half + 0.5), 0, count - 1).astype(np.int16)
    distance: Field = np.abs(table)[row, column] * np.float32(length / 1.25)
    return distance


def _ventricle_depth(grid: HeadGrid, size: float) -> Field:
    depth = np.full(grid.x.shape, -60, dtype=np.float32)
    margin = 25.0  # leukoaraiosis reaches that far
    tubes = [Tube(tube.points, tuple(radius * size for radius in tube.radii)) for tube in _LATERAL_VENTRICLE]
    shapes: list[Shape] = [shape for tube in tubes for shape in mirrored(tube)]
    for midline in _MIDLINE_VENTRICLES:
        a, b, c = midline.radii
        shapes.append(Ellipsoid(midline.center, (a * size, b * (0.7 + 0.3 * size), c * (0.7 + 0.3 * size))))
    for shape in shapes:
        window = grid.window(*shape.box(margin))
        np.maximum(depth[window], shape.depth(*grid.at(window)), out=depth[window])
    return depth


def _displaced(grid: HeadGrid, pushes: tuple[Push, ...]) -> tuple[HeadGrid, Field]:
    """Coordinates of the brain after mass effect, and the factor that narrows its sulci."""
    effacement = np.ones(grid.x.shape, dtype=np.float32)
    x, y, z = grid.x, grid.y, grid.z
    for push in pushes:
        squared = sum(
            (axis - np.float32(at)) ** 2 for axis, at in zip((grid.x, grid.y, grid.z), push.center, strict=True)
        )
        fade = np.exp(np.asarray(squared, dtype=np.float32) * np.float32(-0.5 / push.reach_mm**2))
        x, y, z = (axis - fade * np.float32(by) for axis, by in zip((x, y, z), push.displacement, strict=True))
        strength = min(float(np.linalg.norm(push.displacement)) / 6, 1.0)
        effacement *= 1 - np.float32(0.8 * strength) * fade
    return HeadGrid(x, y, z, grid.spacing_mm), effacement


def _tent_height(grid: HeadGrid) -> Field:
    """Height of the tentorium: highest behind the midbrain, falling to the transverse sinuses and petrous ridges."""
    fall = 0.42 * np.abs(grid.x) + 0.42 * np.maximum(grid.y - 26, 0) + 0.75 * np.maximum(18 - grid.y, 0)
    height: Field = np.maximum(np.float32(-4) - fall, np.float32(-31)).astype(np.float32)
    height[grid.y < 4] = -60
    return height

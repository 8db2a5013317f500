"""Mimics of vault and scalp: missing and cut bone, burr holes, valves, fractures, swellings, metal in teeth."""

from __future__ import annotations

import numpy as np

from slicewise.phantom.anatomy import Anatomy
from slicewise.phantom.fields import Ellipsoid, Field, HeadGrid, Point, Tube, Window, blend, smooth_noise, soft
from slicewise.phantom.mimic_sites import Mimic
from slicewise.phantom.skull import Skull
from slicewise.phantom.template import HEAD_BOX, base_maps

_SCAR_HU = 35.0
_KERF_MM = 1.4
_METAL_HU = 9000.0
_HOLE_MM = 6.0


def paint_surgery(hu: Field, skull: Skull, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paints the mimics of vault, scalp and teeth onto an image on `HEAD_BOX`, in place.

    Args:
        hu: The image, before the brain is put in.
        skull: What was drawn of it.
        anatomy: Whose mimics.
        rng: Draws ragged borders and places.
    """
    grid = HEAD_BOX.grid()
    for mimic in anatomy.mimics:
        if mimic.kind == "scalp_swelling":
            _paint_swelling(hu, skull, grid, mimic, rng)
        elif mimic.kind in ("craniectomy", "burr_hole"):
            _paint_gap(hu, skull, mimic.center, reach=max(mimic.size_mm), value=mimic.hu)
        elif mimic.kind == "craniotomy":
            _paint_flap(hu, skull, grid, mimic)
        elif mimic.kind == "fracture":
            _paint_fracture(hu, skull, grid, mimic)
        elif mimic.kind == "shunt":
            _paint_gap(hu, skull, mimic.center, reach=_HOLE_MM, value=_SCAR_HU)
            _paint_valve(hu, grid, mimic)
    if anatomy.teeth_metal:
        _paint_teeth(hu, grid, rng)


def _around(grid: HeadGrid, center: Point, reach: float) -> tuple[Window, Field]:
    """A window around a place, and the distance to it."""
    window = grid.window(*Ellipsoid(center, (reach, reach, reach)).box(4.0))
    squared = sum((axis - np.float32(at)) ** 2 for axis, at in zip(grid.at(window), center, strict=True))
    return window, np.sqrt(np.asarray(squared, dtype=np.float32))


def _shell(skull: Skull, window: Window) -> Field:
    """Distance to the surfaces of the vault, positive in the bone."""
    return np.minimum(-base_maps().wall_mm[window], skull.outer_mm[window])


def _paint_gap(hu: Field, skull: Skull, center: Point, *, reach: float, value: float) -> None:
    grid = HEAD_BOX.grid()
    window, distance = _around(grid, center, reach + 14)
    blend(hu[window], soft(_shell(skull, window) + 1.2) * soft(reach - distance), value)


def _paint_flap(hu: Field, skull: Skull, grid: HeadGrid, mimic: Mimic) -> None:
    """A saw cut around the flap, and small metal plates across it."""
    reach = mimic.size_mm[0]
    window, distance = _around(grid, mimic.center, reach + 14)
    cut = _KERF_MM - np.abs(distance - np.float32(reach))
    shell = _shell(skull, window)
    blend(hu[window], soft(shell + 1) * soft(cut), _SCAR_HU)
    _, y, z = grid.at(window)
    angle = np.arctan2(z - np.float32(mimic.center[2]), y - np.float32(mimic.center[1]))
    plate = np.minimum(5.0 - np.abs(distance - np.float32(reach)), 1.2 - np.abs(np.sin(1.5 * angle)) * reach / 1.5)
    on_bone = 0.8 - np.abs(skull.outer_mm[window] + np.float32(0.6))
    blend(hu[window], soft(np.minimum(plate, on_bone)), _METAL_HU * 0.5)


def _paint_fracture(hu: Field, skull: Skull, grid: HeadGrid, mimic: Mimic) -> None:
    window, distance = _around(grid, mimic.center, 45.0)
    x, y, z = (axis - np.float32(at) for axis, at in zip(grid.at(window), mimic.center, strict=True))
    a, b, c = (np.float32(value) for value in mimic.size_mm)
    jag = np.float32(1.2) * np.sin((x + y + z) * np.float32(0.35))
    plane = np.float32(0.7) - np.abs(a * x + b * y + c * z + jag)
    blend(hu[window], soft(_shell(skull, window) + 0.6) * soft(np.minimum(plane, 40 - distance)), mimic.hu)


def _paint_swelling(hu: Field, skull: Skull, grid: HeadGrid, mimic: Mimic, rng: np.random.Generator) -> None:
    """Thickens the scalp outwards; blood, serum and fat between outer table and skin."""
    thickness, reach, _ = mimic.size_mm
    window, distance = _around(grid, mimic.center, reach + 22)
    if not distance.size:
        return
    bump = np.float32(thickness) * np.sqrt(np.clip(1 - (distance - 12) / np.float32(reach), 0, 1))
    skin = skull.scalp_mm[window] + bump
    inside = np.minimum(np.minimum(skin - 2, -skull.outer_mm[window] - 0.5), bump - 0.5)
    patchy = smooth_noise(rng, distance.shape, grid.spacing_mm, 7.0)
    blend(hu[window], soft(skin) * soft(bump - 0.5) * soft(-skull.outer_mm[window]), -60.0)
    blend(hu[window], soft(np.minimum(inside, 2.5 * (patchy + 1.2))), mimic.hu)


def _paint_valve(hu: Field, grid: HeadGrid, mimic: Mimic) -> None:
    """Reservoir and catheter under the skin, running down behind the ear."""
    outward = np.array(mimic.center) / np.linalg.norm(mimic.center)
    start = np.array(mimic.center) + outward * 11
    below = np.array([mimic.side * 84.0, 34.0, -10.0])
    points = tuple((float(x), float(y), float(z)) for x, y, z in (start, 0.5 * (start + below) + outward * 9, below))
    tube = Tube(points, (1.5, 1.5, 1.5))
    window = grid.window(*tube.box())
    blend(hu[window], soft(tube.depth(*grid.at(window))), mimic.hu)
    valve = Ellipsoid(points[0], (4.0, 4.0, 4.0))
    window = grid.window(*valve.box())
    depth = valve.depth(*grid.at(window))
    blend(hu[window], soft(depth), 250.0)
    blend(hu[window], soft(depth - 2.2), 0.5 * _METAL_HU)


def _paint_teeth(hu: Field, grid: HeadGrid, rng: np.random.Generator) -> None:
    """Fillings and crowns: their streaks reach the posterior fossa of a tilted scan."""
    for _ in range(int(rng.integers(1, 7))):
        angle = rng.uniform(-1.2, 1.2)
        center = (float(34 * np.sin(angle)), float(-58 - 36 * np.cos(angle)), float(rng.uniform(-104, -94)))
        tooth = Ellipsoid(center, (3.0, 3.0, 3.5))
        window = grid.window(*tooth.box())
        blend(hu[window], soft(tooth.depth(*grid.at(window))), float(rng.uniform(3500, _METAL_HU)))

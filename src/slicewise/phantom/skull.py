"""What is around the brain: scalp, vault, base, face, sinuses and orbits, in template millimetres."""

from __future__ import annotations

import numpy as np

from slicewise.phantom.anatomy import Anatomy, floor_depth, vault_depth
from slicewise.phantom.fields import Ellipsoid, Field, HeadGrid, Shape, Tube, blend, mirrored, smooth_noise, soft

AIR_HU = -1000.0
_CANAL = Tube(((0.0, 28.0, -50.0), (0.0, 29.0, -75.0), (0.0, 31.0, -140.0)), (14.0, 12.0, 11.0))
_PETROUS = Tube(((13.0, 6.0, -36.0), (38.0, 16.0, -36.0), (60.0, 27.0, -40.0)), (6.0, 8.0, 11.0))
_MASTOID = Ellipsoid((60.0, 30.0, -50.0), (11.0, 14.0, 18.0))
_BONES: tuple[Shape, ...] = (
    Tube(((0.0, -2.0, -30.0), (0.0, 10.0, -52.0), (0.0, 12.0, -66.0)), (6.0, 5.0, 4.0)),  # clivus
    Tube(((0.0, -20.0, -32.0), (0.0, -20.0, -50.0)), (14.0, 12.0)),  # sphenoid
    Tube(((0.0, 15.0, -76.0), (0.0, 17.0, -110.0)), (7.0, 9.0)),  # dens and vertebral bodies
)
_PAIRED_BONES = (
    _PETROUS,
    _MASTOID,
    Tube(((47.0, -8.0, -58.0), (46.0, -18.0, -115.0)), (5.0, 6.0)),  # ramus of the mandible
    Tube(((64.0, -2.0, -48.0), (63.0, -30.0, -52.0), (46.0, -62.0, -54.0)), (2.5, 2.5, 5.0)),  # zygomatic arch
    Tube(((44.0, -58.0, -30.0), (46.0, -62.0, -54.0)), (5.0, 5.0)),  # lateral orbital rim
    Tube(((34.0, -30.0, -30.0), (52.0, -28.0, -34.0)), (3.0, 4.0)),  # greater wing of the sphenoid
)
_CAVITIES = (
    Ellipsoid((0.0, -20.0, -42.0), (9.0, 9.0, 8.0)),  # sphenoid sinus
    Ellipsoid((0.0, -52.0, -46.0), (10.0, 22.0, 14.0)),  # ethmoid cells
    Ellipsoid((0.0, -56.0, -75.0), (11.0, 24.0, 16.0)),  # nasal cavity
    Ellipsoid((0.0, -20.0, -85.0), (12.0, 10.0, 16.0)),  # pharynx
    Ellipsoid((28.0, -58.0, -75.0), (13.0, 16.0, 15.0)),  # maxillary sinuses
    Ellipsoid((-28.0, -58.0, -75.0), (13.0, 16.0, 15.0)),
    Ellipsoid((6.0, -83.0, -17.0), (8.0, 2.5, 9.0)),  # frontal sinuses
    Ellipsoid((-7.0, -83.0, -17.0), (7.0, 2.5, 8.0)),
)


def render_skull(grid: HeadGrid, anatomy: Anatomy, rng: np.random.Generator) -> tuple[Field, Field]:
    """Paints the head without what is inside the cranial cavity.

    Returns:
        The image in HU, and the distance to the inner table (positive inside the cavity).
    """
    vault, base = vault_depth(grid), floor_depth(grid)
    canal = np.full(vault.shape, -99, dtype=np.float32)
    window = grid.window(*_CANAL.box(4.0))
    canal[window] = _CANAL.depth(*grid.at(window))
    cavity = np.maximum(np.minimum(vault, base), np.minimum(canal, -46 - grid.z))
    variation = smooth_noise(rng, vault.shape, grid.spacing_mm, 22.0)
    thickness = np.float32(anatomy.skull_mm) * (
        1 + 0.15 * variation + 0.5 * soft(grid.z - 58, 24.0) + 0.35 * soft(grid.y - 62, 24.0)
    )
    skin = np.maximum(vault + thickness + np.float32(anatomy.scalp_mm) * (1 + 0.12 * variation), _face_depth(grid))
    hu = np.full(vault.shape, AIR_HU, dtype=np.float32)
    blend(hu, soft(skin), _soft_tissue(grid, skin, rng))
    _paint_orbits(grid, hu)
    _paint_vault(hu, grid, vault, cavity, thickness)
    plate = np.minimum(np.minimum(3.2 + base, -base), np.minimum(vault + thickness, 3 - canal))
    blend(hu, soft(plate), 850.0)
    ring = np.minimum(np.minimum(canal + 7, -canal), -62 - grid.z)
    blend(hu, 0.9 * soft(ring, 2.0), 550.0)
    _paint_base(grid, hu, rng)
    return hu, cavity


def _paint_vault(hu: Field, grid: HeadGrid, vault: Field, cavity: Field, thickness: Field) -> None:
    """Outer and inner table with diploe between, down to the level of the orbits in front and the foramen behind."""
    shell = np.minimum(-vault, vault + thickness)
    limit = np.where(grid.y < -20, np.float32(-30), np.float32(-62))
    shell = np.minimum(shell, grid.z - limit)
    blend(hu, soft(np.minimum(shell, -cavity)), 1250.0)
    diploe = np.minimum(shell - 0.28 * thickness, 2.5)
    blend(hu, 0.75 * soft(diploe, 2.0), 550.0)


def _paint_base(grid: HeadGrid, hu: Field, rng: np.random.Generator) -> None:
    bones = [*_BONES, *(shape for bone in _PAIRED_BONES for shape in mirrored(bone))]
    for bone in bones:
        window = grid.window(*bone.box())
        depth = bone.depth(*grid.at(window))
        texture = smooth_noise(rng, depth.shape, grid.spacing_mm, 4.0) * np.float32(180)
        blend(hu[window], soft(depth), 900 + texture)
    for mastoid in mirrored(_MASTOID):  # air cells
        window = grid.window(*mastoid.box())
        cells = smooth_noise(rng, hu[window].shape, grid.spacing_mm, 3.5) - 0.1
        inside = np.minimum(mastoid.depth(*grid.at(window)) - 2, cells * 3)
        blend(hu[window], soft(inside), -700.0)
    for cavity in _CAVITIES:
        window = grid.window(*cavity.box(4.0))
        depth = cavity.depth(*grid.at(window))
        blend(hu[window], 0.6 * soft(np.minimum(depth + 2, -depth)), 600.0)
        septa = smooth_noise(rng, depth.shape, grid.spacing_mm, 4.5)
        blend(hu[window], soft(np.minimum(depth, np.abs(septa) * 5 - 0.4)), -950.0)


def _paint_orbits(grid: HeadGrid, hu: Field) -> None:
    for side in (-1.0, 1.0):
        orbit = Ellipsoid((side * 29.0, -62.0, -45.0), (17.0, 26.0, 17.0))
        window = grid.window(*orbit.box(4.0))
        depth = orbit.depth(*grid.at(window))
        inside = grid.y[window] + 84
        blend(hu[window], soft(np.minimum(np.minimum(depth + 2.5, -depth), inside)), 700.0)
        blend(hu[window], soft(np.minimum(depth, inside + 6)), -90.0)
        contents: tuple[tuple[Shape, float], ...] = (
            (Tube(((side * 29.0, -70.0, -45.0), (side * 16.0, -38.0, -42.0)), (2.0, 2.0)), 35.0),
            (Tube(((side * 42.0, -68.0, -45.0), (side * 22.0, -38.0, -43.0)), (1.8, 1.8)), 50.0),
            (Tube(((side * 17.0, -70.0, -45.0), (side * 14.0, -38.0, -43.0)), (1.8, 1.8)), 50.0),
            (Ellipsoid((side * 30.0, -79.0, -45.0), (12.5, 12.5, 12.5)), 45.0),
            (Ellipsoid((side * 30.0, -79.0, -45.0), (11.2, 11.2, 11.2)), 10.0),
            (Ellipsoid((side * 30.0, -87.0, -45.0), (4.5, 2.2, 4.5)), 75.0),
        )
        for shape, value in contents:
            window = grid.window(*shape.box())
            blend(hu[window], soft(shape.depth(*grid.at(window))), value)


def _face_depth(grid: HeadGrid) -> Field:
    face = Ellipsoid((0.0, -22.0, -82.0), (64.0, 76.0, 92.0)).depth(grid.x, grid.y, grid.z)
    below = np.float32(-12) - grid.z
    neck = 58.0 - np.sqrt(grid.x**2 + (0.9 * (grid.y - 22)) ** 2)
    depth: Field = np.minimum(np.maximum(face, neck), below)
    return depth


def _soft_tissue(grid: HeadGrid, skin: Field, rng: np.random.Generator) -> Field:
    """Skin, fat below it, and muscle with fat planes farther in."""
    noise = smooth_noise(rng, skin.shape, grid.spacing_mm, 8.0)
    muscle = soft(noise + 0.9, 0.8) * soft(skin - 5, 4.0)
    tissue = np.float32(-85) + muscle * np.float32(140)
    blend(tissue, soft(2 - skin), 20.0)
    return tissue

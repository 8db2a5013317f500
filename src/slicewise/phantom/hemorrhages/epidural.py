"""Epidural hemorrhage: a lens between the inner table and the dura, which holds fast at the sutures."""

from __future__ import annotations

import numpy as np

from slicewise.phantom.brain import Brain
from slicewise.phantom.deform import Push
from slicewise.phantom.fields import Ellipsoid, HeadGrid, smooth_noise, soft
from slicewise.phantom.hemorrhages.blood import CLOT, FADING, SWIRL, sample_blood
from slicewise.phantom.hemorrhages.draws import choose, either_side, log_uniform
from slicewise.phantom.hemorrhages.model import EPIDURAL, Drawing, Hemorrhage, point
from slicewise.phantom.hemorrhages.sites import (
    FOSSA,
    MIDDLE,
    SAGITTAL,
    Suture,
    origin_of,
    sutures_of,
    table_point,
    vault_point,
)

VERTEX, POSTERIOR_FOSSA = "vertex", "posterior fossa"
_SITES = {"temporal": 0.6, "frontal": 0.15, "parietal": 0.13, POSTERIOR_FOSSA: 0.08, VERTEX: 0.04}
_DIRECTIONS = {
    # Azimuth and elevation: mean, SD.
    "temporal": ((-2.0, 16.0), (2.0, 9.0)),
    "frontal": ((-56.0, 10.0), (16.0, 12.0)),
    "parietal": ((30.0, 14.0), (38.0, 10.0)),
    POSTERIOR_FOSSA: ((58.0, 18.0), (-2.0, 8.0)),
    VERTEX: ((0.0, 60.0), (82.0, 5.0)),
}
_HEAD_RADIUS_MM = 72.0
_HELD_FROM_MM = 4.0
"""A suture nearer to the centre than this is torn: the fracture that bleeds runs through it."""


def sample_epidural(rng: np.random.Generator, side: float | None = None) -> Hemorrhage:
    """Draws an epidural hemorrhage, on a given side or on any."""
    kind = choose(rng, _SITES)
    side = either_side(rng) if side is None else side
    (azimuth, azimuth_sd), (elevation, elevation_sd) = _DIRECTIONS[kind]
    origin = FOSSA if kind == POSTERIOR_FOSSA else MIDDLE
    center = vault_point(rng.normal(azimuth, azimuth_sd), rng.normal(elevation, elevation_sd), side, origin)
    thickness = log_uniform(rng, 3.0, 16.0 if kind in (POSTERIOR_FOSSA, VERTEX) else 32.0)
    # Wider than this, the inner border would follow the table instead of bulging against the brain.
    widest = 0.95 * np.sqrt(2 * _HEAD_RADIUS_MM * thickness)
    reach = float(min(np.clip(thickness * rng.uniform(1.2, 2.1) + 7, 9, 48), widest))
    inward = np.subtract(origin, center) / np.linalg.norm(np.subtract(origin, center))
    push = Push(center, point(inward * min(0.5 * thickness, 9.0)), 12.0 + 0.8 * reach)
    blood = sample_blood(rng, {CLOT: 0.62, SWIRL: 0.3, FADING: 0.08})
    return Hemorrhage(EPIDURAL, kind, center, (thickness, reach, reach), blood, push)


def draw_epidural(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> Drawing:
    """Draws the lens: thickest at its centre, with sharp corners, cut where a suture holds the dura."""
    thickness, reach, _ = one.size_mm
    below = one.kind == POSTERIOR_FOSSA
    center = table_point(grid, brain.wall_mm, one.center, origin_of(one.center, below_tentorium=below))
    window = grid.window(*Ellipsoid(center, (reach, reach, reach)).box(4.0 + 0.5 * thickness))
    x, y, z = grid.at(window)
    wall = brain.wall_mm[window]
    squared = sum((axis - np.float32(at)) ** 2 for axis, at in zip((x, y, z), center, strict=True))
    along = np.maximum(squared - np.square(np.maximum(wall, 0)), 0) / np.float32(reach**2)  # squared, along the table
    ragged = smooth_noise(rng, wall.shape, grid.spacing_mm, 12.0) * np.float32(0.07 * thickness + 0.15)
    depth = np.float32(thickness) * (1 - along) + ragged - wall
    depth /= np.sqrt(1 + np.float32((2 * thickness / reach) ** 2) * along)  # first order: over the slope of the border
    occupancy = soft(depth)
    for suture in _holding(one.kind, one.side):
        here = suture.distance_of(center)
        if abs(here) > _HELD_FROM_MM:
            occupancy *= soft(suture.distance(x, y, z) * np.float32(np.sign(here)) - 1, 3.0)
    return Drawing(window, occupancy, np.minimum(depth, wall))


def _holding(kind: str, side: float) -> tuple[Suture, ...]:
    """The sutures that stop it: none below the tentorium, and at the vertex it lifts the sagittal one."""
    if kind == POSTERIOR_FOSSA:
        return ()
    return sutures_of(side) if kind == VERTEX else (*sutures_of(side), SAGITTAL)

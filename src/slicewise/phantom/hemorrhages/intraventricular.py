"""Intraventricular hemorrhage: levels in the dependent horns, casts, clots in the third and fourth ventricle."""

from __future__ import annotations

import numpy as np

from slicewise.phantom.brain import Brain
from slicewise.phantom.fields import Field, HeadGrid, Point, smooth_noise, soft
from slicewise.phantom.hemorrhages.blood import CLOT, SWIRL, sample_blood
from slicewise.phantom.hemorrhages.draws import choose, either_side, log_uniform
from slicewise.phantom.hemorrhages.model import INTRAVENTRICULAR, Drawing, Hemorrhage, point
from slicewise.phantom.template import template_point

DEPENDENT, CAST, THIRD, FOURTH, CHOROID = "dependent", "cast", "third", "fourth", "choroid"
KINDS = {DEPENDENT: 0.5, CAST: 0.26, THIRD: 0.07, FOURTH: 0.07, CHOROID: 0.1}
_PLACES: dict[str, Point] = {
    THIRD: (0.0, -16.0, 0.0),
    FOURTH: (0.0, -44.0, -32.0),
    CHOROID: (26.0, -42.0, 8.0),
    CAST: (14.0, 2.0, 18.0),
}


def sample_intraventricular(rng: np.random.Generator, kind: str | None = None, side: float | None = None) -> Hemorrhage:
    """Draws an intraventricular hemorrhage.

    Args:
        rng: Where everything is drawn from.
        kind: One form, None for any.
        side: 1 for the left, -1 for the right, None for any or both.
    """
    kind = choose(rng, KINDS) if kind is None else kind
    side = either_side(rng) if side is None else side
    if kind == DEPENDENT:
        blood = sample_blood(rng, {CLOT: 1.0})
        both = 1.0 if rng.random() < 0.65 else 0.0
        # Size: depth of the pool, depth of the other side's, softness of the level.
        pool = log_uniform(rng, 5.0, 40.0)
        return Hemorrhage(
            INTRAVENTRICULAR,
            kind,
            (side * 24.0, 60.0, 0.0),
            (pool, both * pool * float(rng.uniform(0.3, 1)), 2.5),
            blood,
        )
    blood = sample_blood(rng, {CLOT: 0.85, SWIRL: 0.15})
    x, y, z = np.array(_PLACES[kind]) + rng.normal(0, 1.5, size=3)
    reach = {CAST: log_uniform(rng, 18, 70), CHOROID: float(rng.uniform(5, 13))}.get(kind, float(rng.uniform(7, 20)))
    if kind == CAST:
        y += float(rng.uniform(-30, 24))
        x *= float(rng.choice([1.0, 1.0, 0.2]))
    widening = float(rng.uniform(0, 2.0)) if kind == CAST else 0.4
    center = point(template_point((-side * abs(x), y, z)))
    return Hemorrhage(INTRAVENTRICULAR, kind, center, (widening, reach, 0.0), blood)


def draw_intraventricular(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> Drawing:
    """Draws blood within the ventricles."""
    if one.kind == DEPENDENT:
        return _levels(grid, brain, one, rng)
    reach = one.size_mm[1]
    low, high = point(np.array(one.center) - 1.2 * reach - 4), point(np.array(one.center) + 1.2 * reach + 4)
    window = grid.window(low, high)
    x, y, z = (axis - np.float32(at) for axis, at in zip(grid.at(window), one.center, strict=True))
    distance = np.sqrt(x * x + y * y + z * z)
    ragged = smooth_noise(rng, distance.shape, grid.spacing_mm, 8.0) * np.float32(0.1 * reach + 1)
    near = np.float32(reach) - distance + ragged
    ventricle = brain.ventricle_mm[window] + np.float32(one.size_mm[0]) * soft(near, 20.0)
    if one.kind == CAST:  # spares patches of CSF
        patches = smooth_noise(rng, distance.shape, grid.spacing_mm, 9.0) + np.float32(1.6)
        near = np.minimum(near, 6 * patches)
    depth = np.minimum(near, ventricle)
    return Drawing(window, soft(ventricle) * soft(near, 3.0), depth)


def _levels(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> Drawing:
    """Pools in the most dependent part of each lateral ventricle: flat, for the patient lies on the back."""
    window = grid.window((-48.0, 0.0, -20.0), (48.0, 80.0, 46.0))
    x, y, z = grid.at(window)
    ventricle = brain.ventricle_mm[window]
    level = np.full(x.shape, -99, dtype=np.float32)
    flat = y + z * np.float32(rng.normal(0, 0.06))
    for side, pool in ((one.side, one.size_mm[0]), (-one.side, one.size_mm[1])):
        here = (side * x > 5) & (ventricle > 0) & (brain.tent_mm[window] > -4)
        if pool == 0 or not here.any():
            continue
        lowest = float(np.quantile(flat[here], 0.995))
        np.copyto(level, flat - np.float32(lowest - pool), where=side * x > 5)
    softened: Field = soft(level, one.size_mm[2])
    return Drawing(window, soft(ventricle) * softened, np.minimum(ventricle, level))

"""The density of blood within a hemorrhage, voxel by voxel."""

from __future__ import annotations

import numpy as np

from slicewise.phantom.fields import Field, HeadGrid, smooth_noise, soft
from slicewise.phantom.hemorrhages.blood import FADING, FLECKED, LEVEL, MIXED, SWIRL, Blood
from slicewise.phantom.hemorrhages.model import Drawing

_TEXTURE_HU = 2.5
_LEVEL_TILT = 0.08
"""SD of a level's slope in template coordinates: the head is not always straight."""


def density(rng: np.random.Generator, blood: Blood, grid: HeadGrid, drawing: Drawing) -> Field:
    """Returns the HU of the blood on the window of a drawing.

    Args:
        rng: Draws where clot and thin blood are.
        blood: Their densities.
        grid: The grid that the drawing is part of.
        drawing: Where the hemorrhage is.
    """
    hu = np.float32(_TEXTURE_HU) * smooth_noise(rng, drawing.occupancy.shape, grid.spacing_mm, 5.0)
    hu += np.float32(blood.thin_hu)
    hu += _clotted(rng, blood.texture, grid, drawing) * np.float32(blood.hu - blood.thin_hu)
    return hu


def _clotted(rng: np.random.Generator, texture: str, grid: HeadGrid, drawing: Drawing) -> Field:
    """Share of clot against thin blood."""
    shape, spacing = drawing.occupancy.shape, grid.spacing_mm
    if texture == SWIRL:
        return soft(smooth_noise(rng, shape, spacing, 7.0) + np.float32(0.7), 0.8)
    if texture == FLECKED:
        return soft(smooth_noise(rng, shape, spacing, 2.6) + np.float32(0.5), 1.2)
    if texture == MIXED:
        return soft(smooth_noise(rng, shape, spacing, (9.0, 14.0, 9.0)) + np.float32(rng.uniform(-0.4, 0.9)), 0.9)
    if texture == FADING:
        deepest = max(float(drawing.depth.max()), 1.0)
        return np.asarray(np.clip(drawing.depth * np.float32(1.6 / deepest), 0, 1), dtype=np.float32)
    if texture == LEVEL:
        return _below_level(rng, grid, drawing)
    return np.ones((1, 1, 1), dtype=np.float32)


def _below_level(rng: np.random.Generator, grid: HeadGrid, drawing: Drawing) -> Field:
    """Cells have settled: the patient lies on the back, so that y grows to the ground."""
    height = grid.y[drawing.window] + grid.z[drawing.window] * np.float32(rng.normal(0, _LEVEL_TILT))
    share = rng.uniform(0.35, 0.75)
    filled = height[drawing.occupancy > 0.5]
    if not filled.size:
        return np.ones((1, 1, 1), dtype=np.float32)
    low, high = float(filled.min()), float(filled.max())
    return soft(height - np.float32(low + (high - low) * share), 2.5)

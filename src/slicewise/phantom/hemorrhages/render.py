"""Paints hemorrhages onto a head and measures what was painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from slicewise.phantom.brain import Brain
from slicewise.phantom.fields import Field, HeadGrid, blend, soft
from slicewise.phantom.hemorrhages.clot import density
from slicewise.phantom.hemorrhages.epidural import draw_epidural
from slicewise.phantom.hemorrhages.intraparenchymal import draw_intraparenchymal
from slicewise.phantom.hemorrhages.intraventricular import draw_intraventricular
from slicewise.phantom.hemorrhages.model import (
    EPIDURAL,
    INTRAPARENCHYMAL,
    INTRAVENTRICULAR,
    SUBARACHNOID,
    SUBDURAL,
    Drawing,
    Hemorrhage,
)
from slicewise.phantom.hemorrhages.sites import moved_inside
from slicewise.phantom.hemorrhages.subarachnoid import draw_subarachnoid
from slicewise.phantom.hemorrhages.subdural import draw_subdural
from slicewise.phantom.hemorrhages.surroundings import paint_surroundings

_DRAWERS: dict[str, Callable[[HeadGrid, Brain, Hemorrhage, np.random.Generator], Drawing]] = {
    EPIDURAL: draw_epidural,
    SUBDURAL: draw_subdural,
    INTRAPARENCHYMAL: draw_intraparenchymal,
    INTRAVENTRICULAR: draw_intraventricular,
    SUBARACHNOID: draw_subarachnoid,
}
"""In the order of painting: blood in a compartment that is pressed flat yields to the blood that presses."""


@dataclass(frozen=True, eq=False)
class RenderedBlood:
    """What was painted.

    Attributes:
        occupancy: Share of every voxel that is blood of a subtype, in the shape of the grid, for the subtypes that are
            there. The shares of a voxel add up to 1 at most.
        hemorrhages: The hemorrhages that were planned, with the volume that each of them has on the grid.
    """

    occupancy: dict[str, Field]
    hemorrhages: tuple[Hemorrhage, ...]


def render_hemorrhages(
    grid: HeadGrid, brain: Brain, hemorrhages: tuple[Hemorrhage, ...], rng: np.random.Generator, hu: Field
) -> RenderedBlood:
    """Paints hemorrhages onto an image, in place.

    Args:
        grid: Regular grid of the template.
        brain: The rendered brain, which their mass effect has shaped already.
        hemorrhages: What to paint.
        rng: Draws irregular borders and the texture of clot.
        hu: Image, changed in place.
    """
    hemorrhages = tuple(_within(grid, brain, one) for one in hemorrhages)
    for one in hemorrhages:
        if one.subtype == INTRAPARENCHYMAL:
            paint_surroundings(grid, brain, one, rng, hu)
    voxel_ml = float(np.prod(grid.spacing_mm)) / 1000
    free: Field = np.ones(hu.shape, dtype=np.float32)
    occupancy: dict[str, Field] = {}
    volumes = [0.0] * len(hemorrhages)
    for subtype, draw in _DRAWERS.items():
        for number, one in enumerate(hemorrhages):
            if one.subtype != subtype:
                continue
            drawing = draw(grid, brain, one, rng)
            if not drawing.occupancy.size:
                continue
            window = drawing.window
            blood = np.minimum(drawing.occupancy * soft(brain.wall_mm[window]), free[window])
            blend(hu[window], blood / np.maximum(free[window], 1e-3), density(rng, one.blood, grid, drawing))
            free[window] -= blood
            whole = occupancy.setdefault(subtype, np.zeros(hu.shape, dtype=np.float32))
            whole[window] += blood
            volumes[number] = float(blood.sum(dtype=np.float64)) * voxel_ml
    measured = (replace(one, volume_ml=volume) for one, volume in zip(hemorrhages, volumes, strict=True))
    return RenderedBlood(occupancy, tuple(measured))


def _within(grid: HeadGrid, brain: Brain, one: Hemorrhage) -> Hemorrhage:
    """Moves an intraparenchymal hemorrhage that was planned too near to the inner table of this head."""
    if one.subtype != INTRAPARENCHYMAL:
        return one
    depth = 2.0 + 0.6 * min(one.size_mm)
    return replace(one, center=moved_inside(grid, brain.wall_mm, one.center, depth))

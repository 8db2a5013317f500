"""Subdural hemorrhage: a crescent over the brain that crosses sutures but not the midline, or a sheet on the dura."""

from __future__ import annotations

import numpy as np

from slicewise.phantom.brain import Brain
from slicewise.phantom.deform import Push
from slicewise.phantom.fields import Field, HeadGrid, Point, Window, smooth_noise, soft
from slicewise.phantom.hemorrhages.blood import CLOT, FADING, LEVEL, MIXED, SUBACUTE, SWIRL, Blood, sample_blood
from slicewise.phantom.hemorrhages.draws import choose, either_side, log_uniform
from slicewise.phantom.hemorrhages.model import SUBDURAL, Drawing, Hemorrhage, point
from slicewise.phantom.hemorrhages.sites import FOSSA, MIDDLE, vault_point

CONVEXITY, FALX, TENTORIUM, POSTERIOR_FOSSA = "convexity", "falx", "tentorium", "posterior fossa"
_KINDS = {CONVEXITY: 0.76, FALX: 0.14, TENTORIUM: 0.08, POSTERIOR_FOSSA: 0.02}
_ARC_MM = 74.0
"""Radius that turns angles into lengths along the vault."""


def sample_subdural(
    rng: np.random.Generator, kind: str | None = None, side: float | None = None, thickest: float = 20.0
) -> Hemorrhage:
    """Draws a subdural hemorrhage.

    Args:
        rng: Where everything is drawn from.
        kind: One form, None for any.
        side: 1 for the left, -1 for the right, None for any.
        thickest: Largest thickness in mm.
    """
    kind = choose(rng, _KINDS) if kind is None else kind
    side = either_side(rng) if side is None else side
    if kind == CONVEXITY:
        return _sample_convexity(rng, side, thickest)
    blood = sample_blood(rng, {CLOT: 0.9, FADING: 0.1})
    if kind == FALX:
        center: Point = (side, float(rng.uniform(-60, 66)), float(rng.uniform(30, 60)))
        size = (log_uniform(rng, 2.0, min(9.0, thickest)), float(rng.uniform(20, 55)), float(rng.uniform(14, 34)))
    elif kind == TENTORIUM:
        center = (side * float(rng.uniform(14, 34)), float(rng.uniform(24, 55)), -8.0)
        size = (log_uniform(rng, 1.8, min(7.0, thickest)), float(rng.uniform(16, 36)), float(rng.uniform(16, 40)))
    else:
        center = vault_point(rng.normal(50, 20), rng.normal(-5, 8), side, FOSSA)
        size = (log_uniform(rng, 2.5, 10.0), float(rng.uniform(20, 45)), float(rng.uniform(12, 24)))
    return Hemorrhage(SUBDURAL, kind, center, size, blood)


def draw_subdural(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> Drawing:
    """Draws the crescent or the sheet."""
    drawers = {CONVEXITY: _crescent, POSTERIOR_FOSSA: _crescent, FALX: _along_falx, TENTORIUM: _along_tentorium}
    return drawers[one.kind](grid, brain, one, rng)


def _sample_convexity(rng: np.random.Generator, side: float, thickest: float) -> Hemorrhage:
    thickness = log_uniform(rng, 2.2, thickest)
    center = vault_point(rng.normal(-2, 26), rng.uniform(-4, 46), side)
    lengths = (log_uniform(rng, 20, 115), log_uniform(rng, 9, 80))
    draw = rng.random()
    if draw < 0.1:  # isodense: seen by what it displaces
        blood = Blood(SUBACUTE, float(rng.uniform(36, 46)), float(rng.uniform(30, 36)), FADING)
    elif draw < 0.22:
        thickness = max(thickness, 6.0)
        blood = sample_blood(rng, {LEVEL: 0.5, MIXED: 0.5})
    elif draw < 0.3:
        blood = sample_blood(rng, {SWIRL: 1.0})
    else:
        blood = sample_blood(rng, {CLOT: 1.0})
    inward = -np.array(center) / np.linalg.norm(center)
    push = Push(center, point(inward * min(0.6 * thickness, 11.0)), 46.0)
    return Hemorrhage(SUBDURAL, CONVEXITY, center, (thickness, *lengths), blood, push)


def _crescent(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> Drawing:
    """A shell below the inner table whose thickness tapers along the vault."""
    thickness, reach, height = one.size_mm
    below = one.kind == POSTERIOR_FOSSA
    origin = FOSSA if below else MIDDLE
    arc = 44.0 if below else _ARC_MM
    window = _half(grid, one)
    wall = brain.wall_mm[window]
    shell = (wall > -1.5) & (wall < 1.35 * thickness + 2)
    x, y, z = (axis[shell] - np.float32(at) for axis, at in zip(grid.at(window), origin, strict=True))
    wanted = np.subtract(one.center, origin)
    azimuth, elevation = _angles(one.side * x, y, z)
    middle = _angles(*(np.array([at], dtype=np.float32) for at in wanted * (one.side, 1, 1)))
    u = (azimuth - middle[0]) * np.cos(elevation) * np.float32(arc / reach)
    v = (elevation - middle[1]) * np.float32(arc / height)
    wave = smooth_noise(rng, wall.shape, grid.spacing_mm, 16.0)[shell]
    profile = np.maximum(1 - u * u - v * v + np.float32(0.12) * wave, 0)
    extent = np.float32(thickness) * profile ** np.float32(0.65) * (1 + np.float32(0.1) * wave)
    tent = brain.tent_mm[window][shell]
    side = np.minimum(one.side * brain.falx_mm[window][shell] - np.float32(1.5), -1 - tent if below else tent - 1)
    depth = np.full(wall.shape, -9, dtype=np.float32)
    depth[shell] = np.minimum(np.where(extent > 0.6, extent - wall[shell], np.float32(-9)), side)
    return Drawing(window, soft(depth), np.minimum(depth, wall))


def _along_falx(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> Drawing:
    """A sheet on one side of the falx, as far down as the falx reaches."""
    thickness, reach, height = one.size_mm
    _, y0, z0 = one.center
    near, far = (-1.0, 1.3 * thickness + 3) if one.side > 0 else (-1.3 * thickness - 3, 1.0)
    window = grid.window((near, y0 - 1.2 * reach, z0 - 1.2 * height), (far, y0 + 1.2 * reach, z0 + 1.2 * height))
    beside = brain.falx_mm[window] * np.float32(one.side)
    extent = _sheet(grid, window, one, rng)
    depth = np.minimum(extent + np.float32(0.4) - beside, beside - np.float32(0.2))
    depth[extent < 0.5] = -9
    return Drawing(window, soft(depth) * brain.falx_sheet[window], depth)


def _along_tentorium(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> Drawing:
    """A sheet on one half of the tentorium, with a sharp edge at its notch."""
    _, reach, width = one.size_mm
    x0, y0, _ = one.center
    window = grid.window((x0 - 1.2 * width, y0 - 1.2 * reach, -60.0), (x0 + 1.2 * width, y0 + 1.2 * reach, 20.0))
    x, y, _ = grid.at(window)
    above = brain.tent_mm[window]
    extent = _sheet(grid, window, one, rng)
    notch = (np.hypot(x / 16, (y - 8) / 26) - 1) * 14
    depth = np.minimum(np.minimum(extent * np.float32(1.2) - above, above + 0.2), one.side * brain.falx_mm[window] - 1)
    depth = np.minimum(depth, notch)
    depth[extent < 0.5] = -9
    return Drawing(window, soft(depth), depth)


def _sheet(grid: HeadGrid, window: Window, one: Hemorrhage, rng: np.random.Generator) -> Field:
    """Thickness of a sheet along the dura."""
    thickness, reach, across = one.size_mm
    x, y, z = grid.at(window)
    v = (z - np.float32(one.center[2])) if one.kind == FALX else (x - np.float32(one.center[0]))
    u = (y - np.float32(one.center[1])) * np.float32(1 / reach)
    v = v * np.float32(1 / across)
    wave = smooth_noise(rng, x.shape, grid.spacing_mm, 11.0)
    profile = np.maximum(1 - u * u - v * v + np.float32(0.18) * wave, 0)
    extent: Field = np.float32(thickness) * np.sqrt(profile)
    return extent


def _half(grid: HeadGrid, one: Hemorrhage) -> Window:
    """The half of the supra- or infratentorial cavity that it lies in."""
    low, high = (0.0, 85.0) if one.side > 0 else (-85.0, 0.0)
    if one.kind == POSTERIOR_FOSSA:
        return grid.window((low, FOSSA[1] - 40, -72.0), (high, 95.0, 8.0))
    return grid.window((low, -100.0, -50.0), (high, 100.0, 90.0))


def _angles(x: Field, y: Field, z: Field) -> tuple[Field, Field]:
    """Azimuth and elevation in radians of directions; x points to the side that is meant."""
    azimuth: Field = np.arctan2(y, np.maximum(x, 0.5))
    elevation: Field = np.arctan2(z, np.hypot(x, y))
    return azimuth, elevation

"""Intraparenchymal hemorrhage: lobed hematomas, contusions, shear injuries, and bleeding into tumours and infarcts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slicewise.phantom.brain import Brain
from slicewise.phantom.deform import Push
from slicewise.phantom.fields import HeadGrid, Point, smooth_noise, soft
from slicewise.phantom.hemorrhages.blood import CLOT, FADING, FLECKED, LEVEL, SWIRL, Blood, sample_blood
from slicewise.phantom.hemorrhages.draws import either_side, log_uniform
from slicewise.phantom.hemorrhages.lobes import lobed_depth
from slicewise.phantom.hemorrhages.model import INTRAPARENCHYMAL, Drawing, Hemorrhage, point
from slicewise.phantom.template import template_point

LOBAR, CONTUSION, SHEAR, TUMOUR, INFARCT = "lobar", "contusion", "shear", "tumour", "infarct"
PUTAMEN, THALAMUS, CAUDATE, CEREBELLUM, PONS = "putamen", "thalamus", "caudate", "cerebellum", "pons"
DEEP = {PUTAMEN: 0.52, THALAMUS: 0.36, CAUDATE: 0.12}


@dataclass(frozen=True)
class _Site:
    """Where a form lies (MNI coordinates of the right side, SD), its shape, and its volume range in ml."""

    mni: Point
    spread: Point
    shape: Point
    volume_ml: tuple[float, float]


_SITES = {
    PUTAMEN: _Site((27.0, 0.0, 4.0), (2.0, 5.0, 4.0), (0.75, 1.35, 1.0), (0.1, 60.0)),
    THALAMUS: _Site((13.0, -18.0, 8.0), (2.0, 3.5, 3.0), (0.9, 1.15, 1.0), (0.1, 25.0)),
    CAUDATE: _Site((14.0, 13.0, 10.0), (1.5, 4.0, 3.0), (0.85, 1.2, 1.0), (0.1, 10.0)),
    CEREBELLUM: _Site((20.0, -62.0, -36.0), (9.0, 6.0, 5.0), (1.1, 1.0, 0.9), (0.1, 28.0)),
    PONS: _Site((3.0, -28.0, -32.0), (2.0, 3.0, 4.0), (1.1, 0.9, 1.1), (0.1, 8.0)),
}
_CONTUSIONS: tuple[tuple[Point, Point, float], ...] = (
    # MNI centre, SD, weight: frontal base and pole, temporal pole and base, convexity.
    ((18.0, 44.0, -16.0), (9.0, 9.0, 4.0), 0.32),
    ((16.0, 62.0, 2.0), (8.0, 3.0, 8.0), 0.18),
    ((44.0, 12.0, -30.0), (5.0, 5.0, 4.0), 0.22),
    ((54.0, -22.0, -22.0), (4.0, 12.0, 5.0), 0.16),
    ((50.0, -20.0, 36.0), (6.0, 25.0, 14.0), 0.12),
)
_SHEAR_SITES: tuple[tuple[Point, Point], ...] = (
    ((22.0, 10.0, 44.0), (8.0, 25.0, 8.0)),  # between cortex and white matter beside the midline
    ((6.0, -8.0, 26.0), (3.0, 18.0, 2.0)),  # corpus callosum
    ((10.0, -28.0, -8.0), (2.0, 3.0, 3.0)),  # back of the midbrain
)
_CENTER_TO_TABLE = (58.0, 78.0, 62.0)
_PUSHING_FROM_MM = 6.0
_TEXTURES = {CLOT: 0.66, SWIRL: 0.12, FADING: 0.13, LEVEL: 0.05, FLECKED: 0.04}


def sample_intraparenchymal(rng: np.random.Generator, kind: str, side: float | None = None) -> Hemorrhage:
    """Draws one hematoma: in a lobe, a deep nucleus, cerebellum or pons, or within a tumour or an infarct.

    Args:
        rng: Where everything is drawn from.
        kind: Form; "contusion" and "shear" have samplers of their own.
        side: 1 for the left, -1 for the right, None for any.
    """
    side = either_side(rng) if side is None else side
    blood = sample_blood(rng, _TEXTURES)
    if kind in _SITES:
        site = _SITES[kind]
        x, y, z = np.array(site.mni) + rng.normal(size=3) * site.spread
        center = point(template_point((-side * abs(x), y, z)))
        radii = _radii(rng, _volume(rng, *site.volume_ml), site.shape)
        return _hematoma(kind, center, radii, blood)
    center = _lobar_center(rng, side)
    if kind == LOBAR:
        return _hematoma(kind, center, _radii(rng, _volume(rng, 0.1, 60.0)), blood)
    blood = sample_blood(rng, {FLECKED: 0.5, CLOT: 0.3, FADING: 0.2})
    if kind == INFARCT:
        center = (side * float(rng.uniform(34, 50)), float(rng.uniform(-20, 22)), float(rng.uniform(4, 34)))
    return _hematoma(kind, center, _radii(rng, log_uniform(rng, 0.6, 22.0)), blood, bed_mm=6.0)


def sample_contusions(rng: np.random.Generator, most: int = 6) -> list[Hemorrhage]:
    """Draws contusions of one blow: small, often several and flecked, also on the opposite side."""
    side = either_side(rng)
    weights = np.array([weight for _, _, weight in _CONTUSIONS])
    found = []
    for _ in range(int(rng.integers(1, most + 1))):
        mni, spread, _ = _CONTUSIONS[int(rng.choice(len(_CONTUSIONS), p=weights / weights.sum()))]
        here = -side if rng.random() < 0.3 else side
        x, y, z = np.array(mni) + rng.normal(size=3) * spread
        center = point(template_point((-here * abs(x), y, z)))
        blood = sample_blood(rng, {FLECKED: 0.6, CLOT: 0.4})
        found.append(_hematoma(CONTUSION, center, _radii(rng, log_uniform(rng, 0.08, 18.0)), blood))
    return found


def sample_shear_injuries(rng: np.random.Generator) -> list[Hemorrhage]:
    """Draws the dots of diffuse axonal injury."""
    found = []
    for _ in range(int(rng.integers(1, 6))):
        mni, spread = _SHEAR_SITES[int(rng.choice(len(_SHEAR_SITES), p=[0.65, 0.2, 0.15]))]
        x, y, z = np.array(mni) + rng.normal(size=3) * spread
        center = point(template_point((either_side(rng) * max(abs(x), 2.0), y, z)))
        blood = sample_blood(rng, {CLOT: 1.0})
        found.append(_hematoma(SHEAR, center, _radii(rng, log_uniform(rng, 0.03, 0.4)), blood))
    return found


def draw_intraparenchymal(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> Drawing:
    """Draws a lobed hematoma with a ragged border; it stays in its compartment and leaves the ventricles out."""
    window, depth = lobed_depth(grid, one, rng, lobes=1 if min(one.size_mm) < 4 else int(rng.integers(1, 5)))
    if one.kind in (TUMOUR, INFARCT):
        depth = np.minimum(depth, 3 * smooth_noise(rng, depth.shape, grid.spacing_mm, 7.0) + np.float32(2.0))
    wall = brain.wall_mm[window]
    inside = np.minimum(wall - np.float32(1.2), -brain.ventricle_mm[window])
    tent = brain.tent_mm[window]
    if one.kind in (CEREBELLUM, PONS):
        inside = np.minimum(inside, -1 - tent)
    elif one.kind != SHEAR:
        ragged = np.float32(1.2) * smooth_noise(rng, depth.shape, grid.spacing_mm, 5.0)
        inside = np.minimum(inside, one.side * brain.falx_mm[window] - np.float32(2) + ragged)
        if one.kind not in DEEP:  # there is no tentorium beside the thalamus
            inside = np.minimum(inside, tent - 1)
    occupancy = soft(depth, 2.0) * soft(inside, 1.6)
    return Drawing(window, occupancy, np.minimum(depth, inside))


def _hematoma(kind: str, center: Point, radii: Point, blood: Blood, bed_mm: float = 0.0) -> Hemorrhage:
    """Puts a hematoma together.

    Args:
        kind: Its form.
        center: Where it is.
        radii: Its half axes.
        blood: Its blood.
        bed_mm: Thickness of the swollen tissue around it that pushes as well.
    """
    radius = float(np.prod(radii) ** (1 / 3)) + bed_mm
    push = None
    if radius > _PUSHING_FROM_MM:
        # Towards the other side; in the midline it only narrows the sulci.
        shift = -0.35 * radius * float(np.sign(center[0])) if abs(center[0]) > 4 else 0.0
        push = Push(center, (shift, 0.0, 0.0), 14.0 + radius)
    return Hemorrhage(INTRAPARENCHYMAL, kind, center, radii, blood, push)


def _radii(rng: np.random.Generator, volume_ml: float, shape: Point = (1.0, 1.0, 1.0)) -> Point:
    """Draws the half axes of an ellipsoid of a volume, near to a shape."""
    uneven = np.array(shape) * np.exp(rng.normal(0, 0.16, size=3))
    radius = (volume_ml * 1000 / (4 / 3 * np.pi)) ** (1 / 3)
    return point(radius * uneven / np.prod(uneven) ** (1 / 3))


def _volume(rng: np.random.Generator, smallest: float, largest: float) -> float:
    """Draws a volume in ml: log-uniform, for two of three from the upper third of the range.

    Log-uniform over all of it, runs of positive slices would be shorter than those of RSNA 2019.
    """
    large = float((smallest * largest**2) ** (1 / 3))
    return log_uniform(rng, smallest if rng.random() < 0.35 else large, largest)


def _lobar_center(rng: np.random.Generator, side: float) -> Point:
    """A place in a lobe, more often in its white matter than near the middle of the head."""
    azimuth, elevation = np.deg2rad(rng.uniform(-80, 80)), np.deg2rad(rng.uniform(-12, 65))
    ray = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    x, y, z = ray * _CENTER_TO_TABLE * rng.uniform(0.58, 0.9)
    return side * (4 + abs(float(x))), float(y), float(z) + 8

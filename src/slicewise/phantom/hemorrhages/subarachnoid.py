"""Subarachnoid hemorrhage: blood mixed into the CSF of sulci, fissures and cisterns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from slicewise.phantom.brain import Brain
from slicewise.phantom.fields import Ellipsoid, Field, HeadGrid, Point, Window, smooth_noise, soft
from slicewise.phantom.hemorrhages.blood import ACUTE, CLOT, Blood, sample_blood
from slicewise.phantom.hemorrhages.draws import choose, either_side, log_uniform
from slicewise.phantom.hemorrhages.model import SUBARACHNOID, Drawing, Hemorrhage, point
from slicewise.phantom.hemorrhages.sites import table_point, vault_point
from slicewise.phantom.template import template_point

ANEURYSMAL, PERIMESENCEPHALIC, CONVEXITY = "aneurysmal", "perimesencephalic", "convexity"
SYLVIAN, INTERHEMISPHERIC = "sylvian", "interhemispheric"
_KINDS = {ANEURYSMAL: 0.3, PERIMESENCEPHALIC: 0.05, CONVEXITY: 0.45, SYLVIAN: 0.13, INTERHEMISPHERIC: 0.07}
_ANEURYSMS: tuple[tuple[Point, float], ...] = (
    ((0.0, 6.0, -14.0), 0.35),  # anterior communicating artery
    ((36.0, 2.0, -18.0), 0.25),  # middle cerebral artery
    ((14.0, -2.0, -18.0), 0.25),  # posterior communicating artery
    ((0.0, -18.0, -18.0), 0.1),  # tip of the basilar artery
    ((10.0, -44.0, -52.0), 0.05),  # posterior inferior cerebellar artery
)


def sample_subarachnoid(rng: np.random.Generator, kind: str | None = None, near: Point | None = None) -> Hemorrhage:
    """Draws a subarachnoid hemorrhage.

    Args:
        rng: Where everything is drawn from.
        kind: One form, None for any.
        near: Place on the convexity, None for any.
    """
    kind = choose(rng, _KINDS) if kind is None else kind
    side = either_side(rng)
    filling = log_uniform(rng, 0.04, 0.18)
    if kind == ANEURYSMAL:
        index = int(rng.choice(len(_ANEURYSMS), p=[share for _, share in _ANEURYSMS]))
        x, y, z = _ANEURYSMS[index][0]
        center, reach = template_point((side * x, y, z)), float(rng.uniform(28, 95))
        filling = log_uniform(rng, 0.04, 0.14)
    elif kind == PERIMESENCEPHALIC:
        center, reach = template_point((0.0, -20.0, -24.0)), float(rng.uniform(14, 24))
    elif kind == SYLVIAN:
        filling = log_uniform(rng, 0.08, 0.2)
        center, reach = template_point((side * 42.0, float(rng.uniform(-20, 12)), -2.0)), float(rng.uniform(14, 30))
    elif kind == INTERHEMISPHERIC:
        center, reach = (0.0, float(rng.uniform(-60, 60)), float(rng.uniform(26, 62))), float(rng.uniform(12, 32))
    else:
        center = near or vault_point(rng.normal(-5, 38), rng.uniform(-8, 65), side)
        reach = log_uniform(rng, 6, 32)
    blood = sample_blood(rng, {CLOT: 1.0})
    if rng.random() < 0.2:  # washed out
        blood = Blood(ACUTE, float(rng.uniform(42, 54)), 30.0, CLOT)
    return Hemorrhage(SUBARACHNOID, kind, point(center), (filling, reach, 0.0), blood)


def draw_subarachnoid(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> Drawing:
    """Draws blood in place of CSF, thinning out from its source."""
    filling, reach, _ = one.size_mm
    center = one.center
    if one.kind == CONVEXITY:
        # A little below the table, so that sulci are reached rather than the outer rim alone.
        edge = np.array(table_point(grid, brain.wall_mm, one.center, (0.0, 0.0, 0.0)))
        center = point(edge * (1 - 6 / np.linalg.norm(edge)))
    window = grid.window(*Ellipsoid(center, (1.3 * reach, 1.3 * reach, 1.3 * reach)).box())
    pial, wall = brain.pial_mm[window], brain.wall_mm[window]
    gate = _gate(grid, one, center, rng, window)
    gate *= soft(-1 - brain.ventricle_mm[window])
    cistern = brain.cistern[window]
    if one.kind == CONVEXITY:
        gate *= np.float32(0.3) + np.float32(0.7) * soft(wall - 3, 3.0)
    elif one.kind == INTERHEMISPHERIC:
        gate *= soft(8 - np.abs(brain.falx_mm[window]), 4.0)
    elif one.kind in (ANEURYSMAL, PERIMESENCEPHALIC):
        gate *= np.float32(0.55) + np.float32(0.45) * cistern
    least = 0.9 if one.kind in (ANEURYSMAL, PERIMESENCEPHALIC) else 0.5
    depth = np.maximum(_filled_to(filling, pial, (gate > 0.5) & (wall > 2)), np.float32(least)) - pial
    return Drawing(window, soft(depth, 1.8) * gate, depth)


def _filled_to(filling: float, pial: Field, region: npt.NDArray[np.bool_]) -> np.float32:
    """How far beyond the pia blood must reach to take a share of a region.

    Where sulci are narrow, as in the young, blood widens them.
    """
    if not region.any():
        return np.float32(0)
    return np.float32(np.clip(np.quantile(pial[region][::5], filling), 0, 3))


def _gate(
    grid: HeadGrid,
    one: Hemorrhage,
    center: Point,
    rng: np.random.Generator,
    window: Window,
) -> Field:
    """How far the blood has spread: patchy, and along the cisterns farther sideways than upwards."""
    reach = one.size_mm[1]
    flat = 1.35 if one.kind in (ANEURYSMAL, SYLVIAN) else 1.0
    x, y, z = (axis - np.float32(at) for axis, at in zip(grid.at(window), center, strict=True))
    distance = np.sqrt(x * x + y * y + (np.float32(flat) * z) ** 2)
    patches = 0.16 if one.kind == ANEURYSMAL else 0.28
    patchy = smooth_noise(rng, distance.shape, grid.spacing_mm, 13.0)
    fine = smooth_noise(rng, distance.shape, grid.spacing_mm, 5.0)
    edge = np.float32(6 + 0.15 * reach)
    gate: Field = np.clip((np.float32(reach) * (1 + np.float32(patches) * patchy) - distance) / edge, 0, 1)
    gate *= np.clip(np.float32(1.05) + np.float32(0.25) * fine, 0.35, 1)
    return gate

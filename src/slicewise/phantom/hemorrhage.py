"""Hemorrhages: which ones a study has, where they lie, and their soft occupancy fields.

The five subtypes of the RSNA 2019 challenge, alone and in the combinations that trauma and aneurysms bring. A
`Hemorrhage` is planned before the brain is drawn, because its mass effect shapes the brain, and rendered after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from slicewise.phantom.anatomy import vault_depth
from slicewise.phantom.brain import Brain, Push
from slicewise.phantom.fields import Ellipsoid, Field, HeadGrid, Point, Window, blend, smooth_noise, soft

ANY = "any"
EPIDURAL, INTRAPARENCHYMAL, INTRAVENTRICULAR = "epidural", "intraparenchymal", "intraventricular"
SUBARACHNOID, SUBDURAL = "subarachnoid", "subdural"
SUBTYPES = (EPIDURAL, INTRAPARENCHYMAL, INTRAVENTRICULAR, SUBARACHNOID, SUBDURAL)

DEFAULT_SHARES: Mapping[str, float] = MappingProxyType(
    {EPIDURAL: 0.14, INTRAPARENCHYMAL: 0.29, INTRAVENTRICULAR: 0.06, SUBARACHNOID: 0.21, SUBDURAL: 0.30}
)
"""Share of the positive studies that begin with a subtype; epidural is more frequent than in life, to be learnt."""

_COMPANIONS: Mapping[str, tuple[tuple[str, float], ...]] = {
    EPIDURAL: ((SUBARACHNOID, 0.2), (SUBDURAL, 0.15), (INTRAPARENCHYMAL, 0.12)),
    INTRAPARENCHYMAL: ((INTRAVENTRICULAR, 0.3), (SUBARACHNOID, 0.15), (INTRAPARENCHYMAL, 0.15), (SUBDURAL, 0.08)),
    INTRAVENTRICULAR: ((SUBARACHNOID, 0.15),),
    SUBARACHNOID: ((INTRAVENTRICULAR, 0.25), (SUBDURAL, 0.15), (INTRAPARENCHYMAL, 0.12)),
    SUBDURAL: ((SUBARACHNOID, 0.25), (SUBDURAL, 0.15), (INTRAPARENCHYMAL, 0.12)),
}
_LOBAR_SHARE, _DEEP_SHARE = 0.5, 0.33
"""Where intraparenchymal hemorrhages lie; the rest lies in cerebellum and pons."""


@dataclass(frozen=True)
class Hemorrhage:
    """One bleed.

    Attributes:
        subtype: One of `SUBTYPES`.
        kind: Form within the subtype, as in "convexity", "falx" or "tentorium" of a subdural one.
        center: Where it is.
        size_mm: Half axes of an intraparenchymal one; of others thickness, reach and a third length by subtype.
        hu: Density of its blood.
        rotation_degrees: In-plane rotation of an intraparenchymal one.
    """

    subtype: str
    kind: str
    center: Point
    size_mm: Point
    hu: float
    rotation_degrees: float = 0.0

    @property
    def push(self) -> Push | None:
        """Mass effect, None where there is none worth drawing."""
        if self.subtype in (EPIDURAL, SUBDURAL) and self.kind == "convexity":
            inward = -np.array(self.center) / np.linalg.norm(self.center)
            return Push(self.center, _point(inward * 0.45 * self.size_mm[0]), 45.0)
        if self.subtype == INTRAPARENCHYMAL and min(self.size_mm) > 7:
            inward = np.array([-np.sign(self.center[0]), 0.0, 0.0])
            return Push(self.center, _point(inward * 0.45 * min(self.size_mm)), 30.0)
        return None


def sample_hemorrhages(rng: np.random.Generator, shares: Mapping[str, float]) -> tuple[Hemorrhage, ...]:
    """Draws the hemorrhages of one positive study.

    Args:
        rng: Where everything is drawn from.
        shares: How often each subtype comes first; normalised here.
    """
    weights = np.array([shares.get(subtype, 0.0) for subtype in SUBTYPES])
    first = SUBTYPES[rng.choice(len(SUBTYPES), p=weights / weights.sum())]
    subtypes = [first, *(subtype for subtype, share in _COMPANIONS[first] if rng.random() < share)]
    return tuple(_SAMPLERS[subtype](rng) for subtype in subtypes)


def render_hemorrhages(
    grid: HeadGrid, brain: Brain, hemorrhages: tuple[Hemorrhage, ...], rng: np.random.Generator, hu: Field
) -> dict[str, Field]:
    """Paints hemorrhages onto an image, in place.

    Args:
        grid: Warped coordinates.
        brain: The rendered brain.
        hemorrhages: What to paint.
        rng: Draws irregular borders and clot texture.
        hu: Image, changed in place.

    Returns:
        Occupancy in [0, 1] of every subtype that is there, in the shape of the grid.
    """
    found: dict[str, Field] = {}
    cavity = soft(brain.wall_mm)
    for hemorrhage in hemorrhages:
        window, occupancy = _OCCUPANCIES[hemorrhage.subtype](grid, brain, hemorrhage, rng)
        if occupancy.size == 0:
            continue
        occupancy *= cavity[window]
        if hemorrhage.subtype == INTRAPARENCHYMAL:
            _paint_edema(grid, brain, hemorrhage, window, hu)
        clot = smooth_noise(rng, occupancy.shape, grid.spacing_mm, 6.0) * np.float32(2.5) + np.float32(hemorrhage.hu)
        blend(hu[window], occupancy, clot)
        whole = found.setdefault(hemorrhage.subtype, np.zeros(grid.x.shape, dtype=np.float32))
        np.maximum(whole[window], occupancy, out=whole[window])
    return found


def _blood_hu(rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(65, 7), 50, 80))


def _point(values: npt.ArrayLike) -> Point:
    x, y, z = np.asarray(values, dtype=np.float64).tolist()
    return x, y, z


def _wall_point(rng: np.random.Generator, elevation: tuple[float, float]) -> Point:
    """A point on the inner table, at the side rather than in front or behind."""
    azimuth = np.deg2rad(rng.normal(0, 38))
    height = np.deg2rad(rng.uniform(*elevation))
    side = rng.choice([-1.0, 1.0])
    direction = np.array([side * np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    low, high = 20.0, 120.0
    for _ in range(20):
        middle = 0.5 * (low + high)
        x, y, z = (np.full((1, 1, 1), value, dtype=np.float32) for value in direction * middle)
        inside = float(vault_depth(HeadGrid(x, y, z, (1.0, 1.0, 1.0)))[0, 0, 0]) > 0
        low, high = (middle, high) if inside else (low, middle)
    return _point(direction * low)


def _sample_epidural(rng: np.random.Generator) -> Hemorrhage:
    thickness = float(np.exp(rng.uniform(np.log(3.5), np.log(28))))
    reach = float(np.clip(thickness * rng.uniform(1.3, 2.4) + 6, 10, 45))
    return Hemorrhage(EPIDURAL, "convexity", _wall_point(rng, (-20, 55)), (thickness, reach, reach), _blood_hu(rng))


def _sample_subdural(rng: np.random.Generator) -> Hemorrhage:
    kind = str(rng.choice(["convexity", "falx", "tentorium"], p=[0.72, 0.18, 0.10]))
    thickness = float(np.exp(rng.uniform(np.log(2.5), np.log(16 if kind == "convexity" else 7))))
    reach = float(rng.uniform(40, 85) if kind == "convexity" else rng.uniform(18, 45))
    if kind == "convexity":
        center = _wall_point(rng, (-10, 55))
    elif kind == "falx":
        center = (float(rng.choice([-1.0, 1.0])), float(rng.uniform(-55, 65)), float(rng.uniform(15, 55)))
    else:
        center = (float(rng.choice([-1.0, 1.0]) * rng.uniform(15, 30)), float(rng.uniform(25, 55)), -18.0)
    return Hemorrhage(SUBDURAL, kind, center, (thickness, reach, float(rng.uniform(12, 38))), _blood_hu(rng))


def _sample_subarachnoid(rng: np.random.Generator) -> Hemorrhage:
    kind = str(rng.choice(["basal", "convexity"], p=[0.4, 0.6]))
    if kind == "basal":
        center: Point = (float(rng.normal(0, 15)), -10.0, -20.0)
        reach = float(rng.uniform(12, 34))
    else:
        center = _wall_point(rng, (-15, 70))
        reach = float(rng.uniform(7, 24))
    return Hemorrhage(SUBARACHNOID, kind, center, (float(rng.uniform(0.3, 1.2)), reach, 0.0), _blood_hu(rng))


def _sample_intraparenchymal(rng: np.random.Generator) -> Hemorrhage:
    volume = float(np.exp(rng.uniform(np.log(0.12), np.log(60)))) * 1000  # mm3
    draw, side = rng.random(), float(rng.choice([-1.0, 1.0]))
    if draw < _LOBAR_SHARE:
        azimuth, height = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(-5, 60))
        depth = rng.uniform(0.5, 0.85)
        center = (
            side * (6 + 54 * depth * float(abs(np.cos(azimuth)) * np.cos(height))),
            float(76 * depth * np.sin(azimuth) * np.cos(height)),
            float(68 * depth * np.sin(height)),
        )
    elif draw < _LOBAR_SHARE + _DEEP_SHARE:
        center = (side * float(rng.uniform(9, 28)), float(rng.uniform(-18, 16)), float(rng.uniform(-3, 14)))
    else:
        volume = min(volume, 18_000)
        center = (side * float(rng.uniform(2, 28)), float(rng.uniform(34, 58)), float(rng.uniform(-50, -34)))
        if rng.random() < 0.3:  # pons
            volume, center = min(volume, 6_000), (side * 3.0, 9.0, float(rng.uniform(-46, -34)))
    shape = np.exp(rng.normal(0, 0.2, size=3))
    radii = (volume / (4 / 3 * np.pi)) ** (1 / 3) * shape / np.prod(shape) ** (1 / 3)
    return Hemorrhage(INTRAPARENCHYMAL, "", center, _point(radii), _blood_hu(rng), float(rng.uniform(0, 180)))


def _sample_intraventricular(rng: np.random.Generator) -> Hemorrhage:
    kind = str(rng.choice(["level", "cast"], p=[0.65, 0.35]))
    if kind == "level":  # sediments in the dependent horns: y above which the blood stands
        center: Point = (float(rng.choice([-40.0, 0.0, 40.0])), float(rng.uniform(22, 50)), 5.0)
        return Hemorrhage(INTRAVENTRICULAR, kind, center, (2.0, 35.0, 0.0), _blood_hu(rng))
    side = float(rng.choice([-1.0, 0.0, 1.0]))
    center = (side * 10.0, float(rng.uniform(-25, 30)), float(rng.uniform(-30, 16)))
    return Hemorrhage(INTRAVENTRICULAR, kind, center, (2.0, float(rng.uniform(14, 55)), 0.0), _blood_hu(rng))


def _epidural(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> tuple[Window, Field]:
    """A ball that cuts the inner table: biconvex, with sharp corners."""
    thickness, reach, _ = one.size_mm
    radius = (reach**2 + thickness**2) / (2 * thickness)
    outward = np.array(one.center) / np.linalg.norm(one.center)
    ball = np.array(one.center) + outward * (radius - thickness)
    window = grid.window(*Ellipsoid(one.center, (reach, reach, reach)).box(8.0))
    x, y, z = (axis - np.float32(at) for axis, at in zip(grid.at(window), ball, strict=True))
    depth = radius - np.sqrt(x * x + y * y + z * z)
    if depth.size:
        depth += smooth_noise(rng, depth.shape, grid.spacing_mm, 15.0) * np.float32(0.05 * thickness + 0.2)
    near = _distance(grid, window, one.center)
    return window, soft(np.minimum(depth, reach + 8 - near)) * soft(brain.tent_mm[window] + 25, 4.0)


def _subdural(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> tuple[Window, Field]:
    """A crescent along the inner table, or a sheet on falx or tentorium; it never crosses the midline."""
    thickness, reach, height = one.size_mm
    side = np.float32(np.sign(one.center[0]))
    window = grid.window(*Ellipsoid(one.center, (min(reach, 75.0), reach, max(height, 20.0))).box(12.0))
    x, y, z = grid.at(window)
    if not x.size:
        return window, x
    dy, dz = (y - one.center[1]) / np.float32(reach), (z - one.center[2]) / np.float32(height)
    taper = np.clip(1 - dy * dy - dz * dz, 0, 1) * (1 + 0.12 * smooth_noise(rng, x.shape, grid.spacing_mm, 14.0))
    extent = np.float32(thickness) * np.sqrt(np.maximum(taper, 0))
    if one.kind == "convexity":
        depth = np.minimum(extent - brain.wall_mm[window], side * x - 2)
    elif one.kind == "falx":
        # Half a millimetre of dura, then blood, where the falx is.
        depth = np.minimum(np.minimum(extent - side * x + 0.5, side * x - 0.2), np.hypot(y - 2, z + 6) - 36)
        depth = np.minimum(depth, brain.tent_mm[window] - 2)
    else:
        above = brain.tent_mm[window]
        depth = np.minimum(np.minimum(extent * 1.3 - above, above - 0.2), side * x - 8)
    return window, soft(depth) * (extent > 0.4)


def _subarachnoid(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> tuple[Window, Field]:
    """Blood in place of CSF, and a little beyond (it widens what it fills), in one region."""
    widening, reach, _ = one.size_mm
    window = grid.window(*Ellipsoid(one.center, (1.4 * reach, 1.4 * reach, 1.4 * reach)).box())
    near = _distance(grid, window, one.center)
    if not near.size:
        return window, near
    patchy = smooth_noise(rng, near.shape, grid.spacing_mm, 14.0)
    gate = soft(1 + 0.3 * patchy - near / np.float32(reach), 0.4)
    csf = soft(np.float32(widening) - brain.pial_mm[window], 1.6)
    return window, csf * gate * soft(-brain.ventricle_mm[window])


def _intraparenchymal(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> tuple[Window, Field]:
    """An ellipsoid with a ragged border; it fills what its mass effect leaves of a ventricle there."""
    window, depth = _rotated_depth(grid, one, 3.0)
    if depth.size:
        ragged = smooth_noise(rng, depth.shape, grid.spacing_mm, 3.0 + 0.4 * max(one.size_mm))
        depth += ragged * np.float32(0.12 * min(one.size_mm))
    return window, soft(np.minimum(depth, brain.wall_mm[window] - 1.5))


def _intraventricular(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator) -> tuple[Window, Field]:
    """Blood in the ventricles: up to a level in their dependent part, or a cast around a place."""
    window = grid.window((-45.0, -60.0, -60.0), (45.0, 75.0, 45.0))
    x, y, _ = grid.at(window)
    if not x.size:
        return window, x
    ventricle = soft(brain.ventricle_mm[window])
    if one.kind == "level":  # flat: the patient lies on the back
        one_sided = soft(x * np.float32(np.sign(one.center[0])) + (2 if one.center[0] else 99))
        return window, ventricle * soft(y - np.float32(one.center[1]), one.size_mm[0]) * one_sided
    ragged = smooth_noise(rng, x.shape, grid.spacing_mm, 10.0) * np.float32(4)
    near = _distance(grid, window, one.center)
    return window, ventricle * soft(np.float32(one.size_mm[1]) - near + ragged, one.size_mm[0])


def _paint_edema(grid: HeadGrid, brain: Brain, one: Hemorrhage, window: Window, hu: Field) -> None:
    """The hypodense rim around an intraparenchymal hemorrhage."""
    rim = 1.0 + 0.25 * float(np.mean(one.size_mm))
    _, depth = _rotated_depth(grid, one, 3.0)
    inside = np.minimum(brain.pial_mm[window], -brain.ventricle_mm[window])
    blend(hu[window], 0.75 * soft(np.minimum(depth + rim, inside), 3.0), 20.0)


def _rotated_depth(grid: HeadGrid, one: Hemorrhage, margin: float) -> tuple[Window, Field]:
    a, b, c = one.size_mm
    longest = max(a, b)
    box = Ellipsoid(one.center, (longest, longest, c)).box(margin + 0.35 * max(one.size_mm))
    window = grid.window(*box)
    x, y, z = grid.at(window)
    angle = np.deg2rad(one.rotation_degrees)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y, z = x - np.float32(one.center[0]), y - np.float32(one.center[1]), z - np.float32(one.center[2])
    turned = Ellipsoid((0.0, 0.0, 0.0), one.size_mm)
    return window, turned.depth(cosine * x + sine * y, cosine * y - sine * x, z)


def _distance(grid: HeadGrid, window: Window, center: Point) -> Field:
    x, y, z = (axis - np.float32(at) for axis, at in zip(grid.at(window), center, strict=True))
    distance: Field = np.sqrt(x * x + y * y + z * z)
    return distance


_SAMPLERS = {
    EPIDURAL: _sample_epidural,
    INTRAPARENCHYMAL: _sample_intraparenchymal,
    INTRAVENTRICULAR: _sample_intraventricular,
    SUBARACHNOID: _sample_subarachnoid,
    SUBDURAL: _sample_subdural,
}
_OCCUPANCIES = {
    EPIDURAL: _epidural,
    INTRAPARENCHYMAL: _intraparenchymal,
    INTRAVENTRICULAR: _intraventricular,
    SUBARACHNOID: _subarachnoid,
    SUBDURAL: _subdural,
}

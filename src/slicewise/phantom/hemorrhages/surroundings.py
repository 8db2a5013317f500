"""What surrounds an intraparenchymal hemorrhage: oedema, and the tumour or the infarct that bled."""

from __future__ import annotations

import numpy as np

from slicewise.phantom.brain import Brain
from slicewise.phantom.fields import Field, HeadGrid, Window, blend, smooth_noise, soft
from slicewise.phantom.hemorrhages.blood import ACUTE, HYPERACUTE, SUBACUTE
from slicewise.phantom.hemorrhages.intraparenchymal import INFARCT, SHEAR, TUMOUR
from slicewise.phantom.hemorrhages.lobes import lobed_depth
from slicewise.phantom.hemorrhages.model import Hemorrhage, point

_OEDEMA_HU = 20.0


def paint_surroundings(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator, hu: Field) -> None:
    """Paints what surrounds a hematoma, in place, before its blood is painted.

    Args:
        grid: Regular grid of the template.
        brain: The rendered brain.
        one: An intraparenchymal hemorrhage.
        rng: Draws how far and how dark it is.
        hu: Image, changed in place.
    """
    if one.kind == INFARCT:
        _paint_infarct(grid, brain, one, rng, hu)
    elif one.kind == TUMOUR:
        _paint_oedema(grid, brain, one, rng, hu, rim_mm=float(rng.uniform(6, 18)))
        _paint_tumour(grid, brain, one, rng, hu)
    elif one.kind != SHEAR:
        radius = float(np.prod(one.size_mm) ** (1 / 3))
        rim = {HYPERACUTE: 0.6, ACUTE: 1.0 + 0.16 * radius, SUBACUTE: 2.0 + 0.45 * radius}[one.age]
        _paint_oedema(grid, brain, one, rng, hu, rim_mm=rim * float(rng.uniform(0.6, 1.5)))


def _paint_oedema(
    grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator, hu: Field, *, rim_mm: float
) -> None:
    """A dark rim; where it is wide, it follows the white matter and spares the cortex."""
    window, depth = lobed_depth(grid, one, rng, lobes=1, grown_mm=rim_mm)
    depth += smooth_noise(rng, depth.shape, grid.spacing_mm, 7.0) * np.float32(0.3 * rim_mm)
    spared = np.float32(2.5 if rim_mm > 3 else 0.5)
    inside = np.minimum(brain.pial_mm[window] - spared, -brain.ventricle_mm[window])
    share = np.float32(rng.uniform(0.45, 0.85)) * soft(np.minimum(depth, inside), 4.0)
    _blend_inside(hu, window, brain, share, _OEDEMA_HU)


def _paint_tumour(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator, hu: Field) -> None:
    window, depth = lobed_depth(grid, one, rng, lobes=3, grown_mm=float(rng.uniform(2.5, 7)))
    solid = np.float32(rng.uniform(36, 46)) + 4 * smooth_noise(rng, depth.shape, grid.spacing_mm, 6.0)
    share = soft(depth, 2.5) * soft(-brain.ventricle_mm[window])
    _blend_inside(hu, window, brain, share, solid)


def _paint_infarct(grid: HeadGrid, brain: Brain, one: Hemorrhage, rng: np.random.Generator, hu: Field) -> None:
    """A wedge with its base on the cortex, which loses its contrast to the white matter."""
    x0, y0, z0 = one.center
    base = np.array([x0 + one.side * 16, y0, z0])
    reach = float(rng.uniform(24, 42))
    window = grid.window(point(base - 1.3 * reach), point(base + 1.3 * reach))
    x, y, z = (axis - np.float32(at) for axis, at in zip(grid.at(window), base, strict=True))
    narrowing = 1 + np.float32(0.02) * np.clip(-one.side * x, 0, 40)
    distance = np.sqrt(np.square(np.float32(0.75) * x) + np.square(y * narrowing) + np.square(z * narrowing))
    ragged = smooth_noise(rng, distance.shape, grid.spacing_mm, 13.0) * np.float32(0.14 * reach)
    compartment = np.minimum(one.side * brain.falx_mm[window] - 6, brain.tent_mm[window] - 1)
    tissue = np.minimum(brain.pial_mm[window] + np.float32(0.8), -1 - brain.ventricle_mm[window])
    depth = np.minimum(np.float32(0.8 * reach) - distance + ragged, compartment)
    share = np.float32(rng.uniform(0.5, 0.95)) * soft(depth, 7.0) * soft(tissue, 2.0)
    _blend_inside(hu, window, brain, share, float(rng.uniform(18, 25)))


def _blend_inside(hu: Field, window: Window, brain: Brain, share: Field, value: Field | float) -> None:
    blend(hu[window], share * soft(brain.wall_mm[window] - 1), value)

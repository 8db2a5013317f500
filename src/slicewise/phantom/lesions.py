"""Mimics inside the cavity: infarcts, tumours, oedema, cysts, hygromas, calcifications, air and metal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from slicewise.phantom.anatomy import Anatomy
from slicewise.phantom.brain import Brain
from slicewise.phantom.fields import Ellipsoid, Field, Point, Tube, Window, blend, smooth_noise, soft
from slicewise.phantom.mimic_sites import Mimic

_AIR_HU = -950.0


def paint_lesions(hu: Field, brain: Brain, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paints the mimics that lie in the brain and its CSF onto an image on `BRAIN_BOX`, in place.

    Args:
        hu: The image.
        brain: The rendered brain.
        anatomy: Whose mimics.
        rng: Draws ragged borders.
    """
    for kind, paint in _PAINTERS.items():
        for mimic in anatomy.mimics:
            if mimic.kind == kind:
                paint(hu, brain, mimic, anatomy, rng)


def _ragged(brain: Brain, center: Point, radii: Point, rng: np.random.Generator, share: float) -> tuple[Window, Field]:
    """Distance to the border of an ellipsoid with noise on it, positive inside."""
    shape = Ellipsoid(center, radii)
    window = brain.grid.window(*shape.box(6.0 + 0.3 * max(radii)))
    depth = shape.depth(*brain.grid.at(window))
    if depth.size:
        smallest = min(radii)
        depth += smooth_noise(rng, depth.shape, brain.grid.spacing_mm, 3 + 0.35 * smallest) * np.float32(
            share * smallest
        )
    return window, depth


def _compartment(brain: Brain, mimic: Mimic, window: Window) -> Field:
    """Distance to falx and tentorium, positive on the mimic's side of them."""
    tent = brain.tent_mm[window]
    below = mimic.center[2] < -30 and mimic.center[1] > 20
    distance: Field = np.minimum(mimic.side * brain.falx_mm[window] - 1, -tent if below else tent)
    return distance


def _infarct(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, rng: np.random.Generator) -> None:
    window, depth = _ragged(brain, mimic.center, mimic.size_mm, rng, 0.25)
    fresh = mimic.kind == "fresh_infarct"
    inside = np.minimum(depth, _compartment(brain, mimic, window))
    tissue = soft(brain.pial_mm[window] + (3.0 if fresh else 0.0), 2.0) * soft(-brain.ventricle_mm[window])
    if fresh:
        tissue *= 1 - np.float32(0.35) * brain.white[window]
    blend(hu[window], soft(inside, 6.0 if fresh else 3.0) * tissue * np.float32(0.85), mimic.hu)


def _loss(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, rng: np.random.Generator) -> None:
    window, depth = _ragged(brain, mimic.center, mimic.size_mm, rng, 0.3)
    blend(hu[window], soft(depth, 2.5) * soft(brain.tent_mm[window] + 2), mimic.hu)


def _edema(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, rng: np.random.Generator) -> None:
    _paint_edema(hu, brain, mimic, rng, mimic.size_mm)


def _paint_edema(hu: Field, brain: Brain, mimic: Mimic, rng: np.random.Generator, radii: Point) -> None:
    """Oedema spreads in the white matter, like fingers."""
    window, depth = _ragged(brain, mimic.center, radii, rng, 0.25)
    inside = soft(np.minimum(depth, _compartment(brain, mimic, window) + 2), 6.0) * brain.white[window]
    blend(hu[window], inside * soft(brain.pial_mm[window]) * soft(-brain.ventricle_mm[window]), 18.0)


def _tumour(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, rng: np.random.Generator) -> None:
    rim = float(rng.uniform(3, 16))
    a, b, c = mimic.size_mm
    _paint_edema(hu, brain, mimic, rng, (a + rim, b + rim, c + rim))
    window, depth = _ragged(brain, mimic.center, mimic.size_mm, rng, 0.15)
    if not depth.size:
        return
    np.minimum(depth, brain.wall_mm[window] - 1, out=depth)
    value = np.full(depth.shape, mimic.hu, dtype=np.float32)
    value += 3 * smooth_noise(rng, depth.shape, brain.grid.spacing_mm, 5.0)
    if mimic.form == "ring":
        blend(value, soft(depth - float(rng.uniform(2.5, 5)), 2.0), float(rng.uniform(12, 26)))
    elif mimic.form == "calcified":
        flecks = smooth_noise(rng, depth.shape, brain.grid.spacing_mm, 2.5)
        blend(value, soft((flecks - 1.1) * 3), float(rng.uniform(90, 350)))
    blend(hu[window], soft(depth, 2.0), value)


def _meningioma(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, rng: np.random.Generator) -> None:
    window, depth = _ragged(brain, mimic.center, mimic.size_mm, rng, 0.06)
    if not depth.size:
        return
    value = np.full(depth.shape, mimic.hu, dtype=np.float32)
    value += 1.5 * smooth_noise(rng, depth.shape, brain.grid.spacing_mm, 6.0)
    if mimic.form == "calcified":
        flecks = smooth_noise(rng, depth.shape, brain.grid.spacing_mm, 3.0)
        blend(value, soft((flecks - 0.4) * 3), float(rng.uniform(120, 600)))
    blend(hu[window], soft(depth), value)


def _cyst(hu: Field, brain: Brain, mimic: Mimic, anatomy: Anatomy, rng: np.random.Generator) -> None:
    window, depth = _ragged(brain, mimic.center, mimic.size_mm, rng, 0.1)
    blend(hu[window], soft(depth), anatomy.csf_hu)


def _hygroma(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, rng: np.random.Generator) -> None:
    window, extent = _crescent(brain, mimic, rng)
    depth = np.minimum(extent - brain.wall_mm[window], mimic.side * brain.falx_mm[window] - 1)
    blend(hu[window], soft(np.minimum(depth, brain.tent_mm[window])), mimic.hu)


def _crescent(brain: Brain, mimic: Mimic, rng: np.random.Generator) -> tuple[Window, Field]:
    """Thickness of a layer under the inner table that tapers with distance from a place."""
    thickness, reach, _ = mimic.size_mm
    window = brain.grid.window(*Ellipsoid(mimic.center, (reach, reach, reach)).box(2.0))
    x, y, z = brain.grid.at(window)
    squared = sum((axis - np.float32(at)) ** 2 for axis, at in zip((x, y, z), mimic.center, strict=True))
    taper = np.clip(1 - squared / np.float32(reach**2), 0, 1)
    extent = np.float32(thickness) * np.sqrt(taper)
    if extent.size:
        extent *= 1 + np.float32(0.2) * smooth_noise(rng, extent.shape, brain.grid.spacing_mm, 16.0)
    return window, extent


def _hyperostosis(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, rng: np.random.Generator) -> None:
    window, extent = _crescent(brain, mimic, rng)
    knobs = 1 + np.float32(0.7) * smooth_noise(rng, extent.shape, brain.grid.spacing_mm, 9.0)
    blend(hu[window], soft(extent * knobs - brain.wall_mm[window]) * (np.abs(brain.grid.x[window]) > 3), mimic.hu)


def _air(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, rng: np.random.Generator) -> None:
    """Air rises to the front of the head of a patient on the back; or bubbles in CSF."""
    if mimic.form == "pool":
        window, extent = _crescent(brain, mimic, rng)
        depth = np.minimum(extent - brain.wall_mm[window], mimic.side * brain.falx_mm[window] - 1)
        level = -92.0 + 2.5 * mimic.size_mm[0] + 14
        blend(hu[window], soft(np.minimum(depth, level - brain.grid.y[window])), _AIR_HU)
        return
    for _number in range(int(rng.integers(2, 10))):
        center = np.array(mimic.center) * [rng.uniform(0.1, 1.6), rng.uniform(0.4, 1.1), rng.uniform(0.3, 1.3)]
        radius = float(rng.uniform(0.8, 3.0))
        bubble = Ellipsoid((float(center[0]), float(center[1]), float(center[2])), (radius, radius, radius))
        window = brain.grid.window(*bubble.box())
        depth = np.minimum(bubble.depth(*brain.grid.at(window)), brain.wall_mm[window])
        blend(hu[window], soft(depth) * soft(brain.csf[window] + 0.4, 1.0), _AIR_HU)


def _speck(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, rng: np.random.Generator) -> None:
    """A calcification, dense dot or metal, which moves with the brain."""
    shape = Ellipsoid(mimic.center, mimic.size_mm)
    window = brain.grid.window(*shape.box(14.0))
    depth = shape.depth(*brain.inner.at(window))
    if depth.size:
        depth += smooth_noise(rng, depth.shape, brain.grid.spacing_mm, 3.0) * np.float32(0.25 * min(mimic.size_mm))
    blend(hu[window], soft(np.minimum(depth, brain.wall_mm[window])), mimic.hu)


def _falx_plaque(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, _rng: np.random.Generator) -> None:
    thickness, length, height = mimic.size_mm
    shape = Ellipsoid((0.0, mimic.center[1], mimic.center[2]), (40.0, length, height))
    window = brain.grid.window(
        (-9.0, mimic.center[1] - length, mimic.center[2] - height),
        (9.0, mimic.center[1] + length, mimic.center[2] + height),
    )
    _x, y, z = brain.grid.at(window)
    within = shape.depth(np.zeros_like(y), y, z)
    sheet = np.float32(thickness) - np.abs(brain.falx_mm[window] - np.float32(mimic.center[0] * 0.5))
    blend(hu[window], soft(np.minimum(sheet, within)) * brain.falx_sheet[window], mimic.hu)


def _tentorial_plaque(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, _rng: np.random.Generator) -> None:
    x, y, _z = mimic.center
    reach, _length, thickness = mimic.size_mm
    window = brain.grid.window((x - reach, y - reach, -30.0), (x + reach, y + reach, 14.0))
    u, v, _w = brain.grid.at(window)
    within = np.float32(reach) - np.hypot(u - np.float32(x), v - np.float32(y))
    blend(hu[window], soft(np.minimum(within, thickness - np.abs(brain.tent_mm[window]))), mimic.hu)


def _catheter(hu: Field, brain: Brain, mimic: Mimic, _: Anatomy, _rng: np.random.Generator) -> None:
    tube = Tube((mimic.center, mimic.size_mm), (1.3, 1.3))
    window = brain.grid.window(*tube.box(4.0))
    blend(hu[window], soft(tube.depth(*brain.grid.at(window))), mimic.hu)


_PAINTERS: dict[str, Callable[[Field, Brain, Mimic, Anatomy, np.random.Generator], None]] = {
    "fresh_infarct": _infarct,
    "edema": _edema,
    "old_infarct": _infarct,
    "lacunes": _speck,
    "encephalomalacia": _loss,
    "arachnoid_cyst": _cyst,
    "hygroma": _hygroma,
    "tumour": _tumour,
    "meningioma": _meningioma,
    "colloid_cyst": _speck,
    "pineal_calcification": _speck,
    "choroid_calcification": _speck,
    "basal_ganglia_calcification": _speck,
    "vascular_calcification": _speck,
    "granuloma": _speck,
    "falx_calcification": _falx_plaque,
    "tentorium_calcification": _tentorial_plaque,
    "hyperostosis": _hyperostosis,
    "pneumocephalus": _air,
    "shunt": _catheter,
    "clip": _speck,
    "coil": _speck,
}

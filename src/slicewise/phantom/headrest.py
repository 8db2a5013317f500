"""What holds the head: cradles, bowls, table tops and pillows, in millimetres beside the head's centre."""

from __future__ import annotations

import numpy as np

from slicewise.phantom.fields import Field, smooth_noise
from slicewise.phantom.geometry import ScanGeometry
from slicewise.phantom.sampler import WorkingGrid

AIR_HU = -1000.0


def draw_headrest(rng: np.random.Generator, geometry: ScanGeometry, back_mm: float) -> Field:
    """Draws a headrest.

    Args:
        rng: Draws its kind and sizes.
        geometry: The scan.
        back_mm: Distance of the skin at the back of the head from the head's centre.

    Returns:
        HU above air, shape (slices, rows, columns) of the working grid.
    """
    grid = WorkingGrid.of(geometry)
    centers = geometry.slice_centers - geometry.pose.center
    x = (centers[:, 0, None, None] + grid.offsets_mm[None, None, :]).astype(np.float32)
    # A tilted slice cuts the same rest: what counts is how far below the head a pixel lies.
    y = (centers[:, 1, None, None] + grid.offsets_mm[None, :, None] * geometry.column[1]).astype(np.float32)
    y = y - np.float32(back_mm)
    kind = (_cradle, _bowl, _table, _pillow)[rng.choice(4, p=[0.4, 0.25, 0.2, 0.15])]
    rest: Field = kind(rng, x, y)
    return rest


def _cradle(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """A thin shell that follows the back of the head, over foam."""
    radius, gap = rng.uniform(88, 125), rng.uniform(2, 9)
    distance = np.hypot(x, y + np.float32(radius - gap)) - np.float32(radius)
    open_at = np.float32(rng.uniform(-60, -15))
    shell = _wall(distance, rng.uniform(1.5, 3.5)) * _step(y - open_at)
    foam = (
        _step(-distance - np.float32(2)) * _step(distance + np.float32(gap + 8)) * _step(y - open_at - np.float32(10))
    )
    return shell * np.float32(rng.uniform(700, 1150)) + foam * np.float32(rng.uniform(20, 90))


def _bowl(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Two shells with foam between them, as carbon holders have."""
    radius, gap, depth = rng.uniform(95, 130), rng.uniform(3, 8), rng.uniform(8, 18)
    distance = np.hypot(x, y + np.float32(radius - gap)) - np.float32(radius)
    above = _step(y - np.float32(rng.uniform(-75, -30)))
    inner, outer = _wall(distance, 1.5), _wall(distance - np.float32(depth), 1.8)
    foam = _step(distance) * _step(np.float32(depth) - distance)
    return above * (
        np.maximum(inner, outer) * np.float32(rng.uniform(500, 1000)) + foam * np.float32(rng.uniform(30, 120))
    )


def _table(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """The table's top, slightly bent."""
    bend = np.float32(1 / rng.uniform(350, 900))
    distance = y - np.float32(rng.uniform(4, 18)) + x * x * bend
    return _wall(distance, rng.uniform(2.5, 5)) * np.float32(rng.uniform(600, 1100))


def _pillow(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """A soft cushion and folds of cloth."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    step_mm = float(x[0, 0, 1] - x[0, 0, 0])
    folds = smooth_noise(rng, shape, (5.0, step_mm, step_mm), (40.0, 9.0, 9.0))
    distance = y + np.float32(rng.uniform(0, 10)) - x * x * np.float32(1 / 260) + 2 * folds
    cushion = _step(distance) * np.float32(rng.uniform(40, 160))
    cover = _wall(distance, 1.2) * np.float32(rng.uniform(80, 300))
    pillow: Field = cushion * (np.float32(1.0) + np.float32(0.3) * folds) + cover
    return pillow


def _wall(distance: Field, thickness: float) -> Field:
    wall: Field = np.clip(np.float32(0.5 * thickness + 0.5) - np.abs(distance), 0, 1)
    return wall


def _step(depth: Field) -> Field:
    step: Field = np.clip(depth + np.float32(0.5), 0, 1)
    return step

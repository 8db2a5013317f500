"""The head of one person: sizes, densities, and the shape of its cranial cavity.

Analytic shapes in template millimetres (see `fields.HeadGrid`), warped by smooth noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from slicewise.phantom.fields import Ellipsoid, Field, HeadGrid, Point, smooth_noise


@dataclass(frozen=True)
class Anatomy:
    """Sizes and densities of one person's head.

    Attributes:
        scale: Size relative to the template along x, y, z.
        warp_mm: SD of the smooth displacement that makes every head its own.
        age: 0 for young, 1 for old: drives sulci, rim and ventricles.
        sulcus_mm: Half width of a sulcus.
        rim_mm: CSF between inner table and brain.
        ventricle_size: Radius of the ventricles relative to the template.
        skull_mm: Thickness of the vault.
        scalp_mm: Thickness of the scalp.
        grey_hu: Grey matter.
        white_hu: White matter.
        csf_hu: Cerebrospinal fluid.
        dura_hu: Falx, tentorium and venous sinuses.
        leukoaraiosis_hu: How far the white matter beside the ventricles is darkened.
        calcifications: Physiological calcifications.
        infarcts: Old, hypodense infarcts.
    """

    scale: Point
    warp_mm: float
    age: float
    sulcus_mm: float
    rim_mm: float
    ventricle_size: float
    skull_mm: float
    scalp_mm: float
    grey_hu: float
    white_hu: float
    csf_hu: float
    dura_hu: float
    leukoaraiosis_hu: float
    calcifications: tuple[tuple[Ellipsoid, float], ...]
    infarcts: tuple[Ellipsoid, ...]


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draws the sizes and densities of one head."""
    age = float(rng.uniform(0, 1))
    size = rng.normal(1.0, 0.035)
    scale = size * np.clip(rng.normal(1.0, 0.025, size=3), 0.94, 1.06)
    grey = rng.normal(38.0, 1.2)
    return Anatomy(
        scale=(float(scale[0]), float(scale[1]), float(scale[2])),
        warp_mm=float(rng.uniform(1.2, 2.6)),
        age=age,
        sulcus_mm=float(np.clip(0.4 + 0.9 * age + rng.normal(0, 0.2), 0.2, 1.6)),
        rim_mm=float(np.clip(0.3 + 2.0 * age**2 + rng.normal(0, 0.4), 0.0, 3.5)),
        ventricle_size=float(np.clip(0.75 + 0.65 * age + rng.normal(0, 0.15), 0.55, 1.9)),
        skull_mm=float(np.clip(rng.normal(6.5, 1.2), 4.0, 10.0)),
        scalp_mm=float(np.clip(rng.normal(5.5, 1.5), 3.0, 10.0)),
        grey_hu=float(grey),
        white_hu=float(grey - rng.normal(8.5, 1.0)),
        csf_hu=float(rng.uniform(4, 9)),
        dura_hu=float(rng.uniform(48, 60)),
        leukoaraiosis_hu=float(max(0.0, rng.normal(8 * age - 3, 3))),
        calcifications=_sample_calcifications(rng, age),
        infarcts=_sample_infarcts(rng, age),
    )


def warped(grid: HeadGrid, rng: np.random.Generator, warp_mm: float) -> HeadGrid:
    """Returns the grid with its coordinates displaced by smooth noise."""
    axes = []
    for axis in (grid.x, grid.y, grid.z):
        noise = smooth_noise(rng, axis.shape, grid.spacing_mm, 40.0) * np.float32(warp_mm)
        noise += smooth_noise(rng, axis.shape, grid.spacing_mm, 14.0) * np.float32(0.25 * warp_mm)
        axes.append(axis + noise)
    return HeadGrid(axes[0], axes[1], axes[2], grid.spacing_mm)


def vault_depth(grid: HeadGrid) -> Field:
    """Returns the distance to the inner table of the vault, positive inside, going on smoothly below the base.

    An egg: narrower at the front, flatter at the vertex, with steep walls towards the base.
    """
    width = 64 + np.clip(grid.y * np.float32(0.07), -3.5, 3.5)
    u, v = grid.x / width, (grid.y - 2) * np.float32(1 / 81)
    curvature = np.where(grid.z > 0, np.float32(1 / 75), np.float32(1 / 108))
    w = grid.z * curvature
    squared_u, squared_v = u * u, v * v
    square = np.float32(0.3) * (squared_u * squared_v)  # squarer than an ellipse in the plane
    reach = np.sqrt(np.maximum(squared_u + squared_v - square + w * w, np.float32(1e-6)))
    u *= (1 - np.float32(0.3) * squared_v) / width
    v *= (1 - np.float32(0.3) * squared_u) * np.float32(1 / 81)
    w *= curvature
    slope = np.sqrt(u * u + v * v + w * w)
    depth: Field = reach * (1 - reach) / (slope + np.float32(2e-5))
    return depth


def floor_depth(grid: HeadGrid) -> Field:
    """Returns the distance above the skull base, positive in the cavity."""
    table = _base_height()
    column = np.clip(grid.x + 100.5, 0, 200).astype(np.int16)
    row = np.clip(grid.y + 120.5, 0, 240).astype(np.int16)
    depth: Field = (grid.z - table[row, column]) * np.float32(0.8)
    return depth


@lru_cache(maxsize=1)
def _base_height() -> Field:
    """Height of the skull base, shape (241, 201), at y = row - 120, x = column - 100."""
    y, x = np.mgrid[-120:121, -100:101].astype(np.float32)
    side = np.abs(x)

    def step(value: Field, width: float) -> Field:
        rising: Field = (0.5 * (1 + np.tanh(value / width))).astype(np.float32)
        return rising

    anterior = -27 + 10 * np.exp(-(((side - 28) / 15) ** 2)) - 0.05 * (y + 55) - 2 * np.exp(-((x / 6) ** 2))
    cup = np.clip(((side - 38) / 24) ** 2 + ((y + 8) / 28) ** 2, 0, 1.2)
    middle = -27 - step(side - 17, 4.0) * (20 - 12 * cup)
    bowl = -66 + 34 * np.clip((x / 56) ** 2 + ((y - 40) / 44) ** 2, 0, 1.3)
    ridge_y = 2 + 0.42 * side  # the petrous ridge runs outwards and backwards
    ridge = np.exp(-(((y - ridge_y) / 6) ** 2)) * step(side - 10, 5.0)
    height = middle + (anterior - middle) * step(-34 + 0.12 * side - y, 2.5)
    height = height + (bowl - height) * step(y - ridge_y, 2.5)
    height = height + (-27 - height) * 0.85 * ridge
    foramen = step(15 - np.hypot(x, y - 28), 1.5)
    table: Field = (height - 200 * foramen).astype(np.float32)
    return table


def _sample_calcifications(rng: np.random.Generator, age: float) -> tuple[tuple[Ellipsoid, float], ...]:
    found: list[tuple[Ellipsoid, float]] = []

    def add(probability: float, center: Point, radius: float) -> None:
        if rng.random() < probability:
            radii = radius * rng.uniform(0.6, 1.4, size=3)
            where = np.array(center) + rng.normal(0, 1.0, size=3)
            shape = Ellipsoid(
                (float(where[0]), float(where[1]), float(where[2])), (float(radii[0]), float(radii[1]), float(radii[2]))
            )
            found.append((shape, float(rng.uniform(90, 400))))

    add(0.3 + 0.4 * age, (0.0, 21.0, -3.0), 2.2)  # pineal gland
    for side in (-1.0, 1.0):
        add(0.2 + 0.5 * age, (side * 23.0, 29.0, 6.0), 2.8)  # choroid plexus
        add(0.12 * age, (side * 20.0, -7.0, -1.0), 2.5)  # globus pallidus
    add(0.15 * age, (0.0, -55.0, 40.0), 2.5)  # falx
    return tuple(found)


def _sample_infarcts(rng: np.random.Generator, age: float) -> tuple[Ellipsoid, ...]:
    if rng.random() > 0.05 + 0.2 * age:
        return ()
    side = rng.choice([-1.0, 1.0])
    if rng.random() < 0.5:  # lacune
        radii = rng.uniform(2.5, 6, size=3)
        return (
            Ellipsoid(
                (float(side * rng.uniform(12, 28)), float(rng.uniform(-18, 10)), float(rng.uniform(-2, 14))),
                (float(radii[0]), float(radii[1]), float(radii[2])),
            ),
        )
    radii = rng.uniform(9, 24, size=3)
    return (
        Ellipsoid(
            (float(side * rng.uniform(40, 55)), float(rng.uniform(-30, 55)), float(rng.uniform(-5, 35))),
            (float(radii[0]), float(radii[1]), float(radii[2])),
        ),
    )

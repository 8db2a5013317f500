"""Simple heads with known answers, for tests of the scanner."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from slicewise.phantom.anatomy import Anatomy
from slicewise.phantom.fields import Field
from slicewise.phantom.geometry import HeadPose, ScanGeometry
from slicewise.phantom.head import WHITE, RenderedHead
from slicewise.phantom.hemorrhages.model import Hemorrhage
from slicewise.phantom.noise import KERNELS
from slicewise.phantom.scanner import ScanPhysics

ORIGIN, SPACING = (-99.0, -109.0, -99.0), (2.0, 1.0, 1.0)
SHAPE = (100, 219, 199)
BRAIN_HU, BONE_HU = 35.0, 1200.0
INNER_MM, OUTER_MM = 70.0, 77.0


def coordinates(coarser: int = 1) -> tuple[Field, Field, Field]:
    """Template coordinates x, y, z of every voxel, broadcast; of every second voxel with 2."""
    planes, rows, columns = SHAPE
    x = ORIGIN[0] + SPACING[2] * np.arange(0, columns, coarser, dtype=np.float32)[None, None, :]
    y = ORIGIN[1] + SPACING[1] * np.arange(0, rows, coarser, dtype=np.float32)[None, :, None]
    z = ORIGIN[2] + SPACING[0] * np.arange(0, planes, coarser, dtype=np.float32)[:, None, None]
    return x, y, z


def cylinder(hu: Field | None = None, occupancy: dict[str, Field] | None = None, coarser: int = 1) -> RenderedHead:
    """A cylinder of brain in a tube of bone along z."""
    x, y, z = coordinates(coarser)
    shape = np.broadcast_shapes(x.shape, y.shape, z.shape)
    radius = np.broadcast_to(np.hypot(x, y), shape)
    drawn = np.full(shape, -1000, dtype=np.float32)
    drawn[radius < OUTER_MM] = BONE_HU
    drawn[radius < INNER_MM] = BRAIN_HU
    return RenderedHead(
        hu=drawn if hu is None else hu,
        wall_mm=np.float32(INNER_MM) - radius.astype(np.float32),
        tissue=np.zeros(shape, dtype=np.uint8),
        occupancy=occupancy or {},
        hemorrhages=(),
        origin_mm=ORIGIN,
        spacing_mm=(coarser * SPACING[0], coarser * SPACING[1], coarser * SPACING[2]),
    )


def geometry(
    *, count: int = 5, spacing: float = 5.0, thickness: float | None = None, tilt: float = 0.0, matrix: int = 220
) -> ScanGeometry:
    """Slices around the centre of a head that lies straight; 1.1 mm pixels by default."""
    offsets = spacing * (np.arange(count) - 0.5 * (count - 1))
    return ScanGeometry(
        matrix=matrix,
        fov_mm=242.0,
        offsets_mm=np.asarray(offsets, dtype=np.float64),
        thickness_mm=np.full(count, spacing if thickness is None else thickness),
        tilt_degrees=tilt,
        shift_mm=(0.0, 0.0),
        pose=HeadPose(np.array([3.0, -12.0, 400.0]), np.eye(3), np.ones(3)),
    )


def perfect(**changes: object) -> ScanPhysics:
    """A scanner with nothing but its point spread."""
    values: dict[str, object] = {
        "kernel": KERNELS["standard"],
        "noise_hu": 1e-6,
        "noise_by_position": False,
        "cupping_hu": 0.0,
        "cupping_decay_mm": 10.0,
        "hardening": 0.0,
        "starvation": 0.0,
        "metal": False,
        "shading_hu": 0.0,
        "offset_hu": 0.0,
        "motion": None,
        "jump": None,
        "headrest": False,
        "circle": False,
    }
    return ScanPhysics(**(values | changes))  # type: ignore[arg-type]  # each test names what it changes


def simple_head(
    anatomy: Anatomy,  # noqa: ARG001  # as `render_head` has it
    hemorrhages: tuple[Hemorrhage, ...],
    rng: np.random.Generator,
    **_: bool,
) -> RenderedHead:
    """Stands for `render_head` where the head does not matter: a cylinder with a ball of blood for every hemorrhage."""
    x, y, z = coordinates(2)
    head = cylinder(coarser=2)
    occupancy: dict[str, Field] = {}
    for one in hemorrhages:
        place = rng.uniform(-30, 30, size=3)
        distance = np.sqrt((x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2)
        ball = np.clip(np.float32(9) - distance, 0, 1).astype(np.float32)
        occupancy[one.subtype] = np.maximum(occupancy.get(one.subtype, np.float32(0)), ball)
        head.hu[ball > 0.5] = 65.0
    head.tissue[head.wall_mm > 0] = WHITE
    return replace(head, occupancy=occupancy, hemorrhages=hemorrhages)

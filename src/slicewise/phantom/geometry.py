"""Where the slices of one scan lie, and how the head lies in the scanner."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from slicewise.imaging.geometry import AxialGeometry, order_slices
from slicewise.phantom.parameters import GeometryParameters, Range

Floats = npt.NDArray[np.float64]

_VERTEX_MM = 80.0
"""Height of the skin at the vertex above the level of the thalami."""

_ROUTINE_MM = (4.0, 6.0)
"""Series with such a distance between slices keep the wanted number of slices; others the length that it makes."""

_SHORTEST = 0.6
"""A series whose spacing grows has at least this share of the smallest number of slices."""

_DIGITS = 6
"""Digits after the point that DICOM's decimal strings keep of lengths and cosines, PS3.5 6.2."""


@dataclass(frozen=True, eq=False)
class HeadPose:
    """How a head lies in the scanner.

    Attributes:
        center: Centre of the head in the patient coordinate system, mm.
        rotation: Columns are the template's axes, shape (3, 3).
        scale: Size of the head relative to the template along its axes.
    """

    center: Floats
    rotation: Floats
    scale: Floats

    @cached_property
    def to_template(self) -> Floats:
        """Matrix from millimetres beside the centre to template coordinates, shape (3, 3)."""
        matrix: Floats = self.rotation.T / self.scale[:, None]
        return matrix


@dataclass(frozen=True, eq=False)
class ScanGeometry:
    """Where the slices of one scan lie. Vectors are in the patient coordinate system, DICOM PS3.3 C.7.6.2.1.1.

    A tilted gantry moves with the table: image positions advance along the table, not along the slice normal.

    Attributes:
        matrix: Rows and columns.
        fov_mm: Side of the square field of view.
        offsets_mm: Distance of every slice from the head's centre along the normal, shape (slices,), ascending.
        thickness_mm: Thickness of every slice, shape (slices,).
        tilt_degrees: Angle of the gantry, positive if the top of the slice is nearer to the feet.
        shift_mm: In-plane place of the field of view's centre beside the head's centre, along row and column.
        pose: How the head lies.
    """

    matrix: int
    fov_mm: float
    offsets_mm: Floats
    thickness_mm: Floats
    tilt_degrees: float
    shift_mm: tuple[float, float]
    pose: HeadPose

    @property
    def slices(self) -> int:
        """Number of slices."""
        return len(self.offsets_mm)

    @property
    def row(self) -> Floats:
        """Direction of increasing column index."""
        return np.array([1.0, 0.0, 0.0])

    @cached_property
    def column(self) -> Floats:
        """Direction of increasing row index, as a file states it."""
        angle = np.deg2rad(self.tilt_degrees)
        return np.round([0.0, np.cos(angle), -np.sin(angle)], _DIGITS)

    @cached_property
    def normal(self) -> Floats:
        """Slice normal, towards the head."""
        return np.cross(self.row, self.column)

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel, as a file states it."""
        return round(self.fov_mm / self.matrix, _DIGITS)

    @cached_property
    def slice_centers(self) -> Floats:
        """Centre of the field of view of every slice, shape (slices, 3)."""
        across, down = self.shift_mm
        table = self.offsets_mm / self.normal[2]
        base = self.pose.center + across * self.row + down * self.column
        centers: Floats = base + table[:, None] * np.array([0.0, 0.0, 1.0])
        return centers

    @cached_property
    def image_positions(self) -> Floats:
        """Image Position (Patient) of every slice, as a file states it: its first pixel's centre, shape (slices, 3)."""
        corner = -0.5 * (self.matrix - 1) * self.pixel_mm
        positions: Floats = np.round(self.slice_centers + corner * (self.row + self.column), _DIGITS)
        return positions

    @cached_property
    def stack(self) -> AxialGeometry:
        """What a reader of the files finds: positions along the normal, tilt, warnings."""
        orientation = np.concatenate([self.row, self.column])
        count = self.slices
        return order_slices(
            self.image_positions, np.tile(orientation, (count, 1)), [None] * count, [f"{n:06d}" for n in range(count)]
        )

    @property
    def slice_volumes_ml(self) -> Floats:
        """Volume of 1 mm2 of every slice in ml, shape (slices,): a slice stands for what is nearest to it."""
        if self.slices == 1:
            return self.thickness_mm / 1000
        middles = 0.5 * (self.offsets_mm[1:] + self.offsets_mm[:-1])
        first, last = self.offsets_mm[0] - middles[0], self.offsets_mm[-1] - middles[-1]
        edges = np.concatenate([[self.offsets_mm[0] + first], middles, [self.offsets_mm[-1] + last]])
        volumes: Floats = np.diff(edges) / 1000
        return volumes


def sample_geometry(rng: np.random.Generator, parameters: GeometryParameters, scale: Floats) -> ScanGeometry:
    """Draws where the slices lie and how the head lies in the scanner.

    Args:
        rng: Where everything is drawn from.
        parameters: What can be chosen.
        scale: Size of the head relative to the template along its axes.
    """
    tilt = round(_uniform(rng, parameters.tilt_degrees) * float(rng.choice([1, 1, 1, 1, 1, -1])), 1)
    tilt *= float(rng.random() < parameters.tilted)
    # Gantries are tilted along the orbitomeatal line, so the head's own nodding goes against the tilt.
    pitch = -0.8 * tilt + parameters.pitch_degrees * rng.standard_normal()
    roll, yaw = rng.standard_normal(2) * (parameters.roll_degrees, parameters.yaw_degrees)
    center = rng.normal(0, (6, 6, 0)) + np.array([0.0, -12.0, rng.uniform(-50, 900)])
    shift = rng.standard_normal(2) * parameters.off_center_mm
    offsets, thickness = _sample_slices(rng, parameters, float(scale[2]))
    return ScanGeometry(
        matrix=parameters.matrix,
        fov_mm=round(_uniform(rng, parameters.fov_mm), 1),
        offsets_mm=offsets,
        thickness_mm=thickness,
        tilt_degrees=tilt,
        shift_mm=(float(shift[0]), float(shift[1]) - 2.0),
        pose=HeadPose(center, rotation(pitch, float(roll), float(yaw)), scale),
    )


def rotation(pitch: float, roll: float, yaw: float) -> Floats:
    """Returns the rotation by yaw about z, after roll about y, after pitch about x; in degrees."""
    (cp, cr, cy), (sp, sr, sy) = np.cos(np.deg2rad([pitch, roll, yaw])), np.sin(np.deg2rad([pitch, roll, yaw]))
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    turned: Floats = about_z @ about_y @ about_x
    return turned


def _sample_slices(rng: np.random.Generator, parameters: GeometryParameters, height: float) -> tuple[Floats, Floats]:
    """Draws distances from the head's centre along the normal, and thicknesses."""
    spacing = _sample_spacing(rng, parameters)
    top = _VERTEX_MM * height + rng.uniform(3, 16)
    bottom = _uniform(rng, parameters.bottom_mm) * height
    cut_top, cut_bottom, changes = rng.random(3) < (parameters.cut_top, parameters.cut_bottom, parameters.changing)
    top = top - rng.uniform(15, 45) * cut_top
    bottom = rng.uniform(-40, 0) if cut_bottom else bottom
    border = max(rng.uniform(-30, 5), bottom)
    coarser = spacing * rng.choice([1.5, 1.75, 2.0])
    low, high = parameters.slices
    if not _ROUTINE_MM[0] <= spacing < _ROUTINE_MM[1]:
        low, high = max(1, round(low * 5 / spacing)), round(high * 5 / spacing)
    wanted = round((top - bottom) / spacing)
    if cut_top or cut_bottom:
        low = min(low, max(wanted, 1))
    if changes and spacing >= _ROUTINE_MM[0] and wanted <= high:
        below = np.arange(bottom, border + spacing, spacing)
        above = np.arange(below[-1] + coarser, top, coarser)
        if len(below) + len(above) >= _SHORTEST * low:
            return np.concatenate([below, above]), np.repeat([spacing, coarser], [len(below), len(above)])
    count = int(np.clip(wanted, low, high))
    # Fewer slices than the head is high stand around its middle.
    first = top - count * spacing if count >= wanted else min(top - count * spacing, 18.0 - 0.5 * count * spacing)
    offsets = first + spacing * np.arange(count)
    draw = rng.random()
    factor = rng.uniform(0.5, 0.8) if draw < parameters.gap else 1.0
    factor = rng.uniform(1.25, 2.0) if draw > 1 - parameters.overlap else factor
    return offsets, np.full(count, round(spacing * factor, 2))


def _sample_spacing(rng: np.random.Generator, parameters: GeometryParameters) -> float:
    draw = rng.random()
    limits = parameters.spacing_mm
    for probability, other in (
        (parameters.thin, parameters.thin_mm),
        (parameters.medium, parameters.medium_mm),
        (parameters.thick, parameters.thick_mm),
    ):
        if 0 <= draw < probability:
            limits = other
        draw -= probability
    spacing = _uniform(rng, limits)
    # Protocols have round numbers: half of the routine series are at 5 mm exactly.
    return 5.0 if rng.random() < 0.5 and limits[0] <= 5.0 <= limits[1] else round(spacing, 2)


def _uniform(rng: np.random.Generator, limits: Range) -> float:
    return float(rng.uniform(*limits))

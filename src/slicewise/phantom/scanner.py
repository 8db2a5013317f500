"""The CT scanner: where its slices lie, and what it makes of the head: partial volume, cupping, point spread, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from slicewise.phantom.fields import Field, HeadGrid, Window, smooth_noise

SUB_SLICES = 3
FINEST_WORKING_MATRIX = 176
"""The head is drawn on this in-plane matrix (about 1.3 mm), then brought to the wanted one by the point spread."""

LOWEST_HU, HIGHEST_HU = -1024, 3071


@dataclass(frozen=True, eq=False)
class ScanGeometry:
    """Where the slices of one scan lie. Vectors are in the patient coordinate system, DICOM PS3.3 C.7.6.2.1.1.

    A tilted gantry moves with the table: image positions advance along the table, not along the slice normal.

    Attributes:
        matrix: Rows and columns.
        fov_mm: Side of the square field of view.
        spacing_mm: Distance between slices along their normal; also the slice thickness.
        offsets_mm: Distance of every slice from the head's centre along the normal, shape (slices,), ascending.
        tilt_degrees: Angle of the gantry, positive if the top of the slice is nearer to the feet.
        center: Centre of the head.
        shift_mm: In-plane place of the field of view's centre beside the head's centre, along row and column.
        rotation: Columns are the template's axes, shape (3, 3).
        scale: Size of the head relative to the template.
    """

    matrix: int
    fov_mm: float
    spacing_mm: float
    offsets_mm: npt.NDArray[np.float64]
    tilt_degrees: float
    center: npt.NDArray[np.float64]
    shift_mm: tuple[float, float]
    rotation: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]

    @property
    def row(self) -> npt.NDArray[np.float64]:
        """Direction of increasing column index."""
        return np.array([1.0, 0.0, 0.0])

    @property
    def column(self) -> npt.NDArray[np.float64]:
        """Direction of increasing row index."""
        angle = np.deg2rad(self.tilt_degrees)
        return np.array([0.0, np.cos(angle), -np.sin(angle)])

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Slice normal, towards the head."""
        return np.cross(self.row, self.column)

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel."""
        return self.fov_mm / self.matrix

    @property
    def working_matrix(self) -> int:
        """Rows and columns of the grid that the head is drawn on, no finer than the image."""
        return min(FINEST_WORKING_MATRIX, self.matrix)

    @property
    def working_mm(self) -> float:
        """Side of a pixel of the working grid."""
        return self.fov_mm / self.working_matrix

    @property
    def working_offsets_mm(self) -> npt.NDArray[np.float64]:
        """Places of the working grid's pixels beside the centre of the field of view, along a row or column."""
        count = self.working_matrix
        return np.linspace(-0.5 * (count - 1), 0.5 * (count - 1), count) * self.working_mm

    @property
    def slice_centers(self) -> npt.NDArray[np.float64]:
        """Centre of the field of view of every slice, shape (slices, 3)."""
        across, down = self.shift_mm
        table = self.offsets_mm / self.normal[2]
        base = self.center + across * self.row + down * self.column
        centers: npt.NDArray[np.float64] = base + table[:, None] * np.array([0.0, 0.0, 1.0])
        return centers

    @property
    def image_positions(self) -> npt.NDArray[np.float64]:
        """Image Position (Patient) of every slice: the centre of its first pixel, shape (slices, 3)."""
        corner = -0.5 * (self.fov_mm - self.pixel_mm)
        positions: npt.NDArray[np.float64] = self.slice_centers + corner * (self.row + self.column)
        return positions

    @property
    def positions_mm(self) -> npt.NDArray[np.float64]:
        """Position of every slice along the normal, shape (slices,), ascending."""
        positions: npt.NDArray[np.float64] = self.image_positions @ self.normal
        return positions


def sample_geometry(
    rng: np.random.Generator, *, matrix: int, slices: tuple[int, int], tilted_share: float, scale: tuple[float, ...]
) -> ScanGeometry:
    """Draws where the slices lie and how the head lies in the scanner.

    Args:
        rng: Where everything is drawn from.
        matrix: Rows and columns.
        slices: Smallest and largest number of slices.
        tilted_share: Share of the scans with a tilted gantry.
        scale: Size of the head relative to the template along its axes.
    """
    spacing = float(np.round(rng.choice([4.5, 4.8, 5.0, 5.0, 5.0, 5.2, 5.4, 5.6]), 2))
    count = int(rng.integers(slices[0], slices[1] + 1))
    top = 75.0 * scale[2] + float(rng.uniform(4, 18))
    middle = min(top - 0.5 * (count - 1) * spacing, 18.0 + float(rng.normal(0, 3)))
    offsets = np.asarray(middle + (np.arange(count) - 0.5 * (count - 1)) * spacing, dtype=np.float64)
    tilt = float(np.round(rng.uniform(4, 24) * rng.choice([1, 1, 1, 1, 1, -1]), 1))
    tilt *= float(rng.random() < tilted_share)
    pitch, roll, yaw = rng.normal(0, (5.0, 2.5, 4.0))
    return ScanGeometry(
        matrix=matrix,
        fov_mm=float(np.round(rng.uniform(222, 250), 1)),
        spacing_mm=spacing,
        offsets_mm=offsets,
        tilt_degrees=tilt,
        center=rng.normal(0, (6, 6, 0)) + np.array([0.0, -12.0, rng.uniform(-50, 900)]),
        shift_mm=(float(rng.normal(0, 5)), float(rng.normal(-2, 5))),
        rotation=_rotation(-tilt + pitch, roll, yaw),
        scale=np.asarray(scale, dtype=np.float64),
    )


def head_grid(geometry: ScanGeometry) -> HeadGrid:
    """Returns the template coordinates of the working grid, with `SUB_SLICES` samples of every slice's thickness."""
    inplane = geometry.working_offsets_mm
    inner = (np.arange(SUB_SLICES) - 0.5 * (SUB_SLICES - 1)) * geometry.spacing_mm / SUB_SLICES
    to_template = geometry.rotation.T / geometry.scale[:, None]
    origins = geometry.slice_centers[:, None, :] + inner[None, :, None] * geometry.normal - geometry.center
    start = origins.reshape(-1, 3) @ to_template.T
    across, down = to_template @ geometry.row, to_template @ geometry.column
    axes = [
        (
            start[:, axis, None, None] + (down[axis] * inplane)[None, :, None] + (across[axis] * inplane)[None, None, :]
        ).astype(np.float32)
        for axis in range(3)
    ]
    return HeadGrid(
        axes[0], axes[1], axes[2], (geometry.spacing_mm / SUB_SLICES, geometry.working_mm, geometry.working_mm)
    )


def crop(grid: HeadGrid, low: tuple[float, float, float], high: tuple[float, float, float]) -> tuple[HeadGrid, Window]:
    """Returns the in-plane part of a grid that encloses a box of the template, and where it lies."""
    _, rows, columns = grid.window(low, high)
    window = (slice(0, grid.x.shape[0]), rows, columns)
    x, y, z = (np.ascontiguousarray(axis) for axis in grid.at(window))
    return HeadGrid(x, y, z, grid.spacing_mm), window


def partial_volume(field: Field) -> Field:
    """Averages the sub-slices of every slice: shape (sub-slices, ...) to (slices, ...)."""
    mean: Field = field.reshape(-1, SUB_SLICES, *field.shape[1:]).mean(axis=1)
    return mean


@dataclass(frozen=True, eq=False)
class Detector:
    """In-plane point spread and resampling of one scan, as one matrix along rows and one along columns."""

    rows: sparse.csr_array
    columns: sparse.csr_array

    @classmethod
    def of(cls, geometry: ScanGeometry, window: Window | None, spread_mm: float) -> Detector:
        """Prepares the detector.

        Args:
            geometry: The scan.
            window: Part of the working grid that the fields cover, None for all of it.
            spread_mm: SD of the Gaussian point spread.
        """
        whole = slice(0, geometry.working_matrix)
        _, rows, columns = window or (whole, whole, whole)
        return cls(_spread(geometry, rows, spread_mm), _spread(geometry, columns, spread_mm))

    def sees(self, field: Field) -> Field:
        """Brings a field (slices, working rows, working columns) to (slices, matrix, matrix); 0 outside the window."""
        slices, rows, columns = field.shape
        wide = (self.columns @ field.reshape(-1, columns).T).reshape(-1, slices, rows)
        high = self.rows @ wide.transpose(2, 1, 0).reshape(rows, -1)
        return np.ascontiguousarray(high.reshape(-1, slices, self.columns.shape[0]).transpose(1, 0, 2))


def cupping(wall_mm: Field, excess_hu: float, decay_mm: float) -> Field:
    """Beam hardening: the excess of brain near the inner table over the centre, decaying with the depth."""
    excess: Field = np.float32(excess_hu) * np.exp(np.maximum(wall_mm, 0) * np.float32(-1 / decay_mm))
    return np.where(wall_mm > -2, excess, np.float32(0))


def image_noise(rng: np.random.Generator, shape: tuple[int, int, int], pixel_mm: float, deviation_hu: float) -> Field:
    """Draws noise that is correlated in the plane and independent from slice to slice.

    Two thirds of its variance are fine (0.55 mm), the rest coarser (1.6 mm), as a soft-tissue kernel leaves it.
    """
    fine = smooth_noise(rng, shape, (1.0, pixel_mm, pixel_mm), (0.0, 0.55, 0.55))
    coarse = smooth_noise(rng, shape, (1.0, pixel_mm, pixel_mm), (0.0, 1.6, 1.6))
    noise: Field = np.float32(deviation_hu) * (np.float32(np.sqrt(2 / 3)) * fine + np.float32(np.sqrt(1 / 3)) * coarse)
    return noise


def headrest(geometry: ScanGeometry, rng: np.random.Generator) -> Field:
    """Returns the HU above air of the headrest: a shell along the table, shape (slices, working rows, columns)."""
    inplane = geometry.working_offsets_mm
    centers = geometry.slice_centers - geometry.center
    x = centers[:, 0, None, None] + inplane[None, None, :]
    y = centers[:, 1, None, None] + inplane[None, :, None] * geometry.column[1]
    low = float(geometry.scale[1] * 100 + rng.uniform(4, 12))
    radius = float(rng.uniform(95, 125))
    distance = np.abs(np.hypot(x, y - (low - radius)) - radius)
    shell = np.clip(2.6 - distance, 0, 1) * np.clip((y - (low - radius)) / 4 + 8, 0, 1)
    excess: Field = (shell * rng.uniform(850, 1150)).astype(np.float32)
    return excess


def quantised(hu: Field) -> Field:
    """Rounds to whole HU within the range of a 12-bit scanner, as stored values do."""
    rounded: Field = np.rint(np.clip(hu, LOWEST_HU, HIGHEST_HU))
    return rounded


def _spread(geometry: ScanGeometry, span: slice, spread_mm: float) -> sparse.csr_array:
    """Gaussian weights (matrix, working samples) of sum 1 a row, where the whole working grid is there."""
    step = geometry.working_mm
    working = (np.arange(geometry.working_matrix) + 0.5) * step
    wanted = (np.arange(geometry.matrix) + 0.5) * geometry.pixel_mm
    sigma = max(spread_mm, 0.5 * step, 0.4 * geometry.pixel_mm)
    distance = (wanted[:, None] - working[None, :]) / sigma
    weights = np.where(np.abs(distance) < 3.2, np.exp(-0.5 * distance**2), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return sparse.csr_array(weights[:, span].astype(np.float32))


def _rotation(pitch: float, roll: float, yaw: float) -> npt.NDArray[np.float64]:
    """Rotation by yaw about z, after roll about y, after pitch about x; in degrees."""
    (cp, cr, cy), (sp, sr, sy) = np.cos(np.deg2rad([pitch, roll, yaw])), np.sin(np.deg2rad([pitch, roll, yaw]))
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    rotation: npt.NDArray[np.float64] = about_z @ about_y @ about_x
    return rotation

"""A head of ellipsoids with a known centre, a known distance to the bone and known cupping, for tests of preprocess."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slicewise.volume import SliceReference, Volume

Field = npt.NDArray[np.float64]

SKULL_MM, SCALP_MM = 6.0, 6.0
AIR, SCALP, BONE, CSF, WHITE, GREY = -1000.0, 40.0, 900.0, 8.0, 28.0, 36.0


@dataclass(frozen=True)
class Head:
    """What the head is like.

    Attributes:
        center_mm: Centre of the cranial cavity in the plane, row then column, from the first pixel's centre.
        radii_mm: Radii of the cavity along z, rows, columns.
        pixel_mm: Distance between rows and between columns.
        slices: Number of slices.
        spacing_mm: Distance between slices.
        lowest_mm: Position of the first slice above the centre.
        matrix: Rows and columns.
        excess_hu: Excess of cupping at the bone.
        decay_mm: Distance over which it falls to 1/e.
        rim_mm: Thickness of a rim of something within the inner table, 0 for none.
        rim_hu: Its value.
        rim_share: Share of the circumference that has it, from the patient's left on.
        gap_share: Share of the circumference without bone (a craniectomy).
        csf_mm: Width of the CSF around the brain.
        skull_mm: Thickness of the skull.
        lean_mm_per_mm: How far the head's centre moves to the back with every mm upwards.
        offset_hu: Error of the scanner's calibration.
        noise_hu: SD of the noise.
        grey: Whether more grey matter lies outside than deep; else all brain reads `WHITE`.
    """

    center_mm: tuple[float, float] = (102.0, 104.0)
    radii_mm: tuple[float, float, float] = (75.0, 82.0, 66.0)
    pixel_mm: tuple[float, float] = (1.3, 1.3)
    slices: int = 26
    spacing_mm: float = 5.0
    lowest_mm: float = -45.0
    matrix: int = 160
    excess_hu: float = 0.0
    decay_mm: float = 10.0
    rim_mm: float = 0.0
    rim_hu: float = 65.0
    rim_share: float = 0.35
    gap_share: float = 0.0
    csf_mm: float = 2.0
    skull_mm: float = SKULL_MM
    lean_mm_per_mm: float = 0.0
    offset_hu: float = 0.0
    noise_hu: float = 3.0
    grey: bool = True

    @property
    def positions_mm(self) -> Field:
        """Position of every slice."""
        return np.asarray(self.lowest_mm + self.spacing_mm * np.arange(self.slices), dtype=np.float64)

    def depth_mm(self) -> Field:
        """Returns the distance to the inner table to first order, positive in the cavity."""
        z, row, column = self._offsets()
        a, b, c = self.radii_mm
        reach = np.sqrt((z / a) ** 2 + (row / b) ** 2 + (column / c) ** 2)
        slope = np.sqrt((z / a**2) ** 2 + (row / b**2) ** 2 + (column / c**2) ** 2)
        depth: Field = (1 - reach) * (reach + 1e-3) / (slope + 1e-3 / max(self.radii_mm))
        return depth

    def around(self) -> Field:
        """Returns the direction of every pixel from the head's centre as a share of the circle, from 0 to 1."""
        _, row, column = self._offsets()
        share: Field = np.mod(np.arctan2(row, column) / (2 * np.pi), 1.0)
        return np.broadcast_to(share, (self.slices, self.matrix, self.matrix))

    def in_rim(self) -> npt.NDArray[np.bool_]:
        """Returns where the rim lies."""
        depth = self.depth_mm()
        rim: npt.NDArray[np.bool_] = (depth > 0) & (depth < self.rim_mm) & (self.around() < self.rim_share)
        return rim

    def values(self) -> npt.NDArray[np.float32]:
        """Returns the image in HU."""
        depth = self.depth_mm()
        around = self.around()
        image = np.full(depth.shape, AIR)
        image[depth > -self.skull_mm - SCALP_MM] = SCALP
        image[(depth > -self.skull_mm) & (around >= self.gap_share)] = BONE
        image[depth > 0] = CSF
        brain = WHITE + (GREY - WHITE) * np.exp(-np.maximum(depth, 0) / 12) * self.grey
        image = np.where(depth > self.csf_mm, brain, image)
        image[depth > min(self.radii_mm) - 14] = CSF
        image[self.in_rim()] = self.rim_hu
        image += np.where(depth > -1, self.excess_hu * np.exp(-np.maximum(depth, 0) / self.decay_mm), 0)
        image += np.where(depth > -self.skull_mm - SCALP_MM, self.offset_hu, 0)
        image += np.random.default_rng(7).normal(0, self.noise_hu, image.shape)
        return image.astype(np.float32)

    def volume(self, values: npt.NDArray[np.float32] | None = None) -> Volume:
        """Returns the head as a series."""
        values = self.values() if values is None else values
        return Volume(
            values=values,
            positions_mm=self.positions_mm,
            pixel_spacing_mm=self.pixel_mm,
            tilt_degrees=0.0,
            duplicate_rank=np.zeros(self.slices, dtype=np.int64),
            slices=tuple(SliceReference(str(index), 1, f"{index}.dcm", index) for index in range(self.slices)),
            patient_id="P1",
            study_uid="1",
            series_uid="1.1",
            modality="CT",
        )

    def _offsets(self) -> tuple[Field, Field, Field]:
        z = self.positions_mm[:, None, None]
        row = np.arange(self.matrix)[None, :, None] * self.pixel_mm[0] - self.center_mm[0] - z * self.lean_mm_per_mm
        column = np.arange(self.matrix)[None, None, :] * self.pixel_mm[1] - self.center_mm[1]
        return z, np.asarray(row, dtype=np.float64), np.asarray(column, dtype=np.float64)

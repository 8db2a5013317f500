"""Random changes of training slices, in HU and before the windows.

A transform is drawn once and applied to one slice or to a whole series, whose slices then stay together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slicewise.config import AugmentConfig
from slicewise.task import OCCUPANCY_STRIDE

AIR_HU = -1024.0
"""What stands where a transform looks beyond the image."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SliceTransform:
    """One drawn transform.

    Attributes:
        matrix: Maps coordinates (row, column) from the centre of the result to the centre of the source, shape (2, 2).
        shift_px: Shift of the content in pixels (rows, columns).
        gain: Factor on HU.
        offset_hu: Offset of HU, after the factor.
        noise_hu: Standard deviation of the noise.
        noise_seed: Seeds the noise.
    """

    matrix: npt.NDArray[np.float64]
    shift_px: npt.NDArray[np.float64]
    gain: float
    offset_hu: float
    noise_hu: float
    noise_seed: int

    def apply(self, values: Floats) -> Floats:
        """Returns the transformed slices; the geometry is resampled once, linearly.

        Args:
            values: HU, shape (..., rows, columns).
        """
        moved = self._move(values, self.shift_px, AIR_HU)
        result = moved * np.float32(self.gain) + np.float32(self.offset_hu)
        if self.noise_hu > 0:
            noise = np.random.default_rng(self.noise_seed).standard_normal(values.shape, dtype=np.float32)
            result += np.float32(self.noise_hu) * noise
        return result

    def apply_to_occupancy(self, occupancy: Floats) -> Floats:
        """Returns occupancies moved as the slices are; beyond the image there is no finding.

        Args:
            occupancy: On the grid of the slices, OCCUPANCY_STRIDE times as coarse, shape (..., rows, columns).
        """
        return self._move(occupancy, self.shift_px / OCCUPANCY_STRIDE, 0.0)

    def _move(self, values: Floats, shift: npt.NDArray[np.float64], beyond: float) -> Floats:
        from scipy.ndimage import affine_transform

        if not shift.any() and np.array_equal(self.matrix, np.eye(2)):
            return values
        centre = (np.array(values.shape[-2:]) - 1) / 2
        offset = centre - self.matrix @ (centre + shift)
        moved = np.empty_like(values)
        for index in np.ndindex(values.shape[:-2]):
            affine_transform(values[index], self.matrix, offset, output=moved[index], order=1, cval=beyond)
        return moved


def draw_transform(rng: np.random.Generator, config: AugmentConfig, pixel_mm: float) -> SliceTransform:
    """Draws a transform.

    Args:
        rng: Source of randomness.
        config: How far the changes go.
        pixel_mm: Side of a pixel in mm.
    """
    flip = rng.random() < config.flip
    angle = np.deg2rad(config.rotation_degrees * rng.standard_normal())
    scale = np.exp(config.scale * rng.standard_normal())
    shift = config.shift_mm / pixel_mm * rng.standard_normal(2)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return SliceTransform(
        matrix=np.diag([1.0, -1.0 if flip else 1.0]) @ rotation / scale,
        shift_px=shift,
        gain=float(1.0 + config.gain * rng.standard_normal()),
        offset_hu=float(config.offset_hu * rng.standard_normal()),
        noise_hu=float(config.noise_hu * rng.random()),
        noise_seed=int(rng.integers(2**63)),
    )

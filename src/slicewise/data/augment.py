"""Random changes of training slices, in HU and before the windows.

A transform is drawn once and applied to one slice, to a slice and its neighbours, or to a whole series: what belongs
together stays together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from slicewise.config import AugmentConfig
from slicewise.task import OCCUPANCY_STRIDE, WindowChannel

AIR_HU = -1024.0
"""What stands where a transform looks beyond the image."""

SHADING_POINTS = 6
"""Control points of the random drift along either side of a slice: some 40 mm apart on the grid of a head."""

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
        window_shift: Shift of every window as a share of its width, shape (C,).
        window_scale: Factor on the width of every window, shape (C,).
        shading_hu: Standard deviation of a smooth drift over the slice, at its control points.
        shading_seed: Seeds the drift, which is the same for all slices.
    """

    matrix: npt.NDArray[np.float64]
    shift_px: npt.NDArray[np.float64]
    gain: float
    offset_hu: float
    noise_hu: float
    noise_seed: int
    window_shift: npt.NDArray[np.float64]
    window_scale: npt.NDArray[np.float64]
    shading_hu: float
    shading_seed: int

    def apply(self, values: Floats) -> Floats:
        """Returns the transformed slices; the geometry is resampled once, linearly.

        Args:
            values: HU, shape (..., rows, columns).
        """
        result = self._move(values, self.shift_px, AIR_HU) * np.float32(self.gain)
        result += np.float32(self.offset_hu)
        if self.shading_hu > 0:
            result += self._shading(values.shape[-2:])
        if self.noise_hu > 0:
            generator = torch.Generator().manual_seed(self.noise_seed)
            result += self.noise_hu * torch.randn(values.shape, generator=generator).numpy()
        return result

    def apply_to_occupancy(self, occupancy: Floats) -> Floats:
        """Returns occupancies moved as the slices are; beyond the image there is no finding.

        Args:
            occupancy: On the grid of the slices, OCCUPANCY_STRIDE times as coarse, shape (..., rows, columns).
        """
        return self._move(occupancy, self.shift_px / OCCUPANCY_STRIDE, 0.0)

    def apply_to_windows(self, channels: Sequence[WindowChannel]) -> tuple[WindowChannel, ...]:
        """Returns the windows through which the transformed slices are seen."""
        return tuple(
            msgspec.structs.replace(
                channel, center=channel.center + float(shift) * channel.width, width=channel.width * float(scale)
            )
            for channel, shift, scale in zip(channels, self.window_shift, self.window_scale, strict=True)
        )

    def _shading(self, size: tuple[int, ...]) -> Floats:
        generator = torch.Generator().manual_seed(self.shading_seed)
        points = self.shading_hu * torch.randn((1, 1, SHADING_POINTS, SHADING_POINTS), generator=generator)
        drift: Floats = functional.interpolate(points, size=size, mode="bicubic", align_corners=True)[0, 0].numpy()
        return drift

    def _move(self, values: Floats, shift: npt.NDArray[np.float64], beyond: float) -> Floats:
        if not shift.any() and np.array_equal(self.matrix, np.eye(2)):
            return values
        # torch samples several times faster than scipy.ndimage, to which a test holds it. Beyond the image it sees 0.
        stack = torch.from_numpy(values - np.float32(beyond)).reshape(1, -1, *values.shape[-2:])
        grid = torch.from_numpy(self._sources(shift, values.shape[-2:]))[None]
        moved: Floats = functional.grid_sample(stack, grid, padding_mode="zeros", align_corners=False).numpy()
        moved += np.float32(beyond)
        return moved.reshape(values.shape)

    def _sources(self, shift: npt.NDArray[np.float64], size: tuple[int, ...]) -> Floats:
        """Returns where every pixel comes from, as torch wants it: (column, row), from -1 to 1 over the image."""
        rows, columns = (np.arange(length) - (length - 1) / 2 for length in size)
        sources = np.empty((*size, 2), dtype=np.float32)
        for axis in range(2):
            of_row = self.matrix[axis, 0] * (rows - shift[0]) - self.matrix[axis, 1] * shift[1]
            scale = 2 / size[axis]
            np.add.outer(scale * of_row, scale * self.matrix[axis, 1] * columns, out=sources[..., 1 - axis])
        return sources


def draw_transform(rng: np.random.Generator, config: AugmentConfig, pixel_mm: float, channels: int) -> SliceTransform:
    """Draws a transform.

    Args:
        rng: Source of randomness.
        config: How far the changes go.
        pixel_mm: Side of a pixel in mm.
        channels: Number of windows.
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
        window_shift=config.window_shift * rng.standard_normal(channels),
        window_scale=np.exp(config.window_scale * rng.standard_normal(channels)),
        shading_hu=config.shading_hu,
        shading_seed=int(rng.integers(2**63)),
    )

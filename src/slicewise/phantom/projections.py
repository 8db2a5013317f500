"""Parallel-beam projections of coarse slices, and what goes wrong along rays: beam hardening, starvation, metal.

Coarse pixels are enough: the errors are smooth along a ray, and a slice of 5 mm smears them anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft, sparse

from slicewise.phantom.fields import Field

SIZE, ANGLES = 104, 96
"""Pixels along a side of the coarse grid, and directions of rays over half a turn."""

WATER_PER_MM = 0.0195
"""Attenuation of water for 120 kV, effective energy about 70 keV."""

METAL_HU = 3000.0
"""From here on a voxel of a head is metal."""

_BONE_HU = 250.0
_HARDENING_HU = 5.0
"""Error in HU mm of a ray for every mm of dense bone and every mm of bone or three of water that harden its beam."""

_STARVATION_HU = 300.0
_METAL_STREAK_HU, _METAL_MM = 6000.0, 3.0
_THICK_HEAD = 4.3
"""Attenuation of 22 cm of water: beyond, rays carry more noise than the kernel's spectrum tells."""


@dataclass(frozen=True, eq=False)
class Projector:
    """Line integrals of SIZE x SIZE pixels and their transpose.

    Attributes:
        forward: Shape (ANGLES * SIZE, SIZE * SIZE): sums along rays, in pixels.
        backward: The transpose.
    """

    forward: sparse.csr_array
    backward: sparse.csr_array

    def project(self, images: Field) -> Field:
        """Returns the sums along rays, shape (ANGLES * SIZE, slices), of images (slices, SIZE, SIZE)."""
        sums: Field = self.forward @ np.ascontiguousarray(images.reshape(len(images), -1).T)
        return sums

    def back(self, rays: Field) -> Field:
        """Returns for every pixel the mean over its rays, shape (slices, SIZE, SIZE)."""
        spread = self.backward @ rays
        spread *= np.float32(1 / ANGLES)
        return np.ascontiguousarray(spread.T).reshape(rays.shape[1], SIZE, SIZE)

    def reconstruct(self, rays: Field) -> Field:
        """Filtered back-projection: the inverse of `project` but for its blur."""
        by_angle = rays.reshape(ANGLES, SIZE, -1)
        spectrum = fft.rfft(by_angle, n=2 * SIZE, axis=1)
        spectrum *= _ramp()[None, :, None]
        filtered = fft.irfft(spectrum, n=2 * SIZE, axis=1)[:, :SIZE]
        return self.back(np.ascontiguousarray(filtered, dtype=np.float32).reshape(rays.shape)) * np.float32(np.pi)


@lru_cache(maxsize=1)
def projector() -> Projector:
    """Returns the projector of the coarse grid: every pixel is split between the two rays beside its centre."""
    place = np.arange(SIZE) - 0.5 * (SIZE - 1)
    y, x = np.meshgrid(place, place, indexing="ij")
    disc = np.flatnonzero((np.hypot(x, y) < 0.5 * SIZE - 1).ravel())
    rows, columns, weights = [], [], []
    for number, angle in enumerate(np.arange(ANGLES) * np.pi / ANGLES):
        ray = (x * np.cos(angle) + y * np.sin(angle)).ravel()[disc] + 0.5 * (SIZE - 1)
        low = np.floor(ray).astype(np.int64)
        for step, weight in ((0, 1 - (ray - low)), (1, ray - low)):
            rows.append(number * SIZE + low + step)
            columns.append(disc)
            weights.append(weight.astype(np.float32))
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    forward = sparse.csr_array(entries, shape=(ANGLES * SIZE, SIZE * SIZE))
    return Projector(forward, sparse.csr_array(forward.T))


@dataclass(frozen=True, eq=False)
class RayPaths:
    """What lies along the rays through every slice, in mm; shape (rays, slices) each.

    Attributes:
        water: Equivalent length of water.
        bone: Equivalent length of dense bone, beyond its share of water.
        metal: Equivalent length of metal.
        pixel_mm: Side of a coarse pixel.
    """

    water: Field
    bone: Field
    metal: Field | None
    pixel_mm: float

    @classmethod
    def through(cls, hu: Field, metal: Field | None, pixel_mm: float) -> RayPaths:
        """Projects coarse slices.

        Args:
            hu: Shape (slices, SIZE, SIZE).
            metal: Share of every pixel that is metal, in that shape; None where there is none.
            pixel_mm: Side of a pixel.
        """
        beams, step = projector(), np.float32(pixel_mm)
        water = np.clip(hu, -1000, 150)
        water += np.float32(1000)
        water *= np.float32(1e-3)
        bone = np.clip(hu - np.float32(_BONE_HU), 0, 1600)
        bone *= np.float32(1e-3)
        through_metal = None if metal is None else beams.project(metal) * step
        return cls(beams.project(water) * step, beams.project(bone) * step, through_metal, pixel_mm)

    @property
    def attenuation(self) -> Field:
        """Natural logarithm of the attenuation of every ray."""
        return (self.water + np.float32(0.9) * self.bone) * np.float32(WATER_PER_MM)

    def noise_pattern(self) -> Field:
        """Relative SD of the noise of every pixel, shape (slices, SIZE, SIZE), about 1 in the middle of a vault.

        Quantum noise of a ray grows with the square root of its attenuation; a pixel gets the mean of its rays.
        """
        variance = np.exp(self.attenuation * np.float32(0.5))
        variance = projector().back(variance)
        return np.sqrt(np.maximum(variance, 1e-3)) * np.float32(1 / 2.75)

    def hardening(self, strength: float) -> Field:
        """Returns the error of every ray from the hardening of the beam by bone, in HU pixels, shape (rays, slices).

        A correction for water is left with an error that grows with the bone along a ray times all that hardens the
        beam, bone about three times as much as water. Rays through both petrous bones are read too low: what lies
        between them is dark. Inside a closed vault brain comes out too bright.
        """
        error = self.water * np.float32(1 / 3)
        error += self.bone
        error *= self.bone
        error *= np.float32(-strength * _HARDENING_HU / self.pixel_mm)
        return error

    def starvation(self, rng: np.random.Generator, strength: float) -> Field:
        """Draws the noise of rays that much bone absorbs, in HU pixels, shape (rays, slices).

        Reconstructed, it makes streaks between dense bones.
        """
        deviation: Field = np.exp(self.attenuation * np.float32(0.5)) - np.float32(np.exp(0.5 * _THICK_HEAD))
        np.maximum(deviation, 0, out=deviation)
        deviation *= np.float32(strength * _STARVATION_HU / self.pixel_mm)
        deviation *= rng.standard_normal(deviation.shape, dtype=np.float32)
        return deviation

    def metal_streaks(self, rng: np.random.Generator) -> Field | None:
        """Draws the error from metal in HU, shape (slices, SIZE, SIZE): star streaks; None without metal.

        Rays through metal are read too low the more of it they cross, and hardly a photon is left of them.
        """
        if self.metal is None:
            return None
        error = -self.metal * (1 - np.exp(self.metal * np.float32(-1 / _METAL_MM)))
        error -= np.float32(0.02) * self.bone * np.sqrt(self.metal)
        error += np.float32(0.35) * np.sqrt(self.metal) * rng.standard_normal(error.shape, dtype=np.float32)
        return projector().reconstruct(error) * np.float32(_METAL_STREAK_HU / self.pixel_mm)


@lru_cache(maxsize=1)
def _ramp() -> npt.NDArray[np.float32]:
    """Ram-Lak filter of Kak and Slaney (1988), eq. 3.61, with a Hann window, on 2 * SIZE samples."""
    place = np.arange(-SIZE, SIZE)
    kernel = np.zeros(2 * SIZE)
    kernel[place == 0] = 0.25
    odd = place % 2 == 1
    kernel[odd] = -1 / (np.pi * place[odd]) ** 2
    response = np.abs(fft.rfft(np.roll(kernel, -SIZE)))
    window = 0.5 + 0.5 * np.cos(np.pi * np.arange(len(response)) / (len(response) - 1))
    return (response * window).astype(np.float32)

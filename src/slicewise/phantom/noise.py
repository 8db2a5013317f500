"""Image noise of a reconstruction kernel: filtered noise with a power spectrum that rises, peaks and falls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from slicewise.phantom.fields import Field

REFERENCE_MM = 5.0
"""Slice thickness at which a dose is stated as a noise level."""

_SEEN_ON_MM = 1.0
_FLOOR = 0.06
"""Share of the peak that is left at the lowest frequencies: electronic noise, interpolation between views."""


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel.

    Attributes:
        name: Its kind: "smooth", "standard", "sharp" or "bone".
        spread_mm: SD of the Gaussian point spread.
        boost: Undershoot beside edges: share of a wider Gaussian that is subtracted.
        peak: Frequency at which the noise power peaks, cycles a mm.
        noise: SD of the noise relative to the standard kernel at the same dose, seen on pixels of 1 mm.
    """

    name: str
    spread_mm: float
    boost: float
    peak: float
    noise: float


KERNELS = {
    "smooth": Kernel("smooth", 0.8, 0.0, 0.16, 0.75),
    "standard": Kernel("standard", 0.56, 0.0, 0.24, 1.0),
    "sharp": Kernel("sharp", 0.46, 0.15, 0.36, 1.3),
    "bone": Kernel("bone", 0.32, 0.3, 0.6, 1.9),
}


def image_noise(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    *,
    pixel_mm: float,
    kernel: Kernel,
    positions: npt.ArrayLike,
    thickness_mm: npt.ArrayLike,
) -> Field:
    """Draws noise of SD 1 as seen on pixels of 1 mm in a slice of 5 mm.

    Filtered back-projection passes the ramp times the kernel's response, so the power rises from almost nothing, peaks
    and falls (Kijewski and Judy 1987). Thinner slices have fewer photons: variance goes with 1 / thickness. Slices that
    overlap share photons.

    Args:
        rng: Where it comes from.
        shape: Slices, rows and columns.
        pixel_mm: Side of a pixel.
        kernel: Sets the spectrum.
        positions: Position of every slice along the normal.
        thickness_mm: Thickness of every slice.
    """
    amplitude = _amplitude(shape[1:], pixel_mm, kernel)
    spectrum = np.empty((shape[0], *amplitude.shape), dtype=np.complex64)
    parts = spectrum.view(np.float32)
    rng.standard_normal(dtype=np.float32, out=parts)
    spectrum *= amplitude
    noise: Field = np.asarray(fft.irfft2(spectrum, s=shape[1:], overwrite_x=True), dtype=np.float32)
    thickness: npt.NDArray[np.float64] = np.asarray(thickness_mm, dtype=np.float64)
    mixing = _shared_photons(np.asarray(positions, dtype=np.float64), thickness)
    if mixing is not None:
        noise = np.tensordot(mixing, noise, axes=1).astype(np.float32, copy=False)
    noise *= np.sqrt(REFERENCE_MM / thickness).astype(np.float32)[:, None, None]
    return noise


def _amplitude(shape: tuple[int, ...], pixel_mm: float, kernel: Kernel) -> Field:
    """Square root of the power, so that independent normal real and imaginary parts give the SD that is wanted."""
    rows, columns = shape
    down = np.fft.fftfreq(rows, pixel_mm)[:, None]
    across = np.fft.rfftfreq(columns, pixel_mm)[None, :]
    frequency = np.hypot(down, across)
    relative = frequency / kernel.peak
    power = (relative + _FLOOR) * np.exp(0.5 - 0.5 * relative**2)
    seen = (np.sinc(down * _SEEN_ON_MM) * np.sinc(across * _SEEN_ON_MM)) ** 2
    twice = np.full(power.shape[1], 2.0)  # rfft keeps one of two conjugate halves
    twice[0] = 1.0
    if columns % 2 == 0:
        twice[-1] = 1.0
    # irfft2 divides by the number of pixels n: a coefficient of variance 2 v adds 2 v / n^2 to a pixel.
    variance = float((2 * power * seen * twice).sum()) / (rows * columns) ** 2
    amplitude: Field = np.sqrt(power / variance).astype(np.float32)
    return amplitude


def _shared_photons(positions: npt.NDArray[np.float64], thickness: npt.NDArray[np.float64]) -> Field | None:
    """Matrix that gives independent slices the correlation of overlapping boxes; None where none overlap."""
    distance = np.abs(positions[:, None] - positions[None, :])
    mean = 0.5 * (thickness[:, None] + thickness[None, :])
    covariance = np.clip(1 - distance / mean, 0, None)
    if not (covariance - np.diag(np.diag(covariance)) > 0.02).any():
        return None
    mixing: Field = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(covariance))).astype(np.float32)
    return mixing

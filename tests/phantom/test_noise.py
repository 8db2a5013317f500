from __future__ import annotations

import numpy as np
import pytest

from slicewise.phantom.noise import KERNELS, Kernel, image_noise


def _noise(kernel: Kernel, count: int = 16, **changes: object) -> np.ndarray:
    arguments: dict[str, object] = {
        "pixel_mm": 0.5,
        "kernel": kernel,
        "positions": 5.0 * np.arange(count),
        "thickness_mm": np.full(count, 5.0),
    }
    return image_noise(np.random.default_rng(0), (count, 256, 250), **(arguments | changes))  # type: ignore[arg-type]


def _power(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Radially averaged noise power, by NumPy's plain transform."""
    power = np.mean(np.abs(np.fft.fft2(noise)) ** 2, axis=0)
    frequency = np.hypot(np.fft.fftfreq(256, 0.5)[:, None], np.fft.fftfreq(250, 0.5)[None, :])
    bins = np.minimum((frequency / 0.02).astype(int), 49)
    radial = np.bincount(bins.ravel(), power.ravel(), 50) / np.bincount(bins.ravel(), minlength=50)
    return (np.arange(50) + 0.5) * 0.02, radial


@pytest.mark.parametrize("name", ["smooth", "standard", "sharp"])
def test_the_power_rises_peaks_and_falls_as_the_kernel_says(name: str) -> None:
    kernel = KERNELS[name]
    frequency, power = _power(_noise(kernel))
    assert frequency[power.argmax()] == pytest.approx(kernel.peak, abs=0.05)
    assert power[0] < 0.35 * power.max()
    expected = (frequency / kernel.peak + 0.06) * np.exp(-0.5 * (frequency / kernel.peak) ** 2)
    shown = slice(1, 20)
    np.testing.assert_allclose(power[shown] / power.max(), expected[shown] / expected.max(), atol=0.12)


def test_every_kernel_has_an_sd_of_1_on_pixels_of_1_mm() -> None:
    for name in ("smooth", "standard", "sharp"):
        seen = _noise(KERNELS[name]).reshape(16, 128, 2, 125, 2).mean(axis=(2, 4))
        assert seen.std() == pytest.approx(1.0, rel=0.1), name


def test_variance_goes_with_the_inverse_of_the_thickness() -> None:
    noise = _noise(KERNELS["standard"], thickness_mm=np.repeat([5.0, 1.25], 8))
    assert noise[8:].std() / noise[:8].std() == pytest.approx(2.0, rel=0.03)


def test_slices_are_independent_unless_they_overlap() -> None:
    apart = _noise(KERNELS["standard"])
    assert abs(np.mean(apart[1:] * apart[:-1])) < 0.03 * apart.var()
    overlapping = _noise(KERNELS["standard"], positions=2.5 * np.arange(16))
    assert np.mean(overlapping[1:] * overlapping[:-1]) / overlapping.var() == pytest.approx(0.5, abs=0.04)
    assert abs(np.mean(overlapping[2:] * overlapping[:-2])) < 0.04 * overlapping.var()
    assert overlapping.std() == pytest.approx(apart.std(), rel=0.03)

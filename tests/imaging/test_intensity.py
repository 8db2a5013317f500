from __future__ import annotations

import statistics

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from slicewise.imaging.intensity import relative_scale

series = arrays(
    np.float32,
    array_shapes(min_dims=3, max_dims=3, max_side=5),
    elements=st.integers(0, 4095).map(float),
)


def plain_scale(values: npt.NDArray[np.float32]) -> float | None:
    """The definition, without numpy's mean and median."""
    numbers = [float(value) for value in values.ravel()]
    foreground = [value for value in numbers if value > statistics.fmean(numbers)]
    reference = statistics.median(foreground) if foreground else 0.0
    return 1000.0 / reference if reference > 0 else None


@given(series)
def test_the_scale_follows_the_definition(values: npt.NDArray[np.float32]) -> None:
    expected, found = plain_scale(values), relative_scale(values)
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(expected, rel=1e-9)


@given(values=series, factor=st.floats(1e-3, 1e3))
def test_the_scale_of_a_scanner_changes_no_scaled_value(values: npt.NDArray[np.float32], factor: float) -> None:
    scale = relative_scale(values)
    assume(scale is not None)
    # Rounding may move what equals the mean to its other side.
    assume(np.abs(values - values.mean(dtype=np.float64)).min() > 1e-2)
    louder = values * np.float32(factor)
    louder_scale = relative_scale(louder)
    assert scale is not None
    assert louder_scale is not None
    np.testing.assert_allclose(louder * louder_scale, values * scale, rtol=1e-5)


@given(series)
def test_the_reference_becomes_1000_and_zero_stays_zero(values: npt.NDArray[np.float32]) -> None:
    scale = relative_scale(values)
    assume(scale is not None)
    scaled = values * np.float32(scale)
    assert np.median(scaled[values > values.mean(dtype=np.float64)]) == pytest.approx(1000.0, rel=1e-5)
    assert np.all(scaled[values == 0] == 0)


@given(level=st.floats(-1e6, 1e6, width=32), shape=array_shapes(min_dims=3, max_dims=3, max_side=5))
def test_a_constant_series_has_no_scale(level: float, shape: tuple[int, ...]) -> None:
    assert relative_scale(np.full(shape, level, dtype=np.float32)) is None


@given(series)
def test_a_series_without_values_above_zero_has_no_scale(values: npt.NDArray[np.float32]) -> None:
    assert relative_scale(-values) is None


def test_a_series_too_faint_for_float32_has_no_scale() -> None:
    faint = np.array([[[0.0, 0.0, 1e-38]]], dtype=np.float32)
    assert relative_scale(faint) is None
    assert relative_scale(faint * np.float32(1e38)) == pytest.approx(1000.0)


def test_the_series_is_not_changed_and_few_bright_pixels_move_little() -> None:
    values = np.zeros((4, 20, 20), dtype=np.float32)
    values[:, 5:15, 5:15] = np.linspace(400, 600, 100, dtype=np.float32).reshape(10, 10)
    before = values.copy()
    plain = relative_scale(values)
    np.testing.assert_array_equal(values, before)
    assert plain == pytest.approx(2.0, rel=1e-3)
    values[:, 5, 5:10] = 2000.0  # a tumour of a twentieth of the head
    assert relative_scale(values) == pytest.approx(plain, rel=0.03)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.phantom.fields import Ellipsoid, HeadGrid, Tube, mirrored, smooth_noise, soft


def _grid(step: float = 2.0, half: float = 30.0) -> HeadGrid:
    axis = np.arange(-half, half + step, step, dtype=np.float32)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return HeadGrid(x, y, z, (step, step, step))


def test_smooth_noise_has_unit_variance_and_the_covariance_that_is_asked_for() -> None:
    length = 6.0
    noise = smooth_noise(np.random.default_rng(0), (240, 240), (1.0, 1.0), length)
    assert noise.dtype == np.float32
    assert abs(float(noise.mean())) < 0.1
    assert float(noise.std()) == pytest.approx(1.0, abs=0.08)
    for lag in (3, 6, 9):
        covariance = float((noise[lag:] * noise[:-lag]).mean())
        assert covariance == pytest.approx(np.exp(-(lag**2) / (2 * length**2)), abs=0.1)


def test_smooth_noise_is_independent_along_an_axis_of_length_0_and_empty_where_the_shape_is() -> None:
    noise = smooth_noise(np.random.default_rng(0), (200, 100), (1.0, 1.0), (0.0, 5.0))
    assert abs(float((noise[1:] * noise[:-1]).mean())) < 0.1
    assert float((noise[:, 1:] * noise[:, :-1]).mean()) > 0.9
    assert smooth_noise(np.random.default_rng(0), (0, 5), (1.0, 1.0), 3.0).shape == (0, 5)


def test_depth_of_a_sphere_is_exact_and_of_a_tube_the_distance_to_its_line() -> None:
    x, y, z = (np.array([value], dtype=np.float32) for value in (6.0, 8.0, 0.0))
    assert Ellipsoid((0.0, 0.0, 0.0), (15.0, 15.0, 15.0)).depth(x, y, z)[0] == pytest.approx(5.0, abs=0.02)
    tube = Tube(((0.0, 0.0, 0.0), (20.0, 0.0, 0.0)), (2.0, 4.0))
    # Abscissa 6 is 0.3 of the way: radius 2.6, distance 8 from the line.
    assert tube.depth(x, y, z)[0] == pytest.approx(2.6 - 8.0, abs=1e-4)


@given(
    st.tuples(*[st.floats(-20, 20)] * 3),
    st.tuples(*[st.floats(2, 9)] * 3),
)
def test_a_window_holds_every_sample_of_its_shape(
    center: tuple[float, float, float], radii: tuple[float, float, float]
) -> None:
    grid, shape = _grid(), Ellipsoid(center, radii)
    inside = shape.depth(grid.x, grid.y, grid.z) > 0
    window = grid.window(*shape.box())
    assert (shape.depth(*grid.at(window)) > 0).sum() == inside.sum()


def test_soft_volume_of_a_sphere_is_its_volume() -> None:
    grid = _grid(step=1.0)
    occupancy = soft(Ellipsoid((0.4, -1.2, 2.3), (12.0, 12.0, 12.0)).depth(grid.x, grid.y, grid.z))
    assert occupancy.min() == 0
    assert occupancy.max() == 1
    assert float(occupancy.sum()) == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.01)


def test_mirrored_shapes_lie_on_either_side() -> None:
    left, right = mirrored(Tube(((5.0, 1.0, 2.0), (9.0, 1.0, 2.0)), (1.0, 1.0)))
    assert isinstance(right, Tube)
    assert isinstance(left, Tube)
    assert right.points == ((-5.0, 1.0, 2.0), (-9.0, 1.0, 2.0))
    assert right.radii == left.radii

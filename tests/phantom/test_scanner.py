from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from slicewise.phantom import scanner
from slicewise.phantom.scanner import ScanGeometry


def _geometry(tilt: float = 20.0, count: int = 6, matrix: int = 64) -> ScanGeometry:
    return ScanGeometry(
        matrix=matrix,
        fov_mm=240.0,
        spacing_mm=5.0,
        offsets_mm=np.arange(0, 5.0 * count, 5.0),
        tilt_degrees=tilt,
        center=np.array([3.0, -12.0, 400.0]),
        shift_mm=(2.0, -4.0),
        rotation=np.eye(3),
        scale=np.ones(3),
    )


def test_slices_advance_along_the_table_and_are_one_spacing_apart_along_the_normal() -> None:
    geometry = _geometry()
    steps = np.diff(geometry.image_positions, axis=0)
    np.testing.assert_allclose(steps[:, :2], 0, atol=1e-9)
    np.testing.assert_allclose(steps[:, 2], 5.0 / np.cos(np.deg2rad(20)), rtol=1e-9)
    np.testing.assert_allclose(np.diff(geometry.positions_mm), 5.0, rtol=1e-9)
    # The gantry of a real tilted scan: row (1, 0, 0), column (0, cos, -sin).
    np.testing.assert_allclose(geometry.column, [0, np.cos(np.deg2rad(20)), -np.sin(np.deg2rad(20))])
    np.testing.assert_allclose(geometry.normal, [0, np.sin(np.deg2rad(20)), np.cos(np.deg2rad(20))])


def test_sampled_geometry_keeps_its_ranges() -> None:
    rng = np.random.default_rng(1)
    scans = [
        scanner.sample_geometry(rng, matrix=64, slices=(28, 40), tilted_share=0.6, scale=(1.0, 1.0, 1.0))
        for _ in range(200)
    ]
    assert {28, 40} <= {len(scan.offsets_mm) for scan in scans} <= set(range(28, 41))
    assert all(4.5 <= scan.spacing_mm <= 5.6 for scan in scans)
    tilted = [scan for scan in scans if scan.tilt_degrees != 0]
    assert 0.5 < len(tilted) / len(scans) < 0.7
    for scan in scans:
        np.testing.assert_allclose(scan.rotation @ scan.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(scan.rotation) == pytest.approx(1.0)


def test_the_working_grid_and_the_image_share_one_frame() -> None:
    geometry = _geometry(tilt=15.0)
    grid = scanner.head_grid(geometry)
    middle = grid.x.reshape(6, scanner.SUB_SLICES, geometry.working_matrix, -1)[:, 1]
    # The mean of a slice's grid is the centre of its field of view, here in template millimetres.
    expected = geometry.slice_centers - geometry.center
    np.testing.assert_allclose(middle.mean(axis=(1, 2)), expected[:, 0], atol=1e-2)
    for axis, values in enumerate((grid.x, grid.y, grid.z)):
        whole = values.reshape(6, -1).mean(axis=1)
        np.testing.assert_allclose(whole, expected[:, axis], atol=1e-2)


def test_the_detector_keeps_constants_totals_and_places() -> None:
    geometry = _geometry(matrix=256)
    detector = scanner.Detector.of(geometry, None, 0.7)
    size = geometry.working_matrix
    np.testing.assert_allclose(detector.sees(np.full((2, size, size), 7.0, dtype=np.float32)), 7.0, rtol=1e-5)
    field = np.zeros((1, size, size), dtype=np.float32)
    field[0, 40:60, 100:130] = 1
    seen = detector.sees(field)[0]
    step, pixel = geometry.fov_mm / size, geometry.pixel_mm
    assert seen.sum() * pixel**2 == pytest.approx(600 * step**2, rel=0.01)
    row, column = ndimage.center_of_mass(seen)
    assert (row + 0.5) * pixel == pytest.approx(50 * step, abs=0.05)
    assert (column + 0.5) * pixel == pytest.approx(115 * step, abs=0.05)


def test_a_window_of_the_grid_is_seen_where_it_lies() -> None:
    geometry = _geometry(matrix=200)
    size = geometry.working_matrix
    whole = np.zeros((2, size, size), dtype=np.float32)
    whole[:, 50:80, 60:90] = np.random.default_rng(0).random((2, 30, 30), dtype=np.float32)
    window = (slice(0, 6), slice(40, 100), slice(30, 120))
    part = whole[:, 40:100, 30:120]
    np.testing.assert_allclose(
        scanner.Detector.of(geometry, window, 0.8).sees(part),
        scanner.Detector.of(geometry, None, 0.8).sees(whole),
        atol=1e-5,
    )


def test_noise_has_its_deviation_and_no_memory_between_slices() -> None:
    noise = scanner.image_noise(np.random.default_rng(0), (6, 128, 128), 0.5, 3.5)
    assert float(noise.std()) == pytest.approx(3.5, rel=0.05)
    assert _correlation(noise[:, :, 1:], noise[:, :, :-1]) > 0.5
    assert abs(_correlation(noise[1:], noise[:-1])) < 0.05


def test_cupping_brightens_the_brain_near_the_bone_and_not_what_is_outside() -> None:
    wall = np.array([[[-30.0, 0.0, 10.0, 60.0]]], dtype=np.float32)
    np.testing.assert_allclose(
        scanner.cupping(wall, 12.0, 10.0)[0, 0], [0.0, 12.0, 12 / np.e, 12 * np.exp(-6)], rtol=1e-5
    )


def test_partial_volume_is_the_mean_of_the_sub_slices() -> None:
    field = np.arange(12, dtype=np.float32).reshape(6, 1, 2)
    np.testing.assert_array_equal(scanner.partial_volume(field)[:, 0], [[2.0, 3.0], [8.0, 9.0]])


def _correlation(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_the_working_grid_is_no_finer_than_the_image() -> None:
    assert [_geometry(matrix=matrix).working_matrix for matrix in (64, 176, 512)] == [64, 176, 176]
    assert scanner.head_grid(_geometry(matrix=64)).x.shape == (18, 64, 64)

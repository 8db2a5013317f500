from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from phantom_heads import ORIGIN, SHAPE, SPACING, coordinates, geometry
from slicewise.phantom.fields import Field
from slicewise.phantom.geometry import HeadPose, ScanGeometry, rotation
from slicewise.phantom.sampler import HeadLattice, Jump, Sampler, Warp

LATTICE = HeadLattice(SHAPE, ORIGIN, SPACING)


def _lumpy() -> Field:
    x, y, z = coordinates()
    field: Field = (100 * np.sin(x / 19) * np.cos(y / 23) + 40 * np.sin(z / 17) + 0.3 * x).astype(np.float32)
    return field


def _interpolated(field: Field, points: np.ndarray) -> np.ndarray:
    axes = [ORIGIN[2 - axis] + SPACING[axis] * np.arange(SHAPE[axis]) for axis in range(3)]
    read = RegularGridInterpolator(axes, field, bounds_error=False, fill_value=np.nan)
    return np.asarray(read(points[..., ::-1]))


def _points(scan: ScanGeometry, sampler: Sampler, along_mm: float = 0.0) -> np.ndarray:
    """Template coordinates (slices, rows, columns, 3) by the plain formula of the patient coordinate system."""
    offsets = sampler.grid.offsets_mm
    rows, columns = offsets[sampler.rows], offsets[sampler.columns]
    places = (
        scan.slice_centers[:, None, None, :]
        + rows[None, :, None, None] * scan.column
        + columns[None, None, :, None] * scan.row
        + along_mm * scan.normal
    )
    turned = (places - scan.pose.center) @ scan.pose.rotation
    return np.asarray(turned / scan.pose.scale)


def _tilted(thickness: float) -> ScanGeometry:
    pose = HeadPose(np.array([3.0, -12.0, 400.0]), rotation(-14.0, 3.0, 6.0), np.array([0.95, 0.93, 0.97]))
    return dataclasses.replace(
        geometry(count=4, spacing=12.0, thickness=thickness, tilt=18.0), pose=pose, shift_mm=(4.0, -6.0)
    )


def test_thin_slices_of_a_tilted_scan_are_the_trilinear_interpolation_of_the_head() -> None:
    scan, field = _tilted(0.6), _lumpy()
    sampler = Sampler(LATTICE, scan)
    expected = _interpolated(field, _points(scan, sampler))
    inside = np.isfinite(expected)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(sampler.sample(field)[inside], expected[inside], atol=0.05)


@pytest.mark.parametrize("thickness", [3.0, 5.0, 7.5])
def test_thick_slices_are_the_mean_along_their_normal(thickness: float) -> None:
    scan, field = _tilted(thickness), _lumpy()
    sampler = Sampler(LATTICE, scan)
    steps = (np.arange(25) + 0.5) / 25 * thickness - thickness / 2
    expected = np.mean([_interpolated(field, _points(scan, sampler, step)) for step in steps], axis=0)
    inside = np.isfinite(expected)
    # The head leans to the side by 3 degrees, which the profile leaves out: a few tenths of a millimetre.
    np.testing.assert_allclose(sampler.sample(field)[inside], expected[inside], atol=1.0)


def test_a_slice_profile_is_a_box_of_the_slice_thickness() -> None:
    _, _, z = coordinates()
    plane = np.broadcast_to((np.abs(z - 1) < 0.5).astype(np.float32), SHAPE)  # one plane, 2 mm thick
    thick = geometry(count=41, spacing=0.5, thickness=6.0)
    profile = Sampler(LATTICE, thick).sample(plane)[:, 100, 100]
    positions = thick.offsets_mm - 1.0  # where the plane is
    assert profile.sum() * 0.5 == pytest.approx(2.0, rel=0.03)  # the slices of all positions see all of its 2 mm
    wide = positions[profile > 0.49 * profile.max()]
    assert np.ptp(wide) == pytest.approx(6.0, abs=0.6)


def test_slices_of_different_thickness_see_each_their_own() -> None:
    field = _lumpy()
    mixed = dataclasses.replace(geometry(count=4), thickness_mm=np.array([2.0, 2.0, 7.0, 7.0]))
    found = Sampler(LATTICE, mixed).sample(field)
    for thickness, part in ((2.0, slice(0, 2)), (7.0, slice(2, 4))):
        even = dataclasses.replace(mixed, thickness_mm=np.full(4, thickness))
        np.testing.assert_array_equal(found[part], Sampler(LATTICE, even).sample(field)[part])


def test_a_sparse_field_is_sampled_as_any_other() -> None:
    x, y, z = coordinates()
    blob = np.clip(9 - np.sqrt((x - 30) ** 2 + (y + 20) ** 2 + (z - 4) ** 2), 0, 1).astype(np.float32)
    for thickness in (1.0, 5.0):
        sampler = Sampler(LATTICE, _tilted(thickness), Warp.sample(np.random.default_rng(0), 2.0))
        sparse = sampler.sample_sparse(blob)
        assert sparse is not None
        np.testing.assert_array_equal(sparse, sampler.sample(blob))
        assert sparse.max() > 0.5
    assert sampler.sample_sparse(np.zeros(SHAPE, dtype=np.float32)) is None


def test_a_warp_displaces_smoothly_by_what_is_asked_for() -> None:
    warp = Warp.sample(np.random.default_rng(3), 2.0)
    grid = np.stack(np.meshgrid(*[np.arange(-80, 81, 4.0)] * 3, indexing="ij")).astype(np.float32)
    moved = warp.at(grid)
    assert float(moved.std()) == pytest.approx(2.0, rel=0.35)
    assert np.abs(np.diff(moved, axis=1)).max() < 1.0  # 4 mm apart
    scan, field = geometry(thickness=0.6), np.broadcast_to(coordinates()[0], SHAPE)
    plain, warped = Sampler(LATTICE, scan), Sampler(LATTICE, scan, warp)
    expected = _points(scan, plain)[2, 110 - plain.rows.start, 60 - plain.columns.start].astype(np.float32)
    shift = warped.sample(field)[2, 110 - warped.rows.start, 60 - warped.columns.start] - expected[0]
    assert shift == pytest.approx(float(warp.at(expected[:, None])[0, 0]), abs=0.25)


def test_a_jump_turns_and_shifts_the_head_from_its_slice_on() -> None:
    scan, (x, _, _) = geometry(count=4, thickness=0.6), coordinates()
    field = np.broadcast_to(x, SHAPE)
    still = Sampler(LATTICE, scan).sample(field)
    jumped = Sampler(LATTICE, scan, jump=Jump(2, (0.0, 0.0, 0.0), (5.0, 0.0, 0.0))).sample(field)
    np.testing.assert_array_equal(jumped[:2], still[:2])
    middle = np.s_[2:, 100:120, 100:120]
    np.testing.assert_allclose(jumped[middle], still[middle] - 5.0, atol=1e-3)  # the head went 5 mm to the left


def test_what_lies_beyond_the_head_is_outside() -> None:
    found = Sampler(LATTICE, geometry(count=60, spacing=5.0)).sample(np.zeros(SHAPE, dtype=np.float32), -1000.0)
    assert (found[0] == -1000).all()
    assert (found[30, 100:120, 100:120] == 0).all()


def test_a_scan_beside_the_head_is_refused() -> None:
    away = dataclasses.replace(geometry(), shift_mm=(900.0, 0.0))
    with pytest.raises(ValueError, match="does not meet"):
        Sampler(LATTICE, away)

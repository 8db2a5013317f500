from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pydicom.valuerep import format_number_as_ds

from phantom_heads import geometry
from slicewise.phantom.geometry import rotation, sample_geometry
from slicewise.phantom.parameters import GeometryParameters


def test_slices_advance_along_the_table_and_are_one_spacing_apart_along_the_normal() -> None:
    scan = geometry(tilt=20.0)
    steps = np.diff(scan.image_positions, axis=0)
    np.testing.assert_allclose(steps[:, :2], 0, atol=2e-6)
    np.testing.assert_allclose(steps[:, 2], 5.0 / np.cos(np.deg2rad(20)), rtol=1e-6)
    np.testing.assert_allclose(np.diff(scan.stack.positions_mm), 5.0, rtol=1e-6)
    # The gantry of a real tilted scan: row (1, 0, 0), column (0, cos, -sin).
    np.testing.assert_allclose(scan.column, [0, np.cos(np.deg2rad(20)), -np.sin(np.deg2rad(20))], atol=1e-6)
    assert scan.stack.tilt_degrees == pytest.approx(20.0, abs=1e-4)


def test_numbers_are_those_that_a_file_can_state() -> None:
    scan = dataclasses.replace(geometry(tilt=17.3, matrix=211), fov_mm=233.7, shift_mm=(1 / 3, -1 / 7))
    for value in (*scan.column, *scan.image_positions.ravel(), scan.pixel_mm):
        assert float(format_number_as_ds(float(value))) == value


def test_a_slice_stands_for_what_is_nearest_to_it() -> None:
    scan = dataclasses.replace(
        geometry(count=4), offsets_mm=np.array([0.0, 4.0, 8.0, 16.0]), thickness_mm=np.array([4.0, 4.0, 4.0, 8.0])
    )
    np.testing.assert_allclose(scan.slice_volumes_ml * 1000, [4.0, 4.0, 6.0, 8.0])
    assert geometry(count=1).slice_volumes_ml.tolist() == [0.005]


def test_rotation_is_proper_and_pitch_nods() -> None:
    turn = rotation(10.0, 3.0, -20.0)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    np.testing.assert_allclose(rotation(90.0, 0.0, 0.0) @ [0, 1, 0], [0, 0, 1], atol=1e-12)


def _sampled(count: int = 300, **changes: object) -> list:  # type: ignore[type-arg]  # of ScanGeometry
    rng = np.random.default_rng(1)
    parameters = GeometryParameters(**changes)  # type: ignore[arg-type]  # each test names what it changes
    return [sample_geometry(rng, parameters, np.full(3, 0.95)) for _ in range(count)]


def test_routine_series_are_those_of_the_field() -> None:
    scans = _sampled(thin=0.0, medium=0.0, thick=0.0, changing=0.0, gap=0.0, overlap=0.0, cut_top=0.0, cut_bottom=0.0)
    counts = [scan.slices for scan in scans]
    assert 28 <= min(counts) <= 29
    assert max(counts) <= 54
    assert 30 <= np.median(counts) <= 35
    spacings = np.array([np.diff(scan.offsets_mm)[0] for scan in scans])
    assert 4.5 <= spacings.min() <= spacings.max() <= 5.6
    assert 0.5 < np.mean([scan.tilt_degrees != 0 for scan in scans]) < 0.7
    assert max(abs(scan.tilt_degrees) for scan in scans) <= 24
    assert all((scan.thickness_mm == np.round(np.diff(scan.offsets_mm)[0], 2)).all() for scan in scans)


def test_thin_series_keep_the_length_of_the_scan() -> None:
    for scan in _sampled(20, thin=1.0, medium=0.0, thick=0.0, gap=0.0, overlap=0.0, cut_top=0.0, cut_bottom=0.0):
        spacing = np.diff(scan.offsets_mm)[0]
        assert 0.6 <= spacing <= 1.5
        assert 120 < np.ptp(scan.offsets_mm) < 280


def test_spacing_can_change_gap_and_overlap() -> None:
    changing = _sampled(60, changing=1.0, thin=0.0, medium=0.0, slices=(10, 60), gap=0.0, overlap=0.0)
    changed = [scan for scan in changing if np.ptp(np.diff(scan.offsets_mm)) > 1]
    assert len(changed) > 30
    for scan in changed:
        steps = np.diff(scan.offsets_mm)
        assert (np.diff(steps) > -1e-9).all()
        assert scan.thickness_mm[0] < scan.thickness_mm[-1]
    for name, compare in (("gap", np.less), ("overlap", np.greater)):
        for scan in _sampled(20, **{"gap": 0.0, "overlap": 0.0, "changing": 0.0, name: 1.0}):
            assert compare(scan.thickness_mm[0], np.diff(scan.offsets_mm)[0] * 0.99)


def test_a_cut_scan_ends_below_the_vertex_or_begins_above_the_base() -> None:
    whole = _sampled(40, cut_top=0.0, cut_bottom=0.0, slices=(2, 60))
    assert all(scan.offsets_mm[-1] > 70 and scan.offsets_mm[0] < -40 for scan in whole)
    cut = _sampled(40, cut_top=1.0, cut_bottom=1.0, slices=(2, 60))
    assert all(scan.offsets_mm[-1] < 77 and scan.offsets_mm[0] > -50 for scan in cut)


def test_few_slices_stand_around_the_middle_of_the_head() -> None:
    for scan in _sampled(20, slices=(8, 10), thin=0.0, medium=0.0, thick=0.0, changing=0.0):
        assert 8 <= scan.slices <= 10
        assert 5 < scan.offsets_mm.mean() < 30

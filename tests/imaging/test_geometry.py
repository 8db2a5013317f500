from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dicom_files import orientation
from slicewise.errors import GeometryError
from slicewise.imaging.geometry import (
    AxialGeometry,
    angle_to_axis,
    distinct_positions,
    median_spacing_mm,
    order_slices,
    slice_normal,
)

Floats = npt.NDArray[np.float64]


def stack(heights: list[float] | Floats, tilt: float = 0.0) -> AxialGeometry:
    positions = np.array([[-100.0, -120.0, height] for height in heights])
    count = len(positions)
    return order_slices(
        positions,
        np.tile(orientation(tilt), (count, 1)),
        list(range(count)),
        [f"1.{index}" for index in range(count)],
    )


def codes(geometry: AxialGeometry) -> list[str]:
    return [warning.code for warning in geometry.warnings]


def test_an_even_stack_has_nothing_to_tell() -> None:
    geometry = stack([10.0, 0.0, 5.0])
    assert geometry.order.tolist() == [1, 2, 0]
    assert geometry.positions_mm.tolist() == [0.0, 5.0, 10.0]
    assert geometry.duplicate_rank.tolist() == [0, 0, 0]
    assert (geometry.tilt_degrees, geometry.warnings) == (0.0, ())


def test_positions_are_measured_along_the_normal_not_along_the_table() -> None:
    geometry = stack([0.0, 10.0, 20.0], tilt=60.0)
    np.testing.assert_allclose(np.diff(geometry.positions_mm), [5.0, 5.0])  # 10 mm x cos 60
    assert geometry.tilt_degrees == pytest.approx(60.0)
    assert codes(geometry) == ["tilted"]


@pytest.mark.parametrize("flip", [[1, 1, 1, -1, -1, -1], [-1, -1, -1, 1, 1, 1]])
def test_feet_come_first_whatever_way_rows_and_columns_run(flip: list[int]) -> None:
    oriented = np.array(orientation()) * flip  # the cross product now points to the feet
    geometry = order_slices([[0, 0, 7.0], [0, 0, 2.0]], np.tile(oriented, (2, 1)), [1, 2], ["1", "2"])
    assert geometry.order.tolist() == [1, 0]
    assert geometry.positions_mm.tolist() == [2.0, 7.0]


def test_a_sagittal_stack_has_an_order_too() -> None:
    sagittal = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
    geometry = order_slices([[5.0, 0, 0], [1.0, 0, 0]], [sagittal, sagittal], [1, 2], ["1", "2"])
    assert geometry.order.tolist() == [1, 0]
    assert geometry.tilt_degrees == pytest.approx(90.0)


def test_uneven_spacing_names_the_millimetres() -> None:
    geometry = stack([0.0, 4.0, 8.0, 12.0, 19.0, 26.0, 33.0])
    assert codes(geometry) == ["uneven_spacing"]
    assert "from 4.0 to 7.0 mm (median 5.5 mm)" in geometry.warnings[0].message


def test_a_missing_slice_is_a_gap() -> None:
    geometry = stack([0.0, 5.0, 10.0, 20.0, 25.0])
    assert codes(geometry) == ["uneven_spacing", "gap"]
    assert "10.0 mm at 10.0 mm" in geometry.warnings[1].message


def test_jitter_of_the_table_is_even() -> None:
    assert codes(stack([0.0, 5.03, 10.0, 14.98])) == []


def test_duplicates_are_kept_and_ranked_by_instance_number_then_uid() -> None:
    positions = [[0, 0, 5.0], [0, 0, 0.0], [0, 0, 5.004], [0, 0, 5.0], [0, 0, 5.0]]
    geometry = order_slices(
        positions, np.tile(orientation(), (5, 1)), [9, 1, 4, None, 4], ["1.5", "1.1", "1.4", "1.2", "1.3"]
    )
    assert geometry.order.tolist() == [1, 4, 2, 0, 3]
    assert geometry.duplicate_rank.tolist() == [0, 0, 1, 2, 3]
    assert geometry.positions_mm.tolist() == [0.0, 5.0, 5.0, 5.0, 5.0]
    assert codes(geometry) == ["duplicate_positions"]
    assert "5.0 mm" in geometry.warnings[0].message


def test_one_slice_is_a_stack() -> None:
    geometry = stack([3.0])
    assert (geometry.order.tolist(), geometry.positions_mm.tolist(), geometry.warnings) == ([0], [3.0], ())


def test_slices_that_are_not_parallel() -> None:
    with pytest.raises(GeometryError, match="not parallel") as caught:
        order_slices([[0, 0, 0], [0, 0, 5]], [orientation(0.0), orientation(10.0)], [1, 2], ["1", "2"])
    assert caught.value.reason == "mixed_orientation"


@pytest.mark.parametrize("bad", [[0.0] * 6, [1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 1, 0]])
def test_an_orientation_that_is_none(bad: list[float]) -> None:
    with pytest.raises(GeometryError, match="perpendicular unit vectors") as caught:
        slice_normal([bad])
    assert caught.value.reason == "bad_orientation"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -10_001.0, 1e300])
def test_a_position_that_no_scanner_reaches(bad: float) -> None:
    with pytest.raises(GeometryError, match="within 10 m") as caught:
        order_slices(np.array([[0, 0, 0], [0, bad, 5]]), np.tile(orientation(), (2, 1)), [1, 2], ["1", "2"])
    assert caught.value.reason == "bad_position"


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_an_orientation_beyond_all_numbers(bad: float) -> None:
    with pytest.raises(GeometryError) as caught:
        slice_normal([[1, 0, 0, 0, bad, 0]] * 2)
    assert caught.value.reason == "bad_orientation"


@pytest.mark.parametrize("tilt", [0.0, -20.0])
def test_the_orientation_that_the_slices_share(tilt: float) -> None:
    assert stack([0.0, 5.0, 10.0], tilt=tilt).orientation == tuple(orientation(tilt))


def test_median_spacing() -> None:
    assert median_spacing_mm([0.0, 4.0, 4.0, 8.0, 15.0]) == 4.0
    assert median_spacing_mm([3.0]) is None
    assert median_spacing_mm([3.0, 3.0]) is None


heights = st.lists(
    st.floats(-500, 500).map(lambda value: round(value, 1)), min_size=1, max_size=40
)  # a tenth of a millimetre: either one position or clearly two


@settings(deadline=None)
@given(heights=heights, tilt=st.floats(-30, 30), seed=st.integers(0, 2**32 - 1))
def test_any_permutation_gives_the_same_stack(heights: list[float], tilt: float, seed: int) -> None:
    count = len(heights)
    positions = np.array([[-100.0, -120.0, height] for height in heights])
    orientations = np.tile(orientation(tilt), (count, 1))
    numbers = np.random.default_rng(seed).integers(0, 3, count).tolist()
    uids = [f"1.{index}" for index in range(count)]
    shuffled = np.random.default_rng(seed + 1).permutation(count)
    one = order_slices(positions, orientations, numbers, uids)
    other = order_slices(
        positions[shuffled],
        orientations[shuffled],
        [numbers[index] for index in shuffled],
        [uids[index] for index in shuffled],
    )
    np.testing.assert_array_equal(shuffled[other.order], one.order)
    np.testing.assert_array_equal(other.positions_mm, one.positions_mm)
    np.testing.assert_array_equal(other.duplicate_rank, one.duplicate_rank)
    assert other.warnings == one.warnings
    assert np.all(np.diff(one.positions_mm) >= 0)


@settings(deadline=None)
@given(
    spacing=st.floats(0.5, 10.0),
    count=st.integers(2, 30),
    angles=st.tuples(*[st.floats(-30, 30)] * 3),
    shift=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_a_rigid_motion_keeps_order_and_distances(
    spacing: float, count: int, angles: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    rotation = Rotation.from_euler("xyz", angles, degrees=True)
    positions = np.array([[-100.0, -120.0, index * spacing] for index in range(count)])
    rows_columns = np.array(orientation()).reshape(2, 3)
    moved = order_slices(
        rotation.apply(positions) + shift,
        np.tile(rotation.apply(rows_columns).reshape(6), (count, 1)),
        [None] * count,
        [str(index) for index in range(count)],
    )
    assert moved.order.tolist() == list(range(count))
    np.testing.assert_allclose(np.diff(moved.positions_mm), spacing, rtol=0, atol=1e-8)
    expected = np.degrees(np.arccos(np.clip(rotation.apply([0, 0, 1.0])[2], -1, 1)))
    assert moved.tilt_degrees == pytest.approx(expected, abs=1e-5)


def test_angle_to_axis_has_no_sign() -> None:
    assert angle_to_axis(np.array([0.0, 0.5, -np.sqrt(0.75)])) == pytest.approx(30.0)


def test_distinct_positions_are_those_of_the_stack() -> None:
    heights = np.array([[0, 0, 20.0], [0, 0, 0.0], [0, 0, 20.004], [5.0, 9.0, 10.0]])
    tilted = np.tile(orientation(60.0), (4, 1))
    # along the normal: z x cos 60 + y x sin 60
    np.testing.assert_allclose(distinct_positions(heights, tilted), [0.0, 10.0, 5.0 + 9.0 * np.sin(np.pi / 3)])
    with pytest.raises(GeometryError) as caught:
        distinct_positions([[0, 0, 2e4]], [orientation()])
    assert caught.value.reason == "bad_position"


@given(heights=heights)
def test_order_positions_and_ranks_are_those_of_a_plain_sort(heights: list[float]) -> None:
    geometry = stack(heights)
    expected = sorted(range(len(heights)), key=lambda index: (heights[index], index))
    assert geometry.order.tolist() == expected
    np.testing.assert_allclose(geometry.positions_mm, np.sort(heights), atol=1e-9)
    ranks = [sorted(heights)[:place].count(height) for place, height in enumerate(sorted(heights))]
    assert geometry.duplicate_rank.tolist() == ranks
    assert ("duplicate_positions" in codes(geometry)) == (len(set(heights)) < len(heights))
    np.testing.assert_allclose(
        distinct_positions([[0, 0, height] for height in heights], [orientation()] * len(heights)), sorted(set(heights))
    )


@given(
    spacing=st.floats(0.5, 10.0),
    count=st.integers(6, 40),
    missing=st.sets(st.integers(1, 38), min_size=1, max_size=3),
)
def test_missing_slices_are_gaps_at_their_places(spacing: float, count: int, missing: set[int]) -> None:
    lost = {index for index in missing if index < count - 1}
    lost -= {index + 1 for index in lost} | {index + 2 for index in lost}  # of neighbouring gaps none is the wider
    kept = [index * spacing for index in range(count) if index not in lost]
    geometry = stack(kept)
    assert codes(geometry) == (["uneven_spacing", "gap"] if lost else [])
    if lost:
        for index in lost:
            assert f"{2 * spacing:.1f} mm at {(index - 1) * spacing:.1f} mm" in geometry.warnings[1].message


@given(changes=st.lists(st.floats(0.6, 9.0), min_size=2, max_size=4), runs=st.integers(3, 8))
def test_spacing_that_changes_along_the_scan_has_no_gaps(changes: list[float], runs: int) -> None:
    distances = np.repeat(changes, runs)
    geometry = stack(np.concatenate([[0.0], np.cumsum(distances)]))
    assert "gap" not in codes(geometry)
    assert ("uneven_spacing" in codes(geometry)) == (np.ptp(np.diff(geometry.positions_mm)) > 0.1)


@given(seed=st.integers(0, 2**32 - 1), copies=st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_of_duplicates_the_neighbours_see_the_lowest_number(seed: int, copies: list[int]) -> None:
    rng = np.random.default_rng(seed)
    places = np.repeat(np.arange(len(copies)), copies)
    numbers = rng.permutation(len(places))
    positions = np.stack([np.zeros(len(places)), np.zeros(len(places)), 5.0 * places], axis=1)
    shuffled = rng.permutation(len(places))
    geometry = order_slices(
        positions[shuffled],
        np.tile(orientation(), (len(places), 1)),
        numbers[shuffled].tolist(),
        [str(index) for index in shuffled],
    )
    ordered = shuffled[geometry.order]
    assert places[ordered].tolist() == places.tolist()
    for place in range(len(copies)):
        own = numbers[ordered[places == place]]
        assert own.tolist() == sorted(own)
        assert geometry.duplicate_rank[places == place].tolist() == list(range(copies[place]))

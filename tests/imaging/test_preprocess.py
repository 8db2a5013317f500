from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from slicewise.imaging.preprocess import ModelInput, preprocess
from slicewise.task import PreprocessingParameters
from slicewise.volume import SliceReference, Volume
from synthetic_head import Head

PARAMETERS = PreprocessingParameters(pixel_mm=2.0, size=96, slab_mm=5.0, body_threshold=-200.0, opening_mm=8.0)

RELATIVE = msgspec.structs.replace(PARAMETERS, body_threshold=400.0, intensity="relative")

CORRECTED = PreprocessingParameters(
    pixel_mm=1.3,
    size=160,
    slab_mm=5.0,
    body_threshold=-200.0,
    opening_mm=8.0,
    head_box="skull",
    cupping_limit_hu=40.0,
    deep_brain_limit_hu=8.0,
)


def make_volume(
    values: npt.NDArray[Any],
    positions: npt.ArrayLike | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
    ranks: list[int] | None = None,
) -> Volume:
    count = len(values)
    return Volume(
        values=values.astype(np.float32),
        positions_mm=5.0 * np.arange(count, dtype=np.float64)
        if positions is None
        else np.array(positions, dtype=np.float64),
        pixel_spacing_mm=spacing,
        tilt_degrees=0.0,
        duplicate_rank=np.array(ranks or [0] * count),
        slices=tuple(SliceReference(str(index), 1, f"{index}.dcm", index) for index in range(count)),
        patient_id="P1",
        study_uid="1",
        series_uid="1.1",
        modality="CT",
    )


def ball(
    centre: tuple[float, float], radius: float = 60.0, slices: int = 6, size: int = 256
) -> npt.NDArray[np.float32]:
    rows, columns = np.mgrid[:size, :size]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    image = np.where(distance <= radius, 40.0, -1000.0).astype(np.float32)
    return np.repeat(image[None], slices, axis=0)


def centre_of(model_input: ModelInput) -> tuple[float, float]:
    middle = (model_input.values.shape[1] - 1) / 2
    rows, columns = model_input.to_original([middle], [middle])
    return float(rows[0]), float(columns[0])


def test_the_grid_is_centred_on_the_head() -> None:
    result = preprocess(make_volume(ball((100, 150))), PARAMETERS)
    assert centre_of(result) == pytest.approx((100, 150), abs=2.5)
    assert result.values.shape == (6, 96, 96)
    assert result.values.dtype == np.int16
    assert result.step_px == (2.0, 2.0)
    assert result.warnings == ()
    rows, columns = np.nonzero(result.values[0] > -200)
    assert np.ptp(rows) * 2.0 == pytest.approx(120, abs=4)
    assert np.ptp(columns) * 2.0 == pytest.approx(120, abs=4)


def test_the_headrest_does_not_move_the_grid() -> None:
    values = ball((100, 128))
    values[:, 161:166, 20:236] = 300.0  # a thin shell that touches the head
    values[:, 200:230, 100:156] = 100.0  # a solid block apart from it
    assert centre_of(preprocess(make_volume(values), PARAMETERS)) == pytest.approx((100, 128), abs=2.5)


def test_millimetres_count_not_pixels() -> None:
    values = ball((128, 128))
    fine = preprocess(make_volume(values, spacing=(0.5, 0.5)), replace_size(PARAMETERS, 64))
    assert fine.step_px == (4.0, 4.0)
    uneven = preprocess(make_volume(values[:, ::2], spacing=(1.0, 0.5)), replace_size(PARAMETERS, 64))
    assert uneven.step_px == (2.0, 4.0)
    assert np.mean(np.abs(uneven.values - fine.values) > 100) < 0.05


def replace_size(parameters: PreprocessingParameters, size: int) -> PreprocessingParameters:
    return msgspec.structs.replace(parameters, size=size)


def smooth_image(size: int = 200) -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(5).normal(size=(size, size))
    smooth: npt.NDArray[np.float64] = ndimage.gaussian_filter(noise, 12.0)
    return np.asarray(smooth / np.abs(smooth).max() * 150.0 + 100.0, dtype=np.float32)  # all above the body threshold


def test_resampling_equals_pillow_where_it_shrinks() -> None:
    image = smooth_image()
    parameters = replace_size(PARAMETERS, 60)
    result = preprocess(make_volume(image[None], spacing=(0.8, 0.8)), parameters)
    step = 2.5
    top, left = (start - step / 2 + 0.5 for start in result.origin_px)
    expected = Image.fromarray(image).resize(
        (60, 60), Image.Resampling.BILINEAR, box=(left, top, left + 60 * step, top + 60 * step)
    )
    np.testing.assert_allclose(result.values[0], np.asarray(expected), atol=0.51)


def test_resampling_equals_scipy_on_smooth_images() -> None:
    image = smooth_image()
    result = preprocess(make_volume(image[None], spacing=(0.8, 1.1)), replace_size(PARAMETERS, 60))
    rows, columns = result.to_original(np.arange(60), np.arange(60))
    grid = np.meshgrid(rows, columns, indexing="ij")
    expected = ndimage.map_coordinates(image, grid, order=1, mode="grid-constant", cval=-1024.0)
    inside = (grid[0] > 4) & (grid[0] < 195) & (grid[1] > 4) & (grid[1] < 195)
    assert inside.sum() > 2000
    np.testing.assert_allclose(result.values[0][inside], expected[inside], atol=2.0)


def test_where_the_grid_is_finer_it_interpolates_linearly() -> None:
    image = smooth_image()
    result = preprocess(make_volume(image[None], spacing=(5.0, 5.0)), PARAMETERS)
    rows, columns = result.to_original(np.arange(96), np.arange(96))
    grid = np.meshgrid(rows, columns, indexing="ij")
    expected = ndimage.map_coordinates(image, grid, order=1, mode="grid-constant", cval=-1024.0)
    np.testing.assert_allclose(result.values[0], expected, atol=0.51)


def test_fine_detail_is_averaged_not_skipped() -> None:
    image = np.full((128, 128), 40.0)
    image[:, ::2] = 0.0  # stripes as fine as the pixels: sampling would see one of the two values
    result = preprocess(make_volume(image[None], spacing=(0.5, 0.5)), replace_size(PARAMETERS, 16))
    np.testing.assert_allclose(result.values[0][2:-2, 2:-2], 20.0, atol=1.0)


def test_outside_the_image_is_air() -> None:
    result = preprocess(make_volume(np.full((8, 50, 50), 40.0)), PARAMETERS)
    rows, columns = result.to_original(np.arange(96), np.arange(96))
    outside_rows, outside_columns = (rows < -2) | (rows > 51), (columns < -2) | (columns > 51)
    assert np.all(result.values[:, outside_rows] == -1024)
    assert np.all(result.values[:, :, outside_columns] == -1024)
    inside_rows, inside_columns = (rows > 2) & (rows < 47), (columns > 2) & (columns < 47)
    assert np.all(result.values[:, inside_rows][:, :, inside_columns] == 40)


def test_without_a_body_the_grid_is_centred_on_the_image_and_says_so() -> None:
    result = preprocess(make_volume(np.full((8, 100, 60), -1000.0)), PARAMETERS)
    assert centre_of(result) == (49.5, 29.5)
    assert [warning.code for warning in result.warnings] == ["no_body_found"]
    assert result.values.min() == -1024
    assert result.values.max() == -1000


@pytest.mark.parametrize("spacing", [3.4, 4.0, 5.0, 8.0])
def test_thick_slices_stay_alone(spacing: float) -> None:
    volume = make_volume(ball((128, 128)), positions=np.arange(6) * spacing)
    result = preprocess(volume, PARAMETERS)
    assert result.slab_of_slice.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(result.positions_mm, volume.positions_mm)


def test_thin_slices_are_averaged_into_slabs() -> None:
    levels = np.array([0.0, 10.0, 20.0, 30.0, 100.0, 110.0, 120.0, 130.0, 200.0, 210.0])
    values = np.repeat(np.repeat(levels[:, None, None], 200, axis=1), 200, axis=2)
    result = preprocess(make_volume(values, positions=np.arange(10) * 1.25), PARAMETERS)  # 5 / 1.25 = 4
    assert result.slab_of_slice.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert result.values[:, 48, 48].tolist() == [15, 115, 205]
    np.testing.assert_allclose(result.positions_mm, [1.875, 6.875, 10.625])
    assert result.duplicate_rank.tolist() == [0, 0, 0]


def test_no_slab_reaches_over_a_gap() -> None:
    positions = [0.0, 2.5, 5.0, 40.0, 42.5, 45.0]
    result = preprocess(make_volume(ball((128, 128)), positions=positions), PARAMETERS)
    assert result.slab_of_slice.tolist() == [0, 0, 1, 2, 2, 3]


def test_a_duplicate_keeps_its_row_among_thick_slices() -> None:
    volume = make_volume(ball((128, 128), slices=5), positions=[0, 5, 5, 10, 15], ranks=[0, 0, 1, 0, 0])
    result = preprocess(volume, PARAMETERS)
    assert result.slab_of_slice.tolist() == [0, 1, 2, 3, 4]
    assert result.duplicate_rank.tolist() == [0, 0, 1, 0, 0]


def test_a_duplicate_joins_the_slab_of_its_position() -> None:
    volume = make_volume(ball((128, 128), slices=5), positions=[0, 2.5, 2.5, 5, 7.5], ranks=[0, 0, 1, 0, 0])
    result = preprocess(volume, PARAMETERS)
    assert result.slab_of_slice.tolist() == [0, 0, 0, 1, 1]
    assert result.duplicate_rank.tolist() == [0, 0]


@pytest.mark.parametrize("slices", [1, 2])
def test_very_short_series(slices: int) -> None:
    result = preprocess(make_volume(ball((128, 128), slices=slices)), PARAMETERS)
    assert len(result.values) == slices


def test_values_beyond_int16_are_clipped() -> None:
    values = np.full((1, 100, 100), 60000.0)
    assert preprocess(make_volume(values), replace_size(PARAMETERS, 8)).values.max() == 32767


def test_the_volume_is_not_changed_and_the_result_repeats() -> None:
    volume = make_volume(ball((100, 150)))
    before = volume.values.copy()
    one, other = preprocess(volume, PARAMETERS), preprocess(volume, PARAMETERS)
    np.testing.assert_array_equal(volume.values, before)
    np.testing.assert_array_equal(one.values, other.values)


def mr_series(slices: int = 6) -> npt.NDArray[np.float32]:
    """A head whose signal rises from 100 to 300 to one side, in a background without signal."""
    head = ball((100, 150), slices=slices) > 0
    return np.where(head, np.linspace(40, 300, 256, dtype=np.float32), np.float32(0))


def test_relative_values_are_thousandths_of_the_foregrounds_median() -> None:
    values = mr_series()
    result = preprocess(make_volume(values), RELATIVE)
    scale = 1000 / np.median(values[values > values.mean()])
    assert result.intensity_scale == pytest.approx(scale, rel=1e-6)
    assert result.warnings == ()
    assert centre_of(result) == pytest.approx((100, 150), abs=2.5)
    # As a task of HU sees the same series, scaled before it comes.
    hounsfield = msgspec.structs.replace(RELATIVE, intensity="hounsfield")
    expected = preprocess(make_volume(values * scale), hounsfield)
    within = expected.values >= 0  # without what lies outside of the image
    np.testing.assert_allclose(result.values[within], expected.values[within], atol=1)
    assert (expected.intensity_scale, result.origin_px) == (1.0, expected.origin_px)


def test_the_scale_of_a_scanner_changes_no_relative_value() -> None:
    values = mr_series()
    one, other = (preprocess(make_volume(factor * values), RELATIVE) for factor in (1.0, 7.3))
    np.testing.assert_allclose(one.values, other.values, atol=1)
    assert one.values.max() > 1000
    assert one.intensity_scale == pytest.approx(7.3 * other.intensity_scale, rel=1e-5)
    assert one.origin_px == other.origin_px


def test_outside_of_a_relative_image_there_is_no_signal() -> None:
    values = np.full((8, 50, 50), 40.0)
    values[:, :10] = 0.0
    result = preprocess(make_volume(values), RELATIVE)
    rows, columns = result.to_original(np.arange(96), np.arange(96))
    outside_rows, outside_columns = (rows < -2) | (rows > 51), (columns < -2) | (columns > 51)
    assert outside_rows.any()
    assert outside_columns.any()
    assert np.all(result.values[:, outside_rows] == 0)
    assert np.all(result.values[:, :, outside_columns] == 0)
    assert np.all(result.values[:, (rows > 12) & (rows < 47)][:, :, (columns > 2) & (columns < 47)] == 1000)


@pytest.mark.parametrize("level", [0.0, 700.0, -5.0])
def test_a_series_without_a_foreground_is_used_as_it_is_and_says_so(level: float) -> None:
    result = preprocess(make_volume(np.full((8, 200, 200), level)), RELATIVE)
    assert result.intensity_scale == 1.0
    assert [item.code for item in result.warnings][:1] == ["intensity_not_scaled"]
    assert np.all(result.values[:, 40:56, 40:56] == level)


def in_orientation(canonical: Volume, along_columns: tuple[int, int], along_rows: tuple[int, int]) -> Volume:
    """Writes a canonical volume with other axes: pixel by pixel from where each one lies in the patient.

    Args:
        canonical: Columns count along +x, rows along +y.
        along_columns: Direction (x, y) in which the columns of the result count.
        along_rows: Direction in which its rows count.
    """
    shape = {"x": canonical.values.shape[2], "y": canonical.values.shape[1]}
    spacing = {"x": canonical.pixel_spacing_mm[1], "y": canonical.pixel_spacing_mm[0]}
    row_axis, column_axis = ("x" if along_rows[0] else "y"), ("x" if along_columns[0] else "y")
    values = np.empty((len(canonical.values), shape[row_axis], shape[column_axis]), dtype=np.float32)
    for row in range(shape[row_axis]):
        for column in range(shape[column_axis]):
            # from the corner where both count from 0, backwards from the other end where a direction is negative
            place = {
                row_axis: row if sum(along_rows) > 0 else shape[row_axis] - 1 - row,
                column_axis: column if sum(along_columns) > 0 else shape[column_axis] - 1 - column,
            }
            values[:, row, column] = canonical.values[:, place["y"], place["x"]]
    return replace(
        canonical,
        values=values,
        pixel_spacing_mm=(spacing[row_axis], spacing[column_axis]),
        orientation=(*along_columns, 0.0, *along_rows, 0.0),
    )


X, Y = (1, 0), (0, 1)
MINUS_X, MINUS_Y = (-1, 0), (0, -1)
EIGHT = [
    *[(columns, rows) for columns in (X, MINUS_X) for rows in (Y, MINUS_Y)],
    *[(columns, rows) for columns in (Y, MINUS_Y) for rows in (X, MINUS_X)],
]


def lopsided_head() -> tuple[Volume, tuple[int, int]]:
    """A head off the centre with one bright pixel, in an image of unequal sides and spacings; and that pixel."""
    values = ball((70, 84), radius=50.0, slices=3, size=160)[:, :133]
    rows, columns = np.mgrid[:133, :160]
    values += np.where(values > 0, rows * 0.3 + columns * 0.7, 0.0).astype(np.float32)
    values[1, 60, 101] = 20_000.0
    return make_volume(values, spacing=(1.3, 1.1)), (60, 101)


@pytest.mark.parametrize(("along_columns", "along_rows"), EIGHT)
def test_all_orientations_in_the_plane_give_the_same_input(
    along_columns: tuple[int, int], along_rows: tuple[int, int]
) -> None:
    canonical, _ = lopsided_head()
    volume = in_orientation(canonical, along_columns, along_rows)
    before = volume.values.copy()
    expected, result = preprocess(canonical, PARAMETERS), preprocess(volume, PARAMETERS)
    np.testing.assert_allclose(result.values, expected.values, rtol=0, atol=1)
    np.testing.assert_array_equal(volume.values, before)

    mark = np.unravel_index(volume.values[1].argmax(), volume.values[1].shape)
    bright = result.values[1].astype(float) - expected.values[0]
    weights = np.where(bright > 50, bright, 0.0)
    rows, columns = result.to_original(*np.mgrid[:96, :96])
    found = np.average(rows, weights=weights), np.average(columns, weights=weights)
    assert found == pytest.approx((int(mark[0]), int(mark[1])), abs=0.25)


@pytest.mark.parametrize(("along_columns", "along_rows"), EIGHT)
def test_the_way_back_leads_to_the_same_place_from_all_orientations(
    along_columns: tuple[int, int], along_rows: tuple[int, int]
) -> None:
    canonical, _ = lopsided_head()
    # every pixel of the image says where in the canonical image it lies
    rows, columns = (np.repeat(item[None].astype(np.float32), 3, axis=0) for item in np.mgrid[:133, :160])
    row_of, column_of = (
        in_orientation(replace(canonical, values=item), along_columns, along_rows).values[0] for item in (rows, columns)
    )
    grid = np.array([30, 48, 60]), np.array([40, 48, 52])
    expected_row, expected_column = preprocess(canonical, PARAMETERS).to_original(*grid)
    result = preprocess(in_orientation(canonical, along_columns, along_rows), PARAMETERS)
    row, column = result.to_original(*grid)
    np.testing.assert_allclose(ndimage.map_coordinates(row_of, [row, column], order=1), expected_row, atol=1e-3)
    np.testing.assert_allclose(ndimage.map_coordinates(column_of, [row, column], order=1), expected_column, atol=1e-3)


def test_the_nearest_orientation_is_taken() -> None:
    canonical, _ = lopsided_head()
    turned = in_orientation(canonical, MINUS_Y, X)
    rotation = np.deg2rad(20.0)
    cosine, sine = float(np.cos(rotation)), float(np.sin(rotation))
    oblique = replace(turned, orientation=(-sine, -cosine, 0.0, cosine, -sine, 0.0))
    np.testing.assert_array_equal(preprocess(oblique, PARAMETERS).values, preprocess(turned, PARAMETERS).values)


@settings(deadline=None, max_examples=30)
@given(
    row=st.integers(70, 180),
    column=st.integers(70, 180),
    spacing=st.tuples(st.floats(0.4, 1.2), st.floats(0.4, 1.2)),
)
def test_the_way_back_finds_a_mark(row: int, column: int, spacing: tuple[float, float]) -> None:
    """A bright Gaussian lies where its brightest grid pixels map back to."""
    rows, columns = np.mgrid[:256, :256]
    distance_mm = np.hypot((rows - row) * spacing[0], (columns - column) * spacing[1])
    image = np.where(np.hypot(rows - 125, columns - 125) < 100, 0.0, -1000.0) + 900.0 * np.exp(
        -((distance_mm / 6) ** 2)
    )
    result = preprocess(make_volume(image[None], spacing=spacing), PARAMETERS)
    weights = np.clip(result.values[0].astype(float) - 200.0, 0, None)
    grid_rows, grid_columns = np.mgrid[:96, :96]
    back_rows, back_columns = result.to_original(grid_rows, grid_columns)
    found = np.average(back_rows, weights=weights), np.average(back_columns, weights=weights)
    assert found == pytest.approx((row, column), abs=0.5)


def test_the_shading_correction_and_the_head_box_are_off_unless_the_task_wants_them() -> None:
    volume = Head(slices=6, lowest_mm=-5.0, excess_hu=20.0).volume()
    plain = msgspec.structs.replace(CORRECTED, head_box="body", cupping_limit_hu=0.0, deep_brain_limit_hu=0.0)
    boxed = msgspec.structs.replace(plain, head_box="skull")
    deep = msgspec.structs.replace(boxed, deep_brain_limit_hu=8.0)
    assert plain == PreprocessingParameters(pixel_mm=1.3, size=160, slab_mm=5.0, body_threshold=-200.0, opening_mm=8.0)
    assert preprocess(volume, plain).origin_px != preprocess(volume, boxed).origin_px
    shift = preprocess(volume, deep).values - preprocess(volume, boxed).values
    assert set(np.unique(shift).tolist()) <= {0, 1, 2, 3}  # one offset within the skull


def test_a_cupped_and_an_uncupped_head_give_nearly_the_same_input() -> None:
    head = Head(slices=8, lowest_mm=-10.0, center_mm=(96.0, 110.0))
    cupped = replace(head, excess_hu=24.0, decay_mm=11.0)
    flat, corrected = (preprocess(one.volume(), CORRECTED) for one in (head, cupped))
    assert flat.origin_px == corrected.origin_px
    assert flat.warnings == corrected.warnings == ()
    brain = (flat.values > 10) & (flat.values < 60)
    assert np.abs(corrected.values - flat.values)[brain].mean() < 1.0
    off = msgspec.structs.replace(CORRECTED, cupping_limit_hu=0.0)
    uncorrected = preprocess(cupped.volume(), off).values - preprocess(head.volume(), off).values
    assert np.abs(uncorrected)[brain].mean() > 4.0


def test_thin_series_are_corrected_like_thick_ones() -> None:
    thick = Head(slices=8, lowest_mm=-8.125, excess_hu=20.0)
    thin = replace(thick, slices=32, spacing_mm=1.25, lowest_mm=-10.0, noise_hu=6.0)
    one, other = (preprocess(head.volume(), CORRECTED) for head in (thick, thin))
    np.testing.assert_allclose(one.positions_mm, other.positions_mm)
    brain = (one.values > 10) & (one.values < 60)
    assert abs(np.median((other.values - one.values)[brain])) <= 1.0


def test_without_a_skull_it_says_that_nothing_was_corrected() -> None:
    volume = make_volume(ball((100, 150)))
    result = preprocess(volume, CORRECTED)
    plain = msgspec.structs.replace(CORRECTED, head_box="body", cupping_limit_hu=0.0, deep_brain_limit_hu=0.0)
    assert [warning.code for warning in result.warnings] == ["no_skull_found", "shading_not_corrected"]
    np.testing.assert_array_equal(result.values, preprocess(volume, plain).values)


@pytest.mark.parametrize(("along_columns", "along_rows"), EIGHT)
def test_all_orientations_are_corrected_alike(along_columns: tuple[int, int], along_rows: tuple[int, int]) -> None:
    canonical = Head(slices=4, lowest_mm=0.0, excess_hu=20.0, matrix=150, pixel_mm=(1.5, 1.3)).volume()
    expected = preprocess(canonical, CORRECTED)
    result = preprocess(in_orientation(canonical, along_columns, along_rows), CORRECTED)
    np.testing.assert_array_equal(result.values, expected.values)


def test_the_correction_repeats() -> None:
    volume = Head(slices=5, lowest_mm=-5.0, excess_hu=20.0).volume()
    before = volume.values.copy()
    one, other = preprocess(volume, CORRECTED), preprocess(volume, CORRECTED)
    np.testing.assert_array_equal(volume.values, before)
    np.testing.assert_array_equal(one.values, other.values)


@settings(deadline=None)
@given(
    origin=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    step=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
    pixel=st.tuples(st.floats(0, 511), st.floats(0, 511)),
)
def test_the_way_back_is_exact(
    origin: tuple[float, float], step: tuple[float, float], pixel: tuple[float, float]
) -> None:
    empty = ModelInput(
        values=np.zeros((1, 4, 4), dtype=np.int16),
        positions_mm=np.zeros(1),
        duplicate_rank=np.zeros(1, dtype=np.int64),
        slab_of_slice=np.zeros(1, dtype=np.int64),
        origin_px=origin,
        step_px=step,
    )
    rows, columns = empty.to_original(pixel[0], pixel[1])
    assert (float(rows) - origin[0]) / step[0] == pytest.approx(pixel[0], abs=1e-6)
    assert (float(columns) - origin[1]) / step[1] == pytest.approx(pixel[1], abs=1e-6)
    shifted = replace(empty, origin_px=(0.0, 0.0)).to_original([0, 1], [0, 1])
    assert shifted[0].tolist() == [0.0, step[0]]

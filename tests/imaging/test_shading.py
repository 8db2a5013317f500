from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from plain_shading import plain_field
from slicewise.imaging.shading import NODE_MM, Cupping, _low_quantiles, correct_shading, fit_cupping
from slicewise.imaging.skull import Skull, find_skull
from slicewise.volume import FloatImages
from synthetic_head import Head

LIMITS = {"limit_hu": 40.0, "deep_hu": 30.0, "deep_limit_hu": 8.0}
PIXEL_MM = 1.3
Mask = npt.NDArray[np.bool_]

SOME = Head(slices=9, lowest_mm=-10.0)
HEADS = {
    "usual": SOME,
    "infant": replace(SOME, radii_mm=(50.0, 55.0, 45.0), skull_mm=2.5),
    "atrophy": replace(SOME, csf_mm=5.0),
    "craniectomy": replace(SOME, gap_share=0.2),
    "cut off by the edge of the image": replace(SOME, center_mm=(102.0, 60.0)),
    "few slices": replace(SOME, slices=3, lowest_mm=5.0),
    "one slice": replace(SOME, slices=1, lowest_mm=10.0),
    "subdural on both sides": replace(SOME, rim_mm=9.0, rim_share=0.6),
    "chronic collection": replace(SOME, rim_mm=9.0, rim_share=0.6, rim_hu=20.0),
}


def corrected(head: Head) -> tuple[FloatImages, FloatImages, Cupping]:
    values = head.values()
    result, cupping = correct_shading(values, head.positions_mm, PIXEL_MM, **LIMITS)
    assert cupping is not None
    return values, result, cupping


@pytest.mark.parametrize(("excess_hu", "decay_mm"), [(12.0, 7.0), (26.0, 13.0)])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_a_cupped_and_an_uncupped_head_give_nearly_the_same_input(
    head: Head, excess_hu: float, decay_mm: float
) -> None:
    flat, flat_result, _ = corrected(head)
    cupped, cupped_result, _ = corrected(replace(head, excess_hu=excess_hu, decay_mm=decay_mm))
    before, after = cupped - flat, cupped_result - flat_result
    depth = head.depth_mm()
    # In the gap of a craniectomy the head was given cupping as if there were bone.
    brain = head.around() > head.gap_share
    for low, high, residual in ((1, 4, 4.0), (4, 8, 1.8), (8, 20, 1.4), (20, 60, 0.8)):
        ring = brain & (depth > low) & (depth <= high)
        assert np.abs(after[ring]).mean() < max(residual * excess_hu / 20, 1.2)
        assert low >= 20 or np.abs(after[ring]).mean() < 0.6 * before[ring].mean()


@pytest.mark.parametrize("excess_hu", [0.0, 14.0])
@pytest.mark.parametrize("share", [0.1, 0.35, 0.6])
@pytest.mark.parametrize("rim_hu", [70.0, 55.0, 18.0], ids=["acute", "subacute", "chronic"])
def test_blood_keeps_its_contrast_to_the_brain_beside_it(rim_hu: float, share: float, excess_hu: float) -> None:
    head = replace(SOME, rim_mm=8.0, rim_hu=rim_hu, rim_share=share, excess_hu=excess_hu)
    values, result, _ = corrected(head)
    depth, rim = head.depth_mm(), head.in_rim()
    for low, high in ((2.5, 4), (4, 6), (6, 8)):
        ring = (depth > low) & (depth < high)
        blood, brain = ring & rim, ring & ~rim & (depth > head.csf_mm)
        if brain.any():
            before = values[blood].mean() - values[brain].mean()
            assert abs(result[blood].mean() - result[brain].mean() - before) < 1.0
    # What blood changes for the rest of the head: as good as nothing.
    _, without, _ = corrected(replace(head, rim_mm=0.0))
    elsewhere = ~rim & (depth > 1)
    assert np.abs((result - without)[elsewhere]).mean() < 1.0
    assert abs((result - without)[elsewhere & (depth < 8)].mean()) < 1.5


def test_chronic_collections_do_not_get_brighter() -> None:
    head = replace(SOME, rim_mm=10.0, rim_hu=15.0, rim_share=0.4)
    values, result, _ = corrected(head)
    offset = result[head.depth_mm() > 40].mean() - values[head.depth_mm() > 40].mean()
    assert result[head.in_rim()].mean() - offset <= values[head.in_rim()].mean() + 0.1


def test_a_scan_without_cupping_stays_as_it_is() -> None:
    values, result, cupping = corrected(replace(SOME, grey=False))
    assert cupping.excess_hu < 1.0
    assert np.abs(result - values).max() < 3.0  # deep brain: from 28 to 30 HU


@pytest.mark.parametrize(("offset_hu", "after"), [(-7.0, 29.0), (5.0, 30.0), (-9.0, 27.0), (14.0, 34.0)])
def test_deep_brain_is_brought_towards_a_common_value(offset_hu: float, after: float) -> None:
    head = replace(SOME, grey=False, offset_hu=offset_hu)
    _, result, cupping = corrected(head)
    assert cupping.deep_hu == pytest.approx(28.0 + offset_hu, abs=0.7)
    deep = (head.depth_mm() > 25) & (head.depth_mm() < 45)
    assert result[deep].mean() == pytest.approx(after, abs=0.7)


def test_without_an_offset_deep_brain_stays() -> None:
    head = replace(SOME, grey=False, offset_hu=-7.0)
    values = head.values()
    result, _ = correct_shading(values, head.positions_mm, PIXEL_MM, limit_hu=40.0, deep_hu=30.0, deep_limit_hu=0.0)
    assert np.abs(result - values).max() < 1.0


def test_nothing_outside_the_skull_changes() -> None:
    head = replace(SOME, excess_hu=20.0)
    values, result, _ = corrected(head)
    outside = head.depth_mm() < -head.skull_mm - 2 * NODE_MM
    np.testing.assert_array_equal(result[outside], values[outside])


def test_the_limit_holds() -> None:
    head = replace(SOME, excess_hu=28.0)
    values = head.values()
    result, cupping = correct_shading(
        values, head.positions_mm, PIXEL_MM, limit_hu=9.0, deep_hu=30.0, deep_limit_hu=0.0
    )
    assert cupping is not None
    assert cupping.excess_hu == pytest.approx(30.0, abs=4.0)  # with that of grey matter
    offset = np.float32(cupping.deep_hu - 28.0)
    assert (values - result).max() == pytest.approx(9.0, abs=1e-3)
    assert abs(offset) < 1.0


def test_what_is_subtracted_follows_the_fitted_curve() -> None:
    head = replace(SOME, excess_hu=20.0, decay_mm=11.0)
    values, result, cupping = corrected(head)
    depth = head.depth_mm()
    cavity = (depth > 3) & (depth < 40)
    expected = (30.0 - cupping.deep_hu) - (cupping.excess_hu - 6.0) * np.exp(-depth[cavity] / cupping.decay_mm)
    assert np.abs((result - values)[cavity] - expected).mean() < 0.8


@pytest.mark.parametrize("what", ["air", "water", "bone only in the middle", "block of bone"])
def test_without_a_head_nothing_is_corrected(what: str) -> None:
    values = np.full((10, 100, 100), -1000.0 if what == "air" else 10.0, dtype=np.float32)
    if what == "bone only in the middle":
        values[:, 45:55, 45:55] = 700.0
    if what == "block of bone":
        values[:] = 700.0
    result, cupping = correct_shading(values, np.linspace(0.0, 45.0, 10), PIXEL_MM, **LIMITS)
    assert cupping is None
    assert result is values


def test_it_equals_the_plain_form() -> None:
    head = replace(SOME, excess_hu=20.0, decay_mm=11.0, slices=6, lowest_mm=0.0)
    values, result, _ = corrected(head)
    difference = (result - values) - plain_field(values, head.spacing_mm, PIXEL_MM, **LIMITS)
    depth = head.depth_mm()
    for low, high, allowed in ((2, 4, 1.6), (4, 8, 1.2), (8, 20, 0.6), (20, 80, 0.3)):
        ring = (depth > low) & (depth <= high)
        assert np.abs(difference[ring]).mean() < allowed
        assert abs(difference[ring].mean()) < 0.6


def test_the_distance_to_bone_is_one_in_space_over_uneven_slices() -> None:
    values = np.full((4, 60, 60), 30.0, dtype=np.float32)
    values[0] = 800.0
    values[:, 20:22] = 800.0
    skull = find_skull(values, np.array([0.0, 3.0, 10.0, 50.0]), (2.0, 1.0), 2.0)
    assert skull.pixels_a_node == (1, 2)
    assert skull.distance_mm.shape == (4, 60, 30)
    column = skull.distance_mm[:, 40, 10]  # 19 rows of 2 mm below the bone of its own slice, less half a node
    np.testing.assert_allclose(column, [0.0, 3.0, 10.0, 37.0], atol=1e-3)
    near = skull.distance_mm[:, 23, 10]
    np.testing.assert_allclose(near, [0.0, 3.0, 3.0, 3.0], atol=1e-3)


def test_bone_on_three_sides_encloses() -> None:
    values = np.full((1, 40, 40), 30.0, dtype=np.float32)
    values[0, 10:30, [8, 31]] = 800.0
    values[0, 10, 8:32] = 800.0  # open at the end of the rows
    inside = find_skull(values, np.zeros(1), (1.0, 1.0), 1.0).inside[0]
    assert inside[11:30, 9:31].all()
    assert inside.sum() == 19 * 22


def test_too_little_brain_cannot_be_fitted() -> None:
    nowhere, zeros = np.zeros((2, 8, 8), dtype=bool), np.zeros((2, 8, 8), dtype=np.float32)
    skull = Skull(hu=zeros, bone=nowhere, inside=nowhere, distance_mm=zeros, pixels_a_node=(1, 1))
    assert fit_cupping(skull) is None


def test_it_repeats_and_leaves_its_input_alone() -> None:
    head = replace(SOME, excess_hu=15.0)
    values = head.values()
    before = values.copy()
    one, first = correct_shading(values, head.positions_mm, PIXEL_MM, **LIMITS)
    other, second = correct_shading(values, head.positions_mm, PIXEL_MM, **LIMITS)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(one, other)
    assert first == second


def test_quantiles_over_the_sectors_are_those_of_numpy_bit_for_bit() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        medians = random.normal(30, 8, (10, 12)).round(int(random.integers(0, 4)))
        medians[random.random(medians.shape) < random.random()] = np.nan
        for row, found in zip(medians, _low_quantiles(medians), strict=True):
            counted = row[~np.isnan(row)]
            assert not len(counted) or found == np.quantile(counted, 0.3)

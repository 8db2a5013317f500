from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from slicewise.config import AugmentConfig
from slicewise.data.augment import AIR_HU, SliceTransform, draw_transform
from slicewise.imaging.windows import apply_channels
from slicewise.task import OCCUPANCY_STRIDE, WindowChannel

NOTHING = AugmentConfig(
    flip=0, rotation_degrees=0, scale=0, shift_mm=0, gain=0, offset_hu=0, noise_hu=0, window_shift=0, window_scale=0
)
WINDOWS = (WindowChannel("brain", center=40.0, width=80.0), WindowChannel("bone", center=600.0, width=2800.0))
VALUES = np.random.default_rng(0).normal(0.0, 300.0, (3, 40, 40)).astype(np.float32)


def transform(
    *,
    matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
    gain: float = 1.0,
    offset: float = 0.0,
    noise: float = 0.0,
    window_shift: tuple[float, ...] = (),
    window_scale: tuple[float, ...] = (),
    shading: float = 0.0,
) -> SliceTransform:
    return SliceTransform(
        np.eye(2) if matrix is None else matrix,
        np.array(shift),
        gain,
        offset,
        noise,
        noise_seed=5,
        window_shift=np.array(window_shift),
        window_scale=np.array(window_scale),
        shading_hu=shading,
        shading_seed=9,
    )


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_the_identity_changes_nothing(seed: int) -> None:
    drawn = draw_transform(np.random.default_rng(seed), NOTHING, pixel_mm=1.3, channels=2)
    assert np.array_equal(drawn.apply(VALUES), VALUES)
    assert drawn.apply_to_windows(WINDOWS) == WINDOWS


@given(st.integers(0, 2**32), st.tuples(st.integers(1, 30), st.integers(1, 30)))
def test_slices_move_as_scipy_moves_them(seed: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    drawn = draw_transform(rng, AugmentConfig(rotation_degrees=30, scale=0.2, shift_mm=5, noise_hu=0), 1.0, 1)
    drawn = replace(drawn, gain=1.0, offset_hu=0.0)
    values = rng.normal(0, 50, (2, *size)).astype(np.float32)
    centre = (np.array(size) - 1) / 2
    offset = centre - drawn.matrix @ (centre + drawn.shift_px)
    expected = [
        scipy.ndimage.affine_transform(item, drawn.matrix, offset, order=1, mode="grid-constant", cval=AIR_HU)
        for item in values
    ]
    np.testing.assert_allclose(drawn.apply(values), expected, atol=0.05)


def test_a_flip_is_left_right() -> None:
    drawn = draw_transform(
        np.random.default_rng(0), msgspec.structs.replace(NOTHING, flip=1.0), pixel_mm=1.3, channels=2
    )
    np.testing.assert_allclose(drawn.apply(VALUES), VALUES[..., ::-1], atol=1e-2)


def test_a_shift_moves_the_content_and_leaves_air() -> None:
    moved = transform(shift=(3.0, -2.0)).apply(VALUES)
    np.testing.assert_allclose(moved[:, 3:, :-2], VALUES[:, :-3, 2:], atol=1e-2)
    np.testing.assert_allclose(moved[:, :3], AIR_HU, atol=1e-2)
    assert np.all(moved[:, :, -2:] == AIR_HU)


def test_a_quarter_turn_is_exact() -> None:
    turned = transform(matrix=np.array([[0.0, 1.0], [-1.0, 0.0]])).apply(VALUES)
    # Result (r, c) shows source (c, -r) about the centre.
    expected = np.stack([np.rot90(image) for image in VALUES])
    np.testing.assert_allclose(turned, expected, atol=1e-2)


def test_magnification_keeps_the_centre() -> None:
    ramp = np.tile(np.arange(41.0, dtype=np.float32), (41, 1))
    enlarged = transform(matrix=np.eye(2) / 2).apply(ramp)
    np.testing.assert_allclose(enlarged[20], 20 + (np.arange(41) - 20) / 2, atol=1e-4)


def test_gain_and_offset_act_on_hu() -> None:
    np.testing.assert_allclose(transform(gain=1.1, offset=-5.0).apply(VALUES), 1.1 * VALUES - 5.0, rtol=1e-5, atol=1e-3)


def test_noise_has_its_level_and_repeats() -> None:
    flat = np.zeros((4, 80, 80), dtype=np.float32)
    noisy = transform(noise=3.0).apply(flat)
    assert noisy.std() == pytest.approx(3.0, rel=0.02)
    assert not np.array_equal(noisy[0], noisy[1])
    assert np.array_equal(noisy, transform(noise=3.0).apply(flat))


def test_slices_of_a_series_stay_together() -> None:
    drawn = draw_transform(np.random.default_rng(3), AugmentConfig(noise_hu=0.0), pixel_mm=1.3, channels=2)
    together = drawn.apply(VALUES)
    assert together.dtype == np.float32
    assert np.array_equal(together, np.stack([drawn.apply(image) for image in VALUES]))


def test_what_is_drawn_has_the_spread_that_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_transform(rng, AugmentConfig(), pixel_mm=2.0, channels=2) for _ in range(2000)]
    flips = [np.linalg.det(item.matrix) < 0 for item in drawn]
    assert np.mean(flips) == pytest.approx(0.5, abs=0.04)
    scales = [abs(np.linalg.det(item.matrix)) ** -0.5 for item in drawn]
    assert np.std(scales) == pytest.approx(0.06, rel=0.1)
    angles = [np.degrees(np.arcsin(item.matrix[0, 1] * scale)) for item, scale in zip(drawn, scales, strict=True)]
    assert np.std(angles) == pytest.approx(8.0, rel=0.1)
    assert np.std([item.shift_px for item in drawn]) == pytest.approx(4.0 / 2.0, rel=0.1)
    assert np.std([item.gain for item in drawn]) == pytest.approx(0.02, rel=0.1)
    assert np.std([item.offset_hu for item in drawn]) == pytest.approx(2.0, rel=0.1)
    assert min(item.noise_hu for item in drawn) >= 0.0
    assert np.mean([item.noise_hu for item in drawn]) == pytest.approx(1.5, rel=0.1)
    shifts = np.array([item.window_shift for item in drawn])
    assert shifts.shape == (2000, 2)
    assert shifts.std() == pytest.approx(0.02, rel=0.1)
    assert np.std(np.log([item.window_scale for item in drawn])) == pytest.approx(0.04, rel=0.1)
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.1  # every window has a shift of its own


def test_occupancies_move_with_the_slices() -> None:
    rng = np.random.default_rng(7)
    coarse = np.zeros((2, 12, 12), dtype=np.float32)
    coarse[:, 4:8, 5:9] = rng.uniform(0.5, 1.0, (2, 4, 4))
    fine = coarse.repeat(OCCUPANCY_STRIDE, axis=1).repeat(OCCUPANCY_STRIDE, axis=2)
    drawn = draw_transform(
        rng, AugmentConfig(gain=0.0, offset_hu=0.0, noise_hu=0.0, flip=1.0), pixel_mm=1.0, channels=2
    )
    moved = drawn.apply(fine - np.float32(AIR_HU)) + np.float32(AIR_HU)
    cells = np.maximum(moved, 0).reshape(2, 12, OCCUPANCY_STRIDE, 12, OCCUPANCY_STRIDE).mean(axis=(2, 4))
    expected = drawn.apply_to_occupancy(coarse)
    # Both interpolate linearly, one between pixels and the other between cells.
    assert np.corrcoef(cells.ravel(), expected.ravel())[0, 1] > 0.97
    for axis in (1, 2):
        place = np.arange(12).reshape((-1, 1) if axis == 1 else (1, -1))
        centres = [(values * place).sum() / values.sum() for values in (cells, expected)]
        assert centres[0] == pytest.approx(centres[1], abs=0.1)


def test_beyond_the_image_there_is_no_finding() -> None:
    moved = transform(shift=(2.0 * OCCUPANCY_STRIDE, 0.0)).apply_to_occupancy(np.ones((6, 6), dtype=np.float32))
    np.testing.assert_allclose(moved[:2], np.zeros((2, 6)), atol=1e-6)
    np.testing.assert_allclose(moved[2:], np.ones((4, 6)), atol=1e-6)


def test_windows_are_moved_and_scaled_by_shares_of_their_width() -> None:
    changed = transform(window_shift=(0.1, -0.5), window_scale=(1.5, 0.5)).apply_to_windows(WINDOWS)
    assert [item.name for item in changed] == ["brain", "bone"]
    assert [item.center for item in changed] == pytest.approx([48.0, -800.0])
    assert [item.width for item in changed] == pytest.approx([120.0, 1400.0])


def test_a_moved_window_shows_what_was_moved_against_it() -> None:
    moved = transform(window_shift=(0.1,), window_scale=(1.0,)).apply_to_windows(WINDOWS[:1])
    np.testing.assert_allclose(apply_channels(VALUES, moved), apply_channels(VALUES - 8.0, WINDOWS[:1]), atol=1e-5)


def test_shading_drifts_smoothly_and_equally_in_all_slices() -> None:
    shift = transform(shading=3.0).apply(np.zeros((2, 200, 200), dtype=np.float32))
    np.testing.assert_array_equal(shift[0], shift[1])
    slope = np.hypot(*np.gradient(shift[0]))
    assert slope.max() < 0.6  # HU a pixel: points of SD 3 HU lie 40 pixels apart
    spread = [
        replace(transform(shading=3.0), shading_seed=seed).apply(np.zeros((200, 200), dtype=np.float32)).std()
        for seed in range(40)
    ]
    assert 1.2 < np.mean(spread) < 3.0


def test_shading_is_drawn_anew_every_time() -> None:
    rng = np.random.default_rng(2)
    config = msgspec.structs.replace(NOTHING, shading_hu=2.0)
    one, other = (draw_transform(rng, config, pixel_mm=1.0, channels=2).apply(VALUES) - VALUES for _ in range(2))
    assert np.abs(one - other).max() > 0.5

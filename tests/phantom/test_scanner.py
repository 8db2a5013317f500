from __future__ import annotations

import numpy as np
import pytest

from phantom_heads import BRAIN_HU, INNER_MM, ORIGIN, SHAPE, coordinates, cylinder, geometry, perfect
from slicewise.phantom.artefacts import Motion
from slicewise.phantom.geometry import ScanGeometry
from slicewise.phantom.noise import KERNELS
from slicewise.phantom.parameters import PhysicsParameters
from slicewise.phantom.scanner import Scan, ScanPhysics, sample_physics, scan


def _scan(physics: ScanPhysics, scanned: ScanGeometry | None = None, **head: object) -> Scan:
    return scan(cylinder(**head), scanned or geometry(), physics, np.random.default_rng(7))  # type: ignore[arg-type]


def _radius(matrix: int = 220, fov_mm: float = 242.0) -> np.ndarray:
    place = (np.arange(matrix) - 0.5 * (matrix - 1)) * fov_mm / matrix
    return np.hypot(place[:, None], place[None, :])


RADIUS = _radius()


def test_a_perfect_scanner_shows_the_head_as_it_is() -> None:
    image = _scan(perfect()).hu[2]
    np.testing.assert_allclose(image[RADIUS < INNER_MM - 5], BRAIN_HU, atol=0.1)
    np.testing.assert_allclose(image[(RADIUS > 85) & (RADIUS < 95)], -1000, atol=0.1)
    assert image.max() == pytest.approx(1200, abs=30)


@pytest.mark.parametrize("kernel", ["smooth", "standard"])
def test_the_point_spread_of_an_edge_has_the_width_of_its_kernel(kernel: str) -> None:
    scanned = geometry(matrix=512)
    image = _scan(perfect(kernel=KERNELS[kernel]), scanned).hu[2]
    row = image[256, 256:]  # from the centre to the left, through the inner table
    edge = np.diff(row[: int(73.5 / scanned.pixel_mm)])
    place = np.arange(len(edge)) * scanned.pixel_mm
    mean = (edge * place).sum() / edge.sum()
    spread = np.sqrt((edge * (place - mean) ** 2).sum() / edge.sum())
    assert spread == pytest.approx(KERNELS[kernel].spread_mm, abs=0.08)


def test_a_sharp_kernel_overshoots_beside_an_edge_and_a_standard_one_does_not() -> None:
    inside = (RADIUS > INNER_MM - 4) & (RADIUS < INNER_MM - 1)
    assert _scan(perfect(kernel=KERNELS["sharp"])).hu[2][inside].min() < BRAIN_HU - 5
    assert _scan(perfect(kernel=KERNELS["standard"])).hu[2][inside].min() > BRAIN_HU - 1


def test_cupping_brightens_brain_near_the_inner_table_and_decays() -> None:
    excess = _scan(perfect(cupping_hu=20.0, cupping_decay_mm=10.0)).hu[2] - _scan(perfect()).hu[2]
    for depth in (5.0, 10.0, 20.0, 40.0):
        ring = np.abs(RADIUS - (INNER_MM - depth)) < 0.5
        assert excess[ring].mean() == pytest.approx(20 * np.exp(-depth / 10), abs=0.4)
    np.testing.assert_allclose(excess[RADIUS > 84], 0, atol=1e-3)


def test_noise_has_its_deviation_on_pixels_of_1_mm_and_grows_with_thinner_slices() -> None:
    for thickness, factor in ((5.0, 1.0), (1.25, 2.0)):
        scanned = geometry(thickness=thickness, matrix=484)  # 0.5 mm
        noise = _scan(perfect(noise_hu=3.0), scanned).hu - _scan(perfect(), scanned).hu
        seen = noise.reshape(5, 242, 2, 242, 2).mean(axis=(2, 4))
        assert seen.std() == pytest.approx(3.0 * factor, rel=0.06)


def test_noise_by_position_is_highest_in_the_centre_of_a_head() -> None:
    scanned = geometry(count=12)
    noise = _scan(perfect(noise_hu=3.0, noise_by_position=True), scanned).hu - _scan(perfect(), scanned).hu
    centre, rim, air = (noise[:, ring].std() for ring in (RADIUS < 25, np.abs(RADIUS - 62) < 6, RADIUS > 105))
    assert centre > 1.1 * rim > 1.1 * air
    assert 2.4 < noise[:, RADIUS < INNER_MM].std() < 4.2


def test_a_switched_effect_leaves_everything_else_as_it_is() -> None:
    noisy = perfect(noise_hu=3.0, noise_by_position=True, headrest=True)
    with_cupping = perfect(noise_hu=3.0, noise_by_position=True, headrest=True, cupping_hu=15.0)
    difference = _scan(with_cupping).hu - _scan(noisy).hu
    assert difference[2][RADIUS < 5].std() < 0.2
    assert abs(difference[2][RADIUS > 100]).max() < 0.5


def test_offset_and_shading_move_tissue_and_leave_air() -> None:
    plain = _scan(perfect()).hu
    offset = _scan(perfect(offset_hu=4.0)).hu - plain
    np.testing.assert_allclose(offset[2][RADIUS < 60], 4.0, atol=0.05)
    np.testing.assert_allclose(offset[2][(RADIUS > 90) & (RADIUS < 110)], 0.0, atol=0.05)
    shading = _scan(perfect(shading_hu=5.0)).hu - plain
    assert 1.0 < np.abs(shading[:, RADIUS < 60]).mean() < 12.0
    steps = np.abs(np.diff(shading[2], axis=0))[(RADIUS < 60)[1:]]
    assert steps.max() < 0.6  # smooth: pixels are 1.1 mm


def test_bone_on_both_sides_darkens_what_lies_between() -> None:
    x, y, _ = coordinates()
    hu = cylinder().hu.copy()
    for side in (-45, 45):
        hu[np.broadcast_to(np.hypot(x - side, y) < 14, SHAPE)] = 1600.0
    error = _scan(perfect(hardening=1.0), hu=hu).hu[2] - _scan(perfect(), hu=hu).hu[2]
    between, above = error[105:116, 100:120].mean(), error[60:70, 100:120].mean()
    assert between < above - 3
    plain = _scan(perfect(hardening=1.0)).hu[2] - _scan(perfect()).hu[2]
    assert abs(plain[105:116, 100:120].mean() - plain[60:70, 100:120].mean()) < 4


def test_starved_rays_leave_streaks_along_themselves() -> None:
    x, y, _ = coordinates()
    hu = cylinder().hu.copy()
    for side in (-45, 45):
        hu[np.broadcast_to(np.hypot(x - side, y) < 18, SHAPE)] = 1600.0
    scanned = geometry(count=40, spacing=1.0)
    error = _scan(perfect(starvation=1.0, noise_hu=3.0), scanned, hu=hu).hu
    error = error - _scan(perfect(noise_hu=3.0), scanned, hu=hu).hu
    between = error[:, 100:120, 100:120]
    assert between.std() > 3 * error[:, 60:70, 100:120].std()
    along = np.mean(between[:, :, 1:] * between[:, :, :-1]) / between.var()
    across = np.mean(between[:, 1:] * between[:, :-1]) / between.var()
    assert along > across + 0.05  # streaks run from bone to bone, along rows


def test_metal_throws_a_star() -> None:
    x, y, z = coordinates()
    hu = cylinder().hu.copy()
    hu[(np.hypot(x - 20, y) < 3) & (np.abs(z) < 12)] = 8000.0
    error = _scan(perfect(metal=True), hu=hu).hu - _scan(perfect(), hu=hu).hu
    place = (np.arange(220) - 109.5) * 1.1
    from_metal = np.hypot(place[None, :] - 20, place[:, None])
    near, far = (error[2][np.abs(from_metal - distance) < 2].std() for distance in (12, 45))
    assert near > 2 * far > 1
    assert 8 < near < 200
    none = _scan(perfect(metal=True)).hu - _scan(perfect()).hu
    assert np.abs(none).max() == 0


def test_motion_doubles_the_contours_of_its_slices_only() -> None:
    motion = Motion((1, 2), 0.0, (0.0, 11.0), 0.4)
    moved, still = _scan(perfect(motion=motion)).hu, _scan(perfect()).hu
    np.testing.assert_array_equal(moved[[0, 3, 4]], still[[0, 3, 4]])
    middle = moved[1, 110]
    # The second position is 11 mm away: beside the bone there is a ghost of it with 0.4 of its height above the brain.
    inner = BRAIN_HU + 0.4 * (1200 - BRAIN_HU)
    assert (np.abs(middle[30:190] - inner) < 60).sum() >= 3


def test_blood_is_seen_where_it_is_and_as_much_as_there_is() -> None:
    x, y, z = coordinates()
    ball = np.clip(10 - np.sqrt((x - 30) ** 2 + (y + 12) ** 2 + z**2), 0, 1).astype(np.float32)
    scanned = geometry(count=9)
    found = _scan(perfect(), scanned, occupancy={"subdural": ball}).occupancy
    assert set(found) == {"subdural"}
    volume = found["subdural"].sum() * scanned.pixel_mm**2 * 5.0
    assert volume == pytest.approx(float(ball.sum()) * 2.0, rel=0.03)
    slices, rows, columns = np.nonzero(found["subdural"] > 0.3)
    assert slices.mean() == pytest.approx(4, abs=0.2)
    assert (columns.mean() - 109.5) * 1.1 == pytest.approx(30, abs=0.6)
    assert (rows.mean() - 109.5) * 1.1 == pytest.approx(-12, abs=0.6)
    far = np.zeros(SHAPE, dtype=np.float32)
    far[0, 0, 0] = 1
    assert _scan(perfect(), scanned, occupancy={"subdural": far}).occupancy == {}


def test_a_headrest_lies_behind_the_head() -> None:
    seen = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        with_rest = scan(cylinder(), geometry(), perfect(headrest=True), rng).hu[2]
        rest = with_rest - _scan(perfect()).hu[2] > 15
        assert not rest[RADIUS < 76].any()
        rows = np.nonzero(rest)[0]
        seen += len(rows) > 50
        assert len(rows) == 0 or (rows.mean() - 109.5) * 1.1 > 40
    assert seen >= 6


def test_kernels_and_chances_come_as_often_as_their_parameters_say() -> None:
    rng = np.random.default_rng(0)
    parameters = PhysicsParameters(smooth=0.5, standard=0.5, sharp=0.0, motion=0.3, headrest=1.0, circle=0.0)
    drawn = [sample_physics(rng, parameters, 30) for _ in range(400)]
    assert {item.kernel.name for item in drawn} == {"smooth", "standard"}
    assert np.mean([item.motion is not None for item in drawn]) == pytest.approx(0.3, abs=0.07)
    assert all(item.headrest and not item.circle for item in drawn)
    assert all(1.7 <= item.noise_hu <= 4.2 for item in drawn)
    assert 0 <= min(item.cupping_hu for item in drawn) < 3
    assert 25 < max(item.cupping_hu for item in drawn) <= 28


def test_what_is_off_does_not_change_what_else_is_drawn() -> None:
    on, off = (
        sample_physics(np.random.default_rng(1), PhysicsParameters(cupping=value, hardening=value, motion=value), 30)
        for value in (1.0, 0.0)
    )
    assert (off.cupping_hu, off.hardening, off.motion) == (0.0, 0.0, None)
    assert on.motion is not None
    assert (on.noise_hu, on.kernel, on.starvation, on.offset_hu) == (
        off.noise_hu,
        off.kernel,
        off.starvation,
        off.offset_hu,
    )


def test_the_origin_of_the_head_is_its_first_voxel() -> None:
    x, y, z = coordinates()
    assert (float(x.min()), float(y.min()), float(z.min())) == ORIGIN

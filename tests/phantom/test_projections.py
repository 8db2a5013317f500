from __future__ import annotations

import numpy as np
import pytest

from slicewise.phantom.fields import Field
from slicewise.phantom.projections import ANGLES, SIZE, RayPaths, projector

PLACE = np.arange(SIZE) - 0.5 * (SIZE - 1)
X, Y = PLACE[None, :], PLACE[:, None]


def _disc(radius: float, x: float = 0.0) -> Field:
    disc: Field = (np.hypot(X - x, Y) < radius).astype(np.float32)[None]
    return disc


def test_rays_are_chords_of_a_disc() -> None:
    sums = projector().project(_disc(30.0, x=6.0)).reshape(ANGLES, SIZE)
    for number in (0, 17, ANGLES // 2):
        angle = number * np.pi / ANGLES
        distance = PLACE - 6 * np.cos(angle)
        chords = 2 * np.sqrt(np.clip(30**2 - distance**2, 0, None))
        np.testing.assert_allclose(sums[number], chords, atol=4.0)
        assert sums[number].sum() == pytest.approx(np.pi * 30**2, rel=0.01)


def test_reconstruction_is_the_inverse_of_projection() -> None:
    disc = _disc(30.0, x=6.0)
    image = projector().reconstruct(projector().project(disc))[0]
    assert image[np.hypot(X - 6, Y) < 26].mean() == pytest.approx(1.0, abs=0.01)
    assert np.abs(image[(np.hypot(X - 6, Y) > 34) & (np.hypot(X, Y) < 48)]).max() < 0.05


def test_back_projection_is_the_transpose() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((2, SIZE, SIZE), dtype=np.float32)
    rays = rng.random((ANGLES * SIZE, 2), dtype=np.float32)
    forward = (projector().project(image) * rays).sum()
    backward = (image * projector().back(rays)).sum() * ANGLES
    assert forward == pytest.approx(backward, rel=1e-4)


def test_paths_tell_water_bone_and_metal_apart() -> None:
    hu = np.full((1, SIZE, SIZE), -1000, dtype=np.float32)
    hu[_disc(40.0) > 0] = 0.0
    hu[_disc(5.0) > 0] = 1250.0
    paths = RayPaths.through(hu, _disc(1.0), 2.0)
    middle = SIZE // 2
    assert paths.metal is not None
    water, bone, metal = (path.reshape(ANGLES, SIZE)[0, middle] for path in (paths.water, paths.bone, paths.metal))
    assert water == pytest.approx(160 + 0.15 * 20, abs=5)
    assert bone == pytest.approx(20.0, abs=2.5)
    assert 1 < metal < 6
    attenuation = paths.attenuation.reshape(ANGLES, SIZE)[0, middle]
    assert attenuation == pytest.approx(0.0195 * (163 + 0.9 * 20), rel=0.04)
    assert RayPaths.through(hu, None, 2.0).metal_streaks(np.random.default_rng(0)) is None


def test_noise_is_highest_where_rays_are_long() -> None:
    hu = np.full((1, SIZE, SIZE), -1000, dtype=np.float32)
    hu[_disc(40.0) > 0] = 35.0
    pattern = RayPaths.through(hu, None, 2.2).noise_pattern()[0]
    assert pattern[50:54, 50:54].mean() > 1.15 * pattern[50:54, 14:18].mean()
    assert 0.6 < pattern[50:54, 50:54].mean() < 1.2

from __future__ import annotations

import numpy as np
import pytest

from slicewise.phantom import template
from slicewise.phantom.deform import Deformation, Push, deformation, gathered
from slicewise.phantom.template import BRAIN_BOX, base_maps


def _still(pushes: tuple[Push, ...] = (), ventricles_mm: tuple[float, float, float] = (0, 0, 0)) -> Deformation:
    rng = np.random.default_rng(0)
    return deformation(rng, shape_mm=0.0, gyri_mm=0.0, ventricles_mm=ventricles_mm, pushes=pushes)


def test_without_anything_that_moves_the_maps_are_those_of_the_template() -> None:
    still = _still()
    grid = BRAIN_BOX.grid()
    np.testing.assert_array_equal(still.inner.x, grid.x)
    base = base_maps()
    packed = base.packed.view(np.uint8).reshape(*base.packed_shape, 8)
    np.testing.assert_array_equal(gathered(still.inner), packed[::2, ::2, ::2])
    assert not still.effacement.any()


def test_a_push_moves_the_brain_by_its_displacement_and_effaces_sulci() -> None:
    push = Push((40.0, 0.0, 30.0), (-6.0, 0.0, 0.0), 20.0)
    moved = _still((push,))
    center = (51, 92, 116)  # z = 30, y = 0, x = 40
    room = 1 - np.exp(-base_maps().wall_mm[BRAIN_BOX.within(template.HEAD_BOX)][center] / 9)
    # What is drawn at the centre comes from 6 mm farther out, less where the wall is near.
    assert moved.inner.x[center] == pytest.approx(40 + 6 * room, abs=0.35)
    assert moved.effacement[center] == pytest.approx(1.0, abs=0.02)
    assert moved.effacement[center[0], center[1], 36] < 0.01  # the other side


def test_wide_ventricles_push_tissue_aside_instead_of_eating_it() -> None:
    def volumes(widening: float) -> tuple[float, float]:
        maps = gathered(_still(ventricles_mm=(widening,) * 3).inner)
        csf = maps[..., template.VENTRICLE] > template.VENTRICLE_ZERO
        return float(csf.sum()), float(maps[..., template.NUCLEUS].sum(dtype=np.float64))

    (usual, nuclei), (wide, pressed) = volumes(0.0), volumes(6.0)
    assert wide > 2.5 * usual
    assert pressed > 0.6 * nuclei


def test_the_brain_stays_in_the_skull() -> None:
    rng = np.random.default_rng(1)
    hard = deformation(rng, shape_mm=4.0, gyri_mm=2.0, ventricles_mm=(0, 0, 0), pushes=())
    wall = base_maps().wall_mm[BRAIN_BOX.within(template.HEAD_BOX)]
    moved = np.abs(hard.inner.y - BRAIN_BOX.grid().y)
    assert moved[wall > 25].mean() > 2
    assert moved[np.abs(wall) < 1].mean() < 0.25 * moved[wall > 25].mean()


def test_deformations_differ_and_follow_their_seed() -> None:
    one, again, other = (
        deformation(np.random.default_rng(seed), shape_mm=3.0, gyri_mm=1.5, ventricles_mm=(0, 0, 0), pushes=())
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.inner.x, again.inner.x)
    assert np.abs(one.inner.x - other.inner.x).max() > 3

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from slicewise.phantom.anatomy import Anatomy, AnatomyParameters, sample_anatomy
from slicewise.phantom.brain import Brain, render_brain
from slicewise.phantom.deform import Push
from slicewise.phantom.fields import Field
from slicewise.phantom.mimics import MimicParameters
from slicewise.phantom.template import BRAIN_BOX
from slicewise.phantom.vessels import paint_arteries, paint_dura

OFF = MimicParameters(**dict.fromkeys(MimicParameters.__struct_fields__, 0.0))


@lru_cache(maxsize=1)
def _anatomy() -> Anatomy:
    return sample_anatomy(np.random.default_rng(4), OFF, AnatomyParameters(age=(0.4, 0.4)))


def _rendered(anatomy: Anatomy | None = None, pushes: tuple[Push, ...] = ()) -> tuple[Field, Brain]:
    return render_brain(anatomy or _anatomy(), np.random.default_rng(0), pushes)


@lru_cache(maxsize=1)
def _usual() -> tuple[Field, Brain]:
    return _rendered()


def test_tissues_have_their_densities() -> None:
    hu, brain = _usual()
    anatomy = _anatomy()
    deep = brain.wall_mm > 12
    pure = deep & (brain.csf == 0) & (brain.ventricle_mm < -12)
    assert np.median(hu[pure & (brain.white == 1)]) == pytest.approx(anatomy.white_hu, abs=1.0)
    assert np.median(hu[pure & (brain.white == 0)]) == pytest.approx(anatomy.grey_hu, abs=1.0)
    assert np.median(hu[brain.ventricle_mm > 2]) == pytest.approx(anatomy.csf_hu, abs=0.5)


def test_volumes_of_tissues_are_those_of_a_brain() -> None:
    _, brain = _usual()
    cavity = brain.wall_mm > 0
    share = {
        "csf": float(brain.csf[cavity].mean() + (brain.ventricle_mm[cavity] > 0).mean()),
        "white": float((brain.white * (1 - brain.csf))[cavity].mean()),
    }
    assert 0.03 < share["csf"] < 0.25
    assert 0.25 < share["white"] < 0.5
    ventricles_ml = (brain.ventricle_mm[cavity] > 0).sum() * 2e-3
    assert 5 < ventricles_ml < 60


def test_wide_sulci_hold_more_csf_than_tight_ones() -> None:
    def csf(sulci: float) -> float:
        _, brain = _rendered(replace(_anatomy(), sulci=sulci, rim_mm=3 * sulci))
        return float(brain.csf[brain.wall_mm > 0].mean())

    assert csf(0.9) > 2 * csf(0.1)


def test_mass_effect_shifts_the_midline_and_narrows_the_ventricle_beside_it() -> None:
    def left_ventricle(brain: Brain) -> float:
        cerebrum = (brain.ventricle_mm > 0) & (brain.grid.z > 0) & (brain.inner.x > 0)
        return float(cerebrum.sum())

    def septum(brain: Brain) -> float:
        inside = (brain.ventricle_mm > 0) & (brain.grid.z > 6) & (brain.grid.z < 20) & (brain.grid.y < -20)
        return float(brain.grid.x[inside].mean())

    _, usual = _usual()
    push = Push((34.0, -6.0, 14.0), (-14.0, 0.0, 0.0), 30.0)
    _, pressed = _rendered(pushes=(push,))
    assert septum(pressed) < septum(usual) - 2
    assert left_ventricle(pressed) < 0.9 * left_ventricle(usual)
    near = (np.hypot(usual.grid.x - 50, usual.grid.y) < 15) & (np.abs(usual.grid.z - 20) < 12)
    assert pressed.csf[near].sum() < 0.5 * usual.csf[near].sum() + 1


def test_falx_and_sinuses_are_dense_and_lie_in_the_middle() -> None:
    hu, brain = _rendered(replace(_anatomy(), dura_hu=60.0, blood_hu=60.0))
    plain = hu.copy()
    paint_dura(hu, brain, replace(_anatomy(), dura_hu=60.0, blood_hu=60.0))
    changed = (hu - plain > 5) & (brain.wall_mm > 0)
    above = changed & (brain.grid.z > 30)
    assert np.abs(brain.grid.x[above]).max() <= 12
    assert np.abs(brain.falx_mm[above & (brain.wall_mm > 20)]).max() < 2
    assert hu[changed].max() <= 60.5
    sagittal = (
        (np.abs(brain.grid.x) < 1)
        & (brain.grid.y > 20)
        & (brain.wall_mm > 1)
        & (brain.wall_mm < 4)
        & (brain.grid.z > 10)
    )
    assert np.median(hu[sagittal]) == pytest.approx(60, abs=3)


def test_contrast_medium_lights_arteries_up() -> None:
    hu, brain = _rendered()
    paint_arteries(hu, brain, replace(_anatomy(), contrast_hu=150.0))
    bright = hu > 120
    assert 100 < bright.sum() < 4000
    assert brain.inner.z[bright].max() < 45


def test_the_same_seed_draws_the_same_brain() -> None:
    again, _ = _rendered()
    np.testing.assert_array_equal(again, _usual()[0])
    assert again.shape == BRAIN_BOX.shape

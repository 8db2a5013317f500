from __future__ import annotations

import numpy as np
import pytest

from slicewise.phantom.brain import Brain
from slicewise.phantom.hemorrhages.blood import Blood
from slicewise.phantom.hemorrhages.intraparenchymal import (
    DEEP,
    draw_intraparenchymal,
    sample_contusions,
    sample_intraparenchymal,
    sample_shear_injuries,
)
from slicewise.phantom.hemorrhages.model import INTRAPARENCHYMAL, Hemorrhage


def _ellipsoid_ml(one: Hemorrhage) -> float:
    return float(4 / 3 * np.pi * np.prod(one.size_mm) / 1000)


def test_a_small_one_has_about_the_volume_of_its_ellipsoid(round_head: Brain) -> None:
    one = Hemorrhage(INTRAPARENCHYMAL, "lobar", (35.0, -15.0, 30.0), (3.9, 9.0, 9.0), Blood("acute", 65.0, 53.0))
    drawing = draw_intraparenchymal(round_head.grid, round_head, one, np.random.default_rng(0))
    assert drawing.occupancy.sum() * 8 / 1000 == pytest.approx(_ellipsoid_ml(one), rel=0.25)


def test_it_stays_on_its_side_of_falx_and_tentorium_and_out_of_the_ventricle(round_head: Brain) -> None:
    blood = Blood("acute", 65.0, 53.0)
    above = Hemorrhage(INTRAPARENCHYMAL, "lobar", (12.0, 20.0, -8.0), (22.0, 22.0, 22.0), blood)
    drawing = draw_intraparenchymal(round_head.grid, round_head, above, np.random.default_rng(1))
    there = drawing.occupancy > 0.5
    assert there.sum() > 500
    assert round_head.falx_mm[drawing.window][there].min() >= 0
    assert round_head.tent_mm[drawing.window][there].min() >= 0
    assert round_head.ventricle_mm[drawing.window][there].max() <= 0.5
    below = Hemorrhage(INTRAPARENCHYMAL, "cerebellum", (12.0, 20.0, -34.0), (20.0, 20.0, 20.0), blood)
    drawing = draw_intraparenchymal(round_head.grid, round_head, below, np.random.default_rng(2))
    assert round_head.tent_mm[drawing.window][drawing.occupancy > 0.5].max() <= 0


def test_volumes_go_from_a_dot_to_60_ml_and_large_ones_push() -> None:
    kinds = [*DEEP, "lobar", "cerebellum", "pons", "tumour", "infarct"]
    found = [sample_intraparenchymal(np.random.default_rng(seed), kinds[seed % len(kinds)]) for seed in range(600)]
    volumes = np.array([_ellipsoid_ml(one) for one in found])
    assert 0.1 - 1e-9 <= volumes.min() < 0.2
    assert 50 < volumes.max() <= 60 + 1e-9
    assert all(one.push is not None for one, volume in zip(found, volumes, strict=True) if volume > 2)
    pushes = [one.push for one in found if one.push is not None]
    assert all(push.displacement[0] * push.center[0] <= 0 for push in pushes)  # towards the other side
    assert max(volume for one, volume in zip(found, volumes, strict=True) if one.kind == "pons") <= 8 + 1e-9


def test_contusions_are_several_and_shear_injuries_are_dots() -> None:
    counts = [len(sample_contusions(np.random.default_rng(seed), 4)) for seed in range(50)]
    assert min(counts) == 1
    assert max(counts) == 4
    dots = [one for seed in range(50) for one in sample_shear_injuries(np.random.default_rng(seed))]
    assert max(_ellipsoid_ml(one) for one in dots) < 0.41

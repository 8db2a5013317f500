from __future__ import annotations

import numpy as np
import pytest

from slicewise.phantom.brain import Brain
from slicewise.phantom.hemorrhages.blood import Blood
from slicewise.phantom.hemorrhages.intraventricular import draw_intraventricular, sample_intraventricular
from slicewise.phantom.hemorrhages.model import INTRAVENTRICULAR, Hemorrhage

_BLOOD = Blood("acute", 65.0, 53.0)


def test_a_pool_lies_at_the_back_with_a_flat_level(round_head: Brain) -> None:
    one = Hemorrhage(INTRAVENTRICULAR, "dependent", (24.0, 60.0, 0.0), (10.0, 0.0, 2.5), _BLOOD)
    drawing = draw_intraventricular(round_head.grid, round_head, one, np.random.default_rng(0))
    x, y, _ = round_head.grid.at(drawing.window)
    blood = drawing.occupancy > 0.5
    assert blood.any()
    assert x[blood].min() > 5  # one side alone
    deepest = y[(round_head.ventricle_mm[drawing.window] > 0) & (x > 5)].max()
    assert abs(y[blood].min() - (deepest - 10)) < 4
    assert y[blood].max() >= deepest - 2


@pytest.mark.parametrize("kind", ["cast", "choroid", "third", "fourth"])
def test_blood_is_where_the_ventricle_is(round_head: Brain, kind: str) -> None:
    one = Hemorrhage(INTRAVENTRICULAR, kind, (0.0, 20.0, 0.0), (1.0, 9.0, 0.0), _BLOOD)
    drawing = draw_intraventricular(round_head.grid, round_head, one, np.random.default_rng(1))
    blood = drawing.occupancy > 0.5
    assert blood.sum() > 50
    assert round_head.ventricle_mm[drawing.window][blood].min() > -1.5
    place = np.stack(round_head.grid.at(drawing.window), axis=-1)[blood]
    assert np.linalg.norm(place - one.center, axis=-1).max() < 18


def test_samples_are_of_all_kinds_without_mass_effect() -> None:
    found = [sample_intraventricular(np.random.default_rng(seed)) for seed in range(200)]
    assert {one.kind for one in found} == {"dependent", "cast", "third", "fourth", "choroid"}
    assert all(one.push is None for one in found)

from __future__ import annotations

import numpy as np
import pytest

from slicewise.phantom.brain import Brain
from slicewise.phantom.hemorrhages.blood import Blood
from slicewise.phantom.hemorrhages.model import SUBDURAL, Hemorrhage
from slicewise.phantom.hemorrhages.sites import sutures_of
from slicewise.phantom.hemorrhages.subdural import draw_subdural, sample_subdural

_BLOOD = Blood("acute", 65.0, 53.0)


def test_a_crescent_crosses_sutures_but_not_the_midline(round_head: Brain) -> None:
    one = Hemorrhage(SUBDURAL, "convexity", (-50.0, 0.0, 40.0), (9.0, 110.0, 60.0), _BLOOD)
    drawing = draw_subdural(round_head.grid, round_head, one, np.random.default_rng(0))
    x, y, z = round_head.grid.at(drawing.window)
    wall = round_head.wall_mm[drawing.window]
    blood = (drawing.occupancy > 0.5) & (wall > 0)
    assert x[blood].max() < 0
    coronal, _ = sutures_of(-1.0)
    across = coronal.distance(x, y, z)[blood]
    assert across.min() < -5 < 5 < across.max()
    assert 6 < wall[blood].max() < 13
    # Thin against its length: a crescent, no lens.
    assert np.ptp(y[blood]) > 8 * 9


@pytest.mark.parametrize("kind", ["falx", "tentorium"])
def test_a_sheet_lies_on_one_side_of_the_dura(round_head: Brain, kind: str) -> None:
    center = (-1.0, 20.0, 40.0) if kind == "falx" else (-25.0, 40.0, -8.0)
    one = Hemorrhage(SUBDURAL, kind, center, (6.0, 30.0, 25.0), _BLOOD)
    drawing = draw_subdural(round_head.grid, round_head, one, np.random.default_rng(1))
    blood = drawing.occupancy > 0.5
    distance = -round_head.falx_mm[drawing.window] if kind == "falx" else round_head.tent_mm[drawing.window]
    assert blood.sum() > 100
    assert distance[blood].min() >= 0
    assert distance[blood].max() < 11


def test_below_the_tentorium_it_stays_there(round_head: Brain) -> None:
    one = Hemorrhage(SUBDURAL, "posterior fossa", (30.0, 50.0, -40.0), (6.0, 30.0, 20.0), _BLOOD)
    drawing = draw_subdural(round_head.grid, round_head, one, np.random.default_rng(2))
    blood = drawing.occupancy > 0.5
    assert blood.any()
    assert round_head.tent_mm[drawing.window][blood].max() < 0


def test_samples_are_of_all_ages_and_thicknesses() -> None:
    found = [sample_subdural(np.random.default_rng(seed), thickest=18.0) for seed in range(400)]
    convex = [one for one in found if one.kind == "convexity"]
    assert {one.age for one in convex} == {"hyperacute", "acute", "subacute", "chronic"}
    assert min(one.size_mm[0] for one in convex) < 3  # a rim
    assert max(one.size_mm[0] for one in found) <= 18
    assert any(one.blood.hu < 46 and one.blood.thin_hu >= 30 for one in convex)  # isodense
    assert {one.kind for one in found} == {"convexity", "falx", "tentorium", "posterior fossa"}
